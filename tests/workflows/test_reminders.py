"""The activities behind AppointmentFlow: real rows, the real vault, a real carrier."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from temporalio.testing import WorkflowEnvironment

from connectors.api import AppointmentStatus
from connectors.sandbox.carrier import Carrier
from hub.record import consent, message
from hub.record.event import Delivery, Event
from hub.record.message import Message, MessageStatus
from hub.record.reminder import Reminder
from tests.workflows.clinic import NOW, PHONE, Clinic
from tests.workflows.reminding import FIRST, LAST, NEW_YORK, SECOND, desk_of, due, states, texts
from workflows.activities.appointment import Appointments
from workflows.activities.visit import HELD, StepDue


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
