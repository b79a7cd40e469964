"""Both ends of an MLLP connection on loopback: whoever is delivered to, and a sender."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from connectors.hl7v2.er7 import Message
from connectors.hl7v2.mllp import Listener
from connectors.hl7v2.settings import Hl7v2Settings
from tests.connectors.hl7v2.sample import siu

NOW = datetime(2026, 3, 2, 14, 0, tzinfo=UTC)


def framed(body: bytes) -> bytes:
    return b"\x0b" + body + b"\x1c\r"


def numbered(number: int, size: int = 0) -> bytes:
    raw = siu().replace(b"M0001", b"N%d" % number)
    return raw + b"NTE|1|" + b"x" * size + b"\r" if size else raw


@dataclass
class Inbox:
    """Whoever is delivered to."""

    raws: list[bytes] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    "Deliveries under these keys wait."

    errors: dict[str, Exception] = field(default_factory=dict)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def __call__(self, raw: bytes, *, key: str) -> None:
        self.raws.append(raw)
        self.keys.append(key)
        async with self.arrived:
            self.arrived.notify_all()
        if key in self.gates:
            await self.gates[key].wait()
        if key in self.errors:
            raise self.errors[key]

    async def until(self, count: int) -> None:
        async with self.arrived:
            await self.arrived.wait_for(lambda: len(self.raws) >= count)


@dataclass
class Sender:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[str, str]:
        """Return MSA-1 and MSA-2 of the next answer."""
        frame = await self.reader.readuntil(b"\x1c\r")
        msa = Message.parse(frame[1:-2]).segment("MSA")
        assert msa is not None
        return msa.value(1), msa.value(2)


@asynccontextmanager
async def listening(inbox: Inbox, **settings: object) -> AsyncIterator[Listener]:
    made = Hl7v2Settings.model_validate({"listen": "127.0.0.1:0", **settings})
    listener = Listener(made, inbox, name="adt", clock=lambda: NOW)
    await listener.open()
    try:
        yield listener
    finally:
        await listener.close()


@asynccontextmanager
async def sending(listener: Listener, context: ssl.SSLContext | None = None) -> AsyncIterator[Sender]:
    name = "localhost" if context else None
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, ssl=context, server_hostname=name)
    try:
        yield Sender(reader, writer)
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except (ConnectionError, ssl.SSLError):
            assert writer.is_closing()
