"""The activities behind CallFlow, write-backs and texts: real rows, the real vault, a carrier and an EHR."""

import asyncio
import dataclasses
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import pytest
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment

from connectors.api import Identifier, RequestFacts, TransientError
from connectors.sandbox.carrier import Carrier
from hub.db import uuid7
from hub.outside import Outside
from hub.record import call, consent, recording, writeback
from hub.record.appointment import Appointment
from hub.record.call import Call, CallState
from hub.record.message import Message, MessageStatus
from hub.record.patient import Patient
from hub.record.recording import Recording, RecordingState
from hub.record.task import Task
from hub.record.writeback import Writeback
from hub.rules.matching import Match
from hub.rules.routing import Plan
from hub.temporal import CallStart, TextStart
from hub.vault.client import Vault, VaultUnavailableError
from tests.workflows.clinic import NOW, PATIENCE_S, PHONE, Clinic
from workflows.activities.call import Aftermath, Calls, NotYetError
from workflows.activities.herald import Herald
from workflows.activities.text import Texts

DID = "+12125550100"


def calls_of(clinic: Clinic, client: Client) -> Calls:
    instance = clinic.instance
    return Calls(instance, Outside(instance, {}, actor="system:workflows"), Herald(instance, client), client)


@pytest.fixture
def calls(clinic: Clinic, nobody: Client, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The activities for a caller who waits for as long as a busy machine takes."""
    monkeypatch.setattr("workflows.activities.call.VAULT_S", PATIENCE_S)
    return calls_of(clinic, nobody)


@pytest.fixture
def texts(clinic: Clinic) -> Texts:
    return Texts(clinic.instance, Outside(clinic.instance, {}, actor="system:workflows"))


def start_of(patients: Sequence[UUID], match: str = "one") -> CallStart:
    return CallStart(str(uuid7()), DID, match, tuple(map(str, patients)))


def patient_of(clinic: Clinic, visit: UUID) -> UUID:
    return next(row.patient_id for row in clinic.rows(Appointment) if row.id == visit)


def rung(clinic: Clinic, patients: tuple[UUID, ...], *, path: str | None = None, number: str = PHONE) -> UUID:
    """Let a call have come in and, with `path`, have ended."""
    call_id, instance = uuid7(), clinic.instance
    kind = "one" if len(patients) == 1 else "none"
    with instance.db.write() as db:
        call.ring(
            db,
            call_id,
            did=DID,
            trunk="line",
            host="media-1",
            number=number,
            name=None,
            match=Match(kind, patients),  # type: ignore[arg-type]
            seal=instance.sealer,
            index=instance.index,
            now=clinic.now,
        )
        if path is not None:
            call.ended(db, call_id, "caller", clinic.now, path=path)
    return call_id


async def wound_up(calls: Calls, call_id: UUID, *, attempt: int = 1) -> Aftermath:
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, attempt=attempt)
    left: Aftermath = await environment.run(calls.wind_up, str(call_id))
    return left


def tasks(clinic: Clinic) -> list[tuple[str, str]]:
    return [(row.kind, row.reason) for row in clinic.rows(Task)]


async def test_a_visit_within_a_day_goes_to_appointments_first(calls: Calls, clinic: Clinic) -> None:
    soon = clinic.book(starts_at=NOW + timedelta(hours=20))
    plan = calls.route(start_of([patient_of(clinic, soon)]))
    assert (plan.queue, plan.priority, plan.rule) == ("appointments", 10, "within-a-day")
    assert "patient.appointments.hours_until" in plan.reads
    assert plan.source == "workflow"


async def test_an_open_refill_and_spanish_are_seen(calls: Calls, clinic: Clinic) -> None:
    person = clinic.person(language="es-MX")
    wish = RequestFacts(
        ids=(Identifier(system="urn:harbor:tasks", value="T1"),),
        version=clinic.version(),
        patient_ids=person.ids,
        kind="refill",
        status="open",
    )
    clinic.store(person, wish)
    plan = calls.route(start_of([clinic.rows(Patient)[0].id]))
    assert (plan.queue, plan.language, plan.fired) == ("refills", "es", ("open-refill", "spanish"))


@pytest.mark.parametrize("match", ["none", "many", "restricted"])
async def test_nobody_is_looked_up_who_is_not_surely_one(
    calls: Calls, clinic: Clinic, match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = clinic.book(starts_at=NOW + timedelta(hours=20))
    monkeypatch.setattr(clinic.instance.opener, "_vault", Vault(clinic.instance.paths.run / "nobody.sock"))
    patients = [] if match == "none" else [patient_of(clinic, soon)] * (2 if match == "many" else 1)
    plan = calls.route(start_of(patients, match))
    assert (plan.queue, plan.rule) == ("appointments", "default")


async def test_without_the_vault_the_plan_fails_fast(
    calls: Calls, clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = clinic.book(starts_at=NOW + timedelta(hours=20))
    monkeypatch.setattr(clinic.instance.opener, "_vault", Vault(clinic.instance.paths.run / "nobody.sock"))
    with pytest.raises(VaultUnavailableError):
        async with asyncio.timeout(PATIENCE_S / 2):
            await asyncio.to_thread(calls.route, start_of([patient_of(clinic, soon)]))


async def test_a_restricted_chart_is_not_read(calls: Calls, clinic: Clinic) -> None:
    soon = clinic.book(starts_at=NOW + timedelta(hours=20))
    owner = patient_of(clinic, soon)
    with clinic.instance.db.write() as db:
        from hub.record import patient

        patient.restrict(db, owner, True, by="staff", now=clinic.now)
    assert calls.route(start_of([owner])).rule == "default"


async def test_a_type_of_visit_is_opened_only_for_a_route_that_reads_it(calls: Calls, clinic: Clinic) -> None:
    soon = clinic.book(starts_at=NOW + timedelta(hours=30), type="Checkup")
    clinic.amend("a.hours_until < 24", "a.type == 'Checkup'")
    plan = calls.route(start_of([patient_of(clinic, soon)]))
    assert (plan.rule, plan.queue) == ("within-a-day", "appointments")


async def test_a_new_policy_routes_the_next_call(calls: Calls, clinic: Clinic) -> None:
    soon = clinic.book(starts_at=NOW + timedelta(hours=20))
    start = start_of([patient_of(clinic, soon)])
    assert calls.route(start).policy == 1
    clinic.amend("a.hours_until < 24", "a.hours_until < 2")
    plan = calls.route(start)
    assert (plan.policy, plan.rule) == (2, "default")


async def test_a_call_that_ended_is_noted_for_the_chart_once(calls: Calls, clinic: Clinic) -> None:
    owner = patient_of(clinic, clinic.book())
    call_id = rung(clinic, (owner,), path=call.ANSWERED)
    left = await wound_up(calls, call_id)
    assert await wound_up(calls, call_id) == left
    (row,) = clinic.rows(Writeback)
    assert (left.writebacks, row.kind, row.object_id) == ((str(row.id),), "log", call_id)
    with clinic.instance.db.write() as db:
        writeback.done(db, row.id, clinic.now)
    assert await wound_up(calls, call_id) == Aftermath()


async def test_a_call_from_nobody_we_know_leaves_no_note_in_a_chart(calls: Calls, clinic: Clinic) -> None:
    assert await wound_up(calls, rung(clinic, (), path=call.ANSWERED)) == Aftermath()


async def test_winding_up_waits_until_the_row_says_that_the_call_is_over(calls: Calls, clinic: Clinic) -> None:
    call_id = rung(clinic, ())
    with pytest.raises(NotYetError):
        await wound_up(calls, call_id)
    clinic.later(hours=5)
    await wound_up(calls, call_id)
    (row,) = clinic.rows(Call)
    assert (row.state, row.cause) == (CallState.ENDED, "system")


async def test_a_call_whose_row_never_comes_is_given_up(calls: Calls) -> None:
    with pytest.raises(NotYetError):
        await wound_up(calls, uuid7())
    assert await wound_up(calls, uuid7(), attempt=13) == Aftermath()


async def test_a_recording_that_nobody_closed_is_written_off_after_a_while(calls: Calls, clinic: Clinic) -> None:
    owner = patient_of(clinic, clinic.book())
    call_id = rung(clinic, (owner,), path=call.ANSWERED)
    with clinic.instance.db.write() as db:
        recording.begin(db, uuid7(), call_id=call_id, subject=owner, lane_id=b"l" * 16, name="r.seal", now=clinic.now)
    await wound_up(calls, call_id)
    assert clinic.rows(Recording)[0].state is RecordingState.RUNNING
    clinic.later(minutes=11)
    await wound_up(calls, call_id)
    assert clinic.rows(Recording)[0].state is RecordingState.LOST


@pytest.mark.parametrize(
    ("path", "texted"), [(call.ABANDONED, True), (call.MISSED, True), (call.ANSWERED, False), (call.VOICEMAIL, False)]
)
async def test_only_a_caller_whom_nobody_served_gets_a_text(
    clinic: Clinic, env: WorkflowEnvironment, path: str, texted: bool
) -> None:
    call_id = rung(clinic, (patient_of(clinic, clinic.book()),), path=path)
    await wound_up(calls_of(clinic, env.client), call_id)
    flow = env.client.get_workflow_handle(f"text-missed-call-{call_id}")
    if texted:
        assert (await flow.describe()).workflow_type == "TextFlow"
    else:
        with pytest.raises(RPCError):
            await flow.describe()


async def test_nobody_is_texted_about_a_call_of_hours_ago(clinic: Clinic, env: WorkflowEnvironment) -> None:
    call_id = rung(clinic, (patient_of(clinic, clinic.book()),), path=call.MISSED)
    clinic.later(hours=2)
    await wound_up(calls_of(clinic, env.client), call_id)
    assert clinic.rows(Call)[0].wound_up_at == clinic.now
    with pytest.raises(RPCError):
        await env.client.get_workflow_handle(f"text-missed-call-{call_id}").describe()


class TestMissedCallText:
    async def test_it_goes_to_the_number_that_called_once(self, texts: Texts, clinic: Clinic, carrier: Carrier) -> None:
        start = self.start(clinic)
        assert [await texts.send(start) for _ in range(2)] == ["sent", "sent"]
        (sent,) = carrier.texts
        assert (sent.to, sent.sender) == (PHONE, DID)
        assert sent.text.startswith("Harbor Family Medicine: sorry we missed your call.")
        assert clinic.rows(Message)[0].program == "missed-call"

    async def test_a_number_gets_one_a_day(self, texts: Texts, clinic: Clinic, carrier: Carrier) -> None:
        assert await texts.send(self.start(clinic)) == "sent"
        clinic.later(hours=2)
        assert await texts.send(self.start(clinic)) == "dropped"
        clinic.later(days=1)
        assert await texts.send(self.start(clinic)) == "sent"
        assert len(carrier.texts) == 2

    async def test_a_day_is_one_of_the_patients_calendar(self, texts: Texts, clinic: Clinic, carrier: Carrier) -> None:
        clinic.later(hours=14)  # past midnight at the practice, 19:00 in Hawaii
        clinic.store(clinic.visit(clinic.person(state="HI", postal_code="96801")))
        assert await texts.send(self.start(clinic)) == "sent"
        clinic.later(hours=14)  # the same day at the practice, the next one there
        assert await texts.send(self.start(clinic)) == "sent"
        assert len(carrier.texts) == 2

    async def test_it_respects_an_opt_out(self, texts: Texts, clinic: Clinic, carrier: Carrier) -> None:
        with clinic.instance.db.write() as db:
            consent.stop(db, clinic.instance.index.phone(PHONE), consent.ALL, clinic.now)
        assert await texts.send(self.start(clinic)) == "dropped"
        assert carrier.texts == []

    async def test_it_is_dropped_at_night(self, texts: Texts, clinic: Clinic, carrier: Carrier) -> None:
        clinic.later(hours=12)
        assert await texts.send(self.start(clinic)) == "dropped"
        assert carrier.texts == []

    async def test_a_caller_who_is_nobody_we_know_gets_none(self, texts: Texts, clinic: Clinic) -> None:
        start = TextStart("missed-call", str(rung(clinic, (), path=call.MISSED)), "sms")
        assert await texts.send(start) == "dropped"

    async def test_a_carrier_that_did_not_take_it_is_asked_again(
        self, texts: Texts, clinic: Clinic, carrier: Carrier
    ) -> None:
        start = self.start(clinic)
        carrier.faults.append("error")
        with pytest.raises(TransientError):
            await texts.send(start)
        assert await texts.send(start) == "sent"
        assert len(carrier.texts) == 1

    async def test_an_unknown_outcome_goes_to_staff(self, texts: Texts, clinic: Clinic, carrier: Carrier) -> None:
        start = self.start(clinic)
        carrier.faults.append("drop")
        assert [await texts.send(start) for _ in range(2)] == ["unknown", "unknown"]
        assert (len(carrier.texts), tasks(clinic)) == (1, [("outcome", "unknown-outcome")])

    async def test_a_crash_while_sending_goes_to_staff(self, texts: Texts, clinic: Clinic, carrier: Carrier) -> None:
        start = self.start(clinic)
        assert await texts.send(start) == "sent"
        with clinic.instance.db.write() as db:  # as far as the one that died had come
            row = db.get_one(Message, clinic.rows(Message)[0].id)
            row.status, row.external_id = MessageStatus.SENDING, None
            db.add(row)
        assert await texts.send(start) == "unknown"
        assert (len(carrier.texts), tasks(clinic)) == (1, [("outcome", "crashed")])

    async def test_one_that_could_not_be_sent_is_left_to_staff(self, texts: Texts, clinic: Clinic) -> None:
        texts.give_up(self.start(clinic))
        assert tasks(clinic) == [("outcome", "gave-up")]

    @staticmethod
    def start(clinic: Clinic) -> TextStart:
        patients = clinic.rows(Patient)
        owner = patients[0].id if patients else patient_of(clinic, clinic.book())
        return TextStart("missed-call", str(rung(clinic, (owner,), path=call.MISSED)), "sms")


def test_a_plan_names_nobody(calls: Calls, clinic: Clinic) -> None:
    soon = clinic.book(starts_at=NOW + timedelta(hours=20))
    plan: Plan = calls.route(start_of([patient_of(clinic, soon)]))
    assert not any(word in plan.model_dump_json() for word in ("Sample", "Ada", PHONE, "1980"))
