"""Who may call for a patient: kept sealed, found by number, and never taken for the patient."""

from itertools import permutations
from typing import Any

import pytest
from sqlmodel import Session, col, select

from connectors.api import Identifier, MergeFacts, Phone, RelatedFacts
from hub.record import patient, related
from hub.record.error import IdentityConflictError, IncompleteError, UnmatchedError
from hub.record.merge import merge
from hub.record.related import RelatedIdentifier, RelatedPerson, RelatedPhone
from tests.hub.record.conftest import Record
from tests.hub.record.say import ANA, MOBILE, mrn, person, tell_patient, version

MOTHER = "+12125550177"


def relation(seconds: float = 0, number: str = "R1", of: str = "4711", **said: Any) -> RelatedFacts:
    facts = {
        "ids": (Identifier(system="hl7v2/NK1", value=number),),
        "version": version(seconds),
        "patient_ids": (mrn(of),),
        "family": "Rivera",
        "given": "Maria",
        "relationship": "mother",
        "phones": (Phone(e164=MOTHER),),
    }
    return RelatedFacts(**facts | said)


def told(db: Session, record: Record, said: RelatedFacts) -> tuple[RelatedPerson, bool]:
    return related.upsert(db, said, connection="adt", seal=record.seal, index=record.index, now=record.now)


@pytest.fixture
def ana(db: Session, record: Record) -> patient.Patient:
    return tell_patient(db, record, person(**ANA))


def test_a_relation_is_sealed_for_the_patient_and_found_by_number(
    db: Session, record: Record, ana: patient.Patient
) -> None:
    row, changed = told(db, record, relation())
    assert changed
    assert row.patient_id == ana.id
    assert b"Maria" not in row.sealed
    fields = record.open(db, related.sealed_of(row))
    assert related.line_of(fields) == "Maria Rivera (mother)"
    assert related.proxy_for(db, record.index.phone(MOTHER)) == (ana.id,)
    assert related.of_patient(db, ana.id) == [row]


def test_a_relations_number_is_no_patients(db: Session, record: Record, ana: patient.Patient) -> None:
    told(db, record, relation())
    found = related.match_phone(db, record.index.phone(MOTHER))
    assert (found.kind, found.patients, found.proxy_for) == ("none", (), (ana.id,))


def test_a_patients_own_number_stays_theirs(db: Session, record: Record, ana: patient.Patient) -> None:
    told(db, record, relation(phones=(Phone(e164=MOBILE),)))
    found = related.match_phone(db, record.index.phone(MOBILE))
    assert (found.kind, found.patients, found.proxy_for) == ("one", (ana.id,), ())


@pytest.mark.usefixtures("ana")
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_newest_statement_stands_in_whatever_order(db: Session, record: Record, order: tuple[int, ...]) -> None:
    said = [
        relation(0),
        relation(1, phones=(Phone(e164="+12125550178"),)),
        relation(2, given="Marta", phones=(Phone(e164="+12125550179"),)),
    ]
    for number in order:
        told(db, record, said[number])
    (row,) = db.exec(select(RelatedPerson))
    assert record.open(db, related.sealed_of(row))["given"] == "Marta"
    (number_kept,) = db.exec(select(RelatedPhone.key))
    assert number_kept == record.index.phone("+12125550179")
    assert told(db, record, said[2]) == (row, False)


def test_one_who_is_no_longer_in_force_calls_for_nobody(db: Session, record: Record, ana: patient.Patient) -> None:
    told(db, record, relation())
    told(db, record, relation(1, active=False))
    assert related.proxy_for(db, record.index.phone(MOTHER)) == ()
    assert related.of_patient(db, ana.id) == []


def test_a_restricted_chart_is_not_given_away(db: Session, record: Record, ana: patient.Patient) -> None:
    told(db, record, relation())
    patient.restrict(db, ana.id, True, by="privacy", now=record.now)
    assert related.proxy_for(db, record.index.phone(MOTHER)) == ()


@pytest.mark.usefixtures("ana")
def test_relations_move_with_a_merge(db: Session, record: Record) -> None:
    row, _ = told(db, record, relation())
    said = MergeFacts(survivor=person(5, number="4712", **ANA), merged=(mrn("4711"),), version=version(5))
    kept = merge(db, said, connection="adt", seal=record.seal, index=record.index, now=record.now)
    db.refresh(row)
    assert row.patient_id == kept.id
    assert related.proxy_for(db, record.index.phone(MOTHER)) == (kept.id,)
    assert record.open(db, related.sealed_of(row))["given"] == "Maria"


@pytest.mark.usefixtures("ana")
def test_a_number_that_nobody_can_call_from_is_kept_and_not_looked_up(db: Session, record: Record) -> None:
    row, _ = told(db, record, relation(phones=(Phone(e164="x17"),)))
    assert db.exec(select(RelatedPhone)).all() == []
    assert record.open(db, related.sealed_of(row))["phones"][0]["e164"] == "x17"


@pytest.mark.usefixtures("ana")
def test_what_cannot_be_stored_is_refused(db: Session, record: Record) -> None:
    with pytest.raises(IncompleteError):
        told(db, record, relation(ids=()))
    with pytest.raises(UnmatchedError):
        told(db, record, relation(of="nobody"))
    told(db, record, relation(number="R1"))
    told(db, record, relation(number="R2", given="Juan"))
    both = (Identifier(system="hl7v2/NK1", value="R1"), Identifier(system="hl7v2/NK1", value="R2"))
    with pytest.raises(IdentityConflictError):
        told(db, record, relation(1, ids=both))
    assert len(db.exec(select(RelatedIdentifier).order_by(col(RelatedIdentifier.key))).all()) == 2
