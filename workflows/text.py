"""TextFlow: one text that belongs to no reminder: a word after a missed call, the answer to STOP or HELP."""

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from hub.temporal.flow import Flow, TextStart, carrier_queue
    from workflows.activities.text import Texts
    from workflows.patience import ALWAYS, DAYS, OUTSIDE, ROW, SILENCE

USEFUL = timedelta(hours=12)
"A text that could not go out for so long is left to staff."


@workflow.defn(name=Flow.TEXT)
class TextFlow:
    """One text; id `text-<kind>-<call or message id>`."""

    @workflow.run
    async def run(self, start: TextStart) -> str:
        """Return what became of it: `sent`, `dropped`, `failed` or `unknown`."""
        try:
            return await workflow.execute_activity_method(
                Texts.send,
                start,
                task_queue=carrier_queue(start.carrier),
                start_to_close_timeout=OUTSIDE,
                heartbeat_timeout=SILENCE,
                schedule_to_close_timeout=USEFUL,
                retry_policy=DAYS,
            )
        except ActivityError:
            await workflow.execute_activity_method(
                Texts.give_up, start, start_to_close_timeout=ROW, retry_policy=ALWAYS
            )
            return "failed"
