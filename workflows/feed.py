"""FeedFlow: turns what a connection delivered into the record, in order."""

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from hub.temporal.flow import Flow, Says
    from workflows.activities.feed import Drained, Feeds
    from workflows.patience import LOOKS, SOON

LOOK = timedelta(seconds=5)
"How often the flow looks by itself: a crash between acknowledging and waking loses nothing."

BATCH = timedelta(seconds=60)
"For one batch: read, stored, and told to the flows that it concerns."


@workflow.defn(name=Flow.FEED)
class FeedFlow:
    """One connection's stored messages; id `feed-<connection>`. The rows are the queue, the signal only wakes."""

    def __init__(self) -> None:
        self._woken = False

    @workflow.signal(name=Says.WAKE)
    def wake(self) -> None:
        """There are new rows."""
        self._woken = True

    @workflow.run
    async def run(self, connection: str) -> None:
        """Drain until the history grows long, then go on in a new one; ends only with its connection.

        A local activity: a look that finds nothing costs one workflow task.
        """
        for _ in range(LOOKS):
            self._woken = False
            drained = await self._drain(connection)
            if drained.closed:
                return
            if not drained.more:
                await self._rest()
        workflow.continue_as_new(connection)

    async def _drain(self, connection: str) -> Drained:
        try:
            return await workflow.execute_local_activity_method(
                Feeds.drain, connection, start_to_close_timeout=BATCH, retry_policy=SOON
            )
        except (ActivityError, ApplicationError):  # no use at once: a right that this process lacks
            return Drained()

    async def _rest(self) -> None:
        try:
            await workflow.wait_condition(lambda: self._woken, timeout=LOOK)
        except TimeoutError:
            return
