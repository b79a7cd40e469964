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
    ReplyFacts,
    RequestFacts,
)
from hub.record import appointment, message, patient, request
from hub.record.known import Known
from hub.record.merge import merge
from hub.security.index import BlindIndex
from hub.security.sealed import Sealed, Sealer


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one statement: the row that it changed, None where it told nothing new."""

    appointment_id: UUID | None = None
    message_id: UUID | None = None
    "A text that a person sent."


def affected(db: Session, changes: Sequence[Change], *, connection: str, index: BlindIndex) -> list[Sealed]:
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
    said: Change,
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
            return Applied(appointment_id=told.row.id if told.changed else None)
        case PatientFacts():
            patient.upsert(db, said, connection=connection, seal=seal, index=index, now=now, known=known)
        case MergeFacts():
            merge(db, said, connection=connection, seal=seal, index=index, now=now, known=known)
        case RequestFacts():
            request.upsert(db, said, connection=connection, index=index, now=now)
        case ReplyFacts():
            row, new = message.receive(db, said, connection=connection, seal=seal, index=index, now=now)
            return Applied(message_id=row.id if new else None)
        case ReceiptFacts():
            message.receipt(db, said, connection=connection)
    return Applied()
