"""AppointmentFlow over a desk that stands in for the rows, on a server that skips time."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from connectors.api import TransientError
from hub.errors import NotFoundError
from hub.temporal import TASK_QUEUE, Flow
from hub.temporal.flow import VOICE_QUEUE
from tests.workflows.env import CARRIER, finished, working
from workflows.activities.appointment import Answer, Next
from workflows.activities.visit import StepDue
from workflows.activities.voice import Called
from workflows.appointment import AppointmentFlow

VISIT = "0198-visit"
ID = f"appointment-{VISIT}"
LADDER = (("visit-3d", timedelta(days=3)), ("visit-1d", timedelta(days=1)), ("visit-2h", timedelta(hours=2)))


class Desk:
    """The rows of one visit: a ladder of three steps, and what was done."""

    def __init__(self, starts_at: datetime) -> None:
        self.starts_at = starts_at
        self.on = True
        self.confirmed = False
        self.did: list[tuple[str, timedelta]] = []
        "Steps taken, and how long before the visit."
        self.answers: list[str] = []
        self.about: list[datetime | None] = []
        "When the visits of the answers are, where a call told it."
        self.wrote: list[str] = []
        self.given_up: list[str] = []
        self.voice = False
        "Whether the number takes no texts."
        self.called: list[Called] = []
        "What the next calls come to; `sent` once these are used up."
        self.outcomes: list[str | Exception] = []
        "What the next steps come to; `sent` once these are used up."
        self.faults: list[Exception] = []
        "What the next look at the rows raises."
        self.write_faults: list[Exception] = []

    def now(self) -> datetime:
        return activity.info().current_attempt_scheduled_time

    @activity.defn(name="appointment.next_step")
    async def next_step(self, appointment_id: str) -> Next:
        assert appointment_id == VISIT
        if self.faults:
            raise self.faults.pop(0)
        now = self.now()
        if not self.on:
            return Next(end="gone")
        if now >= self.starts_at:
            return Next(end="over")
        done = {name for name, _ in self.did}
        for name, before in LADDER:
            at = self.starts_at - before
            if name not in done and not self.confirmed and at + timedelta(hours=1) > now:
                carrier = None if self.voice else CARRIER
                return Next(wait_s=max(0.0, (at - now).total_seconds()), name=name, carrier=carrier, voice=self.voice)
        return Next(wait_s=(self.starts_at - now).total_seconds())

    @activity.defn(name="appointment.remind")
    async def remind(self, due: StepDue) -> str:
        assert activity.info().task_queue == f"carrier-{CARRIER}"
        outcome = self.outcomes.pop(0) if self.outcomes else "sent"
        if isinstance(outcome, Exception):
            raise outcome
        if outcome != "held":
            self.did.append((due.name, self.starts_at - self.now()))
        return outcome

    @activity.defn(name="appointment.call")
    async def call(self, due: StepDue) -> Called:
        assert activity.info().task_queue == VOICE_QUEUE
        assert self.voice
        called = self.called.pop(0) if self.called else Called("sent")
        if called.outcome == "sent":
            self.did.append((due.name, self.starts_at - self.now()))
        return called

    @activity.defn(name="appointment.take_answer")
    async def take_answer(self, answer: Answer) -> str | None:
        self.answers.append(answer.kind)
        self.about.append(answer.starts_at)
        self.confirmed = self.confirmed or answer.kind == "confirm"
        return "wb-1" if answer.kind == "confirm" else None

    @activity.defn(name="writeback.write")
    async def write(self, writeback_id: str) -> str:
        if self.write_faults:
            raise self.write_faults.pop(0)
        self.wrote.append(writeback_id)
        return "done"

    @activity.defn(name="writeback.give_up")
    async def give_up(self, writeback_id: str) -> None:
        self.given_up.append(writeback_id)

    def works(self) -> Sequence[Callable[..., Any]]:
        return (self.next_step, self.remind, self.call, self.take_answer, self.write, self.give_up)

    def steps(self) -> list[str]:
        return [name for name, _ in self.did]


@asynccontextmanager
async def running(env: WorkflowEnvironment, desk: Desk) -> AsyncIterator[WorkflowHandle[AppointmentFlow, str]]:
    async with working(env.client, desk.works()):
        yield await env.client.start_workflow(Flow.APPOINTMENT, VISIT, id=ID, task_queue=TASK_QUEUE, result_type=str)


async def desk_of(env: WorkflowEnvironment, **until: float) -> Desk:
    return Desk((await env.get_current_time()).astimezone(UTC) + timedelta(**until))


async def test_silence_gets_each_step_once_at_its_time(env: WorkflowEnvironment) -> None:
    desk = await desk_of(env, days=10)
    async with running(env, desk) as flow:
        assert await flow.result() == "over"
    assert desk.steps() == ["visit-3d", "visit-1d", "visit-2h"]
    for (_, was), (_, wanted) in zip(desk.did, LADDER, strict=True):
        assert timedelta(seconds=-1) < wanted - was < timedelta(minutes=1)  # late by what a busy machine takes


async def test_a_confirmation_ends_the_ladder_and_is_written_back(env: WorkflowEnvironment) -> None:
    desk = await desk_of(env, days=10)
    async with running(env, desk) as flow:
        await env.sleep(timedelta(days=8))
        await flow.signal(AppointmentFlow.answered, "confirm")
        assert await flow.result() == "over"
    assert desk.steps() == ["visit-3d"]
    assert (desk.answers, desk.wrote, desk.given_up) == (["confirm"], ["wb-1"], [])


async def test_a_wish_for_another_time_does_not_end_the_ladder_by_itself(env: WorkflowEnvironment) -> None:
    desk = await desk_of(env, days=2)
    async with running(env, desk) as flow:
        await flow.signal(AppointmentFlow.answered, "reschedule")
        assert await flow.result() == "over"
    assert (desk.answers, desk.wrote) == (["reschedule"], [])
    assert desk.steps() == ["visit-1d", "visit-2h"]


async def test_an_answer_that_comes_twice_at_once_is_taken_once(env: WorkflowEnvironment) -> None:
    desk = await desk_of(env, days=2)
    flow = await env.client.start_workflow(Flow.APPOINTMENT, VISIT, id=ID, task_queue=TASK_QUEUE, result_type=str)
    await flow.signal(AppointmentFlow.answered, "confirm")
    await flow.signal(AppointmentFlow.answered, "confirm")
    async with working(env.client, desk.works()):
        await flow.result()
    assert desk.answers == ["confirm"]


async def test_a_moved_visit_moves_its_reminders(env: WorkflowEnvironment) -> None:
    desk = await desk_of(env, days=30)
    async with running(env, desk) as flow:
        await env.sleep(timedelta(days=1))
        desk.starts_at += timedelta(days=60)
        await flow.signal(AppointmentFlow.changed)
        await env.sleep(timedelta(days=40))
        assert desk.did == []
        await env.sleep(timedelta(days=47))
        assert desk.steps() == ["visit-3d"]


async def test_a_visit_that_moves_nearer_wakes_the_flow_in_time(env: WorkflowEnvironment) -> None:
    desk = await desk_of(env, days=30)
    async with running(env, desk) as flow:
        await env.sleep(timedelta(hours=1))
        desk.starts_at -= timedelta(days=28)
        await flow.signal(AppointmentFlow.changed)
        assert await flow.result() == "over"
    assert desk.steps() == ["visit-1d", "visit-2h"]


async def test_nothing_goes_out_after_a_cancel(env: WorkflowEnvironment) -> None:
    desk = await desk_of(env, days=10)
    async with running(env, desk) as flow:
        await env.sleep(timedelta(days=8))
        desk.on = False
        await flow.signal(AppointmentFlow.changed)
        assert await flow.result() == "gone"
    assert desk.steps() == ["visit-3d"]


async def test_a_step_that_is_held_is_thought_over_and_not_forced(env: WorkflowEnvironment) -> None:
    desk = await desk_of(env, days=1, hours=12)
    desk.outcomes = ["held", "held"]
    async with running(env, desk) as flow:
        assert await flow.result() == "over"
    (name, before), _ = desk.did
    assert name == "visit-1d"
    assert timedelta(minutes=3) < timedelta(days=1) - before < timedelta(minutes=10)


@pytest.mark.parametrize("outcome", ["unknown", "failed", "skipped"])
async def test_a_step_that_was_given_up_is_not_taken_again(env: WorkflowEnvironment, outcome: str) -> None:
    desk = await desk_of(env, days=1, hours=12)
    desk.outcomes = [outcome]
    async with running(env, desk) as flow:
        assert await flow.result() == "over"
    assert desk.steps() == ["visit-1d", "visit-2h"]


async def test_a_carrier_that_is_down_is_tried_again_until_it_is_up(env: WorkflowEnvironment) -> None:
    desk = await desk_of(env, days=1, hours=12)
    desk.outcomes = [TransientError("no connection") for _ in range(9)]
    async with running(env, desk) as flow:
        assert await flow.result() == "over"
    assert desk.steps() == ["visit-1d", "visit-2h"]
    assert timedelta(hours=23, minutes=50) < desk.did[0][1] < timedelta(hours=23, minutes=55)


async def test_rows_that_cannot_be_read_are_looked_at_again(env: WorkflowEnvironment) -> None:
    desk = await desk_of(env, days=2)
    desk.faults = [OSError("disk") for _ in range(5)]
    async with running(env, desk) as flow:
        assert await flow.result() == "over"
    assert desk.steps() == ["visit-1d", "visit-2h"]


async def test_a_write_back_that_is_refused_goes_to_staff_and_the_flow_lives_on(env: WorkflowEnvironment) -> None:
    desk = await desk_of(env, days=2)
    desk.write_faults = [NotFoundError("nothing there")]
    async with running(env, desk) as flow:
        await flow.signal(AppointmentFlow.answered, "confirm")
        assert await flow.result() == "over"
    assert (desk.wrote, desk.given_up) == ([], ["wb-1"])


async def test_an_ehr_that_is_down_does_not_keep_a_moved_visit_from_its_reminders(env: WorkflowEnvironment) -> None:
    desk = await desk_of(env, days=2)
    desk.write_faults = [TransientError("no connection") for _ in range(10_000)]
    async with running(env, desk) as flow:
        await flow.signal(AppointmentFlow.answered, "confirm")
        await env.sleep(timedelta(hours=2))
        desk.confirmed = False  # a new time takes the confirmation back
        desk.starts_at += timedelta(hours=2)
        await flow.signal(AppointmentFlow.changed)
        await env.sleep(timedelta(days=1, hours=1))
        assert (desk.steps(), desk.given_up) == (["visit-1d"], [])
        assert await flow.result() == "over"
    assert desk.given_up == ["wb-1"]


async def test_a_look_that_is_refused_is_repeated_later(env: WorkflowEnvironment) -> None:
    desk = await desk_of(env, days=2)
    desk.faults = [NotFoundError("a right is missing")] * 3
    async with running(env, desk) as flow:
        assert await flow.result() == "over"
    assert desk.steps() == ["visit-1d", "visit-2h"]


async def test_an_answer_after_the_last_reminder_brings_the_flow_back(env: WorkflowEnvironment) -> None:
    desk = await desk_of(env, days=2)
    async with running(env, desk) as flow:
        await env.sleep(timedelta(hours=1))  # else the first look may find it off, and nobody is left to be told
        desk.on = False
        await flow.signal(AppointmentFlow.changed)
        assert await flow.result() == "gone"
        again = await env.client.start_workflow(
            Flow.APPOINTMENT,
            VISIT,
            id=ID,
            task_queue=TASK_QUEUE,
            start_signal="answered",
            start_signal_args=["confirm"],
            result_type=str,
        )
        assert await again.result() == "gone"
    assert desk.answers == ["confirm"]


async def test_a_step_that_is_called_takes_its_answer_from_the_call(env: WorkflowEnvironment) -> None:
    desk = await desk_of(env, days=10)
    desk.voice = True
    desk.called = [Called("held"), Called("sent"), Called("sent", "confirm", desk.starts_at)]
    async with running(env, desk):
        assert await finished(env, ID) == "over"
    assert desk.steps() == ["visit-3d", "visit-1d"]
    assert desk.did[0][1] < timedelta(days=3) - timedelta(minutes=1)
    assert (desk.answers, desk.about, desk.wrote) == (["confirm"], [desk.starts_at], ["wb-1"])
