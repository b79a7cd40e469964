"""CallFlow: the plan while the phone rings, and what is left to do once the call is over."""

import asyncio
import contextlib
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from hub.rules.routing import Plan
    from hub.temporal.flow import CallStart, Flow, Says
    from workflows.activities.call import LONGEST_CALL, Calls
    from workflows.activities.transcript import Transcripts
    from workflows.patience import ALWAYS, FEW, ONCE, ROW
    from workflows.writeback import write_back

PLAN_PATIENCE = timedelta(seconds=1)
"The caller waits for 250 ms; a plan that comes later is of no use."


TRANSCRIBING = timedelta(hours=2)
"A long call on a slow machine."


@workflow.defn(name=Flow.CALL)
class CallFlow:
    """One call; id `call-<row id>`. History holds ids, names of the policy, codes and times."""

    @workflow.init
    def __init__(self, start: CallStart) -> None:
        self._start = start
        self._ended = False

    @workflow.update(name=Says.PLAN)
    async def plan(self) -> Plan:
        """Return where the call goes. Asked once and only once: who asked falls back by itself.

        A local activity: it saves the way through a task queue and back, about half of the time (decision 0007).
        """
        return await workflow.execute_local_activity_method(
            Calls.route, self._start, start_to_close_timeout=PLAN_PATIENCE, retry_policy=ONCE
        )

    @workflow.signal(name=Says.ENDED)
    def ended(self) -> None:
        """The call is over; its row says how."""
        self._ended = True

    @workflow.run
    async def run(self, _start: CallStart) -> str:
        """Return `closed` once everything that the call left behind is done, or is a task for staff."""
        try:
            await workflow.wait_condition(lambda: self._ended, timeout=LONGEST_CALL)
        except TimeoutError:
            workflow.logger.warning("nobody said that the call ended")
        await workflow.wait_condition(workflow.all_handlers_finished)
        left = await workflow.execute_activity_method(
            Calls.wind_up, self._start.call_id, start_to_close_timeout=ROW, retry_policy=ALWAYS
        )
        await asyncio.gather(
            *(write_back(writeback) for writeback in left.writebacks), *(_transcribe(each) for each in left.sounds)
        )
        return "closed"


async def _transcribe(sound_id: str) -> None:
    """Have a recording or a voicemail written down; after a few failures it stays sound alone."""
    with contextlib.suppress(ActivityError):
        await workflow.execute_activity_method(
            Transcripts.make, sound_id, start_to_close_timeout=TRANSCRIBING, retry_policy=FEW
        )
