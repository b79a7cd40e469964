"""The sandbox's server and the connector that speaks to it, on one standing clock."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from connectors.api import Change, Checkpoint, Context
from connectors.fhir import Fhir, FhirSettings
from connectors.sandbox import ehr
from connectors.sandbox.export import Exports
from connectors.sandbox.manners import USUAL, Manners
from connectors.sandbox.people import People, make
from connectors.sandbox.resource import resources
from connectors.sandbox.store import Store
from tests.connectors.stage import NOW, ZONE, Clock, context

BASE = "http://ehr.test/fhir"


@dataclass(frozen=True)
class Asked:
    """One request as the server got it."""

    method: str
    path: str
    query: str
    headers: Headers


@dataclass
class World:
    """A server over invented people, and what it was asked."""

    people: People
    store: Store
    clock: Clock
    app: ASGIApp
    exports: Exports
    asked: list[Asked] = field(default_factory=list)

    def connector(self, **settings: Any) -> Fhir:
        return Fhir(FhirSettings.model_validate({"base_url": BASE} | settings))

    def context(self, connector: Fhir, app: ASGIApp | None = None) -> Context:
        return context(connector, app or self.watched, clock=self.clock)

    def later(self, **delta: float) -> None:
        self.clock.now += timedelta(**delta)

    async def watched(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the server and remember it; the answer carries the clock's Date."""
        if scope["type"] == "http":
            query = scope["query_string"].decode()
            self.asked.append(Asked(scope["method"], scope["path"], query, Headers(scope=scope)))

        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Date"] = self.clock.now.strftime("%a, %d %b %Y %H:%M:%S GMT")
            await send(message)

        await self.app(scope, receive, dated)

    def paths(self, method: str = "GET") -> list[str]:
        return [one.path.removeprefix("/fhir/") for one in self.asked if one.method == method]


def world(*, token: str | None = None, manners: Manners = USUAL) -> World:
    people = make(7, NOW, ZONE)
    clock = Clock(NOW - timedelta(days=1))
    store = Store(clock, resources(people))  # all of it is of yesterday
    clock.now = NOW
    exports = Exports(store, clock)
    return World(people, store, clock, ehr.app(store, token=token, exports=exports, manners=manners), exports)


async def round_of(connector: Fhir, ctx: Context, cursor: bytes | None = None) -> list[Change | Checkpoint]:
    """Return all that one round says."""
    return [said async for said in connector.changes(ctx, cursor)]


async def told(connector: Fhir, ctx: Context, cursor: bytes | None = None) -> tuple[list[Change], bytes]:
    """Return what one round tells, and its last cursor."""
    facts: list[Change] = []
    said: Change | Checkpoint | None = None
    async for said in connector.changes(ctx, cursor):
        if not isinstance(said, Checkpoint):
            facts.append(said)
    assert isinstance(said, Checkpoint)  # a fact after the last checkpoint would never be committed
    return facts, said.cursor


Rewrite = Callable[[dict[str, Any]], dict[str, Any]]


def without_parameter(app: ASGIApp, *names: str) -> ASGIApp:
    """Return a server that does not know some search parameters, and says so as FHIR servers do."""

    async def ignoring(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            pairs = scope["query_string"].decode().split("&")
            kept = [pair for pair in pairs if pair.partition("=")[0] not in names]
            scope = dict(scope) | {"query_string": "&".join(kept).encode()}
        await app(scope, receive, send)

    return ignoring
