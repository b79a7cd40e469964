"""Handing one text to a carrier, and what is known afterwards."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum

import structlog
from temporalio import activity

from connectors.api import (
    LANDLINE,
    AuthExpiredError,
    ConnectorError,
    Context,
    RateLimitedError,
    RejectedError,
    Sends,
    Sms,
    TransientError,
    UnknownOutcomeError,
)
from hub.errors import ChartlineError
from workflows.fault import place_of

log = structlog.get_logger()


class Known(StrEnum):
    """What is known of an attempt."""

    TAKEN = "taken"
    NOT_TAKEN = "not-taken"
    "Surely not, and it may be tried again."

    REFUSED = "refused"
    "Surely not, and there is no use in trying again."

    UNKNOWN = "unknown"
    "It may have gone out."


BEAT_S = 3.0
"Between signs of life of a process that waits for an outside system; patience.SILENCE is how long none may come."


@asynccontextmanager
async def alive() -> AsyncIterator[None]:
    """Give signs of life while the block runs: when this process is killed, the next one need not wait for long."""

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(BEAT_S)

    beating = asyncio.create_task(beat()) if activity.in_activity() else None
    try:
        yield
    finally:
        if beating is not None:
            beating.cancel()


@dataclass(frozen=True, slots=True)
class Handed:
    """What came of one attempt."""

    known: Known
    external_id: str | None = None
    "The carrier's id of the text."

    error: ConnectorError | ChartlineError | None = None

    @property
    def code(self) -> str:
        """The code of what went wrong; empty where nothing did."""
        if isinstance(self.error, RejectedError) and self.error.reason == LANDLINE:
            return LANDLINE
        return "" if self.error is None else self.error.code


async def hand_over(connector: Sends, ctx: Context, sms: Sms, *, key: str) -> Handed:
    """Send `sms` once. The attempt must be on record before this is called."""
    try:
        receipt = await connector.send(ctx, sms, key=key)
    except (TransientError, RateLimitedError, AuthExpiredError) as error:
        return Handed(Known.NOT_TAKEN, error=error)
    except UnknownOutcomeError as error:
        return Handed(Known.UNKNOWN, error=error)
    except ConnectorError as error:
        return Handed(Known.REFUSED, error=error)
    except ChartlineError as error:  # our own gate's: nothing went out
        return Handed(Known.NOT_TAKEN if error.retry else Known.REFUSED, error=error)
    except Exception as error:  # a connector's defect: whether it was before or after the request, nobody knows
        log.error("connector failed", connection=ctx.connection, **place_of(error))
        return Handed(Known.UNKNOWN, error=UnknownOutcomeError("the connector failed"))
    return Handed(Known.TAKEN, external_id=receipt.external_id)
