"""CallFlow over a desk that stands in for the rows, on a server that skips time."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment

from connectors.api import TransientError
from hub.errors import UnavailableError
from hub.rules.routing import Plan
from hub.temporal import CallStart, PlanUnavailableError, call_ended, plan_call
from hub.vault.client import VaultUnavailableError
from tests.workflows.env import finished, working
from workflows.activities.call import Aftermath

START = CallStart("0198-call", "+12125550100", "one", ("0198-patient",))
PLAN = Plan(policy=3, language="es", queue="appointments", rule="within-a-day", reads=("patient.language",))


class Desk:
    """The rows of one call."""

    def __init__(self) -> None:
        self.asked: list[CallStart] = []
        self.fault: Exception | None = None
        self.left = Aftermath()
        self.wound_up = 0
        self.winding_faults: list[Exception] = []
        self.wrote: list[str] = []
        self.given_up: list[str] = []
        self.write_faults: list[Exception] = []
        self.heard: list[str] = []
        self.hearing_faults: list[Exception] = []

    @activity.defn(name="call.route")
    async def route(self, start: CallStart) -> Plan:
        self.asked.append(start)
        if self.fault:
            raise self.fault
        return PLAN

    @activity.defn(name="call.wind_up")
    async def wind_up(self, call_id: str) -> Aftermath:
        assert call_id == START.call_id
        if self.winding_faults:
            raise self.winding_faults.pop(0)
        self.wound_up += 1
        return self.left

    @activity.defn(name="writeback.write")
    async def write(self, writeback_id: str) -> str:
        if self.write_faults:
            raise self.write_faults.pop(0)
        self.wrote.append(writeback_id)
        return "done"

    @activity.defn(name="writeback.give_up")
    async def give_up(self, writeback_id: str) -> None:
        self.given_up.append(writeback_id)

    @activity.defn(name="transcript.make")
    async def hear(self, sound_id: str) -> None:
        if self.hearing_faults:
            raise self.hearing_faults.pop(0)
        self.heard.append(sound_id)

    def works(self) -> Sequence[Callable[..., Any]]:
        return (self.route, self.wind_up, self.write, self.give_up, self.hear)


async def test_a_call_gets_its_plan_and_is_wound_up_when_it_ends(env: WorkflowEnvironment) -> None:
    desk = Desk()
    desk.left = Aftermath(("wb-1", "wb-2"))
    async with working(env.client, desk.works()):
        assert await plan_call(env.client, START, deadline=20) == PLAN
        assert desk.asked == [START]
        assert desk.wound_up == 0
        await call_ended(env.client, START.call_id)
        assert await finished(env, "call-0198-call") == "closed"
    assert desk.wound_up == 1
    assert sorted(desk.wrote) == ["wb-1", "wb-2"]


@pytest.mark.parametrize(("faults", "heard"), [(0, ["r-1", "v-1"]), (2, ["r-1", "v-1"]), (99, [])])
async def test_what_was_said_is_written_down_or_stays_sound(
    env: WorkflowEnvironment, faults: int, heard: list[str]
) -> None:
    desk = Desk()
    desk.left = Aftermath(sounds=("r-1", "v-1"))
    desk.hearing_faults = [RuntimeError("the engine")] * faults
    async with working(env.client, desk.works()):
        assert await plan_call(env.client, START, deadline=20) == PLAN
        await call_ended(env.client, START.call_id)
        assert await finished(env, "call-0198-call") == "closed"
    assert sorted(desk.heard) == heard


async def test_asking_again_gives_the_same_plan_and_looks_once(env: WorkflowEnvironment) -> None:
    desk = Desk()
    async with working(env.client, desk.works()):
        first, second = await asyncio.gather(*(plan_call(env.client, START, deadline=20) for _ in range(2)))
    assert first == second == PLAN
    assert len(desk.asked) == 1


@pytest.mark.parametrize("fault", [VaultUnavailableError("down"), ValueError("a defect with a name in it")])
async def test_a_plan_that_cannot_be_made_fails_at_once_and_once(env: WorkflowEnvironment, fault: Exception) -> None:
    desk = Desk()
    desk.fault = fault
    async with working(env.client, desk.works()):
        with pytest.raises(PlanUnavailableError):
            async with asyncio.timeout(20):
                await plan_call(env.client, START, deadline=60)
        assert len(desk.asked) == 1
        await call_ended(env.client, START.call_id)
        assert await finished(env, "call-0198-call") == "closed"
    assert desk.wound_up == 1


async def test_a_call_whose_flow_never_began_is_wound_up_all_the_same(env: WorkflowEnvironment) -> None:
    desk = Desk()
    async with working(env.client, desk.works()):
        await call_ended(env.client, START.call_id)
        assert await finished(env, "call-0198-call") == "closed"
    assert (desk.asked, desk.wound_up) == ([], 1)


async def test_silence_ends_the_call_after_four_hours(env: WorkflowEnvironment) -> None:
    desk = Desk()
    async with working(env.client, desk.works()):
        await plan_call(env.client, START, deadline=20)
        await env.sleep(timedelta(hours=3, minutes=59))
        flow = env.client.get_workflow_handle("call-0198-call")
        assert (await flow.describe()).status is WorkflowExecutionStatus.RUNNING
        assert await finished(env, "call-0198-call") == "closed"
    assert desk.wound_up == 1


async def test_winding_up_waits_for_rows_that_come_late(env: WorkflowEnvironment) -> None:
    desk = Desk()
    desk.winding_faults = [UnavailableError("not over in its row"), OSError("disk full")]
    async with working(env.client, desk.works()):
        await call_ended(env.client, START.call_id)
        await finished(env, "call-0198-call")
    assert desk.wound_up == 1


async def test_an_ehr_that_is_down_for_a_day_still_hears_of_the_call(env: WorkflowEnvironment) -> None:
    desk = Desk()
    desk.left = Aftermath(("wb-1",))
    desk.write_faults = [TransientError("no connection") for _ in range(100)]
    async with working(env.client, desk.works()):
        await call_ended(env.client, START.call_id)
        await finished(env, "call-0198-call")
    assert (desk.wrote, desk.given_up) == (["wb-1"], [])


async def test_an_ehr_that_stays_down_leaves_a_task_after_three_days(env: WorkflowEnvironment) -> None:
    desk = Desk()
    desk.left = Aftermath(("wb-1",))
    desk.write_faults = [TransientError("no connection") for _ in range(1000)]
    async with working(env.client, desk.works()):
        await call_ended(env.client, START.call_id)
        await finished(env, "call-0198-call")
    assert (desk.wrote, desk.given_up) == ([], ["wb-1"])
