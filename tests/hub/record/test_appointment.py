"""Appointments: the newest statement counts, a final status holds, and order does not matter."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session, func, select

from connectors.api import FINAL, AppointmentFacts, AppointmentStatus, Identifier
from hub.record import appointment, patient
from hub.record.appointment import Appointment, AppointmentIdentifier
from hub.record.error import IdentityConflictError, IncompleteError, StaleError, UnmatchedError
from hub.record.patient import Patient
from hub.record.statement import identifiers_of
from tests.hub.record.conftest import Record
from tests.hub.record.say import ANA, BOOKED, VISIT, person, tell_patient, tell_visit, version, visit

CANCELLED = AppointmentStatus.CANCELLED
NOSHOW = AppointmentStatus.NOSHOW
WHAT: dict[str, Any] = {"practitioner": "Dr. Osei", "location": "Room 2", "type": "Follow-up", "reason": "Check"}


def fields_of(db: Session, record: Record, row: Appointment) -> dict[str, Any]:
    return record.open(db, appointment.sealed_of(row))


def count(db: Session, table: Any = Appointment) -> int:
    return int(db.exec(select(func.count()).select_from(table)).one())


def test_a_new_appointment_brings_its_patient(record: Record, db: Session) -> None:
    told = tell_visit(db, record, visit(patient=person(**ANA), **WHAT))
    assert told.changed
    row = told.row
    assert (row.status, row.starts_at, row.minutes, row.connection) == (BOOKED, VISIT, 15, "adt")
    assert {name: fields_of(db, record, row)[name] for name in WHAT} == WHAT
    owner = db.get_one(Patient, row.patient_id)
    assert record.open(db, patient.sealed_of(owner))["family"] == "Rivera"
    assert identifiers_of(fields_of(db, record, row), "adt") == visit().ids


def test_a_repeat_changes_nothing_and_opens_nothing(record: Record, db: Session) -> None:
    first = tell_visit(db, record, visit(**WHAT)).row
    before, changed_at = first.sealed, first.changed_at
    record.later(minutes=1)
    assert appointment.affected(db, [visit(**WHAT)], connection="adt", index=record.index) == []
    again = tell_visit(db, record, visit(**WHAT))
    assert (again.changed, again.row.sealed, again.row.changed_at) == (False, before, changed_at)
    assert count(db) == 1


def test_a_newer_statement_that_says_the_same_is_only_newer(record: Record, db: Session) -> None:
    before = tell_visit(db, record, visit(**WHAT)).row.sealed
    same = tell_visit(db, record, visit(60, "7", **WHAT))
    assert (same.changed, same.row.sealed, same.row.version_tag) == (False, before, "7")
    assert not tell_visit(db, record, visit(30, "3", status=CANCELLED, **WHAT)).changed
    assert tell_visit(db, record, visit(61, "8", **{**WHAT, "location": "Room 3"})).changed
    assert fields_of(db, record, same.row)["location"] == "Room 3"


def test_a_newer_statement_wins_and_an_older_one_does_not(record: Record, db: Session) -> None:
    tell_visit(db, record, visit(60, "5", minutes=30))
    late = tell_visit(db, record, visit(0, "9", minutes=15, starts_at=VISIT + timedelta(days=1)))
    assert not late.changed
    assert (late.row.minutes, late.row.starts_at, late.row.version_tag) == (30, VISIT, "5")
    new = tell_visit(db, record, visit(61, "1", minutes=45))
    assert (new.changed, new.row.minutes, new.row.version_tag) == (True, 45, "1")


@pytest.mark.parametrize("final", sorted(FINAL))
def test_a_final_status_beats_another_of_the_same_second_in_either_order(
    record: Record, db: Session, final: AppointmentStatus
) -> None:
    tell_visit(db, record, visit(0, "1"))
    assert tell_visit(db, record, visit(0, "0", status=final)).row.status is final
    assert tell_visit(db, record, visit(0, "9", status=AppointmentStatus.ARRIVED)).row.status is final
    assert tell_visit(db, record, visit(1, "0")).row.status is BOOKED


def test_two_of_a_second_go_by_their_tag_as_a_number(record: Record, db: Session) -> None:
    tell_visit(db, record, visit(0, "10", minutes=10))
    assert tell_visit(db, record, visit(0, "9", minutes=9)).row.minutes == 10
    tell_visit(db, record, visit(0, "9", status=NOSHOW))
    assert tell_visit(db, record, visit(0, "10", status=CANCELLED)).row.status is CANCELLED
    assert tell_visit(db, record, visit(0, "9", status=NOSHOW)).row.status is CANCELLED


def test_a_final_statement_that_says_only_so_keeps_the_rest(record: Record, db: Session) -> None:
    tell_visit(db, record, visit(0, **WHAT))
    bare = visit(1, "2", status=CANCELLED, starts_at=None, minutes=None, patient=None, creates=False)
    assert appointment.affected(db, [bare], connection="adt", index=record.index) == []
    row = tell_visit(db, record, bare).row
    assert (row.status, row.starts_at, row.minutes) == (CANCELLED, VISIT, 15)
    assert fields_of(db, record, row)["practitioner"] == "Dr. Osei"


def test_a_change_of_what_nobody_told_is_unmatched_and_makes_nobody(record: Record, db: Session) -> None:
    with pytest.raises(UnmatchedError) as caught:
        tell_visit(db, record, visit(creates=False, patient=person(**ANA)))
    assert caught.value.code == "unmatched"
    assert (count(db), count(db, Patient)) == (0, 0)


@pytest.mark.parametrize("lacking", [{"patient": None}, {"ids": ()}])
def test_what_cannot_become_a_row_is_incomplete(record: Record, db: Session, lacking: dict[str, Any]) -> None:
    with pytest.raises(IncompleteError):
        tell_visit(db, record, visit(**lacking))
    assert count(db) == 0


def test_placer_of_one_and_filler_of_another_are_never_guessed_apart(record: Record, db: Session) -> None:
    one = tell_visit(db, record, visit(number="P1")).row
    tell_visit(db, record, visit(number="F2"))
    both = visit(9, ids=(*visit(number="P1").ids, *visit(number="F2").ids), status=CANCELLED)
    with pytest.raises(IdentityConflictError):
        tell_visit(db, record, both)
    assert one.status is BOOKED


def test_a_second_identifier_is_learnt(record: Record, db: Session) -> None:
    filler = Identifier(system="HARBOR", type="FILL", value="F1")
    tell_visit(db, record, visit(number="P1", **WHAT))
    told = tell_visit(db, record, visit(9, ids=(*visit(number="P1").ids, filler), minutes=20))
    row = tell_visit(db, record, visit(10, ids=(filler,), minutes=25)).row
    assert (row.id, row.minutes) == (told.row.id, 25)
    assert set(identifiers_of(fields_of(db, record, row), "adt")) == {filler, *visit(number="P1").ids}
    assert count(db, AppointmentIdentifier) == 2


def test_moving_the_visit_takes_the_confirmation_back(record: Record, db: Session) -> None:
    row = tell_visit(db, record, visit()).row
    assert appointment.confirm(db, row.id, by="system:messages", now=record.now)
    assert not appointment.confirm(db, row.id, by="system:messages", now=record.now)
    assert tell_visit(db, record, visit(1, minutes=20)).row.confirmed_at == record.now
    assert tell_visit(db, record, visit(2, starts_at=VISIT + timedelta(hours=1))).row.confirmed_at is None
    tell_visit(db, record, visit(3, status=CANCELLED))
    assert not appointment.confirm(db, row.id, by="system:messages", now=record.now)


def test_an_appointment_that_changes_hands_is_sealed_for_the_new_patient(record: Record, db: Session) -> None:
    row = tell_visit(db, record, visit(**WHAT)).row
    other = tell_patient(db, record, person(number="4712", family="Okafor", given="Ife"))
    moved = visit(5, patient=person(5, number="4712"))
    with pytest.raises(StaleError):
        appointment.upsert(db, moved, connection="adt", seal=record.seal, index=record.index, now=record.now)
    assert tell_visit(db, record, moved).row.patient_id == other.id
    assert fields_of(db, record, row)["reason"] == "Check"
    assert [found.id for found in appointment.upcoming(db, other.id, record.now)] == [row.id]


def test_upcoming_leaves_out_what_is_past_or_off(record: Record, db: Session) -> None:
    later = tell_visit(db, record, visit(number="A2", starts_at=VISIT + timedelta(days=1))).row
    soon = tell_visit(db, record, visit(number="A1")).row
    tell_visit(db, record, visit(number="A3", status=CANCELLED))
    tell_visit(db, record, visit(number="A4", starts_at=record.now - timedelta(minutes=1)))
    tell_visit(db, record, visit(number="A5", starts_at=None))
    assert [row.id for row in appointment.upcoming(db, soon.patient_id, record.now)] == [soon.id, later.id]


STATEMENTS = st.builds(
    lambda seconds, tag, status, owner, said: visit(
        seconds, tag, status=status, patient=owner and person(seconds, tag, owner), **said
    ),
    st.integers(0, 2),
    st.sampled_from(["1", "2", "10", "x"]),
    st.sampled_from([BOOKED, AppointmentStatus.ARRIVED, CANCELLED, NOSHOW]),
    st.sampled_from(["4711", "4711", "4712"]),
    st.fixed_dictionaries(
        {
            "starts_at": st.sampled_from([None, VISIT, VISIT + timedelta(hours=1)]),
            "minutes": st.sampled_from([None, 15, 30]),
        },
        optional={
            "practitioner": st.sampled_from(["Dr. Osei", "Dr. Lind"]),
            "location": st.sampled_from(["Room 1", "Room 2"]),
            "reason": st.sampled_from(["Check", "Results"]),
        },
    ),
)


def outcome(db: Session, record: Record, said: list[AppointmentFacts]) -> dict[str, Any]:
    """Store statements in a savepoint, and return everything that can be seen of the one row."""
    savepoint = db.begin_nested()
    for each in said:
        row = tell_visit(db, record, each).row
    seen = row.model_dump(exclude={"id", "patient_id", "created_at", "changed_at", "sealed"})
    owner = record.open(db, patient.sealed_of(db.get_one(Patient, row.patient_id)))
    seen |= {"opened": fields_of(db, record, row), "owner": owner["ids"], "rows": count(db)}
    savepoint.rollback()
    db.expunge_all()
    return seen


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(said=st.lists(STATEMENTS, min_size=2, max_size=5), data=st.data())
def test_any_order_and_repetition_gives_the_same_appointment(
    record: Record, db: Session, said: list[AppointmentFacts], data: st.DataObject
) -> None:
    once = outcome(db, record, said)
    again = data.draw(st.permutations(said + data.draw(st.lists(st.sampled_from(said), max_size=3))))
    assert outcome(db, record, again) == once
    assert once["rows"] == 1


def test_what_the_owner_says_of_a_confirmation_counts_until_the_visit_moves(db: Session, record: Record) -> None:
    row = tell_visit(db, record, visit(confirmed=False)).row
    assert row.confirmed_at is None
    assert tell_visit(db, record, visit(1, confirmed=True)).changed
    assert row.confirmed_at == version(1).at
    tell_visit(db, record, visit(2, confirmed=False))
    assert row.confirmed_at == version(1).at, "a system that does not know of it takes nothing back"
    tell_visit(db, record, visit(3, starts_at=VISIT + timedelta(hours=1)))
    assert row.confirmed_at is None
    tell_visit(db, record, visit(4, starts_at=VISIT + timedelta(hours=1), confirmed=True))
    assert row.confirmed_at == version(4).at
