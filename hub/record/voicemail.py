"""Messages that callers left: where the sealed container lies, which box it is in, and who has heard it."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlmodel import Field, Session, SQLModel, col, select

from hub.record import column
from hub.record.trail import touch
from hub.security.sealed import Table


class VoicemailState(StrEnum):
    """How a message stands."""

    RUNNING = "running"
    NEW = "new"
    HEARD = "heard"
    LOST = "lost"


class Voicemail(SQLModel, table=True):
    """One message in one box."""

    id: UUID = Field(primary_key=True)
    call_id: UUID = Field(foreign_key="call.id", index=True)
    box: str = Field(index=True)
    "Voicemail of the policy."

    subject: UUID
    "Whom it is sealed for."

    lane_id: bytes
    name: str
    "File name in the instance's media directory."

    state: VoicemailState = column.code(VoicemailState)
    started_at: datetime = column.instant()
    seconds: float = 0.0
    heard_at: datetime | None = column.maybe_instant()
    heard_by: UUID | None = Field(default=None, foreign_key="staff.id")


def begin(
    db: Session, voicemail_id: UUID, *, call_id: UUID, box: str, subject: UUID, lane_id: bytes, name: str, now: datetime
) -> Voicemail:
    """Note that a caller begins to speak; a repeat returns the row."""
    kept = db.get(Voicemail, voicemail_id)
    if kept is not None:
        return kept
    row = Voicemail(
        id=voicemail_id,
        call_id=call_id,
        box=box,
        subject=subject,
        lane_id=lane_id,
        name=name,
        state=VoicemailState.RUNNING,
        started_at=now,
    )
    touch(db, "system:media", "record", subject, Table.VOICEMAIL, row.id)
    db.add(row)
    db.flush()
    return row


def end(db: Session, voicemail_id: UUID, seconds: float) -> Voicemail:
    """Note that the message is whole, or, at 0 seconds, that there is none; the first word stays."""
    row = db.get_one(Voicemail, voicemail_id)
    if row.state is VoicemailState.RUNNING:
        row.state = VoicemailState.NEW if seconds > 0 else VoicemailState.LOST
        row.seconds = seconds
    db.add(row)
    db.flush()
    return row


def heard(db: Session, voicemail_id: UUID, staff_id: UUID, now: datetime) -> Voicemail:
    """Note who heard it first."""
    row = db.get_one(Voicemail, voicemail_id)
    if row.state is VoicemailState.NEW:
        row.state, row.heard_by, row.heard_at = VoicemailState.HEARD, staff_id, now
    db.add(row)
    db.flush()
    return row


def of_call(db: Session, call_id: UUID) -> list[Voicemail]:
    """Return the messages that were left on a call."""
    return list(db.exec(select(Voicemail).where(Voicemail.call_id == call_id).order_by(col(Voicemail.id))))


def in_boxes(db: Session, boxes: list[str], *, before: UUID | None = None, limit: int = 50) -> list[Voicemail]:
    """Return the messages in `boxes`, newest first, from `before` on."""
    query = select(Voicemail).where(
        col(Voicemail.box).in_(boxes), col(Voicemail.state).in_([VoicemailState.NEW, VoicemailState.HEARD])
    )
    if before is not None:
        query = query.where(col(Voicemail.id) < before)
    return list(db.exec(query.order_by(col(Voicemail.id).desc()).limit(limit)))
