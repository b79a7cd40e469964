"""SIP over WebSocket (RFC 7118) for phones in browsers, which come through the hub over a Unix socket.

The hub has looked at the login: it names the extension that a connection belongs to, so no phone here knows a password.
Who may open the socket is believed; its mode lets in this user alone.
"""

import asyncio
import contextlib
import os
import socket
from collections import Counter
from http import HTTPStatus
from pathlib import Path

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from media.sip.hop import Hop
from media.sip.transport.contract import Receiver, new_flow

EXTENSION = "X-Chartline-Extension"
"Whose phone it is."

SOURCE = "X-Chartline-Source"
"IP address and port that the hub sees, as `host port`."

LONGEST = 64 * 1024
"Bytes of a message."

UNSENT = 64
"Messages that wait for a phone that reads slowly; with one more it is given up."

EACH = 10
"Connections of one extension: pages that are open at a time."

PING_SECONDS = 20.0
"Between two pings, and as long for the answer: a page that vanished without a word is gone by then."

TOO_MANY = 4429
SLOW = 4408
"Close codes for a page: so many are open already; what was sent to it is not read."

_PING = b"\r\n\r\n"
_PONG = b"\r\n"
"RFC 5626 section 3.5.1, which some clients use over WebSocket as well."


class _Phone:
    """One connection."""

    def __init__(self, socket_: ServerConnection, extension: str, source: Hop) -> None:
        self.socket = socket_
        self.extension = extension
        self.source = source
        self.unsent: asyncio.Queue[tuple[bytes, Hop]] = asyncio.Queue(UNSENT)
        self.leaving: tuple[bytes, Hop] | None = None
        "What is no longer in the queue and perhaps not sent yet."
        self.slow = asyncio.Event()

    async def write(self) -> None:
        """Send what waits, in order, as fast as it is read."""
        while True:
            self.leaving = await self.unsent.get()
            await self.socket.send(_text(self.leaving[0]))
            self.leaving = None


class WebSocketTransport:
    """The media process's end of `/phone`."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._phones: dict[int, _Phone] = {}
        self._each: Counter[str] = Counter()
        self._server: Server | None = None
        self._closing = False

    @classmethod
    async def open(cls, path: Path, receiver: Receiver) -> "WebSocketTransport":
        """Listen at `path`, in the place of what a process that died has left there.

        Raises:
            OSError: it cannot be had.
        """
        made = cls(receiver)
        listener = _bound(path)
        try:
            made._server = await serve(
                made._serve,
                sock=listener,
                process_request=_known,
                subprotocols=[Subprotocol("sip")],
                compression=None,
                max_size=LONGEST,
                max_queue=16,
                ping_interval=PING_SECONDS,
                ping_timeout=PING_SECONDS,
                open_timeout=5,
                close_timeout=1,
                server_header=None,
            )
        except BaseException:
            listener.close()
            raise
        return made

    @property
    def local(self) -> Hop:
        """A name that leads nowhere: a page answers over the connection it has (RFC 7118 section 5)."""
        return Hop("media.invalid", 80, "ws")

    def __len__(self) -> int:
        return len(self._phones)

    def owner(self, flow: int) -> str:
        """Return the extension that a connection belongs to."""
        phone = self._phones.get(flow)
        return phone.extension if phone is not None else ""

    def send(self, data: bytes, hop: Hop) -> None:
        """Send one message over the connection that the hop names; there is no other way to a page."""
        phone = self._phones.get(hop.flow)
        if phone is None:
            asyncio.get_running_loop().call_soon(self._receiver.unsent, data, hop)
            return
        try:
            phone.unsent.put_nowait((data, hop))
        except asyncio.QueueFull:
            phone.slow.set()
            asyncio.get_running_loop().call_soon(self._receiver.unsent, data, hop)

    def close(self) -> None:
        """Stop listening, and close what is open: 1001, so that pages come back."""
        self._closing = True
        if self._server is not None:
            self._server.close()

    async def wait_closed(self) -> None:
        """Wait until every connection is closed."""
        if self._server is not None:
            await self._server.wait_closed()

    async def _serve(self, connection: ServerConnection) -> None:
        """Carry one phone until it is gone."""
        assert connection.request is not None  # noqa: S101 - it was looked at by _known
        extension = connection.request.headers[EXTENSION]
        if self._each[extension] >= EACH:
            await connection.close(TOO_MANY)
            return
        flow = new_flow()
        phone = _Phone(connection, extension, _source(connection.request, flow))
        self._phones[flow] = phone
        self._each[extension] += 1
        work = [asyncio.create_task(each) for each in (self._read(phone), phone.write(), phone.slow.wait())]
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            self._forget(flow, phone)
        with contextlib.suppress(ConnectionClosed):
            await connection.close(SLOW if phone.slow.is_set() else 1000)

    async def _read(self, phone: _Phone) -> None:
        async for said in phone.socket:
            data = said.encode() if isinstance(said, str) else said
            if data == _PING:
                await phone.socket.send(_PONG.decode())
            elif data.strip():
                self._receiver.receive(data, phone.source)

    def _forget(self, flow: int, phone: _Phone) -> None:
        del self._phones[flow]
        self._each[phone.extension] -= 1
        if not self._each[phone.extension]:
            del self._each[phone.extension]
        if phone.leaving is not None:
            self._receiver.unsent(*phone.leaving)
        while not phone.unsent.empty():
            self._receiver.unsent(*phone.unsent.get_nowait())
        if not self._closing:
            self._receiver.closed(flow)


def _bound(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)  # nobody else may open it, not even for a moment
    try:
        listener.bind(str(path))
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


def _known(connection: ServerConnection, request: Request) -> Response | None:
    """Refuse what is no phone of somebody's, before it is a WebSocket."""
    if request.headers.get(EXTENSION):
        return None
    return connection.respond(HTTPStatus.FORBIDDEN, "no extension\n")


def _source(request: Request, flow: int) -> Hop:
    host, _, port = request.headers.get(SOURCE, "").partition(" ")
    return Hop(host or "127.0.0.1", int(port) if port.isdigit() else 0, "ws", flow)


def _text(data: bytes) -> str | bytes:
    """Return a message as text, which RFC 7118 section 4.2 lets any client read; bytes where it is none."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data
