"""What decides about the next text before a visit, read from the rows each time it is asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlmodel import Session, col, select

from connectors.api import FINAL, Sms
from hub.db import Database
from hub.record import consent, message, reminder, task, voice
from hub.record.appointment import Appointment
from hub.record.patient import Patient, sealed_of
from hub.record.reminder import Reminder, ReminderState
from hub.rules import reminding, text
from hub.rules.reminding import Step, Visit
from hub.rules.voice import RETRY
from hub.security.index import BlindIndex
from hub.security.sealed import Opener
from hub.settings import Practice
from hub.vault.client import Access
from workflows.activities.recipient import Recipient, recipient_of

WRITER = "system:workflows"
HELD = "held"
"Not now: the rows say otherwise than when the step was planned."

PROGRAM = voice.PROGRAM
"What texts before a visit are called in consent and caps."

WEEK = timedelta(days=7)
"As far back as a cap looks."

ALMOST = timedelta(seconds=1)
"A step so near is due: clocks of two processes differ."

MOVED, OVERTAKEN, DECEASED, NO_NUMBER = "moved", "overtaken", "deceased", "no-number"

ASIDE = frozenset({MOVED, OVERTAKEN, DECEASED, NO_NUMBER, *reminding.CLOSED})
"Why a step is put aside; it is planned again where that is over before it falls due."


@dataclass(frozen=True, slots=True)
class StepDue:
    """A step whose time has come."""

    appointment_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A visit and its patient, opened."""

    appointment: Appointment
    patient: Patient
    recipient: Recipient


@dataclass(frozen=True, slots=True)
class Prospect:
    """Where the reminders of one visit stand now."""

    seen: Seen
    starts_at: datetime
    closed: str | None
    "A code: why there is none any more; None while there may be some."

    step: Step | None
    rows: Mapping[str, Reminder]
    "The reminders of this time of the visit, by step."

    voice: bool = False
    "Whether the step is called, for the number takes no texts."

    def due(self, name: str, now: datetime) -> bool:
        """Return whether `name` is the step to take at this moment."""
        return self.step is not None and self.step.name == name and self.step.at <= now + ALMOST


def look(database: Database, opener: Opener, access: Access, appointment_id: UUID, practice: Practice) -> Seen | None:
    """Return the visit with its patient opened in one audited request; None where there is no such visit.

    Raises:
        VaultUnavailableError: the vault did not answer.
    """
    with database.read() as db:
        row = db.get(Appointment, appointment_id)
        if row is None:
            return None
        owner = db.get_one(Patient, row.patient_id)
        (fields,) = opener.open(db, access, [sealed_of(owner)])
    return Seen(row, owner, recipient_of(fields, practice))


def prospect_of(db: Session, seen: Seen, practice: Practice, index: BlindIndex, now: datetime) -> Prospect | None:
    """Return where the reminders of `seen` stand; None while the visit has no time."""
    row = seen.appointment
    if row.starts_at is None:
        return None
    rows = {each.step: each for each in reminder.of_appointment(db, row.id) if each.starts_at == row.starts_at}
    key = None if seen.recipient.phone is None else index.phone(seen.recipient.phone)
    visit = Visit(
        starts_at=row.starts_at,
        status=row.status,
        known_at=_known_at(db, row, key),
        confirmed=row.confirmed_at is not None,
        opted_out=key is not None and consent.opted_out(db, key, PROGRAM),
    )
    taken = [name for name, each in rows.items() if not _open(each)]
    sent = [] if key is None else reached_since(db, key, now - WEEK)
    vain_at = None if key is None else voice.in_vain_at(db, key)
    soonest = now if vain_at is None else max(now, vain_at + RETRY)
    closed = _closed(seen, visit, now)
    step = None if closed else reminding.next_step(visit, taken, practice, soonest, seen.recipient.zone, sent)
    called = step is not None and key is not None and _called(db, step, key, practice)
    return Prospect(seen, row.starts_at, closed, step, rows, called)


def reached_since(db: Session, phone: bytes, since: datetime) -> list[datetime]:
    """Return when texts of a programme and calls reached this number, or may have; for the caps, which both share."""
    return sorted([*message.sent_since(db, phone, since), *voice.called_since(db, phone, since)])


def unchanged(db: Session, seen: Seen) -> bool:
    """Return whether the rows are still those that were opened."""
    row = db.get(Appointment, seen.appointment.id)
    owner = db.get(Patient, seen.patient.id)
    return (
        row is not None
        and owner is not None
        and (row.changed_at, row.status, row.starts_at) == _state(seen.appointment)
        and (row.patient_id, owner.sealed, owner.deceased)
        == (seen.patient.id, seen.patient.sealed, seen.patient.deceased)
    )


def tidy(db: Session, prospect: Prospect, now: datetime) -> None:
    """Plan the next step, and drop the planned ones that will not be taken, with the reason."""
    step = prospect.step
    for each in reminder.of_appointment(db, prospect.seen.appointment.id):
        if each.state is not ReminderState.PLANNED:
            continue
        if each.starts_at != prospect.starts_at:
            reminder.skipped(db, each.id, now, MOVED)
        elif step is None or each.step != step.name:
            reminder.skipped(db, each.id, now, prospect.closed or OVERTAKEN)
    if step is not None:
        reminder.plan(db, prospect.seen.appointment.id, prospect.starts_at, step.name, step.due_at)


def sms_of(prospect: Prospect, step: Step, practice: Practice) -> Sms | None:
    """Return the text of a step in the patient's language; None where there is no number to send it to.

    Raises:
        SettingsError: the policy has no text for it.
    """
    recipient = prospect.seen.recipient
    if recipient.phone is None:
        return None
    written = next((each.text for each in practice.reminders if each.name == step.reminder), {})
    language, template = text.in_language(written, recipient.language, practice)
    fields = text.visit_fields(practice, prospect.starts_at, language)
    if recipient.given:
        fields["given"] = recipient.given
    return Sms(to=recipient.phone, sender=sender_of(practice), body=text.render(template, fields, practice))


def sender_of(practice: Practice) -> str:
    """Return the number that texts come from: the practice's first; the carrier's own where it has none."""
    return practice.numbers[0].did if practice.numbers else ""


def upcoming_ids(db: Session, now: datetime, *, after: UUID | None = None, limit: int = 200) -> list[UUID]:
    """Return the ids of visits that are ahead and still on, from `after` on."""
    query = select(Appointment.id).where(col(Appointment.starts_at) > now, col(Appointment.status).not_in(FINAL))
    if after is not None:
        query = query.where(col(Appointment.id) > after)
    return list(db.exec(query.order_by(col(Appointment.id)).limit(limit)))


def may_call(step: str, practice: Practice) -> bool:
    """Return whether the policy has a step called where no text gets through."""
    return any(
        each.voice and step in {f"{each.name}{offset}" for offset in each.offsets} for each in practice.reminders
    )


def refused(db: Session, seen: Seen, due: StepDue, code: str, now: datetime) -> str:
    """No agreement lets the reminder out: the step is given up, and staff are told."""
    for row in reminder.of_appointment(db, seen.appointment.id):
        if row.step == due.name and row.state is ReminderState.PLANNED:
            reminder.skipped(db, row.id, now, code)
            ask_outcome(db, seen.appointment, row.id, code, now)
    return str(ReminderState.SKIPPED)


def ask_outcome(db: Session, row: Appointment, reminder_id: UUID, reason: str, now: datetime) -> None:
    """Let a person see to a reminder that did not reach the patient, or of which nobody knows."""
    task.ask(
        db,
        "outcome",
        key=f"outcome:{reminder_id}",
        now=now,
        reason=reason,
        patient_id=row.patient_id,
        appointment_id=row.id,
    )


def _called(db: Session, step: Step, phone: bytes, practice: Practice) -> bool:
    return may_call(step.name, practice) and message.takes_no_texts(db, phone)


def _closed(seen: Seen, visit: Visit, now: datetime) -> str | None:
    if seen.patient.deceased:
        return DECEASED
    if seen.recipient.phone is None:
        return NO_NUMBER
    return reminding.closed(visit, now)


def _open(row: Reminder) -> bool:
    """Return whether a step was neither taken nor given up."""
    return row.state is ReminderState.PLANNED or (row.state is ReminderState.SKIPPED and row.reason in ASIDE)


def _known_at(db: Session, row: Appointment, phone: bytes | None) -> datetime:
    """Return since when the visit is to be reminded of: it is booked for this time, and texts are wanted."""
    wanted = None if phone is None else consent.wanted_since(db, phone, PROGRAM)
    return row.since_at if wanted is None else max(row.since_at, wanted)


def _state(row: Appointment) -> tuple[datetime, str, datetime | None]:
    return row.changed_at, row.status, row.starts_at
