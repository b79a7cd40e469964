"""The sandbox's topic Subscriptions: who subscribed is told of each appointment (Subscriptions R5 Backport IG)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx

from connectors.sandbox.resource import Resource, stamp
from connectors.sandbox.store import Store

TOPIC = "http://sandbox.chartline.example/SubscriptionTopic/appointment-change"
"Every change of an Appointment."

_PROFILES = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"
CONTENT = _PROFILES + "backport-payload-content"
STATUS = _PROFILES + "backport-subscription-status-r4"

TRIES = 3
"Of one notification; after them the Subscription stands in error."


@dataclass
class Topics:
    """Notifies through `http`."""

    store: Store
    clock: Callable[[], datetime]
    http: httpx.AsyncClient
    rest: float = 0.2
    "Seconds between tries."

    waiting: asyncio.Queue[tuple[str, str]] = field(default_factory=asyncio.Queue)
    "Ids of Subscriptions, and what they are to be told: a notification type."

    _events: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store.watches.append(self._note)

    async def run(self) -> None:
        """Notify until cancelled."""
        while True:
            own, what = await self.waiting.get()
            try:
                await self.tell(own, what)
            finally:
                self.waiting.task_done()

    async def tell(self, own: str, what: str) -> None:
        """Send one notification; after a handshake the Subscription is active, after a failure in error."""
        found = self.store.get("Subscription", own)
        if found is None or found["status"] not in {"requested", "active"} or self._ended(found):
            return
        if what == "event-notification":
            self._events[own] = self._events.get(own, 0) + 1
        said = self._notification(found, what)
        for number in range(TRIES):
            if number:
                await asyncio.sleep(self.rest)
            if await self._sent(found["channel"], said):
                if found["status"] == "requested":
                    self.store.put(found | {"status": "active"})
                return
        self.store.put(found | {"status": "error", "error": "not delivered"})

    async def _sent(self, channel: dict[str, Any], said: Resource) -> bool:
        headers = dict(one.split(": ", 1) for one in channel.get("header", []))
        try:
            answer = await self.http.post(channel["endpoint"], json=said, headers=headers)
        except httpx.HTTPError:
            return False
        return answer.is_success

    def _ended(self, subscription: Resource) -> bool:
        end = subscription.get("end")
        return bool(end) and datetime.fromisoformat(str(end)) <= self.clock()

    def _notification(self, subscription: Resource, what: str) -> Resource:
        """Return a backport-subscription-notification-r4, with no more in it than the client wants."""
        own = str(subscription["id"])
        count = str(self._events.get(own, 0))
        parameters: list[dict[str, Any]] = [
            {"name": "subscription", "valueReference": {"reference": f"Subscription/{own}"}},
            {"name": "status", "valueCode": subscription["status"]},
            {"name": "type", "valueCode": what},
            {"name": "events-since-subscription-start", "valueString": count},
        ]
        if what == "event-notification":
            event = [{"name": "event-number", "valueString": count}]
            event.append({"name": "timestamp", "valueInstant": stamp(self.clock())})
            parameters.append({"name": "notification-event", "part": event})
        status = {"resourceType": "Parameters", "meta": {"profile": [STATUS]}, "parameter": parameters}
        entry = {
            "fullUrl": f"urn:uuid:{uuid4()}",
            "resource": status,
            "request": {"method": "GET", "url": f"Subscription/{own}/$status"},
            "response": {"status": "200"},
        }
        return {"resourceType": "Bundle", "type": "history", "timestamp": stamp(self.clock()), "entry": [entry]}

    def _note(self, was: Resource | None, now: Resource) -> None:
        if now["resourceType"] == "Subscription" and now["status"] == "requested":
            self.waiting.put_nowait((str(now["id"]), "handshake"))
        if now["resourceType"] != "Appointment" or was == now:
            return
        for _, subscription in self.store.all("Subscription"):
            if subscription.get("criteria") == TOPIC:
                self.waiting.put_nowait((str(subscription["id"]), "event-notification"))
