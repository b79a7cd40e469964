"""Which reminders of a visit are due, under way or done. A reminder is recorded before it is attempted."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import UniqueConstraint
from sqlmodel import Field, Session, SQLModel, col, select

from hub.db import uuid7
from hub.errors import ConflictError
from hub.record import column


class ReminderState(StrEnum):
    """How far a reminder has come."""

    PLANNED = "planned"
    SENDING = "sending"
    "The attempt is recorded, and may have been made."

    SENT = "sent"
    UNKNOWN = "unknown"
    "Nobody knows whether it went out; a person settles that, it is not sent again."

    SKIPPED = "skipped"
    FAILED = "failed"
    "It surely did not go out."


class ReminderStateError(ConflictError):
    """A reminder is not in the state that the change starts from."""

    code = "reminder-state"


class Reminder(SQLModel, table=True):
    """One step of the ladder before one visit. A visit that moves to another time has its own."""

    __table_args__ = (UniqueConstraint("appointment_id", "starts_at", "step"),)

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    appointment_id: UUID = Field(foreign_key="appointment.id")
    starts_at: datetime = column.instant()
    "The visit's start that this step counts back from."

    step: str
    "Reminder and offset of the policy: visit:-1d."

    due_at: datetime = column.instant()
    state: ReminderState = column.code(ReminderState, index=True)
    reason: str = ""
    "A code: why it was skipped or failed."

    attempted_at: datetime | None = column.maybe_instant()
    settled_at: datetime | None = column.maybe_instant()
    message_id: UUID | None = Field(default=None, foreign_key="message.id", index=True)


def plan(db: Session, appointment_id: UUID, starts_at: datetime, step: str, due_at: datetime) -> Reminder:
    """Return the row of this step of this visit, planned unless it was attempted.

    One that was skipped is planned again: what stood against it is over, or the caller would not ask.
    """
    query = select(Reminder).where(
        Reminder.appointment_id == appointment_id, Reminder.starts_at == starts_at, Reminder.step == step
    )
    row = db.exec(query).one_or_none()
    if row is None:
        row = Reminder(
            appointment_id=appointment_id,
            starts_at=starts_at,
            step=step,
            due_at=due_at,
            state=ReminderState.PLANNED,
        )
    elif row.state in {ReminderState.PLANNED, ReminderState.SKIPPED}:
        row.state, row.due_at, row.reason, row.settled_at = ReminderState.PLANNED, due_at, "", None
    db.add(row)
    db.flush()
    return row


def attempt(db: Session, reminder_id: UUID, message_id: UUID | None, now: datetime) -> bool:
    """Record that it is about to be sent; return False where that was recorded before: do not send then."""
    row = db.get_one(Reminder, reminder_id)
    if row.state is not ReminderState.PLANNED:
        return False
    row.state, row.attempted_at, row.message_id = ReminderState.SENDING, now, message_id
    db.add(row)
    db.flush()
    return True


def released(db: Session, reminder_id: UUID) -> Reminder:
    """The carrier surely did not take it, and it may be tried again: it is planned as before."""
    row = db.get_one(Reminder, reminder_id)
    if row.state is ReminderState.SENDING:
        row.state, row.attempted_at, row.message_id = ReminderState.PLANNED, None, None
    db.add(row)
    db.flush()
    return row


def sent(db: Session, reminder_id: UUID, now: datetime) -> Reminder:
    """The carrier took it."""
    return _settle(db, reminder_id, ReminderState.SENT, {ReminderState.SENDING, ReminderState.UNKNOWN}, "", now)


def of_message(db: Session, message_id: UUID) -> Reminder | None:
    """Return the reminder that a text is of."""
    return db.exec(select(Reminder).where(Reminder.message_id == message_id)).one_or_none()


def unreached(db: Session, reminder_id: UUID) -> Reminder:
    """Its text was taken and will never arrive: it is planned as before."""
    row = db.get_one(Reminder, reminder_id)
    if row.state is ReminderState.SENT:
        row.state, row.attempted_at, row.settled_at, row.message_id = ReminderState.PLANNED, None, None, None
    db.add(row)
    db.flush()
    return row


def unknown(db: Session, reminder_id: UUID, now: datetime, reason: str = "unknown-outcome") -> Reminder:
    """The attempt was made, or a crash hid whether it was."""
    return _settle(db, reminder_id, ReminderState.UNKNOWN, {ReminderState.SENDING}, reason, now)


def failed(db: Session, reminder_id: UUID, now: datetime, reason: str) -> Reminder:
    """The carrier surely did not take it."""
    starts = {ReminderState.SENDING, ReminderState.UNKNOWN}
    return _settle(db, reminder_id, ReminderState.FAILED, starts, reason, now)


def skipped(db: Session, reminder_id: UUID, now: datetime, reason: str) -> Reminder:
    """It is not to be sent: opted out, cancelled, too late, over the cap."""
    return _settle(db, reminder_id, ReminderState.SKIPPED, {ReminderState.PLANNED}, reason, now)


def of_appointment(db: Session, appointment_id: UUID) -> list[Reminder]:
    """Return every reminder of an appointment, in the order in which they fall due."""
    query = select(Reminder).where(Reminder.appointment_id == appointment_id)
    return list(db.exec(query.order_by(col(Reminder.due_at), col(Reminder.id))))


def recent(
    db: Session, *, appointment_id: UUID | None = None, before: UUID | None = None, limit: int = 50
) -> list[Reminder]:
    """Return reminders, newest row first, from the one called `before` on; those of one visit where one is given."""
    query = select(Reminder)
    if appointment_id is not None:
        query = query.where(Reminder.appointment_id == appointment_id)
    if before is not None:
        query = query.where(col(Reminder.id) < before)
    return list(db.exec(query.order_by(col(Reminder.id).desc()).limit(limit)))


def stuck(db: Session, before: datetime) -> list[Reminder]:
    """Return those whose attempt was recorded before `before` and never settled: their sender died."""
    query = select(Reminder).where(Reminder.state == ReminderState.SENDING, col(Reminder.attempted_at) < before)
    return list(db.exec(query.order_by(col(Reminder.id))))


def _settle(
    db: Session, reminder_id: UUID, to: ReminderState, starts: set[ReminderState], reason: str, now: datetime
) -> Reminder:
    row = db.get_one(Reminder, reminder_id)
    if row.state is to:
        return row
    if row.state not in starts:
        raise ReminderStateError(f"reminder {reminder_id} is {row.state}, so it cannot become {to}")
    row.state, row.reason, row.settled_at = to, reason, now
    db.add(row)
    db.flush()
    return row
