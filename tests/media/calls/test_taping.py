"""What a process that died leaves on tape: sealed as far as it is authentic, now or once the vault is back."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from sqlmodel import Session

from hub.audio import tone
from hub.db import now, uuid7
from hub.g711 import RATE, Codec, encode
from hub.instance import Instance
from hub.record import call, task
from hub.record.recording import Recording as RecordingRow
from hub.record.recording import RecordingState
from hub.record.voicemail import Voicemail, VoicemailState
from hub.rules.matching import Match
from hub.tape import CALLER
from media.calls.taping import Tape, Taping
from media.ledger import Ledger
from media.ports import Ports
from media.recorder import Recording
from media.relay import BuiltinRelay
from media.rtp import FRAME
from media.sound import Sound
from tests.media.core.cores import connected, cores, kill, pid_of
from tests.media.farend import far_end
from tests.media.kept import Kept

PORTS = Ports("127.0.0.1", 20_000, 29_999)
SILENCE = Sound(b"\xff" * FRAME)


async def rung(instance: Instance) -> tuple[UUID, UUID]:
    """Let somebody call; return the call and whom its recordings are sealed for."""
    call_id = uuid7()

    def ring(db: Session) -> UUID:
        return call.ring(
            db,
            call_id,
            did="+12125550100",
            trunk="line",
            host="media-test",
            number="+12125550123",
            name=None,
            match=Match("none"),
            seal=instance.sealer,
            index=instance.index,
            now=now(),
        )

    return call_id, await instance.db.run(ring, write=True)


async def begun(instance: Instance, taping: Taping, *, seconds: float, box: str | None = None) -> Tape:
    """Begin a recording, let it hear the caller, and leave it as a process that is killed leaves it."""
    call_id, subject = await rung(instance)
    tape = await taping.start(call_id, subject, [], box=box)
    assert tape is not None
    assert isinstance(tape.recording, Recording)
    track, began = tape.recording.track(CALLER), tape.recording._began_at
    coded = encode(Codec.PCMU, tone(440.0, seconds=seconds))
    for number, place in enumerate(range(0, len(coded), FRAME)):
        track.heard(Codec.PCMU, 1, place, coded[place : place + FRAME], began + number * FRAME / RATE)
    tape.recording.hand_over()
    path = tape.recording.path
    await until(lambda: path.exists() and path.stat().st_size > len(coded))
    copy = path.with_suffix(".copy")
    shutil.copy(path, copy)
    copy.replace(path)  # the writer, which lives on in this process, holds its lock on the other file
    return tape


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while True:
            if holds():
                return
            await asyncio.sleep(0.02)


def clock() -> float:
    return asyncio.get_running_loop().time()


@contextlib.contextmanager
def vault_held(instance: Instance) -> Iterator[None]:
    pid = int(instance.vault.health()["pid"])
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_talks_and_messages_of_a_dead_process_are_filed_and_messages_get_their_task(instance: Instance) -> None:
    ledger = Ledger(instance.db)
    engine = BuiltinRelay(PORTS, SILENCE)
    before = Taping(instance, ledger, engine)
    talk = await begun(instance, before, seconds=1.5)
    message = await begun(instance, before, seconds=2.0, box="desk")
    blip = await begun(instance, before, seconds=0.3, box="desk")
    after = Taping(instance, ledger, engine)
    left = await after.left()
    assert {row.id for row in left} == {talk.id, message.id, blip.id}
    await after.recover(left)
    with instance.db.read() as db:
        kept = db.get_one(RecordingRow, talk.id)
        assert kept.state is RecordingState.PARTIAL
        assert kept.seconds == pytest.approx(1.5, abs=0.1)
        assert db.get_one(Voicemail, message.id).state is VoicemailState.NEW
        assert db.get_one(Voicemail, blip.id).state is VoicemailState.LOST
        assert [row.key for row in task.open_tasks(db, kind="voicemail")] == [f"voicemail:{message.id}"]
    assert await after.left() == []
    await engine.close()
    ledger.close()


async def test_a_recording_waits_for_the_vault_and_keeps_nobody_from_writing(instance: Instance) -> None:
    ledger = Ledger(instance.db)
    engine = BuiltinRelay(PORTS, SILENCE)
    before = Taping(instance, ledger, engine)
    talk = await begun(instance, before, seconds=1.5)
    after = Taping(instance, ledger, engine)
    left = await after.left()
    with vault_held(instance):
        recovering = asyncio.create_task(after.recover(left))
        await until(lambda: instance.vault._broken_until > 0.0)  # the first try has given up
        async with asyncio.timeout(10):
            await ledger.do(lambda db: task.ask(db, "callback", key="callback:meanwhile", now=now()))
        assert not recovering.done()
    async with asyncio.timeout(20):
        await recovering
    with instance.db.read() as db:
        assert db.get_one(RecordingRow, talk.id).state is RecordingState.PARTIAL
    await engine.close()
    ledger.close()


@pytest.mark.parametrize("box", [None, "desk"], ids=["talk", "message"])
async def test_what_a_media_core_process_was_recording_goes_on_in_a_second_part(
    instance: Instance, box: str | None
) -> None:
    ledger = Ledger(instance.db)
    async with cores(steady=True) as relay, far_end() as phone:
        taping = Taping(instance, ledger, relay)
        leg = await relay.allocate()
        at = await connected(leg, phone)
        call_id, subject = await rung(instance)
        began = clock()
        tape = await taping.start(call_id, subject, [leg], box=box)
        assert tape is not None
        first = tape.id
        await phone.say(at, tone(440.0, seconds=2.5))
        tape.recording.pause()
        killed = clock()
        kill(leg)
        await until(lambda: tape.id != first and leg.core is not None)
        assert tape.recording.paused
        at = await connected(leg, phone)
        tape.recording.resume()
        await phone.say(at, tone(620.0, seconds=1.2))
        assert 0.7 <= await tape.stop() <= clock() - killed + 0.1
        assert (tape.state, tape.id != first) == (RecordingState.FILED, True)
        await until(lambda: row_of(instance, first, box)[0] not in ("running", "recording"))
        state, seconds = row_of(instance, first, box)
        assert state == ("partial" if box is None else "new")
        assert 0.5 < seconds <= killed - began + 0.1
        await taping.close()
    ledger.close()


async def test_a_talk_that_ends_before_it_went_on_in_another_core_leaves_a_part_that_holds_nothing(
    instance: Instance,
) -> None:
    ledger = Ledger(instance.db)
    async with cores() as engine, far_end() as phone:
        taping = Taping(instance, ledger, engine)
        leg = await engine.allocate()
        at = await connected(leg, phone)
        call_id, subject = await rung(instance)
        began = clock()
        tape = await taping.start(call_id, subject, [leg])
        assert tape is not None
        first = tape.id
        await phone.say(at, tone(440.0, seconds=2.5))
        killed = clock()
        kill(leg)
        await tape.recording.ended
        leg.close()
        assert await tape.stop() == 0.0
        assert (tape.state, tape.id != first) == (RecordingState.LOST, True)
        await until(lambda: row_of(instance, first, None)[0] != "running")
        state, seconds = row_of(instance, first, None)
        assert state == "partial"
        assert 0.5 < seconds <= killed - began + 0.1
        await taping.close()
    ledger.close()


def row_of(instance: Instance, which: UUID, box: str | None) -> tuple[str, float]:
    with instance.db.read() as db:
        row = db.get_one(RecordingRow, which) if box is None else db.get_one(Voicemail, which)
        return row.state.value, row.seconds


async def test_a_recording_that_another_process_still_writes_is_left_to_it(instance: Instance) -> None:
    ledger = Ledger(instance.db)
    engine = BuiltinRelay(PORTS, SILENCE)
    before = Taping(instance, ledger, engine)
    talk = await begun(instance, before, seconds=1.0)
    assert isinstance(talk.recording, Recording)
    with talk.recording.path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        after = Taping(instance, ledger, engine)
        recovering = asyncio.create_task(after.recover(await after.left()))
        done, _ = await asyncio.wait({recovering}, timeout=0.5)
        assert not done
    async with asyncio.timeout(20):
        await recovering
    with instance.db.read() as db:
        assert db.get_one(RecordingRow, talk.id).state is RecordingState.PARTIAL
    await engine.close()
    ledger.close()


async def test_a_recording_whose_file_is_gone_is_lost(instance: Instance) -> None:
    ledger = Ledger(instance.db)
    engine = BuiltinRelay(PORTS, SILENCE)
    before = Taping(instance, ledger, engine)
    talk = await begun(instance, before, seconds=1.0)
    assert isinstance(talk.recording, Recording)
    talk.recording.path.unlink()
    after = Taping(instance, ledger, engine)
    await after.recover(await after.left())
    with instance.db.read() as db:
        assert db.get_one(RecordingRow, talk.id).state is RecordingState.LOST
    await engine.close()
    ledger.close()


async def test_a_talk_that_was_over_before_it_could_be_recorded_is_lost(instance: Instance) -> None:
    ledger = Ledger(instance.db)
    async with cores() as relay:
        leg = await relay.allocate()
        leg.close()
        taping = Taping(instance, ledger, relay)
        call_id, subject = await rung(instance)
        tape = await taping.start(call_id, subject, [leg])
        assert tape is not None
        assert await tape.stop() == 0.0
        assert tape.state is RecordingState.LOST
        await taping.close()
    await asyncio.to_thread(ledger.close)


async def test_a_talk_whose_legs_move_is_filed_in_two_whole_parts(instance: Instance) -> None:
    ledger, late = Ledger(instance.db), Kept()
    async with cores(2) as relay, far_end(ssrc=1) as caller, far_end(ssrc=2) as agent:
        legs = await relay.allocate(), await relay.allocate()
        assert pid_of(legs[0]) != pid_of(legs[1])
        places = await connected(legs[0], caller), await connected(legs[1], agent)
        taping = Taping(instance, ledger, relay)
        tapes = []
        for leg in legs:
            call_id, subject = await rung(instance)
            tape = await taping.start(call_id, subject, [leg])
            assert tape is not None
            tapes.append(tape)
        first = tapes[1].id
        await agent.say(places[1], tone(620.0, seconds=0.3))
        relay.bridge(*legs)  # both are recorded, and one has to move
        await until(lambda: tapes[1].id != first and tapes[1].next_part is None)
        assert await tapes[0].stop() >= 0
        await tapes[1].stop()
        assert [tape.state for tape in tapes] == [RecordingState.FILED] * 2

        def filed() -> bool:
            with instance.db.read() as db:
                row = db.get_one(RecordingRow, first)
            return row.state is RecordingState.FILED and 0.2 < row.seconds < 2 + late.seconds

        await until(filed)
        await taping.close()
    await asyncio.to_thread(ledger.close)
