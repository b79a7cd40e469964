"""What the tests of reminders ask: the activities, the texts that left, the rows."""

import asyncio
from uuid import UUID
from zoneinfo import ZoneInfo

from temporalio.client import Client

from connectors.sandbox.carrier import Carrier
from hub.outside import Outside
from hub.record.reminder import Reminder
from hub.record.task import Task
from tests.workflows.clinic import Clinic
from workflows.activities.appointment import Appointments
from workflows.activities.herald import Herald
from workflows.activities.visit import StepDue

FIRST, SECOND, LAST = "visit-3d", "visit-1d", "visit-2h"
NEW_YORK = ZoneInfo("America/New_York")


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
