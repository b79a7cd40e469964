"""A phone that wants to know is told how its call is recorded, as that is and not as it was asked for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlmodel import Session

from hub import recordings
from hub.db import now
from hub.record import policy
from media.core.recording import RemoteRecording
from media.recorder import Recorded
from media.sip import Cause, Incoming, Outgoing, Uri
from media.sip.keypress import RECORDING_TYPE
from media.sip.leg import Leg
from tests.media.calls import test_passing_on as house
from tests.media.calls.test_passing_on import AGENT_HZ, CALLER_HZ, COLLEAGUE_HZ, HOST, Office
from tests.media.calls.test_sending_on import ACCESS, audited, button, current, hz, over, parts, until

pytestmark = [pytest.mark.xdist_group("gateway"), pytest.mark.timeout(90)]

instance, office = house.instance, house.office

NOTHING_KEPT = "\n[recording]\ncalls = false\n"


@asynccontextmanager
async def in_force(office: Office, more: str) -> AsyncIterator[None]:
    """Let the practice have another policy for a while."""
    _, before = await office.instance.db.run(policy.current)

    async def publish(text: str) -> None:
        def change(db: Session) -> int:
            return policy.publish(db, text, policy.current(db)[0], by="system:test", now=now())

        version = await office.instance.db.run(change, write=True)
        await until(lambda: office.gateway.line.version == version)

    await publish(before + more)
    try:
        yield
    finally:
        await publish(before)


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
    async with asyncio.timeout(20):
        while await told.get() != state:
            pass


async def followed(office: Office) -> tuple[Outgoing, Incoming, asyncio.Queue[str]]:
    """Let the caller talk to Ana, whose phone asks and hears "recording"; return both calls, and what is told next."""
    made, taken = await office.connected()
    told = await follow(taken)
    await hears(told, "recording")
    return made, taken, told


async def test_a_phone_hears_what_its_button_has_done(office: Office) -> None:
    made, taken, told = await followed(office)
    talk = current(office)
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
    made, taken, told = await followed(office)
    talk = current(office)
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
    assert await button(taken, "off") == 200
    talk.keeping.consented = False
    told = await follow(taken)
    await hears(told, "off consent")
    assert await button(taken, "on") == 403
    assert await button(taken, "off") == 200
    async with in_force(office, NOTHING_KEPT):
        await hears(told, "off policy")
    made.bye()
    await over(office, talk.id)


async def test_a_policy_that_keeps_nothing_stops_what_is_being_recorded(office: Office) -> None:
    made, taken, told = await followed(office)
    talk = current(office)
    assert await office.caller.hears(AGENT_HZ, office.ana, taken)
    async with in_force(office, NOTHING_KEPT):
        await hears(told, "off policy")
        assert await office.caller.hears(COLLEAGUE_HZ, office.ana, taken)
        assert await button(taken, "on") == 403
        assert await button(taken, "off") == 200
    await hears(told, "paused")
    assert await office.caller.hears(COLLEAGUE_HZ, office.ana, taken)
    assert await button(taken, "on") == 200
    await hears(told, "recording")
    assert await office.caller.hears(CALLER_HZ, office.ana, taken)
    made.bye()
    await over(office, talk.id)
    (kept,) = await parts(office, talk.id)
    _, agent = await office.instance.db.run(lambda db: recordings.hear(db, office.instance, talk.id, ACCESS))
    assert hz(agent) == {AGENT_HZ, CALLER_HZ}
    ana = str(office.gateway.line.directory.owners["101"])
    assert await audited(office, kept) == [("system:media", "pause"), (ana, "resume")]


async def test_calls_that_are_over_hear_of_no_policy(office: Office) -> None:
    before = len(office.gateway.line.on_policy)
    made, taken = await office.connected()
    talk = current(office)
    await until(lambda: talk.keeping._tape is not None)
    assert await taken.refer(Uri("sip", "nurses", HOST)) == 200
    await until(lambda: talk.agent is None)
    made.bye()
    await over(office, talk.id)
    assert len(office.gateway.line.on_policy) == before


async def test_a_colleague_who_gets_the_call_is_told_how_it_stands(office: Office) -> None:
    made, taken, told = await followed(office)
    talk = current(office)
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
