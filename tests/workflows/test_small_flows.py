"""The flows with one thing to do: feed, delivery, text and upkeep, on a server that skips time."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment

from connectors.api import RejectedError, TransientError
from hub.temporal import TextStart, UpkeepStart, deliver, send_text, start_upkeep, wake_feed
from hub.temporal.flow import DeliveryStart
from hub.vault.client import VaultDeniedError, VaultUnavailableError
from tests.workflows.env import CARRIER, finished, working
from workflows.activities.delivery import Tried
from workflows.activities.feed import Drained
from workflows.delivery import JITTER, PAUSES
from workflows.feed import LOOK
from workflows.patience import LOOKS

TEXT = TextStart("missed-call", "0198-call", CARRIER)
DELIVERY = "delivery-0198-event-198-delivery"
PATIENCE_S = 30.0


class Inbox:
    """Stored messages, by their number."""

    def __init__(self, rows: int = 0, batch: int = 10) -> None:
        self.rows = rows
        self.batch = batch
        self.looks = 0
        self.faults: list[Exception] = []
        self.closed = False

    @activity.defn(name="feed.drain")
    async def drain(self, connection: str) -> Drained:
        assert connection == "adt"
        self.looks += 1
        if self.faults:
            raise self.faults.pop(0)
        taken = min(self.rows, self.batch)
        self.rows -= taken
        return Drained(taken, more=taken == self.batch, closed=self.closed)


async def rested(env: WorkflowEnvironment) -> tuple[int, timedelta]:
    """Wait until the feed's flow rests for the first time; return how often it had looked, and how long it rests.

    While a worker is at work, a server that skips time goes by the wall: to sleep for a moment waits for nothing.
    """
    flow = env.client.get_workflow_handle("feed-adt")
    async with asyncio.timeout(PATIENCE_S):
        while True:
            events = (await flow.fetch_history()).events
            kinds = [event.event_type for event in events]
            if EventType.EVENT_TYPE_TIMER_STARTED in kinds:
                at = kinds.index(EventType.EVENT_TYPE_TIMER_STARTED)
                rest = events[at].timer_started_event_attributes.start_to_fire_timeout.ToTimedelta()
                return kinds[:at].count(EventType.EVENT_TYPE_MARKER_RECORDED), rest
            await asyncio.sleep(0.02)


async def all_read(inbox: "Inbox") -> None:
    async with asyncio.timeout(PATIENCE_S):
        while inbox.rows:  # noqa: ASYNC110 - the flow sets no event of ours
            await asyncio.sleep(0.02)


async def test_a_wake_drains_all_that_is_stored(env: WorkflowEnvironment) -> None:
    inbox = Inbox(rows=45)
    async with working(env.client, [inbox.drain]):
        await wake_feed(env.client, "adt")
        assert await rested(env) == (5, LOOK)
    assert inbox.rows == 0


async def test_the_flow_looks_by_itself_when_the_wake_was_lost(env: WorkflowEnvironment) -> None:
    inbox = Inbox()
    async with working(env.client, [inbox.drain]):
        await wake_feed(env.client, "adt")
        assert await rested(env) == (1, LOOK)
        inbox.rows = 7
        await env.sleep(LOOK)
        await all_read(inbox)


@pytest.mark.parametrize("fault", [VaultUnavailableError("down"), OSError("disk full"), VaultDeniedError("not mine")])
async def test_what_cannot_be_read_now_is_read_later(env: WorkflowEnvironment, fault: Exception) -> None:
    inbox = Inbox(rows=3)
    inbox.faults = [fault] * 2
    async with working(env.client, [inbox.drain]):
        await wake_feed(env.client, "adt")
        await env.sleep(timedelta(seconds=20))
        await all_read(inbox)


async def test_a_feed_goes_on_in_a_new_history_and_forgets_nothing(env: WorkflowEnvironment) -> None:
    inbox = Inbox()
    async with working(env.client, [inbox.drain]):
        await wake_feed(env.client, "adt")
        first = (await env.client.get_workflow_handle("feed-adt").describe()).run_id
        inbox.rows = 2_500
        await env.sleep(timedelta(seconds=30))
        await all_read(inbox)
        assert inbox.looks > LOOKS
        inbox.rows += 1
        await env.sleep(timedelta(seconds=10))
        await all_read(inbox)
        assert (await env.client.get_workflow_handle("feed-adt").describe()).run_id != first


async def test_a_feed_whose_connection_is_gone_ends(env: WorkflowEnvironment) -> None:
    inbox = Inbox()
    inbox.closed = True
    async with working(env.client, [inbox.drain]):
        await wake_feed(env.client, "adt")
        await finished(env, "feed-adt")
    assert inbox.looks == 1


class Receiver:
    """A webhook's receiver, as the delivery activity tells of it."""

    def __init__(self, *states: Tried) -> None:
        self.states = list(states)
        self.at: list[datetime] = []
        self.given_up = False

    @activity.defn(name="delivery.attempt")
    async def attempt(self, start: DeliveryStart) -> Tried:
        assert start == DeliveryStart("0198-event", "0198-delivery")
        self.at.append(activity.info().current_attempt_scheduled_time)
        return self.states.pop(0) if self.states else Tried("later")

    @activity.defn(name="delivery.give_up")
    async def give_up(self, start: DeliveryStart) -> None:
        assert start.delivery_id == "0198-delivery"
        self.given_up = True

    def works(self) -> Sequence[Callable[..., Any]]:
        return (self.attempt, self.give_up)

    async def told(self, env: WorkflowEnvironment) -> str:
        async with working(env.client, self.works()):
            await deliver(env.client, "0198-event", ["0198-delivery"])
            return await finished(env, DELIVERY)


async def pauses(env: WorkflowEnvironment) -> list[timedelta]:
    """Return how long the delivery's flow slept each time; a busy machine is no part of it."""
    history = await env.client.get_workflow_handle(DELIVERY).fetch_history()
    slept = [e for e in history.events if e.event_type == EventType.EVENT_TYPE_TIMER_STARTED]
    return [e.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta() for e in slept]


@pytest.mark.parametrize("state", ["delivered", "gone", "void"])
async def test_a_delivery_ends_with_the_first_final_answer(env: WorkflowEnvironment, state: str) -> None:
    receiver = Receiver(Tried("later"), Tried(state))
    assert await receiver.told(env) == state
    assert len(receiver.at) == 2
    assert not receiver.given_up


async def test_the_record_lane_keeps_the_standard_schedule_and_then_gives_up(env: WorkflowEnvironment) -> None:
    receiver = Receiver()
    assert await receiver.told(env) == "failed"
    assert receiver.given_up
    assert len(receiver.at) == len(PAUSES) == 10
    for before, after, slept, pause in zip(receiver.at, receiver.at[1:], await pauses(env), PAUSES[1:], strict=False):
        assert pause <= slept <= pause * (1 + JITTER)
        assert after - before >= slept
    assert sum(PAUSES, timedelta()) == timedelta(hours=75, minutes=35, seconds=5)


async def test_a_receiver_that_asks_for_a_pause_gets_it(env: WorkflowEnvironment) -> None:
    receiver = Receiver(Tried("later", retry_after_s=600.0), Tried("delivered"))
    await receiver.told(env)
    assert await pauses(env) == [timedelta(seconds=600)]
    assert receiver.at[1] - receiver.at[0] >= timedelta(seconds=600)


class Carrier:
    """A carrier as the text activity tells of it."""

    def __init__(self, *faults: Exception, outcome: str = "sent") -> None:
        self.faults = list(faults)
        self.outcome = outcome
        self.tries = 0
        self.given_up = False

    @activity.defn(name="text.send")
    async def send(self, start: TextStart) -> str:
        assert start == TEXT
        assert activity.info().task_queue == f"carrier-{CARRIER}"
        self.tries += 1
        if self.faults:
            raise self.faults.pop(0)
        return self.outcome

    @activity.defn(name="text.give_up")
    async def give_up(self, start: TextStart) -> None:
        assert start == TEXT
        self.given_up = True

    async def sent(self, env: WorkflowEnvironment) -> str:
        async with working(env.client, [self.send, self.give_up]):
            await send_text(env.client, TEXT)
            return await finished(env, "text-missed-call-0198-call")


@pytest.mark.parametrize("outcome", ["sent", "dropped", "unknown", "failed"])
async def test_a_text_is_sent_once_whatever_comes_of_it(env: WorkflowEnvironment, outcome: str) -> None:
    carrier = Carrier(outcome=outcome)
    assert await carrier.sent(env) == outcome
    assert (carrier.tries, carrier.given_up) == (1, False)


async def test_a_carrier_that_did_not_take_a_text_is_asked_again(env: WorkflowEnvironment) -> None:
    carrier = Carrier(*[TransientError("no connection")] * 4)
    assert await carrier.sent(env) == "sent"
    assert carrier.tries == 5


@pytest.mark.parametrize("faults", [[TransientError("no connection")] * 500, [RejectedError("number")]])
async def test_a_text_that_cannot_go_out_is_left_to_staff(env: WorkflowEnvironment, faults: list[Exception]) -> None:
    carrier = Carrier(*faults)
    assert await carrier.sent(env) == "failed"
    assert carrier.given_up


@activity.defn(name="upkeep.sweep")
async def sweep(before: UpkeepStart) -> UpkeepStart:
    """Look, and count."""
    return UpkeepStart(before.policy + 1)


async def test_upkeep_sweeps_again_and_again_and_passes_on_what_it_saw(env: WorkflowEnvironment) -> None:
    seen: list[int] = []
    faults: list[Exception] = [OSError("disk"), VaultDeniedError("not mine")]

    @activity.defn(name="upkeep.sweep")
    async def counted(before: UpkeepStart) -> UpkeepStart:
        if len(seen) in {2, 4} and faults:
            raise faults.pop()
        seen.append(before.policy)
        return await sweep(before)

    async with working(env.client, [counted]):
        await start_upkeep(env.client)
        await start_upkeep(env.client)
        await env.sleep(timedelta(minutes=5))
        status = (await env.client.get_workflow_handle("upkeep").describe()).status
    assert status is WorkflowExecutionStatus.RUNNING
    assert seen == list(range(len(seen)))
    assert len(seen) >= 9
