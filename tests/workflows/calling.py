"""What the tests of reminders that are called share; a test says what the media process would write."""

import asyncio
from datetime import timedelta
from uuid import UUID

from connectors.api import LANDLINE, AppointmentFacts
from hub.record import message, voice
from hub.record.appointment import Appointment
from hub.record.message import MessageStatus
from hub.record.voice import CallStage, Outcome, ReminderCall
from tests.workflows.clinic import Clinic
from tests.workflows.feeding import remember
from workflows.activities.appointment import Appointments
from workflows.activities.visit import StepDue
from workflows.activities.voice import Called, Voices

MEDIA = "media-test"


def landline(clinic: Clinic, said: AppointmentFacts | None = None) -> UUID:
    """Book a visit of somebody whose number takes no texts, as a carrier said weeks ago; return its id."""
    clinic.store(said or clinic.visit(clinic.person()))
    (visit,) = clinic.rows(Appointment)
    text = remember(clinic, visit)
    with clinic.instance.db.write() as db:
        message.progress(db, text, MessageStatus.UNDELIVERED, clinic.now, code=LANDLINE)
    return visit.id


def come(desk: Appointments, clinic: Clinic, visit: UUID) -> StepDue:
    """Let the time of the next step come, which is to be called."""
    planned = desk.next_step(str(visit))
    assert planned.voice
    assert planned.name is not None
    clinic.later(seconds=planned.wait_s)
    return StepDue(str(visit), planned.name)


async def asked(clinic: Clinic, calls: int = 1) -> ReminderCall:
    """Wait until a call waits for a line."""
    async with asyncio.timeout(30):
        while True:
            rows = clinic.rows(ReminderCall)
            if len(rows) >= calls and rows[-1].stage is CallStage.WAITING:
                return rows[-1]
            await asyncio.sleep(0.02)


def dial(clinic: Clinic, row: ReminderCall) -> None:
    with clinic.instance.db.write() as db:
        assert voice.claim(db, row.id, MEDIA, clinic.now) is not None


def move(clinic: Clinic, said: AppointmentFacts) -> None:
    """Let the EHR tell that a visit is a day later."""
    assert said.starts_at is not None
    later = said.starts_at + timedelta(days=1)
    clinic.store(said.model_copy(update={"starts_at": later, "version": clinic.version()}))


async def made(voices: Voices, clinic: Clinic, step: StepDue, outcome: Outcome, calls: int = 1, **how: str) -> Called:
    """Ask for the call and let it come to something."""
    calling = asyncio.create_task(voices.call(step))
    row = await asked(clinic, calls)
    dial(clinic, row)
    with clinic.instance.db.write() as db:
        if outcome in {Outcome.CONFIRMED, Outcome.RESCHEDULE, Outcome.STOPPED}:
            voice.heard(db, row.id, outcome, clinic.now)
        voice.over(db, row.id, outcome, clinic.now, **how)
    return await calling
