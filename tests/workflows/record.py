"""Record histories of every flow for the replay test: `python -m tests.workflows.record [NAME ...]`.

Run it when a flow is changed on purpose, and keep the old files for as long as flows that began under them may run.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, timedelta

from temporalio.testing import WorkflowEnvironment

from connectors.api import TransientError
from hub.temporal import call_ended, deliver, plan_call, send_text, start_upkeep, start_writeback, wake_feed
from tests.workflows import test_appointment_flow as appointment
from tests.workflows import test_call_flow as call
from tests.workflows import test_small_flows as small
from tests.workflows.env import HISTORIES, finished, skipping, working
from workflows.activities.call import Aftermath
from workflows.activities.delivery import Tried
from workflows.activities.voice import Called
from workflows.appointment import AppointmentFlow

Scenario = Callable[[WorkflowEnvironment], Awaitable[str]]
"Plays a story and returns the id of the flow that it is about."


async def appointment_confirmed(env: WorkflowEnvironment) -> str:
    """A step is held, one fails, the visit moves, the patient confirms."""
    desk = await appointment.desk_of(env, days=10)
    desk.outcomes = ["held", TransientError("no connection")]
    async with appointment.running(env, desk) as flow:
        await env.sleep(timedelta(days=7, hours=1))
        desk.starts_at += timedelta(days=1)
        await flow.signal(AppointmentFlow.changed)
        await env.sleep(timedelta(days=1))
        await flow.signal(AppointmentFlow.answered, "confirm")
        await flow.result()
    return appointment.ID


async def appointment_cancelled(env: WorkflowEnvironment) -> str:
    """Silence, a wish for another time, then the visit is cancelled."""
    desk = await appointment.desk_of(env, days=10)
    async with appointment.running(env, desk) as flow:
        await env.sleep(timedelta(days=8))
        await flow.signal(AppointmentFlow.answered, "reschedule")
        desk.on = False
        await flow.signal(AppointmentFlow.changed)
        await flow.result()
    return appointment.ID


async def appointment_called(env: WorkflowEnvironment) -> str:
    """A number that takes no texts is called in vain, then reached, then its owner confirms by a key."""
    desk = await appointment.desk_of(env, days=10)
    desk.voice = True
    desk.called = [Called("held"), Called("sent"), Called("sent", "confirm")]
    async with appointment.running(env, desk) as flow:
        await finished(env, flow.id)
    return appointment.ID


async def call_closed(env: WorkflowEnvironment) -> str:
    """A call gets its plan, ends, and is written back after some tries."""
    desk = call.Desk()
    desk.left = Aftermath(("wb-1", "wb-2"))
    desk.write_faults = [TransientError("no connection")]
    async with working(env.client, desk.works()):
        await plan_call(env.client, call.START, deadline=5)
        await env.sleep(timedelta(minutes=3))
        await call_ended(env.client, call.START.call_id)
        await finished(env, "call-0198-call")
    return "call-0198-call"


async def call_unplanned(env: WorkflowEnvironment) -> str:
    """No plan can be made, and nobody says that the call ended."""
    desk = call.Desk()
    desk.fault = OSError("disk")
    async with working(env.client, desk.works()):
        try:
            await plan_call(env.client, call.START, deadline=5)
        except Exception as error:
            print(f"as wanted: {error}", file=sys.stderr)
        await finished(env, "call-0198-call")
    return "call-0198-call"


async def feed(env: WorkflowEnvironment) -> str:
    """A wake, a look by itself, a fault, and the end of the connection."""
    inbox = small.Inbox(rows=25)
    async with working(env.client, [inbox.drain]):
        await wake_feed(env.client, "adt")
        await env.sleep(timedelta(seconds=20))
        inbox.faults = [OSError("disk")]
        inbox.closed = True
        await wake_feed(env.client, "adt")
        await finished(env, "feed-adt")
    return "feed-adt"


async def delivery(env: WorkflowEnvironment) -> str:
    """Three tries, one of them after a pause that the receiver asked for."""
    receiver = small.Receiver(Tried("later"), Tried("later", retry_after_s=900.0), Tried("delivered"))
    async with working(env.client, receiver.works()):
        await deliver(env.client, "0198-event", ["0198-delivery"])
        await finished(env, "delivery-0198-event-198-delivery")
    return "delivery-0198-event-198-delivery"


async def text(env: WorkflowEnvironment) -> str:
    """A carrier that never takes the text."""
    carrier = small.Carrier(*[TransientError("no connection")] * 500)
    async with working(env.client, [carrier.send, carrier.give_up]):
        await send_text(env.client, small.TEXT)
        await finished(env, "text-missed-call-0198-call")
    return "text-missed-call-0198-call"


async def upkeep(env: WorkflowEnvironment) -> str:
    """A few sweeps."""
    async with working(env.client, [small.sweep]):
        await start_upkeep(env.client)
        await env.sleep(timedelta(minutes=5))
    return "upkeep"


async def writeback(env: WorkflowEnvironment) -> str:
    """A note that is taken at the second try."""
    desk = call.Desk()
    desk.write_faults = [TransientError("no connection")]
    async with working(env.client, desk.works()):
        await start_writeback(env.client, "0198-writeback")
        await finished(env, "writeback-0198-writeback")
    return "writeback-0198-writeback"


SCENARIOS: tuple[Scenario, ...] = (
    appointment_confirmed,
    appointment_cancelled,
    appointment_called,
    call_closed,
    call_unplanned,
    feed,
    delivery,
    text,
    upkeep,
    writeback,
)


async def record(scenario: Scenario) -> None:
    """Play one story and keep its history."""
    async with skipping() as env:
        flow_id = await scenario(env)
        history = await env.client.get_workflow_handle(flow_id).fetch_history()
    kept = {"workflow_id": flow_id, "history": history.to_json_dict()}
    path = HISTORIES / f"{scenario.__name__.replace('_', '-')}.json"
    path.write_text(json.dumps(kept, indent=1) + "\n")
    print(f"{path.name}: {len(history.events)} events, {history.events[0].event_time.ToDatetime(tzinfo=UTC):%Y-%m-%d}")


async def main(wanted: Collection[str]) -> None:
    """Record those whose names are given, or all of them."""
    for scenario in SCENARIOS:
        if not wanted or scenario.__name__ in wanted:
            await record(scenario)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
