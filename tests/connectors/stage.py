"""What the connectors' tests stand on: a context as the host makes it, over an ASGI app or the network."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import httpx
import uvicorn
from starlette.types import ASGIApp

from connectors import host
from connectors.api import AnyConnector, Context

NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
"Ten in the morning in New York, a Monday."

ZONE = ZoneInfo("America/New_York")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def context(connector: AnyConnector, app: ASGIApp, *, clock: Callable[[], datetime] | None = None) -> Context:
    """Return the host's context for `connector`; its requests reach `app`."""
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app), trust_env=False)
    return host.context(connector, "ehr", http=http, clock=clock or Clock(), timezone=ZONE, region="US", deadline=5.0)


@asynccontextmanager
async def online(connector: AnyConnector) -> AsyncIterator[Context]:
    """Yield the host's context for `connector` over the network, and close its connections afterwards."""
    async with httpx.AsyncClient(trust_env=False) as http:
        yield host.context(connector, "ehr", http=http, clock=Clock(), timezone=ZONE, region="US", deadline=5.0)


@asynccontextmanager
async def serving(config: uvicorn.Config) -> AsyncIterator[int]:
    """Serve on a free port of loopback; yield the port."""
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))  # open before the server is: an early request waits in line
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await running


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """Serve `app` on a free port of loopback; yield its address."""
    config = uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=1)
    async with serving(config) as port:
        yield f"http://127.0.0.1:{port}"


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(talk: Talk, port: int = 0) -> AsyncIterator[int]:
    """Listen on loopback, by default on a free port; treat each connection with `talk` and close it; yield the port."""

    talks: set[asyncio.Task[None]] = set()

    async def treat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.create_task(treat(reader, writer)))

    server = await asyncio.start_server(begin, "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
        for talk_ in talks:
            talk_.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
