"""The other side of what is sent: a receiver that does as the test says, and time that passes when the test says so."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from connectors import host
from connectors.api import AnyConnector, Connect, Context, Settings
from connectors.hl7v2.er7 import Message
from connectors.hl7v2.link import Link, Reply
from connectors.hl7v2.sender import Sender
from connectors.stream import Credentials, Streams, lent
from connectors.transport import Origin
from tests.connectors import stage


async def dial(origin: Origin, credentials: Credentials) -> Streams:  # noqa: ARG001 - in clear
    """Open a connection without any gate."""
    return await asyncio.open_connection(origin[1], origin[2])


class Address(Settings):
    """Settings that name one address."""

    send: str


def way(port: int) -> tuple[Connect, str]:
    """Return what the host lends for `port` of this machine, and its address."""
    url = f"mllp://127.0.0.1:{port}"
    return lent(dial, Address(send=url)), url


def context_of(connector: AnyConnector) -> Context:
    """Return the context that the host makes, with a way out that no gate guards."""
    http = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(500)))  # nothing here speaks HTTP
    clock = stage.Clock()
    return host.context(connector, "ehr", http=http, clock=clock, timezone=stage.ZONE, region="US", connect=dial)


class Pace:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked: list[float] = []
        "Every sleep that was begun, in seconds."

        self._sleeping: list[tuple[float, float, asyncio.Future[None]]] = []
        self._begun = asyncio.Event()

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        waking = asyncio.get_running_loop().create_future()
        self.asked.append(seconds)
        self._sleeping.append((seconds, self.now + seconds, waking))
        self._begun.set()
        await waking

    async def elapse(self, seconds: float) -> None:
        """Wait until something sleeps for so many seconds, then let them pass; what is due earlier wakes, too."""
        while not any(abs(length - seconds) < 1e-6 and not waking.done() for length, _, waking in self._sleeping):
            self._begun.clear()
            await self._begun.wait()
        end = next(at for length, at, waking in self._sleeping if abs(length - seconds) < 1e-6 and not waking.done())
        self.now = max(self.now, end)
        for _, at, waking in self._sleeping:
            if at <= self.now and not waking.done():
                waking.set_result(None)
        self._sleeping = [one for one in self._sleeping if not one[2].done()]


class Talk:
    """One connection, from the receiver's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._link = Link(reader, writer)
        self.writer = writer

    async def next(self) -> Message:
        """Return the next message.

        Raises:
            ConnectionResetError: the sender has parted.
        """
        return Message.parse(await self._link.receive())

    async def answer(self, message: Message | str, code: str = "AA", *more: str) -> None:
        """Acknowledge a message, or a control id; `more` are segments."""
        await self.say(acknowledgment(message if isinstance(message, str) else message.control_id, code, *more))

    async def say(self, raw: bytes) -> None:
        await self._link.send(raw)

    async def parted(self) -> None:
        """Wait until the sender has parted; whatever it sends before is a fault."""
        try:
            await self._link.receive()
        except ConnectionResetError:
            return
        raise AssertionError("the sender went on")


def acknowledgment(control_id: str, code: str = "AA", *more: str) -> bytes:
    head = "MSH|^~\\&|EHR|HARBOR|CHARTLINE|HARBOR|20261123100000-0500||ACK|R1|P|2.5.1"
    return "".join(f"{line}\r" for line in (head, f"MSA|{code}|{control_id}", *more)).encode()


class Receiver:
    """Accepts connections and gives them to the test."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connections = 0
        self._talks: asyncio.Queue[Talk] = asyncio.Queue()

    async def accept(self) -> Talk:
        """Return the next connection that comes in."""
        return await self._talks.get()

    def idle(self) -> bool:
        """Whether no connection waits to be accepted."""
        return self._talks.empty()

    def begin(self, talk: Talk) -> None:
        self.connections += 1
        self._talks.put_nowait(talk)


@asynccontextmanager
async def receiving(treat: Callable[[Talk], Awaitable[None]] | None = None) -> AsyncIterator[Receiver]:
    """Listen on a free port of loopback; connections are the test's, or each is treated with `treat`."""
    ended = asyncio.Event()
    found: list[Receiver] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        one = Talk(reader, writer)
        found[0].begin(one)
        if treat is None:
            await ended.wait()
            return
        try:
            await treat(one)
        except ConnectionError:
            return

    async with stage.listening(talk) as port:
        found.append(Receiver(port))
        try:
            yield found[0]
        finally:
            ended.set()


def numbered(control_id: str) -> bytes:
    head = f"MSH|^~\\&|CHARTLINE|HARBOR|EHR|HARBOR|20261123100000-0500||SRM^S03^SRM_S01|{control_id}|P|2.5.1"
    return f"{head}\rARQ|P{control_id}\r".encode()


@dataclass
class Line:
    """A sender with its receiver."""

    sender: Sender
    receiver: Receiver
    connect: Connect
    pace: Pace
    calls: list["asyncio.Task[Reply]"] = field(default_factory=list)

    def call(self, control_id: str, connect: Connect | None = None) -> "asyncio.Task[Reply]":
        """Begin to send a message."""
        sending = self.sender.send(connect or self.connect, numbered(control_id), control_id=control_id)
        self.calls.append(asyncio.create_task(sending))
        return self.calls[-1]

    async def settle(self) -> None:
        """Let the calls that can go on go on."""
        for _ in range(20):
            await asyncio.sleep(0)


@asynccontextmanager
async def line(treat: Callable[[Talk], Awaitable[None]] | None = None, **how: Any) -> AsyncIterator[Line]:
    pace = Pace()
    async with receiving(treat) as receiver:
        connect, url = way(receiver.port)
        made = Line(Sender(url, time=pace.time, sleep=pace.sleep, **how), receiver, connect, pace)
        try:
            yield made
        finally:
            for call in made.calls:
                call.cancel()
            await asyncio.gather(*made.calls, return_exceptions=True)
