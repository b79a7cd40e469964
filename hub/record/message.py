"""Texts, both ways. Whom, from whom and what they say is sealed; the rest says what became of them."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import UniqueConstraint
from sqlmodel import Field, Session, SQLModel, col, select

from connectors.api import LANDLINE, ReceiptFacts, ReplyFacts, Sms
from hub.db import uuid7
from hub.record import column, patient
from hub.record.error import IncompleteError, UnmatchedError
from hub.record.trail import touch
from hub.security.index import BlindIndex
from hub.security.sealed import Sealed, Sealer, Table, line_subject


class Direction(StrEnum):
    """Seen from the practice."""

    IN = "in"
    OUT = "out"


class MessageStatus(StrEnum):
    """What became of a text, in the order in which one replaces another; a status never goes back."""

    RECEIVED = "received"
    SENDING = "sending"
    "Recorded before the attempt: after a crash nobody knows whether it went out."

    UNKNOWN = "unknown"
    "The attempt was made and no answer came."

    ACCEPTED = "accepted"
    SENT = "sent"
    FAILED = "failed"
    UNDELIVERED = "undelivered"
    DELIVERED = "delivered"


_ORDER = {status: place for place, status in enumerate(MessageStatus)}


class Message(SQLModel, table=True):
    """One text; its id is the carrier's idempotency key."""

    __table_args__ = (UniqueConstraint("connection", "external_id"),)

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    direction: Direction = column.code(Direction)
    connection: str
    external_id: str | None = None
    "The carrier's id; None until it took the text."

    status: MessageStatus = column.code(MessageStatus)
    code: str = ""
    "The carrier's word for a failure."

    program: str = ""
    "What consent it falls under: reminder, campaign:<name>; empty for an answer in a conversation."

    meaning: str | None = None
    "What `rules.consent` made of a reply: confirm, reschedule, stop, help, start or other."

    at: datetime = column.instant()
    "When it was sent or received."

    status_at: datetime = column.instant()
    phone_key: bytes = column.blind()
    "The person's number (BlindIndex.phone)."

    subject: UUID
    "Whom it is sealed for: the patient, or the connection and day."

    patient_id: UUID | None = Field(default=None, foreign_key="patient.id", index=True)
    appointment_id: UUID | None = Field(default=None, foreign_key="appointment.id", index=True)
    sealed: bytes = column.sealed()


def attempt(
    db: Session,
    message_id: UUID,
    sms: Sms,
    *,
    connection: str,
    program: str,
    patient_id: UUID | None,
    appointment_id: UUID | None,
    seal: Sealer,
    index: BlindIndex,
    now: datetime,
) -> Message:
    """Record, before it is made, the attempt to send `sms`; a repeat returns the row of the first.

    To somebody who is no patient it is sealed for the connection and day.
    """
    kept = db.get(Message, message_id)
    if kept is not None:
        return kept
    subject = patient_id or line_subject(connection, now.date())
    seal.new_subject(db, subject)
    fields = {"number": sms.to, "line": sms.sender, "body": sms.body}
    row = Message(
        id=message_id,
        direction=Direction.OUT,
        connection=connection,
        status=MessageStatus.SENDING,
        program=program,
        at=now,
        status_at=now,
        phone_key=index.phone(sms.to),
        subject=subject,
        patient_id=patient_id,
        appointment_id=appointment_id,
        sealed=seal.seal(db, subject, Table.MESSAGE, message_id, fields),
    )
    touch(db, "system:messages", "write", subject, Table.MESSAGE, row.id)
    db.add(row)
    db.flush()
    return row


def progress(
    db: Session, message_id: UUID, to: MessageStatus, at: datetime, *, external_id: str | None = None, code: str = ""
) -> Message:
    """Move a text that was sent to `to`; a status that has been passed changes nothing."""
    row = db.get_one(Message, message_id)
    if external_id is not None and row.external_id is None:
        row.external_id = external_id
    if further(row.status, to) is not row.status:
        row.status, row.status_at, row.code = to, at, code
    db.add(row)
    db.flush()
    return row


def further(one: MessageStatus, other: MessageStatus) -> MessageStatus:
    """Return the one of two statuses that replaces the other, whichever was heard first."""
    return max(one, other, key=_ORDER.__getitem__)


def receipt(db: Session, said: ReceiptFacts, *, connection: str) -> Message:
    """Note what the carrier says became of a text.

    Raises:
        UnmatchedError: it names a text that we do not know, or do not know to have been accepted yet.
    """
    row = _external(db, connection, said.external_id)
    if row is None or row.direction is not Direction.OUT:
        raise UnmatchedError("a receipt for a text that is not known")
    return progress(db, row.id, MessageStatus(said.status), said.at, code=said.code)


def receive(
    db: Session, said: ReplyFacts, *, connection: str, seal: Sealer, index: BlindIndex, now: datetime
) -> tuple[Message, bool]:
    """Store a text from a person; return the row and whether it is new.

    It belongs to the patient and the visit of our last text to that number, otherwise to the one patient who gave the
    number; where that is nobody or several it is sealed for the connection and day.

    Raises:
        IncompleteError: the sender is no telephone number, so nobody can be answered.
    """
    kept = _external(db, connection, said.external_id)
    if kept is not None:
        return kept, False
    try:
        key = index.phone(said.sender)
    except ValueError:
        raise IncompleteError("a text from no telephone number") from None
    asked = last_sent(db, key, said.at)
    owner = asked.patient_id if asked is not None else None
    if owner is None:
        hit = patient.match_phone(db, key)
        owner = hit.patients[0] if hit.kind == "one" else None
    subject = owner or line_subject(connection, now.date())
    seal.new_subject(db, subject)
    row = Message(
        direction=Direction.IN,
        connection=connection,
        external_id=said.external_id,
        status=MessageStatus.RECEIVED,
        at=said.at,
        status_at=now,
        phone_key=key,
        subject=subject,
        patient_id=owner,
        appointment_id=asked.appointment_id if asked is not None else None,
        sealed=b"",
    )
    fields = {"number": said.sender, "line": said.to, "body": said.body}
    row.sealed = seal.seal(db, subject, Table.MESSAGE, row.id, fields)
    touch(db, f"connection:{connection}", "write", subject, Table.MESSAGE, row.id)
    db.add(row)
    db.flush()
    return row, True


def understood(db: Session, message_id: UUID, meaning: str) -> None:
    """Note what a reply was taken to mean."""
    row = db.get_one(Message, message_id)
    row.meaning = meaning
    db.add(row)
    db.flush()


def last_sent(db: Session, phone: bytes, before: datetime) -> Message | None:
    """Return our last text to this number at or before `before`."""
    query = select(Message).where(
        Message.phone_key == phone, Message.direction == Direction.OUT, col(Message.at) <= before
    )
    return db.exec(query.order_by(col(Message.at).desc()).limit(1)).one_or_none()


def sent_since(db: Session, phone: bytes, since: datetime) -> list[datetime]:
    """Return when texts of a programme went, or may have gone, to this number; for the caps."""
    query = select(Message.at).where(
        Message.phone_key == phone,
        Message.direction == Direction.OUT,
        Message.program != "",
        Message.status != MessageStatus.FAILED,
        Message.code != LANDLINE,
        col(Message.at) >= since,
    )
    return sorted(db.exec(query))


def takes_no_texts(db: Session, phone: bytes) -> bool:
    """Return whether a carrier said that this number takes no texts, and nothing came through since."""
    query = select(Message.code).where(
        Message.phone_key == phone,
        (col(Message.code) == LANDLINE)
        | (col(Message.direction) == Direction.IN)
        | (col(Message.status) == MessageStatus.DELIVERED),
    )
    return db.exec(query.order_by(col(Message.at).desc()).limit(1)).one_or_none() == LANDLINE


def recent(
    db: Session, *, patient_id: UUID | None = None, before: UUID | None = None, limit: int = 50
) -> list[Message]:
    """Return texts, newest first, from the one called `before` on; those of one patient where one is given."""
    query = select(Message)
    if patient_id is not None:
        query = query.where(Message.patient_id == patient_id)
    last = None if before is None else db.get(Message, before)
    if last is not None:
        query = query.where((col(Message.at) < last.at) | ((col(Message.at) == last.at) & (col(Message.id) < last.id)))
    return list(db.exec(query.order_by(col(Message.at).desc(), col(Message.id).desc()).limit(limit)))


def sealed_of(row: Message) -> Sealed:
    """Return what `Opener` needs to open a text."""
    return Sealed(Table.MESSAGE, row.id, row.sealed)


def _external(db: Session, connection: str, external_id: str) -> Message | None:
    query = select(Message).where(Message.connection == connection, Message.external_id == external_id)
    return db.exec(query).one_or_none()
