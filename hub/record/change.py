"""What feeds say, applied to the record: one statement at a time, in the caller's transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlmodel import Session

from connectors.api import (
    AppointmentFacts,
    Change,
    MergeFacts,
    PatientFacts,
    ReceiptFacts,
    RelatedFacts,
    ReplyFacts,
    RequestFacts,
)
from hub.record import absence, appointment, message, patient, related, request
from hub.record.absence import AbsenceFacts
from hub.record.known import Known
from hub.record.merge import merge
from hub.record.patient import Patient
from hub.security.index import BlindIndex
from hub.security.sealed import Sealed, Sealer

Said = Change | AbsenceFacts
"What a feed may bring: what connections say, and what we conclude from what they leave out."


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one statement: the row that it changed, None where it told nothing new."""

    appointment_id: UUID | None = None
    message_id: UUID | None = None
    "A text that a person sent."

    visits: tuple[UUID, ...] = ()
    "Visits ahead of a patient of whom it told something new: another number, another clock."


def affected(db: Session, changes: Sequence[Said], *, connection: str, index: BlindIndex) -> list[Sealed]:
    """Return the rows to open before `changes` can be applied; a few queries, however many there are."""
    visits = [said for said in changes if isinstance(said, AppointmentFacts)]
    people = [said for said in changes if isinstance(said, PatientFacts)]
    people += [said.patient for said in visits if said.patient is not None]
    people += [said.survivor for said in changes if isinstance(said, MergeFacts)]
    return [
        *patient.affected(db, people, connection=connection, index=index),
        *appointment.affected(db, visits, connection=connection, index=index),
    ]


def apply(
    db: Session,
    said: Said,
    *,
    connection: str,
    seal: Sealer,
    index: BlindIndex,
    now: datetime,
    known: Known | None = None,
) -> Applied:
    """Store one statement.

    Raises:
        StaleError: open the rows (`affected`) and try again.
        UnmatchedError, IdentityConflictError, IncompleteError: it cannot be stored; quarantine it under `code`.
    """
    match said:
        case AppointmentFacts():
            told = appointment.upsert(db, said, connection=connection, seal=seal, index=index, now=now, known=known)
            visits = () if told.patient is None else _ahead(db, told.patient, now)
            return Applied(appointment_id=told.row.id if told.changed else None, visits=visits)
        case PatientFacts():
            row = patient.upsert(db, said, connection=connection, seal=seal, index=index, now=now, known=known)
            return Applied(visits=_ahead(db, row, now))
        case MergeFacts():
            survivor = merge(db, said, connection=connection, seal=seal, index=index, now=now, known=known)
            return Applied(visits=tuple(visit.id for visit in appointment.upcoming(db, survivor.id, now)))
        case AbsenceFacts():
            gone = absence.apply(db, said, connection=connection, now=now)
            return Applied(appointment_id=said.appointment if gone else None)
        case RelatedFacts():
            related.upsert(db, said, connection=connection, seal=seal, index=index, now=now)
        case RequestFacts():
            request.upsert(db, said, connection=connection, index=index, now=now)
        case ReplyFacts():
            text, new = message.receive(db, said, connection=connection, seal=seal, index=index, now=now)
            return Applied(message_id=text.id if new else None)
        case ReceiptFacts():
            message.receipt(db, said, connection=connection)
    return Applied()


def concerned(db: Session, said: Said, *, connection: str, index: BlindIndex, now: datetime) -> set[UUID]:
    """Return the visits that a statement which was stored is about, whether or not it told anything new."""
    found: set[UUID] = {said.appointment} if isinstance(said, AbsenceFacts) else set()
    if isinstance(said, AppointmentFacts):
        visit = appointment.find(db, appointment.statement_of(said, connection, index).keys)
        found |= {visit.id} if visit is not None else set()
    person = said.patient if isinstance(said, AppointmentFacts) else said
    if isinstance(person, PatientFacts):
        row = patient.find(db, patient.statement_of(person, connection, index).keys)
        found |= {visit.id for visit in appointment.upcoming(db, row.id, now)} if row is not None else set()
    return found


def _ahead(db: Session, row: Patient, now: datetime) -> tuple[UUID, ...]:
    """Return the visits ahead of a patient whom a statement has just changed; none of one who is new."""
    if row.updated_at != now or row.created_at == now:
        return ()
    return tuple(visit.id for visit in appointment.upcoming(db, row.id, now))
