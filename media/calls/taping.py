"""Recordings and voicemails of calls: the row and the key first, then the container; and what a crash left of them."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from sqlmodel import Session, select

from hub import tape
from hub.db import uuid7
from hub.errors import ChartlineError, ConflictError
from hub.g711 import RATE
from hub.instance import Instance
from hub.record import recording, task, voicemail
from hub.record.recording import Recording as RecordingRow
from hub.record.recording import RecordingState
from hub.record.voicemail import Voicemail, VoicemailState
from hub.security.container import binding_of, read, recover
from hub.security.sealed import Table
from hub.vault.client import Access, VaultUnavailableError
from media.core.recording import LOST, MOVED
from media.errors import SealedError
from media.ledger import Ledger
from media.recorder import SUFFIX, Place, Recorded
from media.relay import Leg, Recording, Relay

log = structlog.get_logger()

SHORTEST_MESSAGE_S = 1.0
"Less than this is somebody who hung up at the tone."

AGAIN_S = 1.0
"Between tries to recover what could not be."


@dataclass(slots=True)
class Tape:
    """A recording that runs, or has ended."""

    id: UUID
    box: str | None
    "Voicemail box; None for the recording of a talk."

    recording: Recording
    state: RecordingState = RecordingState.RUNNING
    stopping: bool = False
    next_part: asyncio.Task[None] | None = None
    "Begins another container where the process that wrote this one has died."

    async def stop(self) -> float:
        """Seal it and return the length of its last part in seconds; `state` says whether all of that is there."""
        if self.next_part is not None:
            await asyncio.shield(self.next_part)
        self.stopping = True
        ended = await self.recording.stop()
        self.state = RecordingState.FILED if ended.state == "sealed" else RecordingState.PARTIAL
        if ended.state == "failed" and not ended.seconds:
            # There is no file: who was to be heard is gone, or the call is sealed.
            self.state = RecordingState.LOST
            log.warning("recording lost", recording=str(self.id), reason=ended.reason)
        return ended.seconds


Begin = Callable[[Session], tuple[UUID, Place]]
"Writes the row of a container, and returns its id and where it goes."

Left = RecordingRow | Voicemail
"A recording that a process which died was making."


def end_message(db: Session, message_id: UUID, call_id: UUID, box: str, seconds: float, now: datetime) -> bool:
    """Note that a message is finished and let somebody hear it; return whether there is one to hear."""
    if seconds < SHORTEST_MESSAGE_S:
        voicemail.end(db, message_id, 0.0)
        return False
    voicemail.end(db, message_id, seconds)
    task.ask(db, "voicemail", key=f"voicemail:{message_id}", reason=box, now=now, call_id=call_id)
    return True


class Taping:
    """Makes the recordings of this process, and seals what a process that died has left."""

    def __init__(self, instance: Instance, ledger: Ledger, relay: Relay) -> None:
        self._instance = instance
        self._ledger = ledger
        self._relay = relay
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(
        self, call_id: UUID, subject: UUID | None, legs: Sequence[Leg], *, box: str | None = None
    ) -> Tape | None:
        """Record the legs, the caller's first; None where it cannot be, and the call goes on without.

        `box` makes it a voicemail.
        """
        if subject is None:
            return None
        begin = partial(self._begin, call_id=call_id, subject=subject, box=box)
        try:
            tape_id, place = await self._ledger.do(begin)
        except Exception as error:
            log.error("not recorded", call=str(call_id), kind=type(error).__name__)
            return None
        try:
            tape = Tape(tape_id, box, self._relay.record(place, legs))
        except SealedError as error:
            log.warning("not recorded", call=str(call_id), code=error.code)
            await self._file(await self._row(tape_id, box), None)
            return None
        self._follow(tape, begin, legs)
        return tape

    async def close(self) -> None:
        """Leave what is being recovered to the next start."""
        for each in self._tasks:
            each.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # A media core process that died

    def _follow(self, tape: Tape, begin: Begin, legs: Sequence[Leg]) -> None:
        """Go on in another container when the process that writes this one dies, or the legs move to another."""

        def ended(done: "asyncio.Future[Recorded]") -> None:
            recorded = done.result()
            if recorded.reason == LOST:
                self._spawn(self._recover_part(tape.id, tape.box))
            elif recorded.reason == MOVED and not tape.stopping:
                self._spawn(self._file_part(tape.id, tape.box, recorded.seconds))
            else:
                return
            if not tape.stopping:
                tape.next_part = self._spawn(self._go_on(tape, begin, legs))

        tape.recording.ended.add_done_callback(ended)

    async def _go_on(self, tape: Tape, begin: Begin, legs: Sequence[Leg]) -> None:
        """Begin the next part."""
        try:
            tape.id, place = await self._ledger.do(begin)
        except Exception as error:
            log.error("recording not continued", recording=str(tape.id), kind=type(error).__name__)
            return
        paused, tape.recording = tape.recording.paused, self._relay.record(place, legs)
        if paused:
            tape.recording.pause()
        tape.next_part = None
        self._follow(tape, begin, legs)

    async def _recover_part(self, lost: UUID, box: str | None) -> None:
        await self.recover([await self._row(lost, box)])

    async def _file_part(self, sealed: UUID, box: str | None, seconds: float) -> None:
        await self._file(await self._row(sealed, box), seconds, RecordingState.FILED)

    async def _row(self, tape_id: UUID, box: str | None) -> Left:
        def row(db: Session) -> Left:
            return db.get_one(RecordingRow, tape_id) if box is None else db.get_one(Voicemail, tape_id)

        return await self._instance.db.run(row)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        spawned = asyncio.get_running_loop().create_task(work)
        self._tasks.add(spawned)
        spawned.add_done_callback(self._tasks.discard)
        return spawned

    def _begin(self, db: Session, *, call_id: UUID, subject: UUID, box: str | None) -> tuple[UUID, Place]:
        instance, tape_id, now = self._instance, uuid7(), self._instance.clock()
        table = Table.RECORDING if box is None else Table.VOICEMAIL
        lane_id, key = instance.sealer.media_key(db, subject, table, tape_id)
        name = f"{tape_id}{SUFFIX}"
        if box is None:
            recording.begin(db, tape_id, call_id=call_id, subject=subject, lane_id=lane_id, name=name, now=now)
        else:
            voicemail.begin(db, tape_id, call_id=call_id, box=box, subject=subject, lane_id=lane_id, name=name, now=now)
        binding = binding_of(instance.keys.tenant, table, tape_id)
        return tape_id, Place(instance.paths.media / name, key, binding, lane_id)

    async def left(self) -> list[Left]:
        """Return the recordings that the record says are being made; before the first call they are a predecessor's."""

        def look(db: Session) -> list[Left]:
            messages = select(Voicemail).where(Voicemail.state == VoicemailState.RUNNING)
            return [*recording.running(db), *db.exec(messages)]

        return await self._instance.db.run(look)

    async def recover(self, left: Sequence[Left]) -> None:
        """Seal the authentic prefix of each; they wait for a vault that is away and for a process that still ends."""
        while left:
            later = []
            for each in left:
                try:
                    seconds = await asyncio.to_thread(self._recovered, each)
                except (VaultUnavailableError, ConflictError):
                    later.append(each)
                    continue
                await self._file(each, seconds)
            left = later
            if left:
                await asyncio.sleep(AGAIN_S)

    async def _file(self, each: Left, seconds: float | None, whole: RecordingState = RecordingState.PARTIAL) -> None:
        """Write what became of a recording; `seconds` is None where nothing of it can be heard."""
        now = self._instance.clock()

        def change(db: Session) -> None:
            if isinstance(each, Voicemail):
                end_message(db, each.id, each.call_id, each.box, seconds or 0.0, now)
            else:
                state = RecordingState.LOST if seconds is None else whole
                recording.end(db, each.id, seconds or 0.0, now, state=state)

        await asyncio.wrap_future(self._ledger.note(change))

    def _recovered(self, each: Left) -> float | None:
        """Seal what is authentic and return its seconds; None where nothing is.

        Raises:
            VaultUnavailableError, ConflictError: not now.
        """
        instance = self._instance
        path: Path = instance.paths.media / each.name
        access = Access("system:media", "system", "operations", session=f"recover-{each.id}")
        table = Table.VOICEMAIL if isinstance(each, Voicemail) else Table.RECORDING
        binding = binding_of(instance.keys.tenant, table, each.id)
        try:
            with instance.db.read() as db:
                key = instance.opener.media_key(db, access, each.subject, table, each.id, each.lane_id)
            found = recover(path, key, binding)
        except (VaultUnavailableError, ConflictError):
            raise
        except (ChartlineError, OSError) as error:
            log.error("recording not recovered", recording=str(each.id), kind=type(error).__name__)
            return None
        log.info("recording recovered", recording=str(each.id), bytes=found.size)
        with read(path, key, binding) as source:
            return max((frame.position + len(frame.payload) for frame in tape.frames(source)), default=0) / RATE
