"""What patients answer to reminders, recorded and written back: the activities behind AppointmentFlow."""

from datetime import timedelta

import pytest

from connectors.api import AppointmentFacts, AppointmentStatus
from hub.record import writeback
from hub.record.appointment import Appointment
from hub.record.event import Event
from hub.record.writeback import Writeback
from tests.workflows.clinic import Clinic
from tests.workflows.reminding import FIRST, tasks
from workflows.activities.appointment import Answer, Appointments


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
