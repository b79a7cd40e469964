"""The activities behind AppointmentFlow: real rows, the real vault, a real carrier."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlmodel import Session
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from connectors.api import AppointmentFacts, AppointmentStatus, RejectedError, TransientError
from connectors.sandbox.carrier import Carrier, Fault
from hub.outside import Outside
from hub.record import appointment, consent, message, reminder, writeback
from hub.record.appointment import Appointment
from hub.record.event import Delivery, Event
from hub.record.message import Message, MessageStatus
from hub.record.reminder import Reminder, ReminderState
from hub.record.task import Task
from hub.record.writeback import Writeback
from hub.vault.client import Vault, VaultUnavailableError
from tests.workflows.clinic import NOW, PHONE, Clinic
from workflows.activities.appointment import HELD, Answer, Appointments, StepDue
from workflows.activities.herald import Herald

FIRST, SECOND, LAST = "visit-3d", "visit-1d", "visit-2h"
NEW_YORK = ZoneInfo("America/New_York")


@pytest.fixture
def desk(clinic: Clinic, nobody: Client) -> Appointments:
    return desk_of(clinic, nobody)


def desk_of(clinic: Clinic, client: Client) -> Appointments:
    instance = clinic.instance
    return Appointments(instance, Outside(instance, {}, actor="system:workflows"), Herald(instance, client))


def texts(carrier: Carrier) -> list[str]:
    return [text.text for text in carrier.texts if not text.inbound]


def states(clinic: Clinic) -> list[tuple[str, str, str]]:
    rows = sorted(clinic.rows(Reminder), key=lambda row: (row.starts_at, row.due_at))
    return [(row.step, str(row.state), row.reason) for row in rows]


def tasks(clinic: Clinic) -> list[tuple[str, str]]:
    return [(row.kind, row.reason) for row in clinic.rows(Task)]


async def due(desk: Appointments, clinic: Clinic, visit: UUID, step: str) -> str:
    """Let the step's time come, as the flow would, and take it."""
    planned = await asyncio.to_thread(desk.next_step, str(visit))
    clinic.later(seconds=planned.wait_s)
    assert planned.name == step
    return await desk.remind(StepDue(str(visit), step))


async def test_the_next_step_is_planned_in_its_row(desk: Appointments, clinic: Clinic) -> None:
    visit = clinic.book()
    planned = desk.next_step(str(visit))
    assert (planned.end, planned.name, planned.carrier) == (None, FIRST, "sms")
    assert timedelta(seconds=planned.wait_s) == timedelta(days=7)
    assert states(clinic) == [(FIRST, "planned", "")]
    assert desk.next_step(str(visit)) == planned
    assert len(clinic.rows(Reminder)) == 1


async def test_a_reminder_is_sent_once_recorded_and_told(
    clinic: Clinic, carrier: Carrier, env: WorkflowEnvironment
) -> None:
    desk = desk_of(clinic, env.client)
    visit = clinic.book()
    assert await due(desk, clinic, visit, FIRST) == "sent"
    assert await desk.remind(StepDue(str(visit), FIRST)) == "sent"
    assert texts(carrier) == [
        "Harbor Family Medicine: your visit is Thursday, March 12 at 11:00 AM."
        " Reply C to confirm, R to reschedule, STOP to end."
    ]
    (sent,) = clinic.rows(Message)
    assert (sent.status, sent.program, sent.appointment_id) == (MessageStatus.ACCEPTED, "reminder", visit)
    assert sent.external_id == carrier.texts[0].id
    assert clinic.open(message.sealed_of(sent))["number"] == PHONE
    (told,) = clinic.rows(Event)
    assert told.type == "reminder.sent"
    (delivery,) = clinic.rows(Delivery)
    flow = env.client.get_workflow_handle(f"delivery-{told.id}-{str(delivery.id)[-12:]}")
    assert (await flow.describe()).workflow_type == "DeliveryFlow"


async def test_every_step_is_taken_and_then_the_visit_is_waited_for(
    desk: Appointments, clinic: Clinic, carrier: Carrier
) -> None:
    visit = clinic.book()
    for step in (FIRST, SECOND, LAST):
        assert await due(desk, clinic, visit, step) == "sent"
    waiting = desk.next_step(str(visit))
    assert (waiting.end, waiting.name) == (None, None)
    clinic.later(seconds=waiting.wait_s)
    assert desk.next_step(str(visit)).end == "over"
    assert len(texts(carrier)) == 3


async def test_the_patients_language_and_clock_are_used(desk: Appointments, clinic: Clinic, carrier: Carrier) -> None:
    person = clinic.person(language="es", state="CA", postal_code="94110")
    (told,) = clinic.store(clinic.visit(person, starts_at=datetime(2026, 3, 12, 16, 30, tzinfo=UTC)))
    assert told.appointment_id is not None
    planned = desk.next_step(str(told.appointment_id))
    # Three days before 9:30 in California is 9:30 there, over the change to summer time of March 8.
    assert clinic.now + timedelta(seconds=planned.wait_s) == datetime(2026, 3, 9, 16, 30, tzinfo=UTC)
    assert await due(desk, clinic, told.appointment_id, FIRST) == "sent"
    assert "jueves 12 de marzo" in texts(carrier)[0]


async def test_a_step_is_held_before_its_time(desk: Appointments, clinic: Clinic, carrier: Carrier) -> None:
    visit = clinic.book()
    assert await desk.remind(StepDue(str(visit), FIRST)) == HELD
    assert texts(carrier) == []


async def test_nothing_goes_out_after_a_cancel_that_came_at_the_last_moment(
    desk: Appointments, clinic: Clinic, carrier: Carrier
) -> None:
    said = clinic.visit(clinic.person())
    (told,) = clinic.store(said)
    visit = told.appointment_id
    assert visit is not None
    clinic.later(seconds=desk.next_step(str(visit)).wait_s)
    clinic.store(said.model_copy(update={"status": AppointmentStatus.CANCELLED, "version": clinic.version()}))
    assert await desk.remind(StepDue(str(visit), FIRST)) == HELD
    assert desk.next_step(str(visit)).end == "gone"
    assert states(clinic) == [(FIRST, "skipped", "not-booked")]
    assert texts(carrier) == []


async def test_an_opt_out_holds_from_the_moment_it_is_stored(
    desk: Appointments, clinic: Clinic, carrier: Carrier
) -> None:
    visit = clinic.book()
    clinic.later(seconds=desk.next_step(str(visit)).wait_s)
    with clinic.instance.db.write() as db:
        consent.stop(db, clinic.instance.index.phone(PHONE), consent.ALL, clinic.now)
    assert await desk.remind(StepDue(str(visit), FIRST)) == HELD
    assert states(clinic) == [(FIRST, "skipped", "opted-out")]
    assert texts(carrier) == []


@pytest.mark.parametrize(
    ("changed", "reason"), [({"deceased": True}, "deceased"), ({"cleared": frozenset({"phones"})}, "no-number")]
)
async def test_nobody_is_reminded_who_cannot_be(
    desk: Appointments, clinic: Clinic, carrier: Carrier, changed: dict[str, object], reason: str
) -> None:
    person = clinic.person()
    (told,) = clinic.store(clinic.visit(person))
    clinic.later(seconds=desk.next_step(str(told.appointment_id)).wait_s)
    clinic.store(person.model_copy(update={"version": clinic.version(), "phones": (), **changed}))
    assert await desk.remind(StepDue(str(told.appointment_id), FIRST)) == HELD
    assert desk.next_step(str(told.appointment_id)).name is None
    assert states(clinic) == [(FIRST, "skipped", reason)]
    assert texts(carrier) == []


async def test_two_of_one_family_get_one_text_a_day(desk: Appointments, clinic: Clinic, carrier: Carrier) -> None:
    first, second = clinic.book(), clinic.book()
    clinic.later(seconds=desk.next_step(str(first)).wait_s)
    desk.next_step(str(second))
    assert await desk.remind(StepDue(str(first), FIRST)) == "sent"
    assert await desk.remind(StepDue(str(second), FIRST)) == HELD
    later = desk.next_step(str(second))
    assert timedelta(hours=12) < timedelta(seconds=later.wait_s) < timedelta(hours=24)
    assert len(texts(carrier)) == 1


async def test_a_moved_visit_moves_its_reminders(desk: Appointments, clinic: Clinic, carrier: Carrier) -> None:
    said = clinic.visit(clinic.person())
    (told,) = clinic.store(said)
    visit = str(told.appointment_id)
    assert await due(desk, clinic, UUID(visit), FIRST) == "sent"
    desk.next_step(visit)
    later = said.starts_at + timedelta(days=30) if said.starts_at else None
    clinic.store(said.model_copy(update={"starts_at": later, "version": clinic.version()}))
    assert desk.next_step(visit).name == FIRST
    assert [(step, state, why) for step, state, why in states(clinic)] == [
        (FIRST, "sent", ""),
        (SECOND, "skipped", "moved"),
        (FIRST, "planned", ""),
    ]
    assert len(texts(carrier)) == 1


@pytest.mark.parametrize(
    ("off", "on"),
    [
        ({"status": AppointmentStatus.CANCELLED}, {"status": AppointmentStatus.BOOKED}),
        ({"starts_at": NOW + timedelta(days=20)}, {"starts_at": NOW + timedelta(days=10)}),
    ],
)
async def test_a_visit_that_comes_back_in_time_gets_every_step_that_is_still_to_come(
    desk: Appointments, clinic: Clinic, carrier: Carrier, off: dict[str, object], on: dict[str, object]
) -> None:
    said = clinic.visit(clinic.person())
    (told,) = clinic.store(said)
    visit = told.appointment_id
    assert visit is not None
    for change in (off, on):
        desk.next_step(str(visit))
        clinic.later(hours=1)
        clinic.store(said.model_copy(update={**change, "version": clinic.version()}))
    for step in (FIRST, SECOND, LAST):
        assert await due(desk, clinic, visit, step) == "sent"
    assert len(texts(carrier)) == 3


async def test_what_fell_due_while_a_visit_was_off_is_not_made_up_for(
    desk: Appointments, clinic: Clinic, carrier: Carrier
) -> None:
    said = clinic.visit(clinic.person())
    (told,) = clinic.store(said)
    visit = told.appointment_id
    assert visit is not None
    assert await due(desk, clinic, visit, FIRST) == "sent"
    clinic.store(said.model_copy(update={"status": AppointmentStatus.CANCELLED, "version": clinic.version()}))
    assert desk.next_step(str(visit)).end == "gone"
    clinic.later(days=2, hours=1)
    clinic.store(said.model_copy(update={"version": clinic.version()}))
    assert await due(desk, clinic, visit, LAST) == "sent"
    assert len(texts(carrier)) == 2


async def test_what_fell_due_while_texts_were_stopped_is_not_made_up_for(
    desk: Appointments, clinic: Clinic, carrier: Carrier
) -> None:
    visit, key = clinic.book(), clinic.instance.index.phone(PHONE)
    assert await due(desk, clinic, visit, FIRST) == "sent"
    with clinic.instance.db.write() as db:
        consent.stop(db, key, consent.ALL, clinic.now)
    assert desk.next_step(str(visit)).name is None
    clinic.later(days=2, hours=1)
    with clinic.instance.db.write() as db:
        consent.start(db, key, consent.ALL, clinic.now)
    assert await due(desk, clinic, visit, LAST) == "sent"
    assert len(texts(carrier)) == 2


@pytest.mark.parametrize(
    ("state", "hour"),
    [("AZ", 9 + 2), ("AK", 9 + 4), ("FL", 9)],  # on the practice's clock; Florida has that one, among others
)
async def test_a_state_with_two_clocks_has_the_one_of_most_people(
    desk: Appointments, clinic: Clinic, carrier: Carrier, state: str, hour: int
) -> None:
    starts_at = datetime(2026, 3, 7, 7, tzinfo=NEW_YORK)
    (told,) = clinic.store(clinic.visit(clinic.person(state=state, postal_code=None), starts_at=starts_at))
    assert told.appointment_id is not None
    assert await due(desk, clinic, told.appointment_id, FIRST) == "sent"
    assert clinic.now.astimezone(NEW_YORK).hour == hour
    assert len(texts(carrier)) == 1


async def test_a_visit_booked_late_gets_no_burst(desk: Appointments, clinic: Clinic, carrier: Carrier) -> None:
    visit = clinic.book(starts_at=clinic.now + timedelta(hours=5))
    assert await due(desk, clinic, visit, LAST) == "sent"
    assert desk.next_step(str(visit)).name is None
    assert len(texts(carrier)) == 1


async def test_a_carrier_that_did_not_take_it_leaves_the_step_planned(
    desk: Appointments, clinic: Clinic, carrier: Carrier
) -> None:
    visit = clinic.book()
    carrier.faults.extend(["error", "busy"])
    with pytest.raises(TransientError):
        await due(desk, clinic, visit, FIRST)
    assert states(clinic) == [(FIRST, "planned", "")]
    with pytest.raises(Exception, match="pause") as caught:
        await desk.remind(StepDue(str(visit), FIRST))
    assert caught.value.retry  # type: ignore[attr-defined]
    assert await desk.remind(StepDue(str(visit), FIRST)) == "sent"
    assert len(texts(carrier)) == 1
    assert [row.status for row in clinic.rows(Message)] == ["failed", "failed", "accepted"]


@pytest.mark.parametrize("fault", ["drop"])
async def test_an_unknown_outcome_goes_to_staff_and_is_not_sent_again(
    desk: Appointments, clinic: Clinic, carrier: Carrier, fault: Fault
) -> None:
    visit = clinic.book()
    carrier.faults.append(fault)
    assert await due(desk, clinic, visit, FIRST) == "unknown"
    assert await desk.remind(StepDue(str(visit), FIRST)) == "unknown"
    assert desk.next_step(str(visit)).name == SECOND
    assert len(texts(carrier)) == 1
    assert (states(clinic)[0], tasks(clinic)) == (
        (FIRST, "unknown", "unknown-outcome"),
        [("outcome", "unknown-outcome")],
    )
    assert clinic.rows(Message)[0].status is MessageStatus.UNKNOWN


async def test_a_crash_between_recording_and_sending_goes_to_staff(
    desk: Appointments, clinic: Clinic, carrier: Carrier
) -> None:
    visit = clinic.book()
    clinic.later(seconds=desk.next_step(str(visit)).wait_s)
    (planned,) = clinic.rows(Reminder)
    with clinic.instance.db.write() as db:  # as far as the one that died had come
        reminder.attempt(db, planned.id, None, clinic.now)
    assert await desk.remind(StepDue(str(visit), FIRST)) == "unknown"
    assert (states(clinic), tasks(clinic)) == ([(FIRST, "unknown", "crashed")], [("outcome", "crashed")])
    assert texts(carrier) == []


async def test_a_text_that_the_carrier_refuses_is_given_up(
    desk: Appointments, clinic: Clinic, carrier: Carrier
) -> None:
    visit = clinic.book()
    clinic.amend('[[number]]\ndid = "+12125550100"\nqueue = "appointments"\n', "")  # then nobody is the sender
    assert await due(desk, clinic, visit, FIRST) == "failed"
    assert states(clinic) == [(FIRST, "failed", RejectedError.code)]
    assert tasks(clinic) == [("outcome", RejectedError.code)]
    assert texts(carrier) == []


async def test_without_an_agreement_no_text_leaves(desk: Appointments, clinic: Clinic) -> None:
    visit = clinic.book()
    clinic.amend(f"http://127.0.0.1:{clinic.ports['carrier']}", "https://sms.example.org")
    assert await due(desk, clinic, visit, FIRST) == "skipped"
    assert states(clinic) == [(FIRST, "skipped", "no-agreement")]
    assert tasks(clinic) == [("outcome", "no-agreement")]
    assert clinic.rows(Message) == []


async def test_without_the_vault_nothing_is_planned_and_nothing_sent(
    desk: Appointments, clinic: Clinic, carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    visit = clinic.book()
    clinic.later(seconds=desk.next_step(str(visit)).wait_s)
    away = Vault(clinic.instance.paths.run / "nobody.sock")
    monkeypatch.setattr(clinic.instance.opener, "_vault", away)
    with pytest.raises(VaultUnavailableError):
        desk.next_step(str(visit))
    with pytest.raises(VaultUnavailableError):
        await desk.remind(StepDue(str(visit), FIRST))
    assert states(clinic) == [(FIRST, "planned", "")]
    assert texts(carrier) == []


async def test_a_visit_that_is_not_there_ends_its_flow(desk: Appointments) -> None:
    nobody = "01980000-0000-7000-8000-000000000000"
    assert desk.next_step(nobody).end == "gone"
    assert await desk.take_answer(Answer(nobody, "confirm")) is None


async def test_a_confirmation_is_recorded_told_and_written_back_once(desk: Appointments, clinic: Clinic) -> None:
    visit = clinic.book()
    first = await desk.take_answer(Answer(str(visit), "confirm"))
    assert await desk.take_answer(Answer(str(visit), "confirm")) == first
    (write,) = clinic.rows(Writeback)
    assert (str(write.id), write.connection, write.to) == (first, "ehr", "confirmed")
    (row,) = clinic.rows(Appointment)
    assert row.confirmed_at == clinic.now
    assert [event.type for event in clinic.rows(Event)] == ["reminder.answered"]
    with clinic.instance.db.write() as db:
        writeback.done(db, write.id, clinic.now)
    assert await desk.take_answer(Answer(str(visit), "confirm")) is None
    assert desk.next_step(str(visit)).name is None


@pytest.mark.parametrize(
    ("changed", "kind", "asked"),
    [
        ({}, "reschedule", ("reschedule", "reschedule")),
        ({"status": AppointmentStatus.CANCELLED}, "confirm", ("reply", "confirm")),
    ],
)
async def test_what_the_patient_wants_otherwise_is_a_task(
    desk: Appointments, clinic: Clinic, changed: dict[str, object], kind: str, asked: tuple[str, str]
) -> None:
    said: AppointmentFacts = clinic.visit(clinic.person())
    (told,) = clinic.store(said)
    if changed:
        clinic.store(said.model_copy(update={"version": clinic.version(), **changed}))
    for _ in range(2):
        assert await desk.take_answer(Answer(str(told.appointment_id), kind)) is None
    assert tasks(clinic) == [asked]
    assert clinic.rows(Writeback) == []


async def test_a_moved_visit_takes_the_confirmation_back(desk: Appointments, clinic: Clinic) -> None:
    said = clinic.visit(clinic.person())
    (told,) = clinic.store(said)
    await desk.take_answer(Answer(str(told.appointment_id), "confirm"))
    later = said.starts_at + timedelta(days=3) if said.starts_at else None
    clinic.store(said.model_copy(update={"starts_at": later, "version": clinic.version()}))
    assert desk.next_step(str(told.appointment_id)).name == FIRST


def test_the_row_never_leaves_a_final_state(clinic: Clinic) -> None:
    visit = clinic.book()

    def settled(db: Session) -> Sequence[Reminder]:
        row = reminder.plan(db, visit, clinic.now, FIRST, clinic.now)
        assert reminder.attempt(db, row.id, None, clinic.now)
        reminder.released(db, row.id)
        assert reminder.attempt(db, row.id, None, clinic.now)
        reminder.sent(db, row.id, clinic.now)
        reminder.released(db, row.id)
        return reminder.of_appointment(db, visit)

    with clinic.instance.db.write() as db:
        (row,) = settled(db)
    assert row.state is ReminderState.SENT
    assert appointment.sealed_of(clinic.rows(Appointment)[0]).blob
