"""The Temporal worker: every flow and every activity of an instance, in one process.

One worker serves the flows and what they have done on this machine's rows; each carrier has a worker of its own, whose
task queue the server lets out no faster than the carrier takes texts.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import structlog
from temporalio.client import Client
from temporalio.worker import PollerBehaviorSimpleMaximum, UnsandboxedWorkflowRunner, Worker

from connectors.api import Feeds as AskedForChanges
from connectors.api import Reads, Sends
from hub import embedded
from hub.errors import ChartlineError, NotFoundError
from hub.instance import Instance
from hub.outside import Outside
from hub.temporal import (
    TASK_QUEUE,
    TemporalUnavailableError,
    carrier_queue,
    connect,
    outside,
    start_upkeep,
    wake_feed,
)
from hub.temporal.flow import VOICE_QUEUE
from workflows.activities.appointment import Appointments
from workflows.activities.call import Calls
from workflows.activities.delivery import Deliveries
from workflows.activities.feed import Feeds
from workflows.activities.herald import Herald
from workflows.activities.text import Texts
from workflows.activities.transcript import Transcripts
from workflows.activities.upkeep import Upkeep
from workflows.activities.voice import Voices
from workflows.activities.writeback import Writebacks
from workflows.appointment import AppointmentFlow
from workflows.call import CallFlow
from workflows.delivery import DeliveryFlow
from workflows.fault import Faults
from workflows.feed import FeedFlow
from workflows.text import TextFlow
from workflows.upkeep import UpkeepFlow
from workflows.writeback import WritebackFlow

log = structlog.get_logger()

FLOWS: Sequence[type] = (AppointmentFlow, CallFlow, DeliveryFlow, FeedFlow, TextFlow, UpkeepFlow, WritebackFlow)

STICKY = timedelta(seconds=1)
"When a worker is killed, another takes its flows after this; the default of 10 s is a long time on the phone."

GRACE = timedelta(seconds=5)
"What is being sent is finished before the process ends."

ACTIVITIES = 64
"Under way at once; most of them wait for somebody."

TEXTS_PER_S = 10.0
"Let out to one carrier: what carriers take from one number without queueing is between 1 and 50 (US 10DLC)."

POLLS = 20
POLLS_FOR_NEW = 0.8
"Most calls are flows that nobody has seen: by the SDK's default one poll would wait for them, and four for others."

LOOK_S = 0.25
"Between two looks at the policy and at the address of the embedded server."

WAIT_S = 0.2
"Between two tries to reach Temporal."


class House:
    """Everything that runs in a worker process."""

    def __init__(self, instance: Instance, client: Client, env: Mapping[str, str]) -> None:
        self._instance = instance
        self._client = client
        self._outside = Outside(instance, env, actor="system:workflows")
        herald = Herald(instance, client)
        self._appointments = Appointments(instance, self._outside, herald)
        self._texts = Texts(instance, self._outside)
        self._voices = Voices(instance, self._outside, herald)
        calls = Calls(instance, self._outside, herald, client)
        deliveries = Deliveries(instance, self._outside)
        writebacks = Writebacks(instance, self._outside)
        self._activities = [
            *(self._appointments.next_step, self._appointments.take_answer),
            *(calls.route, calls.wind_up),
            *(deliveries.attempt, deliveries.give_up),
            Feeds(instance, self._outside, herald, client).drain,
            self._texts.give_up,
            Upkeep(instance, client, self._outside).sweep,
            *(writebacks.write, writebacks.give_up),
            Transcripts(instance, herald).make,
        ]
        self._threads = ThreadPoolExecutor(ACTIVITIES, thread_name_prefix="activity")
        self._carriers: dict[str, asyncio.Task[None]] = {}
        self._calling: asyncio.Task[None] | None = None
        self._version: int | None = None
        self._hindered = ""

    async def run(self, stop: asyncio.Event, *, ready: asyncio.Event) -> None:
        """Work until `stop` is set; `ready` is set once the first flow could run.

        Raises:
            RuntimeError: the server refuses this worker for good.
        """
        worker = asyncio.create_task(self._worker(TASK_QUEUE, self._activities, flows=FLOWS).run())
        try:
            await self._started(stop)
            ready.set()
            while not stop.is_set():
                await self._follow_policy()
                self._look_after(worker, *self._others())
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await stop.wait()
        finally:
            for task in (worker, *self._others()):
                task.cancel()
            await asyncio.gather(worker, *self._others(), return_exceptions=True)
            self._threads.shutdown(wait=False)

    def _others(self) -> list[asyncio.Task[None]]:
        return [*self._carriers.values(), *([self._calling] if self._calling is not None else [])]

    def _worker(self, queue: str, activities: Sequence[Any], *, flows: Sequence[type] = ()) -> Worker:
        return Worker(
            self._client,
            task_queue=queue,
            workflows=flows,
            activities=activities,
            activity_executor=self._threads,
            max_concurrent_activities=ACTIVITIES,
            max_concurrent_local_activities=ACTIVITIES,
            interceptors=[Faults()],
            workflow_runner=UnsandboxedWorkflowRunner(),
            workflow_task_poller_behavior=PollerBehaviorSimpleMaximum(POLLS),
            nonsticky_to_sticky_poll_ratio=POLLS_FOR_NEW,
            sticky_queue_schedule_to_start_timeout=STICKY,
            graceful_shutdown_timeout=GRACE,
            max_task_queue_activities_per_second=None if flows else TEXTS_PER_S,
        )

    async def _started(self, stop: asyncio.Event) -> None:
        """Start the one flow that needs no reason."""
        while not stop.is_set():
            try:
                await start_upkeep(self._client)
            except TemporalUnavailableError:
                await asyncio.sleep(WAIT_S)
            else:
                return

    async def _follow_policy(self) -> None:
        """Serve the carriers of the policy in force, and wake the flows of its feeds, whenever it changes."""
        try:
            version, practice = await asyncio.to_thread(self._instance.policy)
            if version == self._version:
                return
            connectors = self._outside.connectors()
            for name, connector in connectors.items():
                if isinstance(connector, Reads | AskedForChanges):
                    await wake_feed(self._client, name)
        except NotFoundError:
            return  # nothing published yet
        except ChartlineError as error:
            if error.code != self._hindered:
                log.warning("policy not followed yet", code=error.code)
            self._hindered = error.code
            return
        self._serve([name for name, connector in connectors.items() if isinstance(connector, Sends)])
        if self._calling is None and any(reminder.voice for reminder in practice.reminders):
            self._calling = asyncio.create_task(self._worker(VOICE_QUEUE, [self._voices.call]).run())
        self._version, self._hindered = version, ""
        log.info("policy in force", version=version, connections=len(practice.connections))

    def _serve(self, carriers: Sequence[str]) -> None:
        for name in self._carriers.keys() - set(carriers):
            self._carriers.pop(name).cancel()
        for name in set(carriers) - self._carriers.keys():
            sending = [self._appointments.remind, self._texts.send]
            self._carriers[name] = asyncio.create_task(self._worker(carrier_queue(name), sending).run())

    def _look_after(self, *tasks: asyncio.Task[None]) -> None:
        """Let a worker's end be the process's: it is started again."""
        for task in tasks:
            if task.done():
                task.result()


async def serve(instance: Instance, env: Mapping[str, str], stop: asyncio.Event, *, ready: asyncio.Event) -> None:
    """Connect, and work until `stop` is set, or until the embedded server is somewhere else."""
    found = await _connected(instance, env, stop)
    if found is None:
        return
    client, where = found
    watch = asyncio.create_task(_moved(instance, env, where, stop))
    try:
        await House(instance, client, env).run(stop, ready=ready)
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


async def _connected(
    instance: Instance, env: Mapping[str, str], stop: asyncio.Event
) -> tuple[Client, str | None] | None:
    """Return a client, and where the embedded server was before it connected: it may move meanwhile."""
    told = False
    while not stop.is_set():
        where = embedded.address(instance.paths)
        try:
            return await connect(instance.paths, instance.keys, env), where
        except TemporalUnavailableError:
            if not told:
                log.warning("waiting for Temporal")
            told = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S):
                await stop.wait()
    return None


async def _moved(instance: Instance, env: Mapping[str, str], where: str | None, stop: asyncio.Event) -> None:
    """Set `stop` when the embedded server has another address: this process is started again and finds it."""
    while not outside(env):
        await asyncio.sleep(LOOK_S)
        if embedded.address(instance.paths) != where:
            log.warning("the embedded Temporal server moved")
            stop.set()
            return
