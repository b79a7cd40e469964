"""A caller is told, or asked, before anything is kept."""

import asyncio
from pathlib import Path

import pytest

from hub.audio import tone, wav
from hub.rules.recording import Consent
from media.calls.consent import consented
from media.calls.keys import next_key
from media.leg import LegClosedError
from media.prompts import Prompts
from tests.media.farend import far_end, relay


@pytest.fixture
def prompts(tmp_path: Path) -> Prompts:
    """Return prompts that a practice has made short, each of a pitch of its own."""
    for number, name in enumerate(("this-call-may-be-recorded", "press-one-to-be-recorded")):
        (tmp_path / f"{name}.en.wav").write_bytes(wav(tone(300.0 + 200 * number, seconds=0.2)))
    return Prompts(tmp_path)


async def test_who_was_told_to_the_last_sample_may_be_recorded(prompts: Prompts) -> None:
    async with relay() as engine, far_end() as phone:
        leg = await engine.allocate()
        leg.connect(phone.address, phone.codec, 101)
        assert await consented(leg, prompts, Consent.NOTICE, "en")
        await phone.hear(leg.stats.sent)
        assert phone.hz() == [300]


async def test_who_hangs_up_while_being_told_was_not_told(prompts: Prompts) -> None:
    async with relay() as engine, far_end() as phone:
        leg = await engine.allocate()
        leg.connect(phone.address, phone.codec, 101)
        told = asyncio.create_task(consented(leg, prompts, Consent.NOTICE, "en"))
        await phone.hear(2)
        leg.close()
        with pytest.raises(LegClosedError):
            await told


@pytest.mark.parametrize(("keys", "agreed"), [("1", True), ("2", False), ("*", False)])
async def test_who_is_asked_agrees_by_the_key_and_by_no_other(prompts: Prompts, keys: str, agreed: bool) -> None:
    async with relay() as engine, far_end() as phone:
        leg = await engine.allocate()
        leg.connect(phone.address, phone.codec, 101)
        asked = asyncio.create_task(consented(leg, prompts, Consent.OPT_IN, "en"))
        await phone.hear(9)
        assert phone.hz() == [500]
        await phone.press(leg.local, keys)
        assert await asked is agreed


async def test_a_key_that_does_not_come_is_none() -> None:
    async with relay() as engine:
        assert await next_key(await engine.allocate(), 0.05) is None
