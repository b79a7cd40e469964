"""Nothing about a person is committed unsaid, and a batch says it once."""

from uuid import uuid4

import pytest
from sqlmodel import Session

from hub.record import patient
from hub.record.trail import touch
from hub.security.lane import NoSubjectError
from hub.security.sealed import Table
from tests.hub.record.conftest import Record
from tests.hub.record.say import ANA, person, tell_patient, tell_visit, visit


def test_a_batch_leaves_one_intent_that_names_every_object(record: Record) -> None:
    with record.database.write() as db:
        visits = [tell_visit(db, record, visit(number=str(n), patient=person(number=str(n)))).row for n in range(20)]
    with record.database.read() as db:
        (noted,) = record.noted(db)
    assert (noted.actor, noted.act) == ("connection:adt", "write")
    assert noted.objects == {
        row.patient_id: {(Table.PATIENT, row.patient_id), (Table.APPOINTMENT, row.id)} for row in visits
    }


def test_more_than_an_intent_holds_goes_into_several(record: Record) -> None:
    with record.database.write() as db:
        rows = [tell_patient(db, record, person(number=str(n))) for n in range(130)]
        for n in range(700):
            touch(db, "system:test", "write", rows[0].id, Table.MESSAGE, uuid4())
            touch(db, "system:test", "write", rows[n % 130].id, Table.PATIENT, rows[n % 130].id)
    with record.database.read() as db:
        noted = record.noted(db)
    assert [each.actor for each in noted].count("connection:adt") == 2
    assert all(len(each.objects) <= 100 and sum(map(len, each.objects.values())) <= 500 for each in noted)
    tested = [each.objects.get(rows[0].id, set()) for each in noted if each.actor == "system:test"]
    assert len(set().union(*tested)) == 701


def test_what_changes_nothing_is_not_said(record: Record) -> None:
    for _ in range(2):
        with record.database.write() as db:
            tell_visit(db, record, visit(patient=person(**ANA)))
    with record.database.read() as db:
        assert len(record.noted(db)) == 1


def test_each_actor_and_act_has_an_intent_of_its_own(record: Record) -> None:
    with record.database.write() as db:
        row = tell_patient(db, record, person(**ANA))
        patient.restrict(db, row.id, True, by="staff-7", now=record.now)
    with record.database.read() as db:
        assert [(noted.actor, noted.act) for noted in record.noted(db)] == [
            ("connection:adt", "write"),
            ("staff-7", "restrict"),
        ]


def test_what_is_rolled_back_is_not_said(record: Record) -> None:
    def fail() -> None:
        with record.database.write() as db:
            tell_patient(db, record, person(**ANA))
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError):
        fail()
    with record.database.write() as db:
        tell_patient(db, record, person(number="1"))
    with record.database.read() as db:
        assert [len(noted.objects) for noted in record.noted(db)] == [1]


def test_a_savepoint_takes_back_only_what_it_did(record: Record) -> None:
    with record.database.write() as db:
        first = tell_patient(db, record, person(number="1"))
        with db.begin_nested():
            second = tell_patient(db, record, person(number="2"))
        lost = db.begin_nested()
        tell_patient(db, record, person(number="3"))
        lost.rollback()
        last = tell_patient(db, record, person(number="4"))
    with record.database.read() as db:
        (noted,) = record.noted(db)
    assert set(noted.objects) == {first.id, second.id, last.id}


def test_an_object_of_nobody_cannot_be_committed(record: Record) -> None:
    def commit() -> None:
        with record.database.write() as db:
            touch(db, "system:test", "write", uuid4(), Table.MESSAGE, uuid4())

    with pytest.raises(NoSubjectError):
        commit()


def test_reading_leaves_nothing(record: Record, db: Session) -> None:
    assert patient.search(db) == []
    assert record.noted(db) == []
