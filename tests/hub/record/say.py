"""Statements of an outside system, short to write; everyone in them is invented."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlmodel import Session

from connectors.api import (
    AppointmentFacts,
    AppointmentStatus,
    Identifier,
    MergeFacts,
    PatientFacts,
    Phone,
    RequestFacts,
    Version,
)
from hub.record import appointment, change, patient
from hub.record.appointment import Upserted
from hub.record.change import Said
from hub.record.known import Known
from hub.record.patient import Patient
from tests.hub.record.conftest import Record

START = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
VISIT = START + timedelta(days=7)
MOBILE = "+12125550142"
HOME = "+12125550143"
ANA: dict[str, Any] = {
    "family": "Rivera",
    "given": "Ana",
    "birth_date": date(1980, 2, 3),
    "sex": "female",
    "phones": (Phone(e164=MOBILE, use="mobile"), Phone(e164=HOME, use="home", rank=2)),
    "language": "es",
    "state": "NY",
    "postal_code": "10001",
}
BOOKED = AppointmentStatus.BOOKED


def version(seconds: float = 0, tag: str = "1") -> Version:
    return Version(at=START + timedelta(seconds=seconds), tag=tag)


def mrn(value: str, system: str = "HARBOR") -> Identifier:
    return Identifier(system=system, type="MR", value=value)


def person(seconds: float = 0, tag: str = "1", number: str = "4711", **said: Any) -> PatientFacts:
    return PatientFacts(**{"ids": (mrn(number),), "version": version(seconds, tag), **said})


def visit(seconds: float = 0, tag: str = "1", number: str = "A1", **said: Any) -> AppointmentFacts:
    facts = {
        "ids": (Identifier(system="HARBOR", type="FILL", value=number),),
        "version": version(seconds, tag),
        "status": BOOKED,
        "starts_at": VISIT,
        "minutes": 15,
        "patient": person(seconds, tag),
    }
    return AppointmentFacts(**{**facts, **said})


def refill(seconds: float = 0, tag: str = "1", status: str = "open", number: str = "4711") -> RequestFacts:
    ids = (Identifier(system="HARBOR", type="", value="R1"),)
    return RequestFacts(
        ids=ids, version=version(seconds, tag), patient_ids=(mrn(number),), kind="refill", status=status
    )


def union(survivor: str, *merged: str, seconds: float = 5) -> MergeFacts:
    return MergeFacts(
        survivor=person(seconds, "m", survivor),
        merged=tuple(mrn(each) for each in merged),
        version=version(seconds, "m"),
    )


def opened(db: Session, record: Record, *said: Said, connection: str = "adt") -> Known:
    """Open what `said` touches, as a feed does before it writes."""
    rows = change.affected(db, said, connection=connection, index=record.index)
    return Known(zip(rows, record.opener.open(db, record.audited, rows), strict=True))


def tell_patient(db: Session, record: Record, said: PatientFacts, connection: str = "adt") -> Patient:
    known = opened(db, record, said, connection=connection)
    return patient.upsert(
        db, said, connection=connection, seal=record.seal, index=record.index, now=record.now, known=known
    )


def tell_visit(db: Session, record: Record, said: AppointmentFacts, connection: str = "adt") -> Upserted:
    known = opened(db, record, said, connection=connection)
    return appointment.upsert(
        db, said, connection=connection, seal=record.seal, index=record.index, now=record.now, known=known
    )


def tell(db: Session, record: Record, said: Said, connection: str = "adt") -> change.Applied:
    known = opened(db, record, said, connection=connection)
    return change.apply(
        db, said, connection=connection, seal=record.seal, index=record.index, now=record.now, known=known
    )
