"""Noting what happened for webhooks, and starting the record lane of it."""

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from uuid import UUID

from sqlmodel import Session
from temporalio.client import Client

from hub.instance import Instance
from hub.record import event
from hub.record.event import Delivery, Lane
from hub.temporal import TemporalUnavailableError, deliver

Told = Sequence[Delivery]
"Deliveries that stand in the rows and are still to be started."


class Herald:
    """Tells webhooks; what a crash keeps it from starting, upkeep starts."""

    def __init__(self, instance: Instance, client: Client) -> None:
        self._instance = instance
        self._client = client

    def note(
        self, db: Session, kind: str, payload: Mapping[str, str], now: datetime, *, call_id: UUID | None = None
    ) -> Told:
        """Note an event in the caller's transaction, if a webhook asks for its kind.

        Hand what comes back to `start` once it is committed.
        """
        _, practice = self._instance.policy()
        if not any(fnmatchcase(kind, pattern) for hook in practice.webhooks for pattern in hook.events):
            return ()
        _, deliveries = event.emit(db, practice, kind, payload, now=now, call_id=call_id)
        return deliveries

    async def start(self, told: Told) -> None:
        """Start the record lane of what was noted; without Temporal, upkeep does it later."""
        by_event: dict[UUID, list[str]] = {}
        for delivery in told:
            if delivery.lane is Lane.RECORD:
                by_event.setdefault(delivery.event_id, []).append(str(delivery.id))
        for event_id, deliveries in by_event.items():
            with contextlib.suppress(TemporalUnavailableError):
                await deliver(self._client, str(event_id), deliveries)
