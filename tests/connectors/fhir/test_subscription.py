"""The topic Subscription: made, proven, looked after; whatever becomes of it, polling goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from connectors import host
from connectors.api import AppointmentFacts, Callback, Feeds, Reads, RejectedError, Verifies
from connectors.fhir import Fhir
from connectors.fhir.cursor import Cursor
from connectors.fhir.subscription import CONTENT, LOOKED, REFUSED
from connectors.sandbox.manners import Manners
from connectors.sandbox.topic import TOPIC, Topics
from tests.connectors.fhir.world import BASE, World, told
from tests.connectors.fhir.world import world as made
from tests.connectors.stage import NOW, ZONE

SECRET = "a-shared-secret"
CALLBACK = {"callback_url": "http://hub.test/carriers/ehr/hints", "callback_secret": SECRET}


class Hub:
    """What takes the callbacks: it proves each one, and reads it."""

    def __init__(self, connector: Fhir) -> None:
        self.connector = connector
        self.down = False
        self.heard: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await request.body()
        callback = Callback(request.method, request.url.path, {}, dict(request.headers), body, NOW)
        status = 503
        if not self.down:
            try:
                self.heard.append(self.connector.verify(callback))
                status = 204 if self.connector.read(body, timezone=ZONE, region="US") == [] else 500
            except RejectedError:
                status = 403
        await Response(status_code=status)(scope, receive, send)


@asynccontextmanager
async def notifying(world: World, connector: Fhir) -> AsyncIterator[tuple[Hub, Topics]]:
    hub = Hub(connector)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(hub)) as http:
        topics = Topics(world.store, world.clock, http, rest=0)
        running = asyncio.create_task(topics.run())
        try:
            yield hub, topics
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


def subscriptions(world: World) -> list[dict[str, Any]]:
    return [resource for _, resource in world.store.all("Subscription")]


def notification(kind: str = "event-notification", **more: Any) -> bytes:
    parameters = [
        {"name": "subscription", "valueReference": {"reference": "Subscription/s1"}},
        {"name": "status", "valueCode": "active"},
        {"name": "type", "valueCode": kind},
        {"name": "events-since-subscription-start", "valueString": "2"},
        {"name": "notification-event", "part": [{"name": "event-number", "valueString": "2"}]},
    ]
    status = {"resourceType": "Parameters", "parameter": parameters} | more
    return orjson.dumps({"resourceType": "Bundle", "type": "history", "entry": [{"resource": status}]})


def callback(body: bytes, shown: str = f"Bearer {SECRET}") -> Callback:
    return Callback("POST", "hints", {}, {"authorization": shown}, body, NOW)


async def test_the_subscription_wants_empty_notifications_with_our_secret(world: World) -> None:
    connector = world.connector(**CALLBACK)
    _, cursor = await told(connector, world.context(connector))
    (made_there,) = subscriptions(world)
    assert made_there["criteria"] == TOPIC
    assert made_there["channel"] == {
        "type": "rest-hook",
        "endpoint": CALLBACK["callback_url"],
        "header": [f"Authorization: Bearer {SECRET}"],
        "payload": "application/fhir+json",
        "_payload": {"extension": [{"url": CONTENT, "valueCode": "empty"}]},
    }
    assert datetime.fromisoformat(made_there["end"]) == NOW + timedelta(days=7)
    known = Cursor.parse(cursor).subscribed
    assert known is not None
    assert known.id == made_there["id"]
    assert SECRET.encode() not in cursor


async def test_a_change_at_the_server_is_a_hint_and_the_next_round_tells_it(world: World) -> None:
    connector = world.connector(**CALLBACK)
    ctx = world.context(connector)
    async with notifying(world, connector) as (hub, topics):
        _, cursor = await told(connector, ctx)
        await topics.waiting.join()
        assert [one["status"] for one in subscriptions(world)] == ["active"]
        assert [key.split("-")[-3] for key in hub.heard] == ["handshake"]
        visit = world.store.get("Appointment", "a3")
        assert visit is not None
        world.later(seconds=30)
        world.store.put(visit | {"status": "cancelled"})
        await topics.waiting.join()
        assert len(hub.heard) == 2
        assert hub.heard[-1].endswith("-event-notification-1-1")
        facts, _ = await told(connector, ctx, cursor)
        assert [fact.ids[0].value for fact in facts if isinstance(fact, AppointmentFacts)] == ["a3"]


async def test_it_is_looked_after_now_and_then_and_not_in_every_round(world: World) -> None:
    connector = world.connector(**CALLBACK)
    ctx = world.context(connector)
    _, cursor = await told(connector, ctx)
    world.asked.clear()
    _, cursor = await told(connector, ctx, cursor)
    assert [one.path for one in world.asked if "Subscription" in one.path] == []
    world.later(seconds=LOOKED.total_seconds())
    await told(connector, ctx, cursor)
    assert [one.method for one in world.asked if "Subscription" in one.path] == ["GET"]


@pytest.mark.parametrize("what", ["error", "off", "gone", "ending"])
async def test_one_that_no_longer_works_is_made_anew(world: World, what: str) -> None:
    connector = world.connector(**CALLBACK)
    ctx = world.context(connector)
    _, cursor = await told(connector, ctx)
    (before,) = subscriptions(world)
    if what == "gone":
        world.store.delete("Subscription", before["id"])
    elif what == "ending":
        world.later(days=6)
    else:
        world.store.put(before | {"status": what})
    world.later(minutes=6)
    _, cursor = await told(connector, ctx, cursor)
    (after,) = subscriptions(world)
    assert after["status"] == "requested"
    assert datetime.fromisoformat(after["end"]) == world.clock.now + timedelta(days=7)
    assert (after["id"] == before["id"]) is (what != "gone")


async def test_a_connection_that_forgot_everything_takes_its_own_subscription_up_again(world: World) -> None:
    first = world.connector(**CALLBACK)
    await told(first, world.context(first))
    second = world.connector(**CALLBACK)
    await told(second, world.context(second))
    assert len(subscriptions(world)) == 1


async def test_a_hub_that_cannot_be_reached_costs_the_hints_and_nothing_else(world: World) -> None:
    connector = world.connector(**CALLBACK)
    ctx = world.context(connector)
    async with notifying(world, connector) as (hub, topics):
        hub.down = True
        _, cursor = await told(connector, ctx)
        await topics.waiting.join()
        assert [one["status"] for one in subscriptions(world)] == ["error"]
        visit = world.store.get("Appointment", "a3")
        assert visit is not None
        world.later(minutes=6)
        world.store.put(visit | {"status": "cancelled"})
        hub.down = False
        facts, cursor = await told(connector, ctx, cursor)
        assert len(facts) == 1
        await topics.waiting.join()
        assert [one["status"] for one in subscriptions(world)] == ["active"]


async def test_a_server_whose_subscriptions_are_down_is_polled_meanwhile(world: World) -> None:
    inner, down = world.app, True

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if down and "Subscription" in scope["path"]:
            await Response(b"{}", 500)(scope, receive, send)
        else:
            await inner(scope, receive, send)

    world.app = app
    connector = world.connector(**CALLBACK)
    facts, cursor = await told(connector, world.context(connector))
    assert facts
    down = False
    world.later(minutes=6)
    await told(connector, world.context(connector), cursor)
    assert len(subscriptions(world)) == 1


async def test_a_server_that_takes_none_is_polled_and_asked_again_a_day_later() -> None:
    world = made(manners=Manners(topics=False))
    connector = world.connector(**CALLBACK, subscription_topic="http://topic.test/x", feed_by="subscription")
    inner = world.app

    async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
        if "Subscription" in scope["path"]:
            await Response(b"{}", 403)(scope, receive, send)
        else:
            await inner(scope, receive, send)

    world.app = refusing
    ctx = world.context(connector)
    facts, cursor = await told(connector, ctx)
    assert facts
    known = Cursor.parse(cursor).subscribed
    assert known is not None
    assert known.id == ""
    world.asked.clear()
    world.later(minutes=10)
    _, cursor = await told(connector, ctx, cursor)
    assert [one for one in world.asked if "Subscription" in one.path] == []
    world.later(seconds=REFUSED.total_seconds())
    await told(connector, ctx, cursor)
    assert [one for one in world.asked if "Subscription" in one.path] != []


@pytest.mark.parametrize(
    ("manners", "settings"),
    [
        (Manners(topics=False), CALLBACK),
        (Manners(), {}),
        (Manners(), CALLBACK | {"feed_by": "updated"}),
        (Manners(), CALLBACK | {"override": {"subscription": "no"}}),
    ],
)
async def test_there_is_none_where_nobody_wants_it_or_can(manners: Manners, settings: dict[str, Any]) -> None:
    world = made(manners=manners)
    connector = world.connector(**settings)
    facts, cursor = await told(connector, world.context(connector))
    assert facts
    assert subscriptions(world) == []
    assert Cursor.parse(cursor).subscribed is None


async def test_who_insists_on_one_must_name_a_topic_where_the_server_does_not() -> None:
    world = made(manners=Manners(topics=False))
    connector = world.connector(**CALLBACK, feed_by="subscription")
    with pytest.raises(RejectedError, match="no-topic"):
        await told(connector, world.context(connector))


def test_a_callback_is_proven_by_the_secret_and_named_by_its_number(world: World) -> None:
    connector = world.connector(**CALLBACK)
    assert connector.verify(callback(notification())) == "s1-event-notification-2-2"
    for kind in ("handshake", "heartbeat", "query-status"):
        assert connector.verify(callback(notification(kind))).startswith(f"s1-{kind}-")
    r4b = {
        "resourceType": "SubscriptionStatus",
        "type": "event-notification",
        "subscription": {"reference": "Subscription/s2"},
        "eventsSinceSubscriptionStart": "7",
        "notificationEvent": [{"eventNumber": "7"}],
    }
    body = orjson.dumps({"resourceType": "Bundle", "entry": [{"resource": r4b}]})
    assert connector.verify(callback(body)) == "s2-event-notification-7-7"


@pytest.mark.parametrize("shown", ["", "Bearer ", f"Bearer {SECRET}x", SECRET, f"Basic {SECRET}", "Bearer ü"])
def test_who_does_not_show_the_secret_is_not_believed(world: World, shown: str) -> None:
    connector = world.connector(**CALLBACK)
    with pytest.raises(RejectedError, match="signature"):
        connector.verify(callback(notification(), shown))


def test_without_a_secret_nobody_is_believed(world: World) -> None:
    with pytest.raises(RejectedError, match="no-subscription"):
        world.connector().verify(callback(notification(), "Bearer "))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"resourceType": "Bundle"}',
        b'{"resourceType": "Bundle", "entry": []}',
        b'{"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Appointment"}}]}',
        notification("surprise"),
        notification(parameter=[]),
        notification(parameter=[None, {"name": None}, 3]),
    ],
)
def test_what_is_no_notification_is_refused(world: World, body: bytes) -> None:
    connector = world.connector(**CALLBACK)
    with pytest.raises(RejectedError, match="not-understood"):
        connector.verify(callback(body))
    with pytest.raises(RejectedError, match="not-understood"):
        connector.read(body, timezone=ZONE, region="US")


def test_a_hint_needs_a_connector_that_feeds_verifies_and_reads(world: World) -> None:
    connector = world.connector(**CALLBACK)
    assert all(isinstance(connector, kind) for kind in (Feeds, Verifies, Reads))


@pytest.mark.parametrize(
    "written",
    [
        {"callback_url": "http://hub.test/"},
        {"callback_secret": "env:S"},
        {"feed_by": "subscription"},
        {"feed_by": "magic"},
    ],
)
def test_settings_of_the_feed_that_do_not_hold_together_are_refused(written: dict[str, Any]) -> None:
    with pytest.raises(host.ConnectionSettingsError):
        host.build("fhir", {"base_url": BASE} | written, lambda _: "secret")
