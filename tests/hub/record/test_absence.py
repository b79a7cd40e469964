"""Visits that their owner no longer knows: found by comparison, taken for deleted, back with the next word."""

from datetime import timedelta

from sqlmodel import Session

from connectors.api import AppointmentStatus
from hub.record import absence, change
from hub.record.absence import AbsenceFacts
from hub.record.appointment import Appointment
from hub.record.identity import keys_for
from tests.hub.record.conftest import Record
from tests.hub.record.say import START, VISIT, tell, tell_visit, visit

WEEK = timedelta(days=7)


def missing(db: Session, record: Record, *told: str) -> absence.Missing:
    ids = [identifier for number in told for identifier in visit(number=number).ids]
    keys = {key for _, key in keys_for(ids, "adt", record.index)}
    return absence.missing(db, "adt", keys, VISIT - WEEK, VISIT + WEEK)


def gone(db: Session, record: Record, row: Appointment) -> change.Applied:
    return tell(db, record, AbsenceFacts(appointment=row.id, at=record.now))


def test_only_what_should_have_been_told_is_missing(db: Session, record: Record) -> None:
    told = tell_visit(db, record, visit(number="A1")).row
    left = tell_visit(db, record, visit(number="A2")).row
    tell_visit(db, record, visit(number="A3", starts_at=VISIT + 2 * WEEK))
    tell_visit(db, record, visit(number="A4", status=AppointmentStatus.CANCELLED))
    tell_visit(db, record, visit(number="A5"), connection="lab")
    found = missing(db, record, "A1")
    assert (found.visits, found.known, found.plausible) == ((left.id,), 2, True)
    assert missing(db, record, "A1", "A2").visits == ()
    assert told.id not in found.visits


def test_half_of_a_practice_does_not_vanish(db: Session, record: Record) -> None:
    for number in range(30):
        tell_visit(db, record, visit(number=f"A{number}"))
    assert missing(db, record, *(f"A{number}" for number in range(24))).plausible
    assert not missing(db, record, *(f"A{number}" for number in range(10))).plausible


def test_a_visit_that_is_gone_is_entered_in_error_once(db: Session, record: Record) -> None:
    row = tell_visit(db, record, visit()).row
    record.later(days=1)
    assert gone(db, record, row).appointment_id == row.id
    assert (row.status, row.changed_at) == (AppointmentStatus.ENTERED_IN_ERROR, record.now)
    assert gone(db, record, row).appointment_id is None


def test_the_next_word_of_its_owner_brings_it_back(db: Session, record: Record) -> None:
    row = tell_visit(db, record, visit()).row
    gone(db, record, row)
    assert not tell_visit(db, record, visit()).changed, "the word that was withdrawn"
    assert tell_visit(db, record, visit(1)).changed
    assert row.status is AppointmentStatus.BOOKED


def test_a_word_that_is_newer_than_the_comparison_stands(db: Session, record: Record) -> None:
    row = tell_visit(db, record, visit(seconds=60)).row
    said = AbsenceFacts(appointment=row.id, at=START + timedelta(seconds=59))
    assert tell(db, record, said).appointment_id is None
    assert row.status is AppointmentStatus.BOOKED
