"""What of an error reaches Temporal, and what the log says of it."""

from datetime import timedelta

import pytest
from temporalio import activity
from temporalio.api.enums.v1 import EventType
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from connectors.api import ConnectorError, RateLimitedError, RejectedError, TransientError
from hub.errors import ChartlineError, ConflictError, UnavailableError
from hub.temporal import TextStart, data_converter, send_text
from tests.workflows.env import CARRIER, KEY, finished, working
from workflows.fault import DEFECT, failure_of, place_of

SECRET = "Ada Sample, +12125550123, born 1980-02-03"


@pytest.mark.parametrize(
    ("error", "kind", "final"),
    [
        (TransientError(SECRET), "transient", False),
        (UnavailableError(SECRET), "unavailable", False),
        (ConflictError(SECRET), "conflict", True),
        (RejectedError("no-such-number", field="to"), "rejected", True),
    ],
)
def test_an_error_keeps_its_code_and_whether_to_try_again(
    error: ChartlineError | ConnectorError, kind: str, final: bool
) -> None:
    failure = failure_of(error)
    assert (failure.type, failure.non_retryable) == (kind, final)
    assert SECRET not in str(failure)


def test_a_rejection_says_why_in_codes() -> None:
    assert failure_of(RejectedError("no-such-number", field="to")).message == "rejected (no-such-number to)"


def test_a_pause_that_is_asked_for_is_kept() -> None:
    assert failure_of(RateLimitedError(42.0)).next_retry_delay == timedelta(seconds=42)


def test_a_place_is_a_file_and_a_line() -> None:
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        place = place_of(error)
    assert place["error"] == "ValueError"
    assert place["at"].startswith("test_fault.py:")


@pytest.mark.parametrize("error", [ValueError(SECRET), ConflictError(SECRET), ApplicationError("told", type="told")])
async def test_nothing_of_a_text_reaches_the_history_or_the_log(
    env: WorkflowEnvironment, capfd: pytest.CaptureFixture[str], error: Exception
) -> None:
    @activity.defn(name="text.send")
    async def send(_start: TextStart) -> str:
        if activity.info().attempt < 3:
            raise error
        raise RejectedError("enough")

    @activity.defn(name="text.give_up")
    async def give_up(start: TextStart) -> None:
        assert start.kind == "help"

    async with working(env.client, [send, give_up]):
        await send_text(env.client, TextStart("help", "0198", CARRIER))
        assert await finished(env, "text-help-0198") == "failed"
    history = await env.client.get_workflow_handle("text-help-0198").fetch_history()
    (failed,) = [event for event in history.events if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED]
    failure = failed.activity_task_failed_event_attributes.failure
    assert failure.message == "Encoded failure"
    told = await data_converter(KEY).decode_failure(failure)
    assert isinstance(told, ApplicationError)
    assert told.type in {"rejected", "conflict", DEFECT}
    captured = capfd.readouterr()
    assert SECRET not in f"{told} {told.__cause__} {failure}{captured.out}{captured.err}"
