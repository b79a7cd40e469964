"""Patients: one row a person, whatever the order of the statements; nothing readable in the file."""

from datetime import date
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session, func, select

from connectors.api import Identifier, PatientFacts, Phone
from hub.record import patient
from hub.record.error import IdentityConflictError, IncompleteError, StaleError
from hub.record.known import Known
from hub.record.patient import Patient, PatientPhone
from hub.record.statement import identifiers_of
from tests.hub.record.conftest import Record
from tests.hub.record.say import ANA, HOME, MOBILE, mrn, opened, person, tell_patient


def fields_of(db: Session, record: Record, row: Patient) -> dict[str, Any]:
    return record.open(db, patient.sealed_of(row))


def count(db: Session) -> int:
    return db.exec(select(func.count()).select_from(Patient)).one()


def test_a_new_patient_is_sealed_and_found_by_phone(record: Record, db: Session) -> None:
    row = tell_patient(db, record, person(**ANA))
    fields = fields_of(db, record, row)
    assert (fields["family"], fields["birth_date"], fields["state"]) == ("Rivera", "1980-02-03", "NY")
    assert [phone["e164"] for phone in fields["phones"]] == [MOBILE, HOME]
    for number in (MOBILE, HOME):
        found = patient.match_phone(db, record.index.phone(number))
        assert (found.kind, found.patients) == ("one", (row.id,))
    assert patient.match_phone(db, record.index.phone("+12125550199")).kind == "none"


def test_an_equal_statement_changes_nothing_and_needs_no_key(record: Record, db: Session) -> None:
    before = tell_patient(db, record, person(**ANA)).sealed
    record.later(hours=1)
    assert patient.affected(db, [person(**ANA)], connection="adt", index=record.index) == []
    row = tell_patient(db, record, person(**ANA))
    assert row.sealed == before
    assert row.updated_at < record.now
    assert count(db) == 1


def test_a_newer_statement_that_says_the_same_is_only_newer(record: Record, db: Session) -> None:
    before = tell_patient(db, record, person(**ANA)).sealed
    row = tell_patient(db, record, person(60, "2", **ANA))
    assert (row.sealed, row.version_at) == (before, person(60).version.at)
    tell_patient(db, record, person(30, "3", **{**ANA, "family": "Cruz"}))
    assert fields_of(db, record, row)["family"] == "Rivera"


def test_a_whole_newer_statement_replaces_the_blob_without_opening_it(record: Record, db: Session) -> None:
    tell_patient(db, record, person(**ANA))
    newer = person(60, "2", **{**ANA, "family": "Rivera-Cruz"})
    assert patient.affected(db, [newer], connection="adt", index=record.index) == []
    row = patient.upsert(db, newer, connection="adt", seal=record.seal, index=record.index, now=record.now)
    assert fields_of(db, record, row)["family"] == "Rivera-Cruz"
    assert [found.id for found in patient.search(db, name=record.index.name("Rivera-Cruz", "Ana"))] == [row.id]
    assert patient.search(db, name=record.index.name("Rivera", "Ana")) == []


def test_a_partial_statement_changes_only_what_it_mentions(record: Record, db: Session) -> None:
    tell_patient(db, record, person(**ANA))
    row = tell_patient(db, record, person(60, language="en", cleared=frozenset({"state"})))
    fields = fields_of(db, record, row)
    assert (fields["family"], fields["language"]) == ("Rivera", "en")
    assert "state" not in fields


def test_an_older_statement_fills_only_what_nobody_newer_mentioned(record: Record, db: Session) -> None:
    tell_patient(db, record, person(60, language="en", family="Cruz", given="Ana"))
    row = tell_patient(db, record, person(0, **ANA))
    fields = fields_of(db, record, row)
    assert (fields["family"], fields["language"], fields["birth_date"]) == ("Cruz", "en", "1980-02-03")
    assert patient.match_phone(db, record.index.phone(MOBILE)).kind == "one"


def test_a_row_that_must_be_merged_but_was_not_opened_is_refused(record: Record, db: Session) -> None:
    tell_patient(db, record, person(**ANA))
    partial = person(60, language="en")
    assert len(patient.affected(db, [partial], connection="adt", index=record.index)) == 1
    with pytest.raises(StaleError) as caught:
        patient.upsert(db, partial, connection="adt", seal=record.seal, index=record.index, now=record.now)
    assert caught.value.retry
    assert "Rivera" not in str(caught.value)


def test_a_row_that_was_written_after_it_was_opened_is_refused(record: Record, db: Session) -> None:
    tell_patient(db, record, person(**ANA))
    early = opened(db, record, person(60, language="en"))
    tell_patient(db, record, person(70, language="fr"))
    with pytest.raises(StaleError):
        patient.upsert(
            db,
            person(80, sex="other"),
            connection="adt",
            seal=record.seal,
            index=record.index,
            now=record.now,
            known=early,
        )


def test_a_batch_opens_each_row_once_and_builds_on_what_it_wrote(record: Record, db: Session) -> None:
    tell_patient(db, record, person(**ANA))
    batch = [person(60, language="en"), person(70, sex="other"), person(80, given="Anna")]
    batch += [person(5, number="new", family="Nakamura", given="Kei"), person(6, number="new", sex="male")]
    rows = patient.affected(db, batch, connection="adt", index=record.index)
    assert len(rows) == 1
    known = Known(zip(rows, record.opener.open(db, record.audited, rows), strict=True))
    for said in batch:
        row = patient.upsert(
            db, said, connection="adt", seal=record.seal, index=record.index, now=record.now, known=known
        )
    assert fields_of(db, record, row)["sex"] == "male"
    found = patient.find(db, {("adt", record.index.identifier("HARBOR", "MR", "4711"))})
    assert found is not None
    fields = fields_of(db, record, found)
    assert (fields["language"], fields["sex"], fields["given"]) == ("en", "other", "Anna")


def test_a_statement_that_was_taken_back_leaves_the_next_one_to_open_again(record: Record, db: Session) -> None:
    tell_patient(db, record, person(**ANA))
    batch = [person(60, language="en"), person(70, sex="other")]
    known = opened(db, record, *batch)
    lost = db.begin_nested()
    patient.upsert(db, batch[0], connection="adt", seal=record.seal, index=record.index, now=record.now, known=known)
    lost.rollback()
    with pytest.raises(StaleError):
        patient.upsert(
            db, batch[1], connection="adt", seal=record.seal, index=record.index, now=record.now, known=known
        )
    fields = fields_of(db, record, tell_patient(db, record, batch[1]))
    assert (fields["language"], fields["sex"], fields["family"]) == ("es", "other", "Rivera")


def test_numbers_are_replaced_by_a_newer_list_and_kept_by_silence(record: Record, db: Session) -> None:
    row = tell_patient(db, record, person(**ANA))
    tell_patient(db, record, person(60, language="en"))
    assert patient.match_phone(db, record.index.phone(HOME)).kind == "one"
    tell_patient(db, record, person(70, phones=(Phone(e164="+12125550150", use="home"),)))
    assert patient.match_phone(db, record.index.phone(HOME)).kind == "none"
    assert patient.match_phone(db, record.index.phone("+12125550150")).patients == (row.id,)
    tell_patient(db, record, person(80, cleared=frozenset({"phones"})))
    assert db.exec(select(PatientPhone)).all() == []


def test_a_number_that_is_none_is_kept_but_matches_nobody(record: Record, db: Session) -> None:
    row = tell_patient(db, record, person(phones=(Phone(e164="ask at the desk"), Phone(e164=HOME), Phone(e164=HOME))))
    assert len(fields_of(db, record, row)["phones"]) == 3
    assert [phone.key for phone in db.exec(select(PatientPhone))] == [record.index.phone(HOME)]


def test_a_shared_number_is_never_a_guess(record: Record, db: Session) -> None:
    ana = tell_patient(db, record, person(**ANA))
    son = tell_patient(db, record, person(number="4712", given="Leo", family="Rivera", phones=ANA["phones"]))
    found = patient.match_phone(db, record.index.phone(MOBILE))
    assert (found.kind, set(found.patients)) == ("many", {ana.id, son.id})
    patient.restrict(db, son.id, True, by="staff", now=record.now)
    assert patient.match_phone(db, record.index.phone(MOBILE)).kind == "restricted"


def test_who_left_died_or_changed_numbers_is_not_matched(record: Record, db: Session) -> None:
    row = tell_patient(db, record, person(phones=(Phone(e164=MOBILE), Phone(e164=HOME, use="old"))))
    assert patient.match_phone(db, record.index.phone(HOME)).kind == "none"
    tell_patient(db, record, person(60, deceased=True))
    assert patient.match_phone(db, record.index.phone(MOBILE)).kind == "none"
    tell_patient(db, record, person(70, deceased=False, active=False))
    assert (row.deceased, row.active) == (False, False)
    assert patient.match_phone(db, record.index.phone(MOBILE)).kind == "none"


def test_identifiers_count_within_their_connection_unless_they_are_uris(record: Record, db: Session) -> None:
    here = tell_patient(db, record, person(family="Rivera", given="Ana"))
    assert tell_patient(db, record, person(family="Rivera", given="Ana"), "ehr").id != here.id
    world = Identifier(system="urn:oid:2.16.840.1.113883.19.5", value="77", type="MR")
    one = tell_patient(db, record, person(ids=(mrn("x"), world), family="Okafor", given="Ife"))
    two = tell_patient(db, record, person(30, ids=(Identifier(system="", value="fhir-9"), world), language="en"), "ehr")
    assert one.id == two.id
    fields = fields_of(db, record, two)
    assert identifiers_of(fields, "adt") == (world, mrn("x"))
    assert identifiers_of(fields, "ehr") == (world, Identifier(system="", value="fhir-9"))


def test_the_same_uri_is_one_identifier_whatever_its_type_is_called(record: Record, db: Session) -> None:
    system = "http://hospital.example.org/mrn"
    one = tell_patient(db, record, person(ids=(Identifier(system=system, value="7"),), family="Okafor", given="Ife"))
    typed = (Identifier(system=system, value="7", type="MR"),)
    two = tell_patient(db, record, person(60, ids=typed, language="en"), "ehr")
    assert one.id == two.id
    assert identifiers_of(fields_of(db, record, two), "ehr") == typed


def test_a_colon_does_not_make_a_namespace_known_everywhere(record: Record, db: Session) -> None:
    local = (Identifier(system="HARBOR:A", value="7", type="MR"),)
    one = tell_patient(db, record, person(ids=local, family="Okafor", given="Ife"))
    assert tell_patient(db, record, person(ids=local, family="Okafor", given="Ife"), "ehr").id != one.id


def test_identifiers_of_two_patients_are_a_conflict(record: Record, db: Session) -> None:
    tell_patient(db, record, person(number="1", family="Rivera", given="Ana"))
    tell_patient(db, record, person(number="2", family="Okafor", given="Ife"))
    with pytest.raises(IdentityConflictError) as caught:
        tell_patient(db, record, person(60, ids=(mrn("1"), mrn("2")), language="en"))
    assert (caught.value.code, caught.value.retry) == ("identity-conflict", False)


def test_nobody_is_made_without_an_identifier(record: Record, db: Session) -> None:
    with pytest.raises(IncompleteError):
        tell_patient(db, record, person(ids=(), family="Rivera", given="Ana"))
    assert count(db) == 0


def test_charts_under_break_glass_can_be_left_out(record: Record, db: Session) -> None:
    ana = tell_patient(db, record, person(number="1", **ANA))
    leo = tell_patient(db, record, person(number="2", **ANA))
    patient.restrict(db, leo.id, True, by="officer", now=record.now)
    born = record.index.birth(ANA["birth_date"])
    assert [row.id for row in patient.search(db, birth=born, restricted=False)] == [ana.id]
    assert patient.hidden(db, [ana.id, leo.id, None]) == {leo.id}
    patient.restrict(db, leo.id, False, by="officer", now=record.now)
    assert patient.hidden(db, [ana.id, leo.id]) == frozenset()


def test_search_combines_what_is_given_and_pages(record: Record, db: Session) -> None:
    rows = [tell_patient(db, record, person(number=str(n), **ANA)) for n in range(3)]
    tell_patient(db, record, person(number="9", family="Okafor", given="Ife", birth_date=date(1980, 2, 3)))
    born, name = record.index.birth(date(1980, 2, 3)), record.index.name("RIVERA", "ana")
    assert len(patient.search(db, birth=born)) == 4
    assert [row.id for row in patient.search(db, birth=born, name=name)] == [row.id for row in rows]
    page = patient.search(db, name=name, limit=2)
    assert [row.id for row in patient.search(db, name=name, after=page[-1].id)] == [rows[2].id]
    assert [row.id for row in patient.search(db, phone=record.index.phone(HOME))] == [row.id for row in rows]
    key = record.index.identifier("HARBOR", "MR", "1")
    assert [row.id for row in patient.search(db, identifier=key)] == [rows[1].id]


def test_the_phone_look_up_goes_by_index(db: Session) -> None:
    plan = db.connection().exec_driver_sql(
        "EXPLAIN QUERY PLAN SELECT * FROM patient_phone JOIN patient ON patient.id = patient_phone.patient_id"
        " WHERE patient_phone.key = x'00'"
    )
    steps = [row[-1] for row in plan]
    assert all(step.startswith("SEARCH") for step in steps), steps


STATEMENTS = st.builds(
    lambda seconds, tag, said, cleared: person(
        seconds, tag, **{k: v for k, v in said.items() if k not in cleared}, cleared=frozenset(cleared)
    ),
    st.integers(0, 2),
    st.sampled_from(["1", "2", "10"]),
    st.fixed_dictionaries(
        {},
        optional={
            "family": st.sampled_from(["Rivera", "Cruz"]),
            "given": st.sampled_from(["Ana", "Anna"]),
            "language": st.sampled_from(["en", "es"]),
            "state": st.sampled_from(["NY", "CA", "TX"]),
            "birth_date": st.sampled_from([date(1980, 2, 3), date(1981, 2, 3)]),
            "phones": st.sampled_from([(Phone(e164=MOBILE),), (Phone(e164=HOME), Phone(e164=MOBILE, rank=2))]),
            "deceased": st.booleans(),
            "active": st.booleans(),
        },
    ),
    st.sets(st.sampled_from(["family", "language", "state", "phones", "deceased"]), max_size=1),
)


def outcome(db: Session, record: Record, said: list[PatientFacts]) -> dict[str, Any]:
    """Store statements in a savepoint, and return everything that can be seen of the one row."""
    savepoint = db.begin_nested()
    for each in said:
        row = tell_patient(db, record, each)
    numbers = db.exec(select(PatientPhone.key, PatientPhone.use, PatientPhone.rank)).all()
    seen = row.model_dump(exclude={"id", "created_at", "updated_at", "sealed"})
    seen |= {"opened": fields_of(db, record, row), "numbers": sorted(numbers), "rows": count(db)}
    savepoint.rollback()
    db.expunge_all()
    return seen


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(said=st.lists(STATEMENTS, min_size=2, max_size=5), data=st.data())
def test_any_order_and_repetition_gives_the_same_patient(
    record: Record, db: Session, said: list[PatientFacts], data: st.DataObject
) -> None:
    once = outcome(db, record, said)
    again = data.draw(st.permutations(said + data.draw(st.lists(st.sampled_from(said), max_size=3))))
    assert outcome(db, record, again) == once
    assert once["rows"] == 1


def test_a_feed_closes_a_chart_and_never_opens_it(db: Session, record: Record) -> None:
    row = tell_patient(db, record, person(**ANA))
    assert not patient.hidden(db, [row.id])
    tell_patient(db, record, person(1, "2", restricted=True))
    assert patient.hidden(db, [row.id])
    tell_patient(db, record, person(2, "3", **ANA, restricted=False))
    assert patient.hidden(db, [row.id])
    patient.restrict(db, row.id, False, by="privacy", now=record.now)
    tell_patient(db, record, person(1, "2", restricted=True))
    assert not patient.hidden(db, [row.id]), "an old statement closes it no second time"
