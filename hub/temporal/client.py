"""The connection to Temporal, and what the other packages ask of it: plan this call, wake that feed.

An address or a profile in the environment (TEMPORAL_ADDRESS, TEMPORAL_PROFILE, TEMPORAL_CONFIG_FILE, as Temporal's own
tools read them) means an outside server; otherwise the embedded one of the instance.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.envconfig import ClientConfigProfile
from temporalio.exceptions import TemporalError, WorkflowAlreadyStartedError
from temporalio.service import GrpcCompression, RPCError, RPCStatusCode

from hub import embedded
from hub.errors import UnavailableError
from hub.rules.routing import Plan
from hub.settings import Paths
from hub.temporal.codec import data_converter
from hub.temporal.flow import (
    TASK_QUEUE,
    UPKEEP_ID,
    CallStart,
    DeliveryStart,
    Flow,
    Says,
    TextStart,
    UpkeepStart,
    appointment_flow_id,
    call_flow_id,
    feed_flow_id,
)
from hub.vault.client import ServiceKeys

OUTSIDE = ("TEMPORAL_ADDRESS", "TEMPORAL_PROFILE", "TEMPORAL_CONFIG_FILE")
"Any of these in the environment names a server of the operator's."

PLAN_DEADLINE_S = 0.25
"How long a caller waits for the plan before the published one is used."

ASK_S = 5.0
"How long any other request may take."

TASK = timedelta(seconds=5)
"A worker that got a piece of a flow and says nothing for so long has died; the piece is given to another."


class TemporalUnavailableError(UnavailableError):
    """Temporal does not answer; nothing was started."""

    code = "temporal-unavailable"


class PlanUnavailableError(UnavailableError):
    """No plan in time; the published plan of the dialled number holds."""

    code = "plan-unavailable"


def outside(env: Mapping[str, str]) -> bool:
    """Return whether the environment names a Temporal server of the operator's."""
    return any(env.get(name) for name in OUTSIDE)


async def connect(paths: Paths, keys: ServiceKeys, env: Mapping[str, str], *, lazy: bool = False) -> Client:
    """Return a client that encrypts all it sends; with `lazy` it connects at its first request.

    It finds its server again by itself after a break.

    Raises:
        TemporalUnavailableError: no server answers, or the embedded one was never started.
    """
    converter = data_converter(keys.codec)
    try:
        if outside(env):
            config = ClientConfigProfile.load(env.get("TEMPORAL_PROFILE"), override_env_vars=dict(env))
            return await Client.connect(
                **config.to_client_connect_config(), data_converter=converter, lazy=lazy, runtime=embedded.runtime()
            )
        where = embedded.address(paths)
        if where is None:
            raise TemporalUnavailableError("the embedded Temporal server was never started")
        return await Client.connect(
            where,
            data_converter=converter,
            lazy=lazy,
            runtime=embedded.runtime(),
            keep_alive_config=embedded.KEEP_ALIVE,
            grpc_compression=GrpcCompression.NONE,  # what is encrypted does not shrink, and this machine is near
        )
    except RuntimeError as error:  # the bridge's word for every failure to connect
        raise TemporalUnavailableError("Temporal does not answer") from error


async def plan_call(client: Client, start: CallStart, deadline: float = PLAN_DEADLINE_S) -> Plan:
    """Start the call's flow and return its plan, within `deadline` seconds.

    Raises:
        PlanUnavailableError: no plan in time; the flow may have been started all the same.
    """
    # A task of its own: the SDK turns a cancellation into an error, which neither a timeout nor the caller would know.
    asking = asyncio.create_task(_ask_plan(client, start, deadline))
    asking.add_done_callback(_looked_at)
    try:
        await asyncio.wait({asking}, timeout=deadline)
    finally:
        asking.cancel()
    try:
        return asking.result()
    except (asyncio.InvalidStateError, TemporalError, RuntimeError):
        raise PlanUnavailableError("no plan in time") from None
    finally:
        del asking  # its error holds this frame: a ring of all that was asked


async def _ask_plan(client: Client, start: CallStart, deadline: float) -> Plan:
    operation: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
        Flow.CALL,
        start,
        id=call_flow_id(start.call_id),
        task_queue=TASK_QUEUE,
        task_timeout=TASK,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )
    started = asyncio.ensure_future(operation.workflow_handle())  # the SDK warns of an error here that nobody saw
    started.add_done_callback(_looked_at)
    try:
        plan: Plan = await client.execute_update_with_start_workflow(
            Says.PLAN,
            start_workflow_operation=operation,
            id=Says.PLAN,
            result_type=Plan,
            rpc_timeout=timedelta(seconds=deadline),
        )
    finally:
        started.cancel()
    return plan


def _looked_at(done: "asyncio.Future[Any]") -> None:
    if not done.cancelled():
        done.exception()


async def call_ended(client: Client, call_id: str) -> None:
    """Tell the call's flow that it is over; starts the flow where none was.

    Raises:
        TemporalUnavailableError: it is not told; upkeep finds the call later.
    """
    await _tell(client, Flow.CALL, call_flow_id(call_id), CallStart(call_id), Says.ENDED)


async def wake_feed(client: Client, connection: str) -> None:
    """Tell the connection's flow that there are new rows; starts the flow where none was.

    Raises:
        TemporalUnavailableError: it is not told; the flow looks by itself as well.
    """
    await _tell(client, Flow.FEED, feed_flow_id(connection), connection, Says.WAKE)


async def appointment_changed(client: Client, appointment_id: str) -> None:
    """Tell the appointment's flow to look at its row; starts the flow where none was.

    Raises:
        TemporalUnavailableError: it is not told.
    """
    await _tell(client, Flow.APPOINTMENT, appointment_flow_id(appointment_id), appointment_id, Says.CHANGED)


async def appointment_answered(
    client: Client, appointment_id: str, kind: str, starts_at: datetime | None = None
) -> None:
    """Tell the appointment's flow that the patient said `confirm` or `reschedule`.

    `starts_at` is the start of the visit that they were told of and answer, where that is known.

    Raises:
        TemporalUnavailableError: it is not told.
    """
    flow_id = appointment_flow_id(appointment_id)
    await _tell(client, Flow.APPOINTMENT, flow_id, appointment_id, Says.ANSWERED, (kind, starts_at))


async def deliver(client: Client, event_id: str, delivery_ids: Iterable[str]) -> None:
    """Start the record lane of an event, one flow for each of its deliveries; a repeat starts none again.

    Raises:
        TemporalUnavailableError: not all were started; upkeep starts the rest.
    """
    for delivery_id in delivery_ids:
        start = DeliveryStart(event_id, delivery_id)
        await _start(client, Flow.DELIVERY, f"delivery-{event_id}-{delivery_id[-12:]}", start)


async def send_text(client: Client, start: TextStart) -> None:
    """Start the flow of one text that belongs to no reminder.

    Raises:
        TemporalUnavailableError: not started.
    """
    await _start(client, Flow.TEXT, f"text-{start.kind}-{start.object_id}", start)


async def start_writeback(client: Client, writeback_id: str) -> None:
    """Start the flow of one write that belongs to no other flow; a repeat starts none again.

    Raises:
        TemporalUnavailableError: not started; upkeep starts it again.
    """
    await _start(client, Flow.WRITEBACK, f"writeback-{writeback_id}", writeback_id)


async def start_upkeep(client: Client) -> None:
    """Start the one flow that looks after what was left undone, unless it runs.

    Raises:
        TemporalUnavailableError: not started.
    """
    await _start(client, Flow.UPKEEP, UPKEEP_ID, UpkeepStart())


async def _start(client: Client, flow: Flow, flow_id: str, start: object) -> None:
    try:
        await client.start_workflow(
            flow, start, id=flow_id, task_queue=TASK_QUEUE, task_timeout=TASK, rpc_timeout=timedelta(seconds=ASK_S)
        )
    except WorkflowAlreadyStartedError:
        return
    except (RPCError, RuntimeError) as error:
        raise TemporalUnavailableError(f"{flow} was not started") from _without_text(error)


async def _tell(
    client: Client, flow: Flow, flow_id: str, start: object, signal: Says, words: Sequence[object] = ()
) -> None:
    try:
        await client.start_workflow(
            flow,
            start,
            id=flow_id,
            task_queue=TASK_QUEUE,
            task_timeout=TASK,
            start_signal=signal,
            start_signal_args=words,
            rpc_timeout=timedelta(seconds=ASK_S),
        )
    except (RPCError, RuntimeError) as error:
        raise TemporalUnavailableError(f"{flow} was not told: {signal}") from _without_text(error)


def _without_text(error: Exception) -> Exception | None:
    """Return the error unless its text may quote a request."""
    return error if isinstance(error, RPCError) and error.status is RPCStatusCode.UNAVAILABLE else None
