"""Patients: one row a person, whatever the order of the statements; nothing readable in the file."""

from datetime import date, datetime, timedelta
from typing import Any

from sqlmodel import Session

from connectors.api import Identifier, PatientFacts, Phone, Version
from hub.record import patient
from hub.record.known import Known
from hub.record.patient import Patient
from tests.hub.record.conftest import NOW, Record

PHONE = "+12125550142"


def facts(at: datetime = NOW, tag: str = "1", mrn: str = "4711", **said: Any) -> PatientFacts:
    return PatientFacts(
        ids=(Identifier(system="HARBOR", type="MR", value=mrn),), version=Version(at=at, tag=tag), **said
    )


def tell(db: Session, record: Record, said: PatientFacts, connection: str = "adt") -> Patient:
    """Store one statement as the drain does: open what it touches, then write."""
    rows = patient.affected(db, [said], connection=connection, index=record.index)
    known = Known((row, record.open(db, row)) for row in rows)
    return patient.upsert(
        db, said, connection=connection, seal=record.seal, index=record.index, now=record.now, known=known
    )


WHOLE: dict[str, Any] = {
    "family": "Rivera",
    "given": "Ana",
    "birth_date": date(1980, 2, 3),
    "phones": (Phone(e164=PHONE, use="mobile"),),
    "language": "es",
    "state": "NY",
    "postal_code": "10001",
}


def test_a_new_patient_is_sealed_and_found_by_phone(record: Record, db: Session) -> None:
    row = tell(db, record, facts(**WHOLE))
    fields = record.open(db, patient.sealed_of(row))
    assert (fields["family"], fields["birth_date"], fields["zone"]) == ("Rivera", "1980-02-03", "America/New_York")
    found = patient.match_phone(db, record.index.phone(PHONE))
    assert (found.kind, found.patients) == ("one", (row.id,))


def test_a_partial_statement_changes_only_what_it_mentions(record: Record, db: Session) -> None:
    tell(db, record, facts(**WHOLE))
    row = tell(db, record, facts(NOW + timedelta(hours=1), language="en", cleared=frozenset({"state"})))
    fields = record.open(db, patient.sealed_of(row))
    assert fields["family"] == "Rivera"
    assert fields["language"] == "en"
    assert "state" not in fields
    assert "zone" not in fields
