"""Keep every connection of the policy running: listened for, asked, and begun anew where it broke or changed."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import httpx
import structlog

from connectors import host
from connectors.api import AnyConnector, AuthExpiredError, ConnectorError, Context, Feeds, Listens, RateLimitedError
from connectors.stream import Dial
from hub.errors import ChartlineError
from hub.feeds.poll import Poller
from hub.feeds.writer import Writer
from hub.instance import Instance
from hub.outside import connector_of
from hub.record.inbox import Arrival
from hub.security.egress import Egress
from hub.settings import Connection, Practice

log = structlog.get_logger()

LOOK_S = 0.2
"Between looks whether a new policy is published."

AGAIN_S = 1.0
LONGEST_S = 60.0
"Between tries of a connection that fails."

REFUSED_S = 300.0
"Before credentials that were refused are tried again: only the operator can mend them."


class ListensOnlyTransport(httpx.AsyncBaseTransport):
    """The way out of a connection that is only listened for: there is none."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:  # noqa: ARG002 - httpx's signature
        """Refuse."""
        raise httpx.ConnectError("this connection only listens")


@dataclass(frozen=True, slots=True)
class _Running:
    wanted: Connection
    task: asyncio.Task[None]


class Connections:
    """The connections of one instance that bring something in."""

    def __init__(self, instance: Instance, writer: Writer, stored: Callable[[set[str]], None]) -> None:
        """Begin with nothing; `stored` is called with the connections that were asked and told something new."""
        self._instance = instance
        self._writer = writer
        self._stored = stored
        self._running: dict[str, _Running] = {}
        self._version = 0
        self._context: tuple[object, ...] = ()
        "What of the policy, beside its own table, bears on every connection."

    async def run(self, started: Callable[[], None]) -> None:
        """Follow the policy until cancelled; call `started` each time that a version's connections are begun."""
        try:
            while True:
                practice = await self._news()
                if practice is not None:
                    await self._follow(practice)
                    started()
                await asyncio.sleep(LOOK_S)
        finally:
            await asyncio.shield(self.close())

    async def _news(self) -> Practice | None:
        """Return the policy if there is a new version; what is running goes on while it cannot be read."""
        try:
            version, practice = await asyncio.to_thread(self._instance.policy)
        except Exception as error:  # the database may be busy or away for a while, and feeds have one of their own
            code = error.code if isinstance(error, ChartlineError) else type(error).__name__
            log.warning("policy not read", code=code)
            return None
        if version == self._version:
            return None
        self._version = version
        return practice

    async def close(self) -> None:
        """End every connection: what is under way is still stored and acknowledged."""
        await self._end(list(self._running))

    async def _follow(self, practice: Practice) -> None:
        wanted = {connection.name: connection for connection in practice.connections}
        context = (practice.practice.timezone, practice.practice.region, practice.agreements)
        stale = [
            name
            for name, running in self._running.items()
            if wanted.get(name) != running.wanted or context != self._context
        ]
        await self._end(stale)
        self._context = context
        for name, connection in wanted.items():
            if name not in self._running:
                task = asyncio.create_task(self._keep(practice, connection), name=f"connection {name}")
                self._running[name] = _Running(connection, task)

    async def _end(self, names: list[str]) -> None:
        ending = [self._running.pop(name).task for name in names]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def _keep(self, practice: Practice, connection: Connection) -> None:
        """Run one connection, and run it again after a pause where it ends."""
        clock = asyncio.get_running_loop().time
        pause = AGAIN_S
        while True:
            began, wait, code = clock(), pause, "ended"
            try:
                connector = connector_of(practice, connection, host.secrets(self._instance.paths.root, os.environ))
                if not isinstance(connector, Listens | Feeds):
                    return  # nothing comes in this way
                await self._serve(practice, connection.name, connector)
            except Exception as error:  # whatever it is: the other connections go on, and this one is tried again
                code = error.code if isinstance(error, ConnectorError | ChartlineError) else type(error).__name__
                wait = _pause(error, pause)
            if clock() - began > LONGEST_S:
                pause = AGAIN_S
            log.warning("connection down", connection=connection.name, code=code, again_in_s=wait)
            await asyncio.sleep(wait)
            pause = min(pause * 2, LONGEST_S)

    async def _serve(self, practice: Practice, name: str, connector: AnyConnector) -> None:
        """Listen and ask, as far as the connector can, until one of them ends."""
        ways: list[Coroutine[Any, Any, None]] = []
        if isinstance(connector, Listens):
            ways.append(self._listen(practice, name, connector))
        if isinstance(connector, Feeds):
            ways.append(self._ask(practice, name, connector))
        await _until_one_ends(ways)

    async def _listen(self, practice: Practice, name: str, connector: Listens) -> None:
        async with (
            httpx.AsyncClient(transport=ListensOnlyTransport()) as nowhere,
            self._lent(practice, name, connector, nowhere) as ctx,
        ):
            await connector.listen(ctx)

    async def _ask(self, practice: Practice, name: str, connector: Feeds) -> None:
        instance = self._instance
        egress = Egress(practice, instance.db, instance.clock, actor="system:feeds")
        asking = (name, "appointments", "treatment")

        @asynccontextmanager
        async def lend() -> AsyncIterator[Context]:
            async with (
                await egress.open(*asking) as http,
                self._lent(practice, name, connector, http, await egress.stream(*asking)) as ctx,
            ):
                yield ctx

        poller = Poller(
            name,
            connector,
            instance.inbox,
            instance.db,
            seal=instance.sealer,
            index=instance.index,
            clock=instance.clock,
            stored=self._stored,
        )
        await poller.run(lend)

    @asynccontextmanager
    async def _lent(
        self,
        practice: Practice,
        name: str,
        connector: Listens | Feeds,
        http: httpx.AsyncClient,
        connect: Dial | None = None,
    ) -> AsyncIterator[Context]:
        ctx = host.context(
            cast(AnyConnector, connector),
            name,
            http=http,
            clock=self._instance.clock,
            timezone=practice.practice.zone,
            region=practice.practice.region,
            deliver=partial(self._deliver, name),
            connect=connect,
        )
        async with ctx.http:
            yield ctx

    async def _deliver(self, connection: str, raw: bytes, *, key: str) -> None:
        await self._writer.store(Arrival(connection, key, raw))


async def _until_one_ends(ways: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all until one ends, end the others, and raise what it raised."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


def _pause(error: Exception, pause: float) -> float:
    if isinstance(error, AuthExpiredError):
        return REFUSED_S
    if isinstance(error, RateLimitedError):
        return max(error.retry_after, pause)
    return pause
