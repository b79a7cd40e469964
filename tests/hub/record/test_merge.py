"""Two records of one person become one (ADT A40)."""

from sqlmodel import Session, select

from connectors.api import AppointmentStatus
from hub.record import appointment, consent, patient, request
from hub.record.message import Message
from hub.record.patient import Patient, PatientIdentifier, PatientPhone
from tests.hub.record.conftest import Record
from tests.hub.record.say import ANA, HOME, MOBILE, mrn, person, refill, tell, tell_patient, tell_visit, union, visit
from tests.hub.record.test_message import reply


def test_everything_moves_to_the_survivor(record: Record, db: Session) -> None:
    kept = tell_patient(db, record, person(number="1", **{**ANA, "phones": ANA["phones"][:1]}))
    gone = tell_patient(db, record, person(number="2", **ANA))
    row = tell_visit(db, record, visit(patient=person(number="2"), reason="Check")).row
    tell(db, record, refill(number="2"))
    consent.stop(db, record.index.phone(HOME), "reminder", record.now)
    tell(db, record, reply(record, sender=HOME), "sms")
    tell(db, record, union("1", "2"))
    assert gone.merged_into == kept.id
    assert {each.patient_id for each in db.exec(select(PatientIdentifier))} == {kept.id}
    assert {(each.patient_id, each.key) for each in db.exec(select(PatientPhone))} == {
        (kept.id, record.index.phone(MOBILE)),
        (kept.id, record.index.phone(HOME)),
    }
    assert patient.match_phone(db, record.index.phone(HOME)).patients == (kept.id,)
    assert [each.id for each in appointment.upcoming(db, kept.id, record.now)] == [row.id]
    assert [each.kind for each in request.open_of(db, kept.id)] == ["refill"]
    assert [each.patient_id for each in db.exec(select(Message))] == [kept.id]
    assert consent.opted_out(db, record.index.phone(HOME), "reminder")
    assert [each.id for each in patient.search(db, name=record.index.name("Rivera", "Ana"))] == [kept.id]
    assert record.open(db, appointment.sealed_of(row))["reason"] == "Check"


def test_what_is_said_of_the_merged_record_later_finds_the_survivor(record: Record, db: Session) -> None:
    kept = tell_patient(db, record, person(number="1", **ANA))
    tell_patient(db, record, person(number="2", **ANA))
    row = tell_visit(db, record, visit(patient=person(number="2"), reason="Check")).row
    tell(db, record, union("1", "2"))
    told = tell_visit(
        db,
        record,
        visit(60, "2", status=AppointmentStatus.CANCELLED, patient=person(60, number="2"), location="Room 9"),
    )
    assert (told.row.id, told.row.patient_id, told.row.status) == (row.id, kept.id, AppointmentStatus.CANCELLED)
    assert record.open(db, appointment.sealed_of(row))["reason"] == "Check"


def test_a_merge_may_come_before_what_it_merges_and_again(record: Record, db: Session) -> None:
    tell(db, record, union("1", "2", "3"))
    late = tell_patient(db, record, person(number="3", **ANA))
    tell(db, record, union("1", "2", "3"))
    assert [row.id for row in db.exec(select(Patient))] == [late.id]
    assert {row.patient_id for row in db.exec(select(PatientIdentifier))} == {late.id}


def test_a_survivor_that_still_lists_the_old_number_is_no_conflict(record: Record, db: Session) -> None:
    kept = tell_patient(db, record, person(number="1", **ANA))
    tell_patient(db, record, person(number="2", **ANA))
    both = union("1", "2").model_copy(update={"survivor": person(5, "m", ids=(mrn("1"), mrn("2")))})
    tell(db, record, both)
    assert {each.patient_id for each in db.exec(select(PatientIdentifier))} == {kept.id}
    tell(db, record, both)
    assert patient.match_phone(db, record.index.phone(MOBILE)).patients == (kept.id,)


def test_a_chain_of_merges_ends_at_the_last_survivor(record: Record, db: Session) -> None:
    rows = [tell_patient(db, record, person(number=str(n), **ANA)) for n in (1, 2, 3)]
    tell(db, record, union("2", "1", seconds=5))
    tell(db, record, union("3", "2", seconds=6))
    assert [row.merged_into for row in rows] == [rows[2].id, rows[2].id, None]


def test_the_survivor_is_restricted_when_either_was(record: Record, db: Session) -> None:
    kept = tell_patient(db, record, person(number="1", **ANA))
    gone = tell_patient(db, record, person(number="2", **ANA))
    patient.restrict(db, gone.id, True, by="staff", now=record.now)
    tell(db, record, union("1", "2"))
    assert kept.restricted
    assert patient.match_phone(db, record.index.phone(MOBILE)).kind == "restricted"


def test_a_merge_is_on_record_for_both(record: Record) -> None:
    with record.database.write() as db:
        rows = [tell_patient(db, record, person(number=str(n), **ANA)) for n in (1, 2)]
    with record.database.write() as db:
        tell(db, record, union("1", "2"))
    with record.database.read() as db:
        merges = [noted for noted in record.noted(db) if noted.act == "merge"]
    assert [(noted.actor, set(noted.objects)) for noted in merges] == [("connection:adt", {row.id for row in rows})]
