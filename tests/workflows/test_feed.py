"""The activity behind FeedFlow: real inbox and record, the real vault, and a Temporal server that is told of visits."""

from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import Session, select
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from connectors.api import AppointmentStatus, Change, Identifier, MergeFacts, Phone, RequestFacts
from hub.record import change, inbox, patient
from hub.record.appointment import Appointment
from hub.record.inbox import Arrival, State
from hub.record.patient import Patient
from hub.record.request import ChartRequest
from hub.temporal import TemporalUnavailableError
from hub.vault.client import Vault, VaultUnavailableError
from tests.workflows.clinic import MRN, PHONE, Clinic
from tests.workflows.feeding import FEED, counts, feeds_of, reasons, signals
from workflows.activities import feed
from workflows.activities.feed import Drained, Feeds


async def test_what_was_delivered_is_in_the_record_and_its_flows_are_told(
    feeds: Feeds, clinic: Clinic, env: WorkflowEnvironment
) -> None:
    clinic.tell(FEED, *(clinic.visit(clinic.person()) for _ in range(3)))
    assert await feeds.drain(FEED) == Drained(3)
    assert counts(clinic) == {"stored": 0, "applied": 3, "quarantined": 0}
    visits = clinic.rows(Appointment)
    assert [await signals(env, visit.id) for visit in visits] == [["changed"]] * 3
    assert await feeds.drain(FEED) == Drained()


async def test_a_statement_that_tells_nothing_new_wakes_nobody(
    feeds: Feeds, clinic: Clinic, env: WorkflowEnvironment
) -> None:
    visit = clinic.visit(clinic.person())
    clinic.tell(FEED, visit)
    await feeds.drain(FEED)
    older = visit.version.model_copy(update={"at": visit.version.at - timedelta(days=1)})
    clinic.tell(FEED, visit.model_copy(update={"version": older}))
    await feeds.drain(FEED)
    (row,) = clinic.rows(Appointment)
    assert await signals(env, row.id) == ["changed"]


async def test_more_than_a_batch_is_read_in_turns(
    feeds: Feeds, clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "BATCH", 4)
    clinic.tell(FEED, *(clinic.person() for _ in range(10)))
    turns = [await feeds.drain(FEED) for _ in range(3)]
    assert [(turn.rows, turn.more) for turn in turns] == [(4, True), (4, True), (2, False)]
    assert len(clinic.rows(Patient)) == 10


async def test_a_message_that_is_not_understood_is_put_aside_and_holds_up_nothing(feeds: Feeds, clinic: Clinic) -> None:
    raw = Arrival(FEED, "C1", b"MSH|^~\\&|nonsense")
    with clinic.instance.inbox.write() as db:
        how = {"seal": clinic.instance.sealer, "index": clinic.instance.index, "now": clinic.now, "by": "system:feeds"}
        inbox.store(db, [raw], **how)  # type: ignore[arg-type]
    clinic.tell(FEED, clinic.visit(clinic.person()))
    await feeds.drain(FEED)
    assert counts(clinic) == {"stored": 0, "applied": 1, "quarantined": 1}


async def test_a_row_that_breaks_the_reader_is_put_aside_without_its_text(
    feeds: Feeds, clinic: Clinic, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = clinic.person()
    clinic.tell(FEED, clinic.person(family="Poison"), good)
    apply = change.apply

    def break_on_poison(db: Session, said: Change, **how: Any) -> object:
        if getattr(said, "family", "") == "Poison":
            raise RuntimeError("Poison, Ada, born 1980")
        return apply(db, said, **how)

    monkeypatch.setattr(change, "apply", break_on_poison)
    await feeds.drain(FEED)
    assert counts(clinic) == {"stored": 0, "applied": 1, "quarantined": 1}
    assert reasons(clinic) == {"defect": 1}
    logged = capsys.readouterr()
    assert "RuntimeError" in logged.out + logged.err
    assert "Poison" not in logged.out + logged.err


async def test_a_sealed_row_that_was_tampered_with_is_put_aside_alone(feeds: Feeds, clinic: Clinic) -> None:
    clinic.tell(FEED, clinic.person(), clinic.person())
    with clinic.instance.inbox.write() as db:
        row = inbox.pending(db, FEED)[0]
        row.sealed = row.sealed[:-1] + bytes([row.sealed[-1] ^ 1])
        db.add(row)
    await feeds.drain(FEED)
    assert reasons(clinic) == {"seal-broken": 1}
    assert counts(clinic)["applied"] == 1


async def test_a_change_that_comes_before_its_booking_waits_for_it(feeds: Feeds, clinic: Clinic) -> None:
    booked = clinic.visit(clinic.person())
    later = booked.starts_at + timedelta(days=2) if booked.starts_at else None
    moved = booked.model_copy(
        update={"creates": False, "patient": None, "starts_at": later, "version": clinic.version()}
    )
    clinic.tell(FEED, moved)
    await feeds.drain(FEED)
    clinic.later(minutes=5)
    await feeds.drain(FEED)
    assert counts(clinic)["applied"] == 0
    clinic.tell(FEED, booked)
    while (await feeds.drain(FEED)).more:
        pass
    assert counts(clinic) == {"stored": 0, "applied": 2, "quarantined": 0}
    (row,) = clinic.rows(Appointment)
    assert row.starts_at == later


async def test_what_never_matches_does_not_keep_the_flow_busy(feeds: Feeds, clinic: Clinic) -> None:
    lone = clinic.visit(None, creates=False)
    clinic.tell(FEED, lone)
    turns = 0
    while (await feeds.drain(FEED)).more:
        turns += 1
        assert turns < 5
    clinic.later(minutes=5)
    assert await feeds.drain(FEED) in {Drained(), Drained(1)}
    assert await feeds.drain(FEED) == Drained()
    assert reasons(clinic) == {"unmatched": 1}


async def test_a_crash_before_marking_loses_nothing_and_doubles_nothing(
    clinic: Clinic, env: WorkflowEnvironment
) -> None:
    clinic.tell(FEED, *(clinic.visit(clinic.person()) for _ in range(2)))
    await feeds_of(clinic, env.client).drain(FEED)
    visits = clinic.rows(Appointment)
    with clinic.instance.inbox.write() as db:  # as if the process had died before it marked them
        inbox.mark(db, [row.id for row in clinic_rows(db)], State.STORED)
    clinic.later(seconds=30)
    assert await feeds_of(clinic, env.client).drain(FEED) == Drained(2)
    assert clinic.rows(Appointment) == visits
    for visit in visits:  # the one that died may have told nobody, so they are told again
        assert await signals(env, visit.id) == ["changed", "changed"]


def clinic_rows(db: Session) -> list[inbox.InboxMessage]:
    return list(db.exec(select(inbox.InboxMessage)))


async def test_without_temporal_nothing_is_marked_and_all_is_told_later(
    clinic: Clinic, nobody: Client, env: WorkflowEnvironment
) -> None:
    clinic.tell(FEED, clinic.visit(clinic.person()))
    with pytest.raises(TemporalUnavailableError):
        await feeds_of(clinic, nobody).drain(FEED)
    assert counts(clinic)["stored"] == 1
    (visit,) = clinic.rows(Appointment)
    await feeds_of(clinic, env.client).drain(FEED)
    assert counts(clinic)["applied"] == 1
    assert await signals(env, visit.id) == ["changed"]


async def test_without_the_vault_the_rows_wait(feeds: Feeds, clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    clinic.tell(FEED, clinic.person())
    with monkeypatch.context() as away:
        away.setattr(clinic.instance.opener, "_vault", Vault(clinic.instance.paths.run / "nobody.sock"))
        with pytest.raises(VaultUnavailableError):
            await feeds.drain(FEED)
    assert counts(clinic)["stored"] == 1
    assert await feeds.drain(FEED) == Drained(1)


@pytest.mark.parametrize("how", ["told of the patient", "told of another visit", "merged"])
async def test_who_gets_another_number_has_the_visits_ahead_looked_at(
    feeds: Feeds, clinic: Clinic, env: WorkflowEnvironment, how: str
) -> None:
    person = clinic.person()
    (told,) = clinic.store(clinic.visit(person))
    assert told.appointment_id is not None
    moved = person.model_copy(update={"version": clinic.version(), "phones": (Phone(e164="+12125550199"),)})
    said: Change = moved
    if how == "told of another visit":
        said = clinic.visit(moved)
    if how == "merged":
        said = MergeFacts(survivor=clinic.person(), merged=person.ids, version=clinic.version())
    for expected in (["changed"], ["changed"]):
        clinic.tell(FEED, said)  # the second time it is there already
        await feeds.drain(FEED)
        assert await signals(env, told.appointment_id) == expected


async def test_who_is_told_again_as_before_has_no_visit_looked_at(
    feeds: Feeds, clinic: Clinic, env: WorkflowEnvironment
) -> None:
    await feeds.drain(FEED)  # what it finds first, it tells all of
    person = clinic.person()
    (told,) = clinic.store(clinic.visit(person))
    assert told.appointment_id is not None
    clinic.tell(FEED, person.model_copy(update={"version": clinic.version()}))
    await feeds.drain(FEED)
    assert await signals(env, told.appointment_id) == []


async def test_a_statement_about_part_of_a_patient_is_merged_with_the_rest(feeds: Feeds, clinic: Clinic) -> None:
    person = clinic.person()
    clinic.tell(FEED, person)
    await feeds.drain(FEED)
    changed = person.model_copy(
        update={"version": clinic.version(), "given": None, "birth_date": None, "phones": (), "family": "Newname"}
    )
    clinic.tell(FEED, changed)
    await feeds.drain(FEED)
    (row,) = clinic.rows(Patient)
    fields = clinic.open(patient.sealed_of(row))
    assert (fields["family"], fields["given"]) == ("Newname", "Ada")
    assert fields["phones"][0]["e164"] == PHONE


async def test_many_statements_about_one_patient_in_one_batch_are_all_merged(feeds: Feeds, clinic: Clinic) -> None:
    person = clinic.person()
    parts: list[Change] = [person]
    for word in ("One", "Two", "Three"):
        parts.append(
            person.model_copy(update={"version": clinic.version(), "given": word, "phones": (), "birth_date": None})
        )
    clinic.tell(FEED, *parts)
    await feeds.drain(FEED)
    assert counts(clinic) == {"stored": 0, "applied": 4, "quarantined": 0}
    (row,) = clinic.rows(Patient)
    assert clinic.open(patient.sealed_of(row))["given"] == "Three"


async def test_merges_and_requests_are_stored(feeds: Feeds, clinic: Clinic) -> None:
    first, second = clinic.person(), clinic.person()
    wish = RequestFacts(
        ids=(Identifier(system="urn:harbor:tasks", value="T1"),),
        version=clinic.version(),
        patient_ids=first.ids,
        kind="refill",
        status="open",
    )
    one = MergeFacts(survivor=second, merged=first.ids, version=clinic.version())
    clinic.tell(FEED, first, second, wish, one)
    await feeds.drain(FEED)
    assert counts(clinic)["applied"] == 4
    (asked,) = clinic.rows(ChartRequest)
    survivor = next(row for row in clinic.rows(Patient) if row.merged_into is None)
    assert asked.patient_id == survivor.id


async def test_a_connection_that_the_policy_dropped_is_read_no_more(feeds: Feeds) -> None:
    assert await feeds.drain("gone") == Drained(closed=True)


def test_a_number_of_a_patient_is_never_kept_in_clear(clinic: Clinic) -> None:
    clinic.tell(FEED, clinic.visit(clinic.person(), status=AppointmentStatus.BOOKED))
    for path in (clinic.instance.paths.inbox, clinic.instance.paths.db):
        assert PHONE.encode() not in path.read_bytes()
    assert MRN.value == ""
