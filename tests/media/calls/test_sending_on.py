"""A caller is sent back to a queue or a number of the practice, and what is recorded of whom they talk to."""

import asyncio
from collections.abc import Callable
from uuid import UUID

import numpy as np
import pytest

from hub import recordings
from hub.audio import frequencies
from hub.record import call, queue, recording
from hub.record.agent import Presence
from hub.record.call import Call
from hub.record.queue import EntryState
from hub.record.recording import Recording, RecordingState
from hub.vault.client import Access
from hub.vault.home import Home
from media.calls.inbound import InboundCall
from media.calls.outbound import OutboundCall
from media.offer import offer_audio
from media.sip import Address, Cause, Incoming, Login, Outgoing, Uri
from media.sip.leg import Leg
from media.sip.referral import Replaces
from media.sound import SILENCE
from tests.hub.vault.house import logged
from tests.media.calls import test_passing_on as house
from tests.media.calls.test_passing_on import AGENT_HZ, CALLER_HZ, COLLEAGUE_HZ, HOST, Office, Phone

pytestmark = [pytest.mark.xdist_group("gateway"), pytest.mark.timeout(90)]

instance, office = house.instance, house.office
ACTS = ("pause", "resume")
ACCESS = Access("system:test", "system", "operations")


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - what is waited for happens in another task of the gateway
            await asyncio.sleep(0.01)


def current(office: Office) -> InboundCall:
    (found,) = [one for one in office.gateway.calls.values() if isinstance(one, InboundCall)]
    return found


async def over(office: Office, call_id: UUID) -> Call:
    """Return the call's row once the call is over for the gateway as well."""
    async with asyncio.timeout(20):
        while True:
            row = await office.instance.db.run(lambda db: db.get_one(Call, call_id))
            if row.ended_at is not None:
                return row
            await asyncio.sleep(0.01)


async def parts(office: Office, call_id: UUID) -> list[Recording]:
    return await office.instance.db.run(lambda db: recording.of_call(db, call_id))


async def waits(office: Office, call_id: UUID, name: str) -> None:
    async with asyncio.timeout(20):
        while True:
            entry = await office.instance.db.run(lambda db: db.get(queue.Entry, call_id))
            if entry is not None and (entry.queue, entry.state) == (name, EntryState.WAITING):
                return
            await asyncio.sleep(0.01)


def hz(pcm: "np.ndarray[tuple[int], np.dtype[np.int16]]") -> set[int]:
    return {round(peak.hz / 10) * 10 for peak in frequencies(np.ascontiguousarray(pcm))}


async def button(sip: Leg, wanted: str) -> int:
    """Press the record button of a phone, and return what the gateway says to it."""
    answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    sip._ask(
        "INFO",
        lambda response: answered.set_result(0 if response is None else response.status),
        {"Record": [wanted]},
    )
    return await answered


async def audited(office: Office, kept: Recording) -> list[tuple[str, str]]:
    """Return who stopped a recording and took it up, and which it was."""
    await asyncio.to_thread(office.instance.vault.settle, timeout=30)
    log = [noted for noted in logged(Home(office.instance.paths.root)) if kept.id.hex in str(noted.get("obj"))]
    return [(noted["actor"], noted["act"]) for noted in log if noted["act"] in ACTS]


@pytest.mark.parametrize("named", ["nurses", "+12125550102", "(212) 555-0102"])
async def test_a_caller_is_sent_on_to_a_queue(office: Office, named: str) -> None:
    made, taken = await office.connected()
    talk = current(office)
    before = await office.told("call.transferred")
    assert await taken.refer(Uri("sip", named, HOST)) == 200
    assert await taken.ended is Cause.HANGUP
    await waits(office, talk.id, "nurses")
    assert await office.presence("101") is Presence.AVAILABLE
    assert await office.told("call.transferred") == before + 1
    assert not made.ended.done()
    nora = await _nora(office)
    with_nora = await nora.calls.get()
    await until(lambda: talk.agent is not None and talk.agent.sip.on_refer is not None)
    assert await nora.hears(CALLER_HZ, office.caller, made)
    assert await office.caller.hears(COLLEAGUE_HZ, nora, with_nora)
    with_nora.bye()
    assert await made.ended is Cause.HANGUP
    row = await over(office, talk.id)
    assert (row.agent_id, row.queue, row.path, row.cause) == (
        office.gateway.line.directory.owners["103"],
        "nurses",
        call.ANSWERED,
        "agent",
    )
    assert await office.presence("103") is Presence.AVAILABLE


async def _nora(office: Office) -> Phone:
    """Let another phone sign in: that of a nurse, in the place of Ben's."""
    office.ben.extension = "103"
    await office.sign_in(office.ben)
    return office.ben


async def test_a_caller_who_gives_up_after_that_has_abandoned_the_queue(office: Office) -> None:
    made, taken = await office.connected()
    talk = current(office)
    assert await taken.refer(Uri("sip", "nurses", HOST)) == 200
    await waits(office, talk.id, "nurses")
    made.bye()
    row = await over(office, talk.id)
    assert (row.path, row.cause) == (call.ABANDONED, "caller")
    entry = await office.instance.db.run(lambda db: db.get_one(queue.Entry, talk.id))
    assert entry.state is EntryState.LEFT


async def test_a_caller_who_is_sent_to_a_number_with_a_menu_hears_it(office: Office) -> None:
    made, taken = await office.connected()
    talk = current(office)
    assert await taken.refer(Uri("sip", "+12125550100", HOST)) == 200
    assert made.remote is not None
    assert made.remote.audio is not None
    await until(lambda: talk.agent is None)
    sound = office.caller.sound
    sound.heard.clear()
    # What is pressed before the menu is asked is no answer to it.
    await until(lambda: any(packet.payload != SILENCE[sound.codec] for packet in sound.heard))
    await sound.press((made.remote.audio.address, made.remote.audio.port), "2")
    await waits(office, talk.id, "nurses")
    made.bye()
    await over(office, talk.id)


async def test_each_who_had_the_call_is_recorded_in_a_part_of_its_own(office: Office) -> None:
    made, taken = await office.connected()
    talk = current(office)
    await until(lambda: talk.keeping._tape is not None)
    assert await office.ana.hears(CALLER_HZ, office.caller, made)
    assert await office.caller.hears(AGENT_HZ, office.ana, taken)
    await office.sign_in(office.ben)
    first = talk.keeping._tape
    assert await taken.refer(Uri("sip", "102", HOST)) == 200
    with_ben = await office.ben.calls.get()
    await until(lambda: talk.keeping._tape not in (None, first))
    assert await office.ben.hears(CALLER_HZ, office.caller, made)
    assert await office.caller.hears(COLLEAGUE_HZ, office.ben, with_ben)
    with_ben.bye()
    await over(office, talk.id)
    kept = await parts(office, talk.id)
    assert [part.state for part in kept] == [RecordingState.FILED] * 2
    caller, agents = await office.instance.db.run(lambda db: recordings.hear(db, office.instance, talk.id, ACCESS))
    second = int((kept[1].started_at - kept[0].started_at).total_seconds() * 8000)
    assert hz(caller[:second]) == hz(caller[second:]) == {CALLER_HZ}
    assert (hz(agents[:second]), hz(agents[second:])) == ({AGENT_HZ}, {COLLEAGUE_HZ})


async def test_a_phone_stops_the_recording_and_takes_it_up_again(office: Office) -> None:
    made, taken = await office.connected()
    talk = current(office)
    await until(lambda: talk.keeping._tape is not None)
    assert await office.caller.hears(AGENT_HZ, office.ana, taken)
    assert await button(taken, "off") == 200
    assert await button(taken, "off") == 200
    assert await office.caller.hears(COLLEAGUE_HZ, office.ana, taken)
    assert await button(taken, "on") == 200
    await until(lambda: talk.keeping._tape is not None and not talk.keeping._tape.recording.paused)
    assert await office.caller.hears(CALLER_HZ, office.ana, taken)
    made.bye()
    await over(office, talk.id)
    (kept,) = await parts(office, talk.id)
    _, agent = await office.instance.db.run(lambda db: recordings.hear(db, office.instance, talk.id, ACCESS))
    assert hz(agent) == {AGENT_HZ, CALLER_HZ}
    ana = str(office.gateway.line.directory.owners["101"])
    acts = await audited(office, kept)
    assert acts == [(ana, "pause"), (ana, "resume")]


async def test_what_is_stopped_stays_so_for_the_colleague_who_gets_the_call(office: Office) -> None:
    made, taken = await office.connected()
    talk = current(office)
    await until(lambda: talk.keeping._tape is not None)
    assert await button(taken, "off") == 200
    await office.sign_in(office.ben)
    assert await taken.refer(Uri("sip", "102", HOST)) == 200
    with_ben = await office.ben.calls.get()
    assert await office.caller.hears(COLLEAGUE_HZ, office.ben, with_ben)
    assert await button(with_ben, "on") == 200
    await until(lambda: talk.keeping._tape is not None)
    assert await office.caller.hears(AGENT_HZ, office.ben, with_ben)
    made.bye()
    await over(office, talk.id)
    _, agent = await office.instance.db.run(lambda db: recordings.hear(db, office.instance, talk.id, ACCESS))
    assert hz(agent) == {AGENT_HZ}


async def test_what_is_stopped_stays_so_for_whoever_a_queue_gives_the_call_to(office: Office) -> None:
    made, taken = await office.connected()
    talk = current(office)
    await until(lambda: talk.keeping._tape is not None)
    assert await office.caller.hears(AGENT_HZ, office.ana, taken)
    assert await button(taken, "off") == 200
    assert await taken.refer(Uri("sip", "nurses", HOST)) == 200
    nora = await _nora(office)
    with_nora = await nora.calls.get()
    await until(lambda: talk.agent is not None and talk.agent.sip.on_refer is not None)
    assert await office.caller.hears(COLLEAGUE_HZ, nora, with_nora)
    assert await button(with_nora, "on") == 200
    await until(lambda: talk.keeping._tape is not None)
    assert await office.caller.hears(CALLER_HZ, nora, with_nora)
    made.bye()
    await over(office, talk.id)
    assert len(await parts(office, talk.id)) == 2
    _, agent = await office.instance.db.run(lambda db: recordings.hear(db, office.instance, talk.id, ACCESS))
    assert hz(agent) == {AGENT_HZ, CALLER_HZ}


async def test_nothing_is_kept_after_a_stop_while_the_next_part_waits_for_the_record(office: Office) -> None:
    made, taken = await office.connected()
    talk = current(office)
    await until(lambda: talk.keeping._tape is not None)
    assert await office.caller.hears(AGENT_HZ, office.ana, taken)
    await office.sign_in(office.ben)
    with office.instance.db.write():
        assert await taken.refer(Uri("sip", "102", HOST)) == 200
        with_ben = await office.ben.calls.get()
        assert await button(with_ben, "off") == 200
        assert await office.ben.hears(CALLER_HZ, office.caller, made)
    made.bye()
    await over(office, talk.id)
    caller, agent = await office.instance.db.run(lambda db: recordings.hear(db, office.instance, talk.id, ACCESS))
    assert (hz(caller), hz(agent)) == (set(), {AGENT_HZ})


async def test_nothing_is_recorded_for_a_button_without_consent(office: Office) -> None:
    made, taken = await office.connected()
    talk = current(office)
    await until(lambda: talk.keeping._tape is not None)
    await talk.keeping.end()
    talk.keeping.consented = False
    assert await button(taken, "on") == 403
    made.bye()
    await over(office, talk.id)
    assert len(await parts(office, talk.id)) == 1


async def consulting(office: Office, taken: Incoming) -> tuple[Outgoing, Replaces]:
    """Let Ana call Ben, whose phone rings; return her call, and what names it."""
    await office.sign_in(office.ben)
    office.ben.lifted.clear()
    ana = office.ana
    asked = ana.endpoint.call(
        Uri("sip", "102", HOST, ana.gateway.port),
        offer_audio(ana.sound.address),
        from_=Address(Uri("sip", "101", HOST)),
        login=Login("101", ana.secret),
    )
    await office.ben.rings.wait()
    legs = ana.endpoint._stack.legs
    await until(lambda: asked in legs.values())
    assert not taken.ended.done()
    ((call_id, own, far),) = [key for key, leg in legs.items() if leg is asked]
    return asked, Replaces(call_id, far, own)


@pytest.mark.parametrize("gives_up", [False, True])
async def test_a_colleague_who_still_rings_gets_the_caller_on_picking_up(office: Office, gives_up: bool) -> None:
    made, taken = await office.connected()
    asked, early = await consulting(office, taken)
    passing = asyncio.create_task(taken.refer(Uri("sip", "102", HOST), replaces=early))
    await until(lambda: _promised(office))
    if gives_up:
        asked.cancel()
        assert await asked.answered is None
    office.ben.lifted.set()
    with_ben = await office.ben.calls.get()
    assert await passing == 200
    assert await taken.ended is Cause.HANGUP
    assert await asked.answered is None
    assert await office.ben.hears(CALLER_HZ, office.caller, made)
    assert await office.caller.hears(COLLEAGUE_HZ, office.ben, with_ben)
    made.bye()
    assert await with_ben.ended is Cause.HANGUP


def _promised(office: Office) -> bool:
    calls = [one for one in office.gateway.calls.values() if isinstance(one, OutboundCall)]
    return any(one._promise is not None for one in calls)


async def test_a_caller_comes_back_where_the_colleague_who_rings_says_no(office: Office) -> None:
    made, taken = await office.connected()
    _, early = await consulting(office, taken)
    passing = asyncio.create_task(taken.refer(Uri("sip", "102", HOST), replaces=early))
    await until(lambda: _promised(office))
    office.ben.answers = False
    office.ben.lifted.set()
    assert await passing == 486
    assert not taken.ended.done()
    assert await office.ana.hears(CALLER_HZ, office.caller, made)
    made.bye()
    await taken.ended


async def test_who_hung_up_on_a_transfer_that_failed_is_rung_for_the_caller(office: Office) -> None:
    made, taken = await office.connected()
    office.ben.answers = False
    passing = await office.transferring(taken)
    taken.bye()
    await asyncio.gather(passing, return_exceptions=True)
    office.ben.lifted.set()
    again = await office.ana.calls.get()
    assert await office.ana.hears(CALLER_HZ, office.caller, made)
    assert await office.caller.hears(AGENT_HZ, office.ana, again)
    again.bye()
    assert await made.ended is Cause.HANGUP


async def test_nobody_rings_any_more_when_the_caller_hangs_up_meanwhile(office: Office) -> None:
    made, taken = await office.connected()
    asked, early = await consulting(office, taken)
    passing = asyncio.create_task(taken.refer(Uri("sip", "102", HOST), replaces=early))
    await until(lambda: _promised(office))
    asked.cancel()
    made.bye()
    await asyncio.gather(passing, return_exceptions=True)
    await until(lambda: not office.ben.endpoint.calls)
    office.ben.lifted.set()
