"""A phone that wants to know is told how its call is recorded, as that is and not as it was asked for."""

import asyncio

import pytest

from hub.settings import Practice
from media.core.recording import RemoteRecording
from media.recorder import Recorded
from media.sip import Cause, Uri
from media.sip.keypress import RECORDING_TYPE
from media.sip.leg import Leg
from tests.media.calls import test_passing_on as house
from tests.media.calls.test_passing_on import AGENT_HZ, COLLEAGUE_HZ, HOST, Office
from tests.media.calls.test_sending_on import button, current, over, until

pytestmark = [pytest.mark.xdist_group("gateway"), pytest.mark.timeout(30)]

instance, office = house.instance, house.office


async def follow(sip: Leg) -> asyncio.Queue[str]:
    """Let a phone ask for it; return what it is told."""
    told: asyncio.Queue[str] = asyncio.Queue()

    def hear(kind: str, body: bytes) -> bool:
        told.put_nowait(body.decode())
        return kind == RECORDING_TYPE

    sip.on_info = hear
    answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    sip._ask("INFO", lambda said: answered.set_result(said.status if said else 0), {"Content-Type": [RECORDING_TYPE]})
    assert await answered == 200
    return told


async def hears(told: asyncio.Queue[str], state: str) -> None:
    async with asyncio.timeout(8):
        while await told.get() != state:
            pass


async def test_a_phone_hears_what_its_button_has_done(office: Office) -> None:
    made, taken = await office.connected()
    talk = current(office)
    told = await follow(taken)
    await hears(told, "recording")
    assert await button(taken, "off") == 200
    await hears(told, "paused")
    tape = talk.keeping._tape
    assert tape is not None
    stopped = tape.recording.paused
    assert await button(taken, "on") == 200
    await hears(told, "recording")
    assert (stopped, tape.recording.paused) == (True, False)
    made.bye()
    await over(office, talk.id)


async def test_a_phone_that_did_not_ask_is_told_nothing(office: Office) -> None:
    made, taken = await office.connected()
    talk = current(office)
    told: list[bytes] = []

    def hear(_: str, body: bytes) -> bool:
        told.append(body)
        return True

    taken.on_info = hear
    await until(lambda: talk.keeping._tape is not None)
    assert await button(taken, "off") == 200
    assert await office.caller.hears(AGENT_HZ, office.ana, taken)
    assert told == []
    made.bye()
    await over(office, talk.id)


async def test_a_disk_that_fails_is_told(office: Office) -> None:
    made, taken = await office.connected()
    talk = current(office)
    told = await follow(taken)
    await hears(told, "recording")
    tape = talk.keeping._tape
    assert tape is not None
    assert isinstance(tape.recording, RemoteRecording)
    tape.recording.end(Recorded("failed", 1.0, "no space left on device"))
    await hears(told, "off failed")
    assert await button(taken, "off") == 200
    assert talk.keeping.standing == "off failed"  # nobody says that it is paused
    made.bye()
    await over(office, talk.id)


async def test_without_consent_or_where_nothing_is_kept_the_reason_is_told(office: Office) -> None:
    made, taken = await office.connected()
    talk = current(office)
    await until(lambda: talk.keeping._tape is not None)
    talk.keeping.consented = False
    told = await follow(taken)
    await hears(told, "off consent")
    line = office.gateway.line
    practice = line.practice.model_copy(
        update={"recording": line.practice.recording.model_copy(update={"calls": False})}
    )
    assert isinstance(practice, Practice)
    before, line.practice = line.practice, practice
    try:
        await hears(await follow(taken), "off policy")
    finally:
        line.practice = before
    made.bye()
    await over(office, talk.id)


async def test_a_colleague_who_gets_the_call_is_told_how_it_stands(office: Office) -> None:
    made, taken = await office.connected()
    talk = current(office)
    told = await follow(taken)
    await hears(told, "recording")
    assert await button(taken, "off") == 200
    await hears(told, "paused")
    await office.sign_in(office.ben)
    assert await taken.refer(Uri("sip", "102", HOST)) == 200
    assert await taken.ended is Cause.HANGUP
    with_ben = await office.ben.calls.get()
    assert await office.caller.hears(COLLEAGUE_HZ, office.ben, with_ben)
    told = await follow(with_ben)
    await hears(told, "off")
    assert await button(with_ben, "on") == 200
    await hears(told, "recording")
    made.bye()
    await over(office, talk.id)
