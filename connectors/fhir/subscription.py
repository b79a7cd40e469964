"""A topic Subscription as a hint that something changed (Subscriptions R5 Backport IG on FHIR R4).

What a notification says is not believed, only that it came: the feed then asks at once. So the Subscription wants
empty notifications, and what is lost on the way is met by the next round. The server proves itself by the secret that
the Subscription tells it to send along (FHIR R4 Subscription.channel.header).
"""

import hmac
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import orjson

from connectors.api import Callback, ConflictError, RejectedError, TransientError, UnknownOutcomeError
from connectors.fhir.capability import PROFILE, Capabilities
from connectors.fhir.client import FHIR_JSON, Client
from connectors.fhir.cursor import Subscribed
from connectors.fhir.reading import Resource, inner, instant, items, text
from connectors.fhir.settings import FhirSettings

CONTENT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-payload-content"
"Extension of Subscription.channel.payload: how much a notification carries."

TYPES = frozenset({"handshake", "heartbeat", "event-notification", "query-status", "query-event"})
"Subscription notification types (Subscriptions R5 Backport IG)."

LASTS = timedelta(days=7)
"From now to Subscription.end."

RENEWED = timedelta(days=2)
"So long before its end it is given a new one."

LOOKED = timedelta(minutes=5)
"Between looks whether it still stands; servers switch off what they could not deliver."

REFUSED = timedelta(days=1)
"Before a server that took no Subscription is asked for one again."

GOOD = frozenset({"requested", "active"})
"FHIR R4 subscription-status."


def topic_of(settings: FhirSettings, declared: Capabilities) -> str | None:
    """Return the topic to subscribe to: the operator's, or the declared one that is about appointments."""
    if settings.subscription_topic:
        return settings.subscription_topic
    return next((topic for topic in declared.topics if "appointment" in topic.lower()), None)


def wanted(settings: FhirSettings, declared: Capabilities) -> str | None:
    """Return the topic of the Subscription that there is to be; None where there is to be none.

    Raises:
        RejectedError: the operator wants one, and nobody names its topic.
    """
    if settings.callback_url is None or settings.feed_by not in {"auto", "subscription"}:
        return None
    topic = topic_of(settings, declared)
    if settings.feed_by == "subscription":
        if topic is None:
            raise RejectedError("no-topic", field="subscription_topic")
        return topic
    return topic if settings.vendor.usable("subscription", declared.subscribes_by_topic) else None


def subscription(settings: FhirSettings, topic: str, now: datetime) -> Resource:
    """Return the Subscription to ask for: empty notifications, by HTTP, with our secret in a header."""
    secret = settings.callback_secret
    return {
        "resourceType": "Subscription",
        "meta": {"profile": [PROFILE]},
        "status": "requested",
        "reason": "Appointments changed",
        "end": (now + LASTS).isoformat(timespec="seconds"),
        "criteria": topic,
        "channel": {
            "type": "rest-hook",
            "endpoint": str(settings.callback_url),
            "header": [f"Authorization: Bearer {secret.get_secret_value() if secret else ''}"],
            "payload": FHIR_JSON,
            "_payload": {"extension": [{"url": CONTENT, "valueCode": "empty"}]},
        },
    }


class Hints:
    """Keeps one Subscription standing."""

    def __init__(self, client: Client, settings: FhirSettings, topic: str, now: datetime) -> None:
        self._client = client
        self._settings = settings
        self._topic = topic
        self._now = now

    async def kept(self, known: Subscribed | None) -> Subscribed:
        """Return the Subscription that stands now: looked at now and then, renewed, made anew where it is gone."""
        if known is not None and self._now - known.looked_at < (LOOKED if known.id else REFUSED):
            return known
        try:
            return Subscribed(id=await self._standing(known.id if known else ""), looked_at=self._now)
        except (RejectedError, ConflictError):
            return Subscribed(looked_at=self._now)  # polling goes on without
        except (UnknownOutcomeError, TransientError):
            return Subscribed(looked_at=self._now - REFUSED + LOOKED)  # it is looked for, soon

    async def _standing(self, own: str) -> str:
        found = await self._client.read("Subscription", own) if own else None
        resource = found.resource if found else await self._ours()
        if resource is None:
            made = await self._client.create(subscription(self._settings, self._topic, self._now))
            return str(made.resource["id"])
        own = str(resource["id"])
        ends_at = instant(resource.get("end"), UTC)
        lasts = ends_at is None or ends_at - self._now > RENEWED
        if found is None or resource.get("status") not in GOOD or not lasts:
            wanted = subscription(self._settings, self._topic, self._now) | {"id": own}
            await self._client.update(wanted, if_match=found.etag if found else None)
        return own

    async def _ours(self) -> Resource | None:
        """Return the Subscription that an earlier life of this connection made."""
        endpoint = str(self._settings.callback_url)
        page = await self._client.page("Subscription", (("url", endpoint),))
        return next(
            (
                one
                for one in page.matches
                if inner(one, "channel", "endpoint") == endpoint and one.get("criteria") == self._topic
            ),
            None,
        )


def verify(settings: FhirSettings, callback: Callback) -> str:
    """Return the id of a notification that bears our secret.

    Raises:
        RejectedError: it does not, or is no notification.
    """
    if settings.callback_secret is None:
        raise RejectedError("no-subscription", field="callback_secret")
    shown = callback.headers.get("authorization", "")
    if not hmac.compare_digest(shown.encode(), f"Bearer {settings.callback_secret.get_secret_value()}".encode()):
        raise RejectedError("signature", field="Authorization")
    said = status_in(callback.body)
    own = (text(said.get("subscription")) or "").rpartition("/")[2]
    return f"{own}-{said['type']}-{said.get('events-since-subscription-start', '')}-{said.get('event-number', '')}"


def status_in(body: bytes) -> dict[str, str]:
    """Return what the first entry of a notification says: `subscription`, `status`, `type` and the counts.

    Raises:
        RejectedError: it is no notification (backport-subscription-notification-r4).
    """
    try:
        bundle = orjson.loads(body)
    except orjson.JSONDecodeError:
        bundle = None
    status = inner(bundle, "entry", "resource")
    if inner(bundle, "resourceType") != "Bundle" or not isinstance(status, dict):
        raise RejectedError("not-understood", field="Bundle.entry")
    said = dict(_parameters(status.get("parameter"))) if status.get("resourceType") == "Parameters" else _r4b(status)
    if said.get("type") not in TYPES:
        raise RejectedError("not-understood", field="Parameters.parameter:type")
    return said


def _parameters(parameters: object) -> Iterator[tuple[str, str]]:
    """Yield the parameters by name, those of the events as well."""
    named = list(items(parameters))
    events = [part for one in named if one.get("name") == "notification-event" for part in items(one.get("part"))]
    for one in [*named, *events]:
        value = next((str(one[key]) for key in ("valueCode", "valueString") if key in one), None)
        if said := value or text(inner(one, "valueReference", "reference")):
            yield str(one.get("name")), said


def _r4b(status: Resource) -> dict[str, str]:
    """Read a SubscriptionStatus, which R4B has for it."""
    if status.get("resourceType") != "SubscriptionStatus":
        raise RejectedError("not-understood", field="Bundle.entry")
    return {
        "subscription": str(inner(status, "subscription", "reference") or ""),
        "type": str(status.get("type")),
        "events-since-subscription-start": str(status.get("eventsSinceSubscriptionStart", "")),
        "event-number": str(inner(status, "notificationEvent", "eventNumber") or ""),
    }
