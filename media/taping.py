"""Recordings and voicemails of calls: the row and the key first, then the container; and what a crash left of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import structlog
from sqlmodel import Session, select

from hub import tape
from hub.db import uuid7
from hub.errors import ChartlineError
from hub.g711 import RATE
from hub.instance import Instance
from hub.record import recording, voicemail
from hub.record.recording import RecordingState
from hub.record.voicemail import Voicemail, VoicemailState
from hub.security.container import binding_of, read, recover
from hub.security.sealed import Table
from hub.vault.client import Access
from media.ledger import Ledger
from media.leg import AudioLeg
from media.recorder import SUFFIX, Place, Recorder, Recording

log = structlog.get_logger()


@dataclass(slots=True)
class Tape:
    """A recording that runs, or has ended."""

    id: UUID
    box: str | None
    "Voicemail box; None for the recording of a talk."

    recording: Recording
    state: RecordingState = RecordingState.RUNNING

    async def stop(self) -> float:
        """Seal it and return its length in seconds; `state` says whether all of it is there."""
        ended = await self.recording.stop()
        self.state = RecordingState.FILED if ended.state == "sealed" else RecordingState.PARTIAL
        return ended.seconds


class Taping:
    """Makes the recordings of this process, and seals what a process that died has left."""

    def __init__(self, instance: Instance, ledger: Ledger) -> None:
        self._instance = instance
        self._ledger = ledger
        self._recorder = Recorder()

    async def start(
        self, call_id: UUID, subject: UUID | None, legs: Sequence[AudioLeg], *, box: str | None = None
    ) -> Tape | None:
        """Record the legs, the caller's first; None where it cannot be, and the call goes on without.

        `box` makes it a voicemail.
        """
        if subject is None:
            return None
        try:
            tape_id, place = await self._ledger.do(lambda db: self._begin(db, call_id, subject, box))
        except Exception as error:
            log.error("not recorded", call=str(call_id), kind=type(error).__name__)
            return None
        made = self._recorder.record(place)
        for number, leg in zip((tape.CALLER, tape.AGENT), legs, strict=False):
            leg.tap(made.track(number))
        return Tape(tape_id, box, made)

    def _begin(self, db: Session, call_id: UUID, subject: UUID, box: str | None) -> tuple[UUID, Place]:
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

    async def close(self) -> None:
        """Seal what still runs, and wait for the disk."""
        await self._recorder.close()

    async def recover(self) -> None:
        """Seal the authentic prefix of every recording that the record says was being made."""
        await self._instance.db.run(self._recover, write=True)

    def _recover(self, db: Session) -> None:
        now = self._instance.clock()
        for row in recording.running(db):
            found = self._sealed(db, Table.RECORDING, row.id, row.subject, row.lane_id, row.name)
            state = RecordingState.LOST if found is None else RecordingState.PARTIAL
            recording.end(db, row.id, found or 0.0, now, state=state)
        for message in db.exec(select(Voicemail).where(Voicemail.state == VoicemailState.RUNNING)).all():
            found = self._sealed(db, Table.VOICEMAIL, message.id, message.subject, message.lane_id, message.name)
            voicemail.end(db, message.id, found or 0.0)

    def _sealed(
        self, db: Session, table: Table, tape_id: UUID, subject: UUID, lane_id: bytes, name: str
    ) -> float | None:
        """Return the seconds of what could be sealed; None where nothing could be."""
        instance = self._instance
        path: Path = instance.paths.media / name
        access = Access("system:media", "system", "operations", session=f"recover-{tape_id}")
        try:
            key = instance.opener.media_key(db, access, subject, table, tape_id, lane_id)
            found = recover(path, key, binding_of(instance.keys.tenant, table, tape_id))
        except (ChartlineError, OSError) as error:
            log.error("recording not recovered", recording=str(tape_id), kind=type(error).__name__)
            return None
        log.info("recording recovered", recording=str(tape_id), bytes=found.size)
        return self._seconds(path, key, table, tape_id)

    def _seconds(self, path: Path, key: bytes, table: Table, tape_id: UUID) -> float:
        with read(path, key, binding_of(self._instance.keys.tenant, table, tape_id)) as source:
            return max((frame.position + len(frame.payload) for frame in tape.frames(source)), default=0) / RATE
