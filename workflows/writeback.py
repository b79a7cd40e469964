"""Writing back to an outside system, as every flow does it, and the flow of a write that belongs to no other."""

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from hub.temporal.flow import Flow
    from workflows.activities.writeback import Writebacks
    from workflows.patience import ALWAYS, DAYS, OUTSIDE, ROW, SILENCE, THREE_DAYS


async def write_back(writeback_id: str) -> None:
    """Write one thing back to its owner; what cannot be written becomes a task for staff."""
    try:
        await workflow.execute_activity_method(
            Writebacks.write,
            writeback_id,
            start_to_close_timeout=OUTSIDE,
            heartbeat_timeout=SILENCE,
            schedule_to_close_timeout=THREE_DAYS,
            retry_policy=DAYS,
        )
    except ActivityError:
        await workflow.execute_activity_method(
            Writebacks.give_up, writeback_id, start_to_close_timeout=ROW, retry_policy=ALWAYS
        )


@workflow.defn(name=Flow.WRITEBACK)
class WritebackFlow:
    """One write, such as the note of a text; id `writeback-<row id>`."""

    @workflow.run
    async def run(self, writeback_id: str) -> None:
        """Write it, or leave it be after some days."""
        await write_back(writeback_id)
