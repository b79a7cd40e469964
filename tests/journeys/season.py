"""A practice that lives through a season in seconds: a real instance whose clock is a Temporal server that skips time.

The vault runs as a process of its own; the worker is the one of `python -m workflows`, all flows and activities of it;
what comes in is stored as the feeds process stores it and read by FeedFlow; carrier and EHR stand on loopback and have
the same clock. Time stands still (it passes as on the wall) while a test works, and runs when it waits for an instant.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.empty_pb2 import Empty
from sqlmodel import SQLModel, select
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from temporalio.api.enums.v1 import EventType
from temporalio.api.testservice.v1 import SleepRequest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from connectors.api import Callback
from connectors.hl7v2.ack import control_id_of
from connectors.sandbox import carrier as sms
from connectors.sandbox import ehr as fhir
from connectors.sandbox.store import Store
from hub.cli import setup
from hub.cli.instance import vault_of
from hub.demo.ports import free_port
from hub.feeds.writer import Writer
from hub.instance import Instance
from hub.outside import Outside
from hub.record import inbox
from hub.record.inbox import Arrival
from hub.security.sealed import Sealed
from hub.settings import Paths
from hub.temporal import connect, wake_feed
from hub.temporal.flow import UPKEEP_ID, feed_flow_id
from hub.vault.client import Access
from tests.journeys.stand import until
from tests.workflows.clinic import CONNECTIONS, REMINDER, SECRET, TOKEN, serving
from tests.workflows.env import skipping
from workflows.worker import serve

T = TypeVar("T", bound=SQLModel)

AUDITED = Access("system:test", "system", "operations")

A_DAY = timedelta(seconds=150)
"How long a day may take."

ADT, CARRIER, EHR = "adt", "sms", "ehr"
"Connections of the policy."

POLICY = (
    """
[practice]
name = "Quiet Cove Clinic"
timezone = "America/New_York"
languages = ["en", "es"]

[[number]]
did = "+12125550100"
queue = "desk"

[[queue]]
name = "desk"

[[staff]]
email = "ana@cove.example"
roles = ["front-desk"]
queues = ["desk"]
"""
    + CONNECTIONS
    + REMINDER
)


class ServerClock:
    """The time of a Temporal server that skips time, for code that asks from any thread and cannot await."""

    def __init__(self, address: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="clock", daemon=True)
        self._thread.start()
        self._client = asyncio.run_coroutine_threadsafe(Client.connect(address), self._loop).result(30)

    def __call__(self) -> datetime:
        return asyncio.run_coroutine_threadsafe(self._ask(), self._loop).result(30)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _ask(self) -> datetime:
        answer = await self._client.test_service.get_current_time(Empty())
        return answer.time.ToDatetime().replace(tzinfo=UTC)


@contextmanager
def clock_of(address: str) -> Iterator[ServerClock]:
    clock = ServerClock(address)
    try:
        yield clock
    finally:
        clock.close()


@dataclass(slots=True)
class Season:
    """The practice, and what a test does with it."""

    env: WorkflowEnvironment
    address: str
    "Of the Temporal server."

    clock: ServerClock
    instance: Instance
    "Open as the worker has it."

    client: Client
    carrier: sms.Carrier
    ehr: Store
    writer: Writer
    callbacks: int
    "The port for the carrier's callbacks."

    async def until(self, at: datetime) -> None:
        """Let time run until `at`: every timer on the way fires, and what it sets off is done before the next.

        Day by day, for the server answers a longer sleep too late where much is to be done on a slow machine; on a
        busy one a day may ask for more than the half minute that the SDK gives it by itself.
        """
        while (left := at - self.clock()) > timedelta(0):
            sleep = SleepRequest()
            sleep.duration.FromTimedelta(min(left, timedelta(days=1)))
            await self.env.client.test_service.unlock_time_skipping_with_sleep(sleep, timeout=A_DAY)

    async def hear(self, *messages: bytes, connection: str = ADT) -> None:
        """Store messages as the feeds process does, and have them read."""
        await asyncio.gather(*(self.writer.store(Arrival(connection, control_id_of(raw), raw)) for raw in messages))
        await self.read(connection)

    async def answer(self, number: str, text: str) -> None:
        """Let somebody write a text; the carrier calls back, and the text is read."""
        self.carrier.callback = f"http://127.0.0.1:{self.callbacks}"
        self.carrier.reply(sms.Reply.model_validate({"from": number, "to": "+12125550100", "text": text}))
        await self.carrier.settle()
        self.carrier.callback = None  # no receipts: each would wake the feed's flow, see `read`
        assert self.carrier.lost == 0
        await self.read(CARRIER)

    async def read(self, connection: str) -> None:
        """Wake the feed's flow, and end it once all is read: a look every 5 seconds of a season is a million looks."""
        await wake_feed(self.client, connection)
        await until(
            lambda: self.instance.inbox.run(lambda db: not inbox.pending(db, connection, 1)), seconds=120, every=0.01
        )
        await self.end(feed_flow_id(connection))

    async def end(self, flow_id: str) -> None:
        """End a flow that would go on for ever, once it rests: else the server waits for the rest of its task."""
        flow = self.client.get_workflow_handle(flow_id)

        async def resting() -> bool:
            history = await flow.fetch_history()
            return history.events[-1].event_type == EventType.EVENT_TYPE_TIMER_STARTED

        await until(resting, seconds=60, every=0.02)
        await flow.terminate()

    def rows(self, kind: type[T]) -> list[T]:
        with self.instance.db.read() as db:
            return list(db.exec(select(kind)).all())

    def open(self, rows: Iterable[Sealed]) -> list[dict[str, Any]]:
        with self.instance.db.read() as db:
            return self.instance.opener.open(db, AUDITED, list(rows))

    def counts(self, connection: str = ADT) -> dict[str, int]:
        """How many messages of a connection are stored, applied and quarantined."""
        with self.instance.inbox.read() as db:
            return inbox.counts(db, connection)


@asynccontextmanager
async def practice(root: Path, begin: datetime, policy: str = POLICY) -> AsyncIterator[Season]:
    """Make an instance in `root` and everything around it but the worker; it is `begin`, which must be to come."""
    ports = {"ehr": free_port(), "carrier": free_port(), "callbacks": free_port()}
    paths = await asyncio.to_thread(_made, root, policy, ports)
    async with skipping() as env:
        address = env.client.service_client.config.target_host
        with clock_of(address) as clock, vault_of(paths):
            await env.sleep(begin - clock())
            async with _opened(paths, "workflows", clock) as instance, _opened(paths, "feeds", clock) as feeds:
                carrier = sms.Carrier(TOKEN, SECRET, clock)
                ehr = Store(clock)
                writer = Writer(
                    feeds.inbox, seal=feeds.sealer, index=feeds.index, clock=clock, stored=lambda _connections: None
                )
                callbacks = Starlette(routes=[Route("/{path:path}", _door(feeds, writer), methods=["POST"])])
                try:
                    async with (
                        serving(sms.app(carrier), ports["carrier"]),
                        serving(fhir.app(ehr), ports["ehr"]),
                        serving(callbacks, ports["callbacks"]),
                    ):
                        client = await connect(paths, instance.keys, {"TEMPORAL_ADDRESS": address})
                        yield Season(env, address, clock, instance, client, carrier, ehr, writer, ports["callbacks"])
                finally:
                    await writer.close()


@asynccontextmanager
async def _opened(paths: Paths, service: str, clock: ServerClock) -> AsyncIterator[Instance]:
    """Open the instance once its vault answers: on a busy machine that may be late for once."""
    instance = await Instance.open_when_possible(paths, service, asyncio.Event(), clock)
    assert instance is not None
    try:
        yield instance
    finally:
        instance.close()


@asynccontextmanager
async def working(season: Season) -> AsyncIterator[None]:
    """Run the worker, without the flow that looks for what a crash left: it looks every 30 seconds, see `read`."""
    stop, ready = asyncio.Event(), asyncio.Event()
    worker = asyncio.create_task(serve(season.instance, {"TEMPORAL_ADDRESS": season.address}, stop, ready=ready))
    try:
        await asyncio.wait({worker, asyncio.create_task(ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if worker.done():
            await worker
        await season.end(UPKEEP_ID)
        for connection in (ADT, EHR, CARRIER):
            await season.read(connection)
        yield
    finally:
        stop.set()
        await worker


def _made(root: Path, policy: str, ports: dict[str, int]) -> Paths:
    paths = Paths(root)
    setup.make(paths, policy.format(**ports))
    (paths.keys / "token").write_text(TOKEN)
    (paths.keys / "secret").write_text(SECRET)
    return paths


def _door(feeds: Instance, writer: Writer) -> Any:
    """Take the carrier's callbacks as the hub does: prove them, store them, then acknowledge."""
    connectors = Outside(feeds, {}, actor="system:feeds").connectors()

    async def take(request: Request) -> Response:
        body = await request.body()
        said = Callback(
            request.method, request.url.path, dict(request.query_params), dict(request.headers), body, feeds.clock()
        )
        key = connectors[CARRIER].verify(said)  # type: ignore[attr-defined]
        await writer.store(Arrival(CARRIER, key, body))
        return Response(status_code=204)

    return take
