"""The API's way to the flows: nothing that it asks of them is lost when Temporal is down."""

import os
from collections.abc import Mapping
from typing import Final
from uuid import UUID

import structlog

from hub.instance import Instance
from hub.temporal import Reach, TemporalUnavailableError, deliver, wake_feed

log = structlog.get_logger()

OK: Final = "ok"


class Flows:
    """What the API asks of Temporal."""

    def __init__(self, instance: Instance, env: Mapping[str, str] = os.environ) -> None:
        self._reach = Reach(instance.paths, instance.keys, env)

    async def wake(self, connection: str) -> None:
        """Tell a connection's flow that there are new rows.

        Raises:
            TemporalUnavailableError: not now; the flow looks by itself as well.
        """
        await wake_feed(await self._reach.client(), connection)

    async def deliver(self, event_id: UUID, delivery_id: UUID) -> None:
        """Start a delivery; where Temporal is down, upkeep starts it from its row."""
        try:
            await deliver(await self._reach.client(), str(event_id), [str(delivery_id)])
        except TemporalUnavailableError as error:
            log.warning("delivery left to upkeep", delivery=str(delivery_id), code=error.code)

    async def health(self) -> str:
        """Return `ok`, or the code of the error."""
        try:
            client = await self._reach.client()
            return OK if await client.service_client.check_health() else TemporalUnavailableError.code
        except TemporalUnavailableError as error:
            return error.code
        except Exception:  # RPCError and the bridge's RuntimeError, whose texts are of no use here
            return TemporalUnavailableError.code
