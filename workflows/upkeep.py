"""UpkeepFlow: finds what a crash left undone and wakes whoever should do it."""

from contextlib import suppress
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from hub.temporal.flow import Flow, UpkeepStart
    from workflows.activities.upkeep import Upkeep
    from workflows.patience import ALWAYS, LOOKS

LOOK = timedelta(seconds=15)
"After an outage of Temporal, what was missed is seen to within this and `SLACK` of the sweep."
SWEEP = timedelta(seconds=60)


@workflow.defn(name=Flow.UPKEEP)
class UpkeepFlow:
    """One for an instance; id `upkeep`."""

    @workflow.run
    async def run(self, before: UpkeepStart) -> None:
        """Sweep until the history grows long, then go on in a new one; never ends."""
        for _ in range(LOOKS):
            with suppress(ActivityError, ApplicationError):  # no use at once: the next sweep may go better
                before = await workflow.execute_local_activity_method(
                    Upkeep.sweep, before, start_to_close_timeout=SWEEP, retry_policy=ALWAYS
                )
            await workflow.sleep(LOOK)
        workflow.continue_as_new(before)
