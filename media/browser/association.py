"""The way to one browser: sockets with ICE over them, and one DTLS association that outlives a change of path.

An ICE restart (RFC 8445 section 9) opens a new path beside the old one, which goes on until the new one is proven; the
DTLS association and with it the keys stay (RFC 8842 section 3.1).
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine

from media.browser.description import Way
from media.browser.hooks import Ice
from media.dtls import RECORDS
from media.handshake import Handshake
from media.latch import Address
from media.ports import Pair, Ports
from media.protection import Peer
from media.srtp import Key

CONNECT_SECONDS = 20.0
"A browser that no check has reached by then is gone."

EARLY = 8
"DTLS records that are kept while they cannot be read or sent yet; more than one flight of them."

KNOCK = b"\x80" + bytes(11)
"""The header of an RTP packet without sound, sent once, before there are keys to read it by.

A page whose other end has moved goes on sending to where that was, its handshake as well, until it has heard anything
but a check from the new place: a quarter of a second with this packet, seven seconds without (Chromium 156).
"""

_STUN = range(4)
"First bytes (RFC 7983 section 7)."


class Path:
    """One socket and the ICE session over it; reads it, and hands on what is neither STUN nor DTLS."""

    def __init__(self, pair: Pair, buffer: bytearray, way: "Association", *, controlling: bool) -> None:
        self.pair = pair
        self.remote: Address | None = None
        "Where the browser is, once a check has proven it."
        self.connecting: asyncio.Task[None] | None = None
        "Looks for the browser here, and waits until it is lost."
        self._way = way
        self._buffer, self._view = buffer, memoryview(buffer)
        self._socket: socket.socket = pair.rtp
        self.ice = Ice(pair.local, self._send, controlling=controlling, nominated=self._nominated)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._read)

    def _send(self, packet: bytes, remote: Address) -> None:
        self.send(packet, remote)

    def send(self, packet: bytes | memoryview, remote: Address) -> bool:
        """Send, and return whether the system took it."""
        try:
            self._socket.sendto(packet, remote)
        except OSError:
            return False
        return True

    def _nominated(self, remote: Address) -> None:
        self.remote = remote
        self._way.proven(self)

    def _read(self) -> None:
        try:
            size, source = self._socket.recvfrom_into(self._buffer)
        except OSError:
            return
        if not size:
            return
        first = self._buffer[0]
        if first > 127:
            self._way.on_media(size)
        elif first in _STUN:
            self.ice.heard(bytes(self._view[:size]), source[:2])
        elif first in RECORDS and self.ice.has_checked(source[:2]):
            # Anybody can send to the port; a browser begins when its check was answered.
            self._way.record(bytes(self._view[:size]))

    async def close(self) -> None:
        """End the session and give the port back; closing twice is once."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
        await self.ice.close()
        self.pair.close()


class Association:
    """All paths to one browser, and the keys.

    `on_media` is told of each packet in the shared buffer; `on_keys` of the keys that read and write, once; `on_moved`
    of each new place of the browser's; `on_gone` once that it is lost: it closed, or proved its consent no more
    (RFC 7675), or never came.
    """

    def __init__(
        self,
        ports: Ports,
        pair: Pair,
        buffer: bytearray,
        *,
        on_media: Callable[[int], None],
        on_keys: Callable[[Key, Key], None],
        on_moved: Callable[[], None],
        on_gone: Callable[[], None],
    ) -> None:
        """Take where sockets come from, the first of them, and who is told."""
        self.on_media = on_media
        self.peer: Way | None = None
        "What the browser last said of itself."
        self._ports, self._buffer = ports, buffer
        self._on_keys, self._on_moved, self._on_gone = on_keys, on_moved, on_gone
        self._controlling = False
        self._told = self._knocked = False
        self.shutting = False
        "Whether it is over; its ports come back in a moment."
        self._handshake: Handshake | None = None
        self._started = False
        self._heard: list[bytes] = []
        self._unsent: list[bytes] = []
        self.path = Path(pair, buffer, self, controlling=False)
        self._next: Path | None = None

    @property
    def latest(self) -> Path:
        """The path that descriptions tell of."""
        return self._next or self.path

    def controls(self) -> None:
        """Take ICE's controlling role: ours is the offer (RFC 8445 section 6.1.1)."""
        self._controlling = self.path.ice.ice_controlling = True

    def restarts(self, way: Way) -> bool:
        """Tell whether a description asks for an ICE restart (RFC 8839 section 4.4.1.1.1)."""
        return self.peer is not None and (way.ufrag, way.password) != (self.peer.ufrag, self.peer.password)

    def restart(self) -> None:
        """Open another path for the next description.

        Raises:
            NoPortError: there is none; the present path goes on.
        """
        fresh = Path(self._ports.take(), self._buffer, self, controlling=self._controlling)
        if self._next is not None:
            self._spawn(self._next.close())
        self._next = fresh

    def begin(self, way: Way, *, active: bool) -> None:
        """Find the browser that said this; `active` says who begins the DTLS handshake, which is made once."""
        first, self.peer, path = self.peer is None, way, self.latest
        if path.connecting is None or path.connecting.done():  # an offer may come again, whose answer was lost
            path.ice.know(way.ufrag, way.password)
            path.connecting = self._spawn(self._connect(path))
        if not first:
            return
        self._handshake = Handshake(Peer(way.fingerprints, active), self._send_record, self._on_keys, self._lose)
        if not active:
            self._start()
        early, self._heard = self._heard, []
        for each in early:
            self.record(each)

    def _start(self) -> None:
        if self._handshake is not None and not self._started:
            self._started = True
            self._handshake.start()

    async def _connect(self, path: Path) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await path.ice.connect()
        except (ConnectionError, TimeoutError):
            if path is self.path and path.remote is None:
                self._lose()
            return
        await path.ice.lost()
        if path is self.path:
            self._lose()

    def proven(self, path: Path) -> None:
        """Send to where a check has proven the browser to be; a path proven anew takes over."""
        if path is self._next:
            before, self.path, self._next = self.path, path, None
            self._spawn(before.close())
        if path is not self.path or self.shutting:
            return
        self._start()
        if not self._knocked and path.remote is not None:
            self._knocked = True
            path.send(KNOCK, path.remote)
        unsent, self._unsent = self._unsent, []
        for each in unsent:
            self._send_record(each)
        self._on_moved()

    def record(self, record: bytes) -> None:
        """Take a DTLS record; what comes before the browser's description waits for it."""
        if self._handshake is None:
            if len(self._heard) < EARLY:
                self._heard.append(record)
            return
        self._handshake.heard(record)
        if self._handshake.ended:
            self._lose()

    def _send_record(self, record: bytes) -> None:
        if self.path.remote is not None:
            self.path.send(record, self.path.remote)
        elif len(self._unsent) < EARLY:
            self._unsent.append(record)

    def _lose(self) -> None:
        if not self._told and not self.shutting:
            self._told = True
            self._on_gone()

    def _spawn(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        _tasks[task] = self
        task.add_done_callback(_tasks.pop)
        return task

    def shut(self) -> None:
        """Tell the browser that it is over (close_notify), and give the ports back; shutting twice is once."""
        if self.shutting:
            return
        self.shutting = True
        if self._handshake is not None:
            self._handshake.close()
        for path in (self.path, self._next):
            if path is not None:
                self._spawn(path.close())


_tasks: "dict[asyncio.Task[None], Association]" = {}
"What goes on for associations: also for one that nobody holds any more."


async def all_shut() -> None:
    """Wait until what was shut has ended."""
    loop = asyncio.get_running_loop()
    while own := [task for task, of in _tasks.items() if of.shutting and task.get_loop() is loop]:
        await asyncio.wait(own)
