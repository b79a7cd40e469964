"""What follows from a text that a person sent: the opt-out at once, everything else by a flow or by staff."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlmodel import Session, col, select

from connectors.api import ReplyFacts
from hub.record import appointment, consent, message, reminder, task
from hub.record.message import Direction, Message
from hub.record.patient import PatientPhone
from hub.rules.consent import Reply, classify
from hub.settings import Practice
from hub.temporal import TextStart
from workflows.activities.visit import PROGRAM

CONFIRM = "confirm"
RESCHEDULE = "reschedule"
STOP = "stop"
START = "start"

ANSWERS = {STOP: "stopped", START: "started", "help": "help"}
"Replies that get one text back, and which (hub.rules.text)."


@dataclass(frozen=True, slots=True)
class Consequence:
    """Whom to tell, once what was decided is committed."""

    answered: tuple[tuple[UUID, str, datetime | None], ...] = ()
    "Visits whose flow hears what the patient said, and of which start of it."

    changed: tuple[UUID, ...] = ()
    "Visits whose flow looks at its rows again."

    texts: tuple[TextStart, ...] = ()


def take(db: Session, said: ReplyFacts, row: Message, practice: Practice, now: datetime) -> str:
    """Classify a new text and store what it decides; return its kind. An opt-out holds from this transaction on."""
    out = consent.opted_out(db, row.phone_key, PROGRAM)
    meant = classify(said.body, practice.practice.languages, opted_out=out)
    message.understood(db, row.id, meant.kind)
    if meant.kind == STOP:
        consent.stop(db, row.phone_key, consent.ALL, said.at)
    elif meant.kind == START:
        consent.start(db, row.phone_key, consent.ALL, said.at)
    if _needs_a_person(meant, row):
        task.ask(
            db,
            RESCHEDULE if meant.kind == RESCHEDULE else "reply",
            key=f"reply:{row.id}",
            now=now,
            reason=meant.kind,
            patient_id=row.patient_id,
            appointment_id=row.appointment_id,
            message_id=row.id,
        )
    return meant.kind


def _needs_a_person(meant: Reply, row: Message) -> bool:
    if meant.kind in {CONFIRM, RESCHEDULE} and row.appointment_id is not None:
        return False  # its flow sees to it
    return meant.ask_staff or not meant.confident or meant.kind in {CONFIRM, RESCHEDULE, "other"}


def consequence_of(db: Session, row: Message, now: datetime) -> Consequence:
    """Return whom to tell of a text that `take` stored; the same again each time it is asked."""
    kind = row.meaning
    if kind in {CONFIRM, RESCHEDULE}:
        if row.appointment_id is None:
            return Consequence()
        return Consequence(answered=((row.appointment_id, kind, _told_of(db, row)),))
    texts: tuple[TextStart, ...] = ()
    if kind in ANSWERS and not _said_before(db, row):
        texts = (TextStart(ANSWERS[kind], str(row.id), row.connection),)
    return Consequence(changed=_visits_of(db, row.phone_key, now) if kind in {STOP, START} else (), texts=texts)


def _told_of(db: Session, row: Message) -> datetime | None:
    """Return the start of the visit that the text told which is answered; the visit may have moved since."""
    asked = message.last_sent(db, row.phone_key, row.at)
    step = None if asked is None else reminder.of_message(db, asked.id)
    return None if step is None else step.starts_at


def _said_before(db: Session, row: Message) -> bool:
    """Return whether this only repeats the last choice: an opt-out is confirmed once (47 CFR 64.1200(a)(12))."""
    if row.meaning not in {STOP, START}:
        return False
    query = select(Message.meaning).where(
        col(Message.phone_key) == row.phone_key,
        col(Message.meaning).in_([STOP, START]),
        col(Message.at) <= row.at,
        col(Message.id) != row.id,
    )
    return db.exec(query.order_by(col(Message.at).desc()).limit(1)).one_or_none() == row.meaning


def received(db: Session, connection: str, external_id: str) -> Message | None:
    """Return the row of a text that a person sent."""
    query = select(Message).where(
        Message.connection == connection, Message.external_id == external_id, Message.direction == Direction.IN
    )
    return db.exec(query).one_or_none()


def _visits_of(db: Session, phone: bytes, now: datetime) -> tuple[UUID, ...]:
    """Return the visits ahead of everybody who gave this number."""
    owners = db.exec(select(col(PatientPhone.patient_id)).where(PatientPhone.key == phone)).all()
    return tuple(row.id for owner in owners for row in appointment.upcoming(db, owner, now))
