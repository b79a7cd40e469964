"""Recordings of calls: where the sealed container lies, and whose it is."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlmodel import Field, Session, SQLModel, col, select

from hub.record import column
from hub.record.trail import touch
from hub.security.sealed import Table


class RecordingState(StrEnum):
    """How a recording stands."""

    RUNNING = "running"
    FILED = "filed"
    PARTIAL = "partial"
    "The media process died; what was written up to then is whole."

    LOST = "lost"


class Recording(SQLModel, table=True):
    """One container (docs/reference/container.md)."""

    id: UUID = Field(primary_key=True)
    call_id: UUID = Field(foreign_key="call.id", index=True)
    subject: UUID
    "Whom it is sealed for."

    lane_id: bytes
    name: str
    "File name in the instance's media directory."

    state: RecordingState = column.code(RecordingState, index=True)
    started_at: datetime = column.instant()
    ended_at: datetime | None = column.maybe_instant()
    seconds: float = 0.0


def begin(
    db: Session, recording_id: UUID, *, call_id: UUID, subject: UUID, lane_id: bytes, name: str, now: datetime
) -> Recording:
    """Note that a recording begins; a repeat returns the row."""
    kept = db.get(Recording, recording_id)
    if kept is not None:
        return kept
    row = Recording(
        id=recording_id,
        call_id=call_id,
        subject=subject,
        lane_id=lane_id,
        name=name,
        state=RecordingState.RUNNING,
        started_at=now,
    )
    touch(db, "system:media", "record", subject, Table.RECORDING, row.id)
    db.add(row)
    db.flush()
    return row


def end(
    db: Session, recording_id: UUID, seconds: float, now: datetime, *, state: RecordingState = RecordingState.FILED
) -> Recording:
    """Note that it is finished, or what could be recovered of it; the first word stays."""
    row = db.get_one(Recording, recording_id)
    if row.state is RecordingState.RUNNING:
        row.state, row.seconds, row.ended_at = state, seconds, now
    db.add(row)
    db.flush()
    return row


def of_call(db: Session, call_id: UUID) -> list[Recording]:
    """Return a call's recordings in order."""
    return list(db.exec(select(Recording).where(Recording.call_id == call_id).order_by(col(Recording.started_at))))


def state_of(parts: Sequence[Recording]) -> RecordingState | None:
    """Return how a call's recording stands, of all its parts; None where there is none."""
    states = {row.state for row in parts}
    if not states:
        return None
    if RecordingState.RUNNING in states:
        return RecordingState.RUNNING
    return states.pop() if len(states) == 1 else RecordingState.PARTIAL


def running(db: Session) -> list[Recording]:
    """Return the recordings that were never finished; after a crash of media they are to be recovered."""
    return list(db.exec(select(Recording).where(Recording.state == RecordingState.RUNNING)))
