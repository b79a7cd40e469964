"""Errors on their way into Temporal: the code stays, the text does not.

An activity raises what the rest of the product raises. Here, and only here, that becomes an ApplicationError: its type
is the code, and whether it is tried again is what the error itself says. Anything else is a defect of ours: its text
may quote a record, so only its type and place are logged, and nothing of it goes into the history.
"""

import traceback
from datetime import timedelta
from typing import Any

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from connectors.api import ConnectorError, RateLimitedError, RejectedError
from hub.errors import ChartlineError

log = structlog.get_logger()

DEFECT = "defect"
"The type of a failure that nobody foresaw; it is tried again, for a disk or a lock may recover."


class Faults(Interceptor):
    """Stands around every activity of a worker."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Return `next` with its errors translated."""
        return _Translating(next)


class _Translating(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        try:
            return await super().execute_activity(input)
        except FailureError:
            raise
        except (ChartlineError, ConnectorError) as error:
            info = activity.info()
            log.warning("activity failed", activity=info.activity_type, attempt=info.attempt, code=error.code)
            raise failure_of(error) from None
        except Exception as error:
            log.error("activity failed", activity=activity.info().activity_type, code=DEFECT, **place_of(error))
            raise ApplicationError(DEFECT, type=DEFECT) from None


def failure_of(error: ChartlineError | ConnectorError) -> ApplicationError:
    """Return what Temporal is told of `error`: codes only."""
    where = f" ({error.reason} {error.field})" if isinstance(error, RejectedError) else ""
    pause = timedelta(seconds=error.retry_after) if isinstance(error, RateLimitedError) else None
    return ApplicationError(
        f"{error.code}{where}", type=error.code, non_retryable=not error.retry, next_retry_delay=pause
    )


def place_of(error: BaseException) -> dict[str, str]:
    """Return the kind of `error` and where it was raised, without its text."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    at = f"{last.filename.rpartition('/')[2]}:{last.lineno}" if last else "?"
    return {"error": type(error).__name__, "at": at}
