"""DeliveryFlow: the record lane of webhooks, one event to one receiver for up to three days."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from hub.temporal.flow import DeliveryStart, Flow
    from workflows.activities.delivery import Deliveries
    from workflows.patience import ALWAYS, OUTSIDE, ROW

PAUSES = (
    timedelta(0),
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"Before each try (Standard Webhooks 1.0.0, the recommended schedule: 75 h 35 min in all)."

JITTER = 0.1
"A pause is longer by up to this part, so that receivers that were down are not met by everybody at once."


@workflow.defn(name=Flow.DELIVERY)
class DeliveryFlow:
    """One event for one webhook; id `delivery-<event>-<end of the delivery id>`."""

    @workflow.run
    async def run(self, start: DeliveryStart) -> str:
        """Return `delivered`, `gone` (wants nothing more), `void` (nobody is left to tell), or `failed`."""
        asked = timedelta(0)
        for pause in PAUSES:
            wait = max(pause * (1 + JITTER * workflow.random().random()), asked)
            if wait:
                await workflow.sleep(wait)
            tried = await workflow.execute_activity_method(
                Deliveries.attempt, start, start_to_close_timeout=OUTSIDE, retry_policy=ALWAYS
            )
            if tried.state != "later":
                return tried.state
            asked = timedelta(seconds=tried.retry_after_s)
        await workflow.execute_activity_method(
            Deliveries.give_up, start, start_to_close_timeout=ROW, retry_policy=ALWAYS
        )
        return "failed"
