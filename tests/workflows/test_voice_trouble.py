"""Calls about reminders that reach nobody, find no line, or lose their worker or their flow."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.testing import WorkflowEnvironment

from hub.outside import Outside
from hub.record import consent, voice
from hub.record.reminder import Reminder
from hub.record.voice import Outcome, ReminderCall
from hub.temporal import UpkeepStart
from tests.workflows.calling import MEDIA, asked, come, dial, landline, made, move
from tests.workflows.clinic import PHONE, Clinic
from tests.workflows.feeding import answers, signals
from tests.workflows.reminding import FIRST, LAST, SECOND, states, tasks
from workflows.activities.appointment import Appointments
from workflows.activities.upkeep import Upkeep
from workflows.activities.visit import HELD, StepDue
from workflows.activities.voice import Called, Voices


async def test_a_worker_that_dies_while_it_waits_has_nobody_called_twice(
    voices: Voices, desk: Appointments, clinic: Clinic
) -> None:
    step = come(desk, clinic, landline(clinic))
    first = asyncio.create_task(voices.call(step))
    row = await asked(clinic)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    second = asyncio.create_task(voices.call(step))
    dial(clinic, row)
    with clinic.instance.db.write() as db:
        voice.over(db, row.id, Outcome.LEFT, clinic.now, answered_by="machine")
    assert await second == Called("sent")
    assert [each.id for each in clinic.rows(ReminderCall)] == [row.id]


async def test_who_is_not_reached_is_called_again_an_hour_later_and_then_staff_are_told(
    voices: Voices, desk: Appointments, clinic: Clinic
) -> None:
    visit = landline(clinic)
    step = come(desk, clinic, visit)
    assert await made(voices, clinic, step, Outcome.BUSY) == Called(HELD)
    again = desk.next_step(str(visit))
    assert (again.name, again.wait_s) == (FIRST, 3600)
    assert await voices.call(step) == Called(HELD)
    for calls, outcome in ((2, Outcome.NO_ANSWER), (3, Outcome.UNREACHABLE)):
        step = come(desk, clinic, visit)
        called = await made(voices, clinic, step, outcome, calls)
    assert called == Called("failed")
    assert states(clinic)[0] == (FIRST, "failed", "unreachable")
    assert tasks(clinic) == [("outcome", "unreachable")]
    assert desk.next_step(str(visit)).name == SECOND


async def test_a_call_that_reached_the_number_counts_for_the_day_and_one_in_vain_does_not(
    voices: Voices, desk: Appointments, clinic: Clinic
) -> None:
    visit = landline(clinic)
    for step, outcome in ((FIRST, Outcome.SILENT), (SECOND, Outcome.LEFT)):
        assert come(desk, clinic, visit).name == step
        assert await made(voices, clinic, StepDue(str(visit), step), outcome, len(clinic.rows(ReminderCall)) + 1)
    clinic.later(hours=1)
    planned = desk.next_step(str(visit))
    assert planned.name == LAST
    assert timedelta(seconds=planned.wait_s) > timedelta(hours=12)


@pytest.mark.parametrize(
    ("outcome", "reason", "state", "asks"),
    [
        (Outcome.REFUSED, "country-not-allowed", "failed", [("outcome", "country-not-allowed")]),
        (Outcome.REFUSED, "number-unknown", "failed", [("outcome", "number-unknown")]),
        (Outcome.REFUSED, "daily-cost-reached", "planned", []),
        (Outcome.LOST, "", "unknown", [("outcome", "crashed")]),
        (Outcome.STOPPED, "", "sent", []),
    ],
)
async def test_what_else_may_come_of_it(
    voices: Voices,
    desk: Appointments,
    clinic: Clinic,
    outcome: Outcome,
    reason: str,
    state: str,
    asks: list[tuple[str, str]],
) -> None:
    visit = landline(clinic)
    await made(voices, clinic, come(desk, clinic, visit), outcome, reason=reason)
    assert states(clinic)[0][:2] == (FIRST, state)
    assert tasks(clinic) == asks
    with clinic.instance.db.read() as db:
        out = consent.opted_out(db, clinic.instance.index.phone(PHONE), "reminder")
    assert out is (outcome is Outcome.STOPPED)
    assert (desk.next_step(str(visit)).name is None) is out


async def test_a_call_that_finds_no_line_is_taken_back(voices: Voices, desk: Appointments, clinic: Clinic) -> None:
    visit = landline(clinic)
    calling = asyncio.create_task(voices.call(come(desk, clinic, visit)))
    row = await asked(clinic)
    clinic.later(minutes=31)
    assert await calling == Called(HELD)
    with clinic.instance.db.write() as db:
        assert voice.claim(db, row.id, MEDIA, clinic.now) is None
    assert desk.next_step(str(visit)).name == FIRST


@pytest.mark.parametrize(("outcome", "told"), [(Outcome.CONFIRMED, ["answered"]), (Outcome.LEFT, [])])
async def test_upkeep_settles_a_call_whose_flow_died(
    voices: Voices, desk: Appointments, clinic: Clinic, env: WorkflowEnvironment, outcome: Outcome, told: list[str]
) -> None:
    visit = landline(clinic)
    calling = asyncio.create_task(voices.call(come(desk, clinic, visit)))
    row = await asked(clinic)
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    dial(clinic, row)
    upkeep = Upkeep(clinic.instance, env.client, Outside(clinic.instance, {}, actor="system:workflows"))
    version = clinic.instance.policy()[0]
    clinic.later(minutes=4)
    await upkeep.sweep(UpkeepStart(version))
    assert states(clinic)[0][:2] == (FIRST, "sending")  # somebody speaks to them
    with clinic.instance.db.write() as db:
        voice.over(db, row.id, outcome, clinic.now)
    clinic.later(minutes=1)
    await upkeep.sweep(UpkeepStart(version))
    assert states(clinic)[0][:2] == (FIRST, "sent")
    assert await signals(env, visit) == told


async def test_upkeep_tells_a_choice_with_the_start_that_it_is_about(
    voices: Voices, desk: Appointments, clinic: Clinic, env: WorkflowEnvironment
) -> None:
    said = clinic.visit(clinic.person())
    visit = landline(clinic, said)
    calling = asyncio.create_task(voices.call(come(desk, clinic, visit)))
    row = await asked(clinic)
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    dial(clinic, row)
    with clinic.instance.db.write() as db:
        voice.heard(db, row.id, Outcome.CONFIRMED, clinic.now)
        voice.over(db, row.id, Outcome.CONFIRMED, clinic.now)
    move(clinic, said)
    clinic.later(minutes=4)
    upkeep = Upkeep(clinic.instance, env.client, Outside(clinic.instance, {}, actor="system:workflows"))
    for _ in range(2):
        await upkeep.sweep(UpkeepStart(clinic.instance.policy()[0]))
    assert await answers(env, visit) == [("confirm", said.starts_at)]
    assert states(clinic)[0][:2] == (FIRST, "sent")


async def test_upkeep_gives_up_a_call_that_nobody_ends(
    voices: Voices, desk: Appointments, clinic: Clinic, env: WorkflowEnvironment
) -> None:
    calling = asyncio.create_task(voices.call(come(desk, clinic, landline(clinic))))
    row = await asked(clinic)
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    dial(clinic, row)
    upkeep = Upkeep(clinic.instance, env.client, Outside(clinic.instance, {}, actor="system:workflows"))
    for minutes in (11, 1):
        clinic.later(minutes=minutes)
        await upkeep.sweep(UpkeepStart(clinic.instance.policy()[0]))
    assert states(clinic)[0] == (FIRST, "unknown", "crashed")
    assert tasks(clinic) == [("outcome", "crashed")]
    assert [each.outcome for each in clinic.rows(ReminderCall)] == [Outcome.LOST]
    assert len(clinic.rows(Reminder)) == 1
