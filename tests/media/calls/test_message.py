"""When a message that a caller leaves is over."""

import asyncio

import pytest

from hub.settings.practice import Voicemail
from media.calls.message import left
from media.leg import AudioLeg, LegClosedError
from tests.media.farend import EVENT, far_end, relay
from tests.media.hearing.test_attention import speech
from tests.media.kept import Kept

BOX = Voicemail(name="desk", roles=("front-desk",), silence_seconds=1, longest_seconds=20)
PATIENT = Voicemail(name="desk", roles=("front-desk",), silence_seconds=0, longest_seconds=20)


async def test_silence_ends_it_and_is_no_part_of_it() -> None:
    async with relay() as engine, far_end() as phone:
        leg = await engine.allocate()
        leg.connect(phone.address, phone.codec, EVENT)
        late = Kept()
        message = asyncio.create_task(left(leg, BOX))
        await phone.say(leg.local, speech(1.5))
        assert 1.2 < await message < 2.2 + late.seconds
        # Who says nothing has left nothing.
        late = Kept()
        assert await left(leg, BOX) < 0.2 + late.seconds


@pytest.mark.parametrize("box", [BOX, PATIENT, None])
async def test_a_key_ends_it_at_once(box: Voicemail | None) -> None:
    async with relay() as engine, far_end() as phone:
        leg = await engine.allocate()
        leg.connect(phone.address, phone.codec, EVENT)
        leg.pressed("#")
        late = Kept()
        assert await left(leg, box) < 0.2 + late.seconds
        assert leg._tap is None


async def test_it_may_be_silent_where_the_practice_says_so_but_not_for_ever() -> None:
    async with relay() as engine, far_end() as phone:
        leg = await engine.allocate()
        leg.connect(phone.address, phone.codec, EVENT)
        short = PATIENT.model_copy(update={"longest_seconds": 1})
        late = Kept()
        assert 0.9 < await left(leg, short) < 2 + late.seconds


async def test_a_caller_who_hangs_up_ends_it() -> None:
    async with relay() as engine, far_end() as phone:
        leg: AudioLeg = await engine.allocate()
        leg.connect(phone.address, phone.codec, EVENT)
        message = asyncio.create_task(left(leg, BOX.model_copy(update={"silence_seconds": 60})))
        await phone.say(leg.local, speech(0.2))
        leg.close()
        with pytest.raises(LegClosedError):
            await message
