"""Carry HL7 v2 over TCP: minimal lower layer protocol (MLLP), <VT> message <FS> <CR>, each answered once it is durable.

A connection may send on before it is answered; answers come in the order of the messages. What stands between frames
is no message and is dropped. A frame over the limit is refused and the connection lives on.
"""

import asyncio
import contextlib
import os
import ssl
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import structlog

from connectors.api import ConnectorError, Deliver
from connectors.hl7v2.ack import Answers, Code, Header, header_of
from connectors.hl7v2.binding import bound, names_of
from connectors.hl7v2.settings import MAX_FRAME, Hl7v2Settings

log = structlog.get_logger()

START = 0x0B
END = 0x1C
TAIL = b"\x1c\r"

HEAD_BYTES = 4096
"How much of a frame over the limit is kept, to answer it by its control id."

IN_FLIGHT = 256
IN_FLIGHT_BYTES = 32 * 1024 * 1024
"Of one connection, waiting to be durable; beyond either the sender waits."

CLOSING_S = 3.0
"How long messages under way may take to become durable when the listener stops."

LINGER_S = 0.5
"How long senders may take after that to fetch their answers and close."


@dataclass(frozen=True, slots=True)
class Frame:
    """What stood between <VT> and <FS>."""

    body: bytes
    oversize: bool = False
    "True where `body` is only the beginning."


class Framer:
    """Cuts a stream of bytes into frames."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._inside = False
        self._scanned = 0
        self._oversize = False

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that `data` completes.

        A lone <FS> ends a frame as well: some senders leave the <CR> out.
        """
        whole = not self._inside and data[:1] == b"\x0b" and data.endswith(TAIL) and len(data) <= self._limit
        if whole and data.find(END) == len(data) - len(TAIL):
            yield Frame(_resumed(data[1:-2]))  # one frame in one packet: what most senders do
            return
        self._buffer += data
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> Frame | None:
        buffer = self._buffer
        if not self._inside:
            start = buffer.find(START)
            if start < 0:
                buffer.clear()
                return None
            del buffer[: start + 1]
            self._inside, self._scanned, self._oversize = True, 0, False
        end = buffer.find(END, self._scanned)
        if end < 0:
            self._oversize = self._oversize or len(buffer) > self._limit
            if self._oversize:
                del buffer[HEAD_BYTES:]
            self._scanned = len(buffer)
            return None
        oversize = self._oversize or end > self._limit
        body = bytes(buffer[: min(end, HEAD_BYTES) if oversize else end])
        del buffer[: end + 1]
        self._inside = False
        return Frame(body, True) if oversize else Frame(_resumed(body))


def _resumed(body: bytes) -> bytes:
    """Return the message itself where the sender broke one off and began again: <VT> occurs in no message."""
    again = body.rfind(b"\x0bMSH")
    return body if again < 0 else body[again + 1 :]


@dataclass(slots=True)
class _Slot:
    """The place of one answer in its order."""

    header: Header
    size: int
    "Bytes of the message."

    answer: bytes | None = None
    "Framed; empty where the sender wants none, None while it is not known."


class _Connection(asyncio.Protocol):
    """One sender."""

    def __init__(self, listener: "Listener") -> None:
        self._listener = listener
        self._framer = Framer(listener.settings.max_frame)
        self._slots: deque[_Slot] = deque()
        self._transport: asyncio.Transport | None = None
        self._bytes = 0
        self._facilities: frozenset[str] | None = None
        "Those that the sender's certificate may speak for; None where it may speak for all."

        self._clogged = False
        "The sender does not fetch its answers."

        self._ended = False
        "The sender has said all."

        self._parted = False
        "We have said all."

        self.held = False
        "Nothing more is read for now."

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only
        if self._listener.settings.facilities:
            names = names_of(transport.get_extra_info("peercert"))
            self._facilities = frozenset().union(*(self._listener.settings.facilities.get(name, []) for name in names))
        self._listener.connections.add(self)
        if self._listener.closing:
            self.end()  # accepted a moment too late

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._listener.forget(self)
        self._transport = None

    def eof_received(self) -> bool:
        """Keep a sender's connection that has said all, until it has its answers; TLS knows no such state."""
        self._ended = True
        plain = self._transport is not None and self._transport.get_extra_info("sslcontext") is None
        return plain and bool(self._slots)

    def data_received(self, data: bytes) -> None:
        if self._listener.closing:
            return  # not taken, not answered: the sender keeps it
        for frame in self._framer.feed(data):
            slot = _Slot(header_of(frame.body), len(frame.body))
            self._slots.append(slot)
            self._bytes += slot.size
            if frame.oversize:
                self._settle(slot, Code.REJECT, "frame-over-limit")
            elif not looks_like_hl7(frame.body):
                self._settle(slot, Code.REJECT, "not-hl7")
            elif self._facilities is not None and not bound(frame.body, self._facilities):
                log.warning("message refused", connection=self._listener.name, reason="facility-not-bound")
                self._settle(slot, Code.REJECT, "facility-not-bound")
            else:
                self._listener.start(self._take(slot, frame.body))
        self._regulate()

    def pause_writing(self) -> None:
        self._clogged = True
        self._regulate()

    def resume_writing(self) -> None:
        self._clogged = False
        self._regulate()

    def _regulate(self) -> None:
        """Let a sender wait that is far ahead of its answers, and only then."""
        if self._transport is None or self._listener.closing:
            return
        part = 2 if self.held else 1
        ahead = len(self._slots) > IN_FLIGHT // part or self._bytes > IN_FLIGHT_BYTES // part
        held = self._clogged or ahead
        if held and not self.held:
            self._transport.pause_reading()
        elif self.held and not held:
            self._transport.resume_reading()
        self.held = held

    async def _take(self, slot: _Slot, body: bytes) -> None:
        code, reason = Code.ACCEPT, ""
        try:
            await self._listener.deliver(body, key=slot.header.control_id)
        except ConnectorError as error:
            code, reason = Code.ERROR if error.retry else Code.REJECT, error.code
        except Exception as error:  # whatever it was: the sender has the message, and must keep it
            log.error("message not stored", connection=self._listener.name, error=type(error).__name__)
            code, reason = Code.ERROR, "failed"
        self._settle(slot, code, reason)

    def _settle(self, slot: _Slot, code: Code, reason: str) -> None:
        slot.answer = self._listener.answer(slot.header, code, reason)
        self._bytes -= slot.size
        ready = []
        while self._slots and (answer := self._slots[0].answer) is not None:
            self._slots.popleft()
            if answer:
                ready.append(answer)
        if ready and self._transport is not None and not self._parted:
            self._transport.write(b"".join(ready))
        if self.held:
            self._regulate()
        if self._ended and not self._slots:
            self.close()

    def end(self) -> None:
        """Tell the sender that no more is taken or answered.

        Closing at once would reset the connection where it has sent on, and take the last answers with it.
        """
        self._parted = True
        if self._transport is None:
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self._transport.resume_reading()
        else:
            self._transport.close()

    def close(self) -> None:
        """Close once what was written is sent."""
        if self._transport is not None:
            self._transport.close()


def looks_like_hl7(body: bytes) -> bool:
    """Return whether `body` begins as a message or batch does; whether it can be read shows later."""
    head = body[:64].lstrip(b"\x00 \t\r\n\xef\xbb\xbf")[:5]
    return head[:3] in (b"MSH", b"FHS", b"BHS") and len(head) == 5 and 0x20 < head[3] < 0x7F and not head[3:4].isalnum()


class Listener:
    """Takes messages on one address and hands each over; a message is answered once that returned."""

    def __init__(self, settings: Hl7v2Settings, deliver: Deliver, *, name: str, clock: Callable[[], datetime]) -> None:
        self.settings = settings
        self.deliver = deliver
        self.name = name
        "Of the connection in practice.toml; for log lines."

        self.connections: set[_Connection] = set()
        self.closing = False
        self._clock = clock
        self._answers = Answers()
        self._under_way: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._gone: asyncio.Future[None] | None = None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        if self._server is None:
            raise RuntimeError("not listening")
        return int(self._server.sockets[0].getsockname()[1])

    async def open(self) -> None:
        """Begin to listen.

        Raises:
            OSError: the address is taken, or a certificate cannot be read.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), self.settings.host, self.settings.port, ssl=_tls(self.settings)
        )

    async def close(self) -> None:
        """Stop listening, answer what is under way, and close the connections."""
        if self._server is None:
            return
        self.closing = True
        self._server.close()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=CLOSING_S)
        for farewell in (_Connection.end, _Connection.close):
            for connection in list(self.connections):
                farewell(connection)
            if self.connections:
                self._gone = asyncio.get_running_loop().create_future()
                await asyncio.wait([self._gone], timeout=LINGER_S)
        self._server = None

    def forget(self, connection: _Connection) -> None:
        """Take note that a connection is closed."""
        self.connections.discard(connection)
        if self._gone is not None and not self.connections and not self._gone.done():
            self._gone.set_result(None)

    async def serve(self) -> None:
        """Listen until cancelled."""
        await self.open()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                await self.close()

    def start(self, taking: "asyncio._CoroutineLike[None]") -> None:
        """Run the handing over of one message."""
        task = asyncio.get_running_loop().create_task(taking)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def answer(self, header: Header, code: Code, reason: str) -> bytes:
        """Return the framed acknowledgments of a message; nothing where its sender wants none."""
        wanted = (code,) if self.settings.acknowledgment == "original" else header.answers(code)
        return b"".join(b"\x0b" + self._answers.to(header, one, self._clock(), reason) + TAIL for one in wanted)


def _tls(settings: Hl7v2Settings) -> ssl.SSLContext | None:
    if settings.certificate is None or settings.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    pem = f"{settings.certificate.get_secret_value()}\n{settings.key.get_secret_value()}\n"
    # OpenSSL reads a private key from a file only; this one is in memory, and gone with its descriptor.
    with os.fdopen(os.memfd_create("certificate"), "wb") as file:
        file.write(pem.encode())
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
    if settings.client_ca is not None:
        context.load_verify_locations(cadata=settings.client_ca.get_secret_value())
        context.verify_mode = ssl.CERT_REQUIRED
    return context
