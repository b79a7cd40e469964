"""Writing back to an outside system, as every flow does it."""

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
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
