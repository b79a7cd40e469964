"""What is to be written to the EHR: an outbox, filled in the transaction that decided it."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlmodel import Field, Session, SQLModel, col, select

from hub.db import uuid7
from hub.record import column
from hub.record.message import Message, MessageStatus

STATUS = "status"
LOG = "log"
TEXT = "text"
"Kinds: the status of an appointment, a note of a call, a note of a text."

TOLD = (MessageStatus.RECEIVED, MessageStatus.ACCEPTED, MessageStatus.SENT, MessageStatus.DELIVERED)


class WritebackState(StrEnum):
    """How far a write has come."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    "The other side will never take it; a task tells staff."


class Writeback(SQLModel, table=True):
    """One write that another system must see; its id is the idempotency key over there."""

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    key: str = Field(unique=True)
    "What it is for, so that asking again makes no second one: confirmed:<appointment id>:<start>."

    kind: str
    "status (of an appointment), log (of a call) or text (of a message)."

    connection: str
    object_id: UUID = Field(index=True)
    "The appointment, the call or the message."

    to: str = ""
    "For status: a FHIR status, or confirmed."

    state: WritebackState = column.code(WritebackState, index=True)
    tries: int = 0
    code: str = ""
    "Why the last try failed."

    created_at: datetime = column.instant()
    settled_at: datetime | None = column.maybe_instant()
    external_id: str | None = None
    "What the other side calls what it took."


def enqueue(
    db: Session, kind: str, *, key: str, connection: str, object_id: UUID, now: datetime, to: str = ""
) -> Writeback:
    """Add a write, or return the one that `key` names."""
    kept = db.exec(select(Writeback).where(Writeback.key == key)).one_or_none()
    if kept is not None:
        return kept
    row = Writeback(
        key=key,
        kind=kind,
        connection=connection,
        object_id=object_id,
        to=to,
        state=WritebackState.PENDING,
        created_at=now,
    )
    db.add(row)
    db.flush()
    return row


def tried(db: Session, writeback_id: UUID, code: str) -> Writeback:
    """Count a try that failed and may be repeated."""
    row = db.get_one(Writeback, writeback_id)
    if row.state is WritebackState.PENDING:
        row.tries, row.code = row.tries + 1, code
    db.add(row)
    db.flush()
    return row


def done(db: Session, writeback_id: UUID, now: datetime, *, external_id: str | None = None) -> Writeback:
    """The other side has it."""
    return _settle(db, writeback_id, WritebackState.DONE, "", now, external_id)


def failed(db: Session, writeback_id: UUID, now: datetime, *, code: str) -> Writeback:
    """The other side will never take it."""
    return _settle(db, writeback_id, WritebackState.FAILED, code, now, None)


def pending(db: Session, *, connection: str | None = None, limit: int = 100) -> list[Writeback]:
    """Return the writes that are still to be made, oldest first."""
    query = select(Writeback).where(Writeback.state == WritebackState.PENDING)
    if connection is not None:
        query = query.where(Writeback.connection == connection)
    return list(db.exec(query.order_by(col(Writeback.id)).limit(limit)))


def unnoted(db: Session, connection: str, since: datetime, until: datetime, *, limit: int = 100) -> list[Message]:
    """Return patients' texts, sent or received from `since` to before `until`, of which `connection` has no note.

    Texts of which nobody knows whether they went out are left out.
    """
    noted = select(Writeback.object_id).where(
        Writeback.object_id == Message.id, Writeback.connection == connection, Writeback.kind == TEXT
    )
    query = select(Message).where(
        col(Message.at) >= since,
        col(Message.at) < until,
        col(Message.patient_id).is_not(None),
        col(Message.status).in_(TOLD),
        ~noted.exists(),
    )
    return list(db.exec(query.order_by(col(Message.id)).limit(limit)))


def _settle(
    db: Session, writeback_id: UUID, to: WritebackState, code: str, now: datetime, external_id: str | None
) -> Writeback:
    row = db.get_one(Writeback, writeback_id)
    if row.state is WritebackState.PENDING:
        row.state, row.code, row.settled_at, row.external_id = to, code, now, external_id
        row.tries += 1
    db.add(row)
    db.flush()
    return row
