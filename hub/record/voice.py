"""Reminders that are called instead of written: asked for by the flow of a visit, made by a media process, once.

The row is all that the two say to each other. A call is asked for and committed, claimed and committed, and only then
dialled: whichever process dies, nobody is called twice for one reminder.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlmodel import Field, Session, SQLModel, col, select

from hub.record import column, consent
from hub.record.appointment import Appointment
from hub.record.patient import Patient, PatientPhone
from hub.record.trail import touch
from hub.security.index import BlindIndex
from hub.security.sealed import Sealed, Sealer, Table

LONGEST = timedelta(minutes=10)
"A call that was dialled so long ago lost its media process: one is given three minutes."

PROGRAM = "reminder"
"What it is called in consent and caps, as texts before a visit are."


class CallStage(StrEnum):
    """How far a call has come, in order."""

    WAITING = "waiting"
    "For a media process that has a line free."

    DIALLED = "dialled"
    "A media process has it; its telephone may ring."

    OVER = "over"
    WITHDRAWN = "withdrawn"
    "It was never dialled."


class Outcome(StrEnum):
    """What came of a call; empty while nobody knows."""

    NONE = ""
    CONFIRMED = "confirmed"
    RESCHEDULE = "reschedule"
    STOPPED = "stopped"
    "The number wants no more calls or texts."

    HEARD = "heard"
    "Somebody said to be the one who is meant, and was told of the visit."

    SILENT = "silent"
    "Somebody picked up and was told who calls, and no more."

    LEFT = "left"
    "A machine took the message, which says nothing of a visit."

    BUSY = "busy"
    NO_ANSWER = "no-answer"
    UNREACHABLE = "unreachable"
    "The carrier could not put it through now."

    REFUSED = "refused"
    "It may not or cannot be made: `reason` says why."

    LOST = "lost"
    "Its media process died; nobody knows what was heard."


UNANSWERED = frozenset({Outcome.BUSY, Outcome.NO_ANSWER, Outcome.UNREACHABLE})
"Nobody heard anything; it may be tried again."


class ReminderCall(SQLModel, table=True):
    """One call for one step of a ladder; the id is also that of its row among the calls, once it was dialled."""

    __tablename__ = "reminder_call"

    id: UUID = Field(primary_key=True)
    reminder_id: UUID = Field(foreign_key="reminder.id", index=True)
    appointment_id: UUID = Field(foreign_key="appointment.id")
    patient_id: UUID = Field(foreign_key="patient.id")
    "Whom it is sealed for, too."

    starts_at: datetime = column.instant()
    "The visit's."

    stage: CallStage = column.code(CallStage, index=True)
    outcome: Outcome = column.code(Outcome)
    reason: str = ""
    "A code: why it was refused, or how who picked up was told apart (media.hearing.machine)."

    answered_by: str = ""
    "human, machine or unknown; empty where nobody picked up."

    host: str = ""
    "The media process that has it."

    asked_at: datetime = column.instant()
    until_at: datetime = column.instant()
    "It is dialled before, or not at all."

    dialled_at: datetime | None = column.maybe_instant()
    over_at: datetime | None = column.maybe_instant()
    phone_key: bytes = column.blind()
    "The number (BlindIndex.phone)."

    sealed: bytes = column.sealed()


def ask(
    db: Session,
    row: ReminderCall,
    *,
    number: str,
    language: str,
    seal: Sealer,
    index: BlindIndex,
) -> ReminderCall:
    """Ask for a call: `row` with its ids and times, to `number` (E.164), in a language."""
    seal.new_subject(db, row.patient_id)
    row.phone_key = index.phone(number)
    fields = {"number": number, "language": language}
    row.sealed = seal.seal(db, row.patient_id, Table.REMINDER_CALL, row.id, fields)
    touch(db, "system:workflows", "write", row.patient_id, Table.REMINDER_CALL, row.id)
    return _kept(db, row)


def waiting(db: Session, now: datetime) -> list[ReminderCall]:
    """Return the calls that wait for a line, oldest first."""
    query = select(ReminderCall).where(ReminderCall.stage == CallStage.WAITING, col(ReminderCall.until_at) > now)
    return list(db.exec(query.order_by(col(ReminderCall.asked_at), col(ReminderCall.id))))


def claim(db: Session, call_id: UUID, host: str, now: datetime) -> ReminderCall | None:
    """Take a waiting call for `host`; None where it is not to be made: taken, too late, or not right any more.

    It may be dialled once this is committed.
    """
    row = db.get_one(ReminderCall, call_id)
    if row.stage is not CallStage.WAITING:
        return None
    if now >= row.until_at or not _right(db, row):
        row.stage, row.over_at = CallStage.WITHDRAWN, now
        _kept(db, row)
        return None
    row.stage, row.host, row.dialled_at = CallStage.DIALLED, host, now
    return _kept(db, row)


def heard(db: Session, call_id: UUID, outcome: Outcome, now: datetime) -> None:
    """Note at once what somebody chose by a key; that no more calls are wanted holds from this transaction on."""
    row = db.get_one(ReminderCall, call_id)
    row.outcome = outcome
    if outcome is Outcome.STOPPED:
        consent.stop(db, row.phone_key, consent.ALL, now)
    touch(db, "system:media", "write", row.patient_id, Table.REMINDER_CALL, row.id)
    _kept(db, row)


def over(
    db: Session, call_id: UUID, outcome: Outcome, now: datetime, *, answered_by: str = "", reason: str = ""
) -> ReminderCall:
    """The call is over; the first end stays, and so does what was chosen by a key.

    That no more calls are wanted holds from now on where it was not noted before.
    """
    row = db.get_one(ReminderCall, call_id)
    if outcome is Outcome.STOPPED and row.outcome is not outcome:
        consent.stop(db, row.phone_key, consent.ALL, now)
    if row.stage is CallStage.DIALLED:
        row.stage, row.over_at = CallStage.OVER, now
        row.outcome = row.outcome or outcome
        row.answered_by, row.reason = answered_by, reason
    return _kept(db, row)


def lapsed(row: ReminderCall, now: datetime) -> bool:
    """Return whether a call waits no longer for a line, or has been going on for longer than any does."""
    if row.stage is CallStage.WAITING:
        return now >= row.until_at
    return row.stage is CallStage.DIALLED and row.dialled_at is not None and now - row.dialled_at > LONGEST


def lapse(db: Session, call_id: UUID, now: datetime) -> ReminderCall:
    """Give up a call that has lapsed: nobody took it, or who took it is gone."""
    row = db.get_one(ReminderCall, call_id)
    if not lapsed(row, now):
        return row
    return withdraw(db, call_id, now) if row.stage is CallStage.WAITING else over(db, call_id, Outcome.LOST, now)


def withdraw(db: Session, call_id: UUID, now: datetime) -> ReminderCall:
    """Take a call back that no media process has taken; one that was dialled stays as it is."""
    row = db.get_one(ReminderCall, call_id)
    if row.stage is CallStage.WAITING:
        row.stage, row.over_at = CallStage.WITHDRAWN, now
    return _kept(db, row)


def lost(db: Session, host: str, now: datetime) -> int:
    """End the calls that the dead media process `host` had; return how many."""
    query = select(ReminderCall).where(ReminderCall.host == host, ReminderCall.stage == CallStage.DIALLED)
    rows = db.exec(query).all()
    for row in rows:
        over(db, row.id, Outcome.LOST, now)
    return len(rows)


def latest(db: Session, reminder_id: UUID) -> ReminderCall | None:
    """Return the last call that was asked for of a reminder."""
    query = select(ReminderCall).where(ReminderCall.reminder_id == reminder_id)
    return db.exec(query.order_by(col(ReminderCall.asked_at).desc()).limit(1)).one_or_none()


def of_reminders(db: Session, reminder_ids: Collection[UUID]) -> dict[UUID, ReminderCall]:
    """Return the last call of each of some reminders that were called."""
    query = select(ReminderCall).where(col(ReminderCall.reminder_id).in_(reminder_ids))
    return {row.reminder_id: row for row in db.exec(query.order_by(col(ReminderCall.asked_at)))}


def tries(db: Session, reminder_id: UUID) -> int:
    """Return how often a reminder was called in vain."""
    query = select(ReminderCall).where(
        ReminderCall.reminder_id == reminder_id, col(ReminderCall.outcome).in_(list(UNANSWERED))
    )
    return len(db.exec(query).all())


def in_vain_at(db: Session, phone: bytes) -> datetime | None:
    """Return when this number was last called in vain."""
    query = select(ReminderCall.over_at).where(
        ReminderCall.phone_key == phone, col(ReminderCall.outcome).in_(list(UNANSWERED))
    )
    return db.exec(query.order_by(col(ReminderCall.over_at).desc()).limit(1)).one_or_none()


def called_since(db: Session, phone: bytes, since: datetime) -> list[datetime]:
    """Return when this number was called and somebody or something heard it, or may have; for the caps."""
    query = select(ReminderCall).where(ReminderCall.phone_key == phone, col(ReminderCall.dialled_at) >= since)
    rows = db.exec(query).all()
    return sorted(
        row.dialled_at
        for row in rows
        if row.dialled_at is not None and row.outcome not in UNANSWERED | {Outcome.REFUSED}
    )


def sealed_of(row: ReminderCall) -> Sealed:
    """Return what `Opener` needs to open whom a call goes to."""
    return Sealed(Table.REMINDER_CALL, row.id, row.sealed)


def _right(db: Session, row: ReminderCall) -> bool:
    """Return whether a call is still as it was asked for: the visit is, and its patient lives and has this number."""
    visit = db.get_one(Appointment, row.appointment_id)
    if visit.status != "booked" or visit.starts_at != row.starts_at or visit.confirmed_at is not None:
        return False
    # The visit's patient, whom a merge may have changed since.
    numbers = select(PatientPhone.key).where(PatientPhone.patient_id == visit.patient_id, PatientPhone.use != "old")
    return (
        not db.get_one(Patient, visit.patient_id).deceased
        and row.phone_key in db.exec(numbers).all()
        and not consent.opted_out(db, row.phone_key, PROGRAM)
    )


def _kept(db: Session, row: ReminderCall) -> ReminderCall:
    db.add(row)
    db.flush()
    return row
