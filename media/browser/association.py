"""The way to one browser: sockets with ICE over them, and one DTLS association that outlives a change of path.

An ICE restart (RFC 8445 section 9) opens a new path beside the old one, which goes on until the new one is proven; the
DTLS association and with it the keys stay (RFC 8842 section 3.1).
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine

import pylibsrtp

from media.browser.description import Own, Way
from media.browser.hooks import Dtls, Ice
from media.latch import Address
from media.ports import Pair, Ports

CONNECT_SECONDS = 20.0
"A browser that has not been reached by then is gone."

_STUN = range(0, 4)
_DTLS = range(20, 64)
"First bytes (RFC 7983 section 7); RTP and RTCP begin with 128 to 191."


class Path:
    """One socket and the ICE session over it; reads it, and hands on what is neither STUN nor DTLS."""

    def __init__(self, pair: Pair, buffer: bytearray, way: "Association", *, controlling: bool) -> None:
        self.pair = pair
        self.remote: Address | None = None
        "Where the browser is, once a check has proven it."
        self._way = way
        self._buffer = buffer
        self._socket: socket.socket = pair.rtp
        self.ice = Ice(pair.local, self._send, controlling=controlling, nominated=self._nominated)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._read)

    def _send(self, packet: bytes, remote: Address) -> None:
        self.send(packet, remote)

    def send(self, packet: bytes, remote: Address) -> bool:
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
            self._way.on_media(size, source[:2])
        elif first in _STUN:
            self.ice.heard(bytes(self._buffer[:size]), source[:2])
        elif first in _DTLS:
            self._way.dtls.heard(bytes(self._buffer[:size]))

    async def close(self) -> None:
        """End the session and give the port back; closing twice is once."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
        await self.ice.close()
        self.pair.close()


class Association:
    """All paths to one browser, and the keys.

    `on_media` is told of each packet in the shared buffer; `on_open` that packets can be read and written, and again
    when the browser is somewhere else; `on_gone` once that it is lost: it closed, or proved its consent no more
    (RFC 7675), or never came.
    """

    def __init__(
        self,
        ports: Ports,
        pair: Pair,
        buffer: bytearray,
        on_media: Callable[[int, Address], None],
        on_open: Callable[[], None],
        on_gone: Callable[[], None],
    ) -> None:
        """Take where sockets come from, the first of them, and who is told."""
        self.on_media = on_media
        self.dtls = Dtls(self._send_record)
        self.peer: Way | None = None
        "What the browser last said of itself."
        self.open = False
        self._ports, self._buffer = ports, buffer
        self._on_open, self._on_gone = on_open, on_gone
        self._controlling = False
        self._told = self._closed = False
        self._proven = asyncio.Event()
        self.path = Path(pair, buffer, self, controlling=False)
        self._next: Path | None = None

    def own(self, ssrc: int) -> Own:
        """Return how the browser reaches us, for the next description."""
        path = self._next or self.path
        ice = path.ice
        return Own(ice.local_username, ice.local_password, ice.candidate.to_sdp(), self.dtls.fingerprint, ssrc)

    @property
    def local(self) -> Address:
        """Address and port of the latest path."""
        return (self._next or self.path).pair.local

    @property
    def profile(self) -> str:
        """SRTP's protection profile, once it is open."""
        return self.dtls.profile

    @property
    def keys(self) -> tuple[pylibsrtp.Session, pylibsrtp.Session]:
        """The SRTP sessions that read and write, once it is open."""
        return self.dtls.keys

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
        first, self.peer = self.peer is None, way
        path = self._next or self.path
        if first or path is self._next:
            path.ice.know(way.ufrag, way.password)
            self._spawn(self._connect(path))
        if first:
            self._spawn(self._shake(way, active))

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

    async def _shake(self, way: Way, active: bool) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                while active and self.path.remote is None:
                    await self._proven.wait()
                await self.dtls.establish(active=active, fingerprints=list(way.fingerprints))
        except (ConnectionError, TimeoutError):
            self._lose()
            return
        if self._closed:
            return
        self.dtls.on("statechange", self._dtls_changed)
        self.open = True
        self._on_open()

    def _dtls_changed(self) -> None:
        if self.dtls.state in ("closed", "failed"):
            self._lose()

    def proven(self, path: Path) -> None:
        """Send to where a check has proven the browser to be; a path proven anew takes over."""
        self._proven.set()
        if path is not self.path and path is not self._next:
            return
        if path is self._next:
            before, self.path, self._next = self.path, path, None
            self._spawn(before.close())
        if self.open:
            self._on_open()

    def _send_record(self, record: bytes) -> None:
        if self.path.remote is not None:
            self.path.send(record, self.path.remote)

    def _lose(self) -> None:
        self.open = False
        if not self._told and not self._closed:
            self._told = True
            self._on_gone()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)

    def shut(self) -> None:
        """Tell the browser that it is over (close_notify), and give the ports back; shutting twice is once."""
        if not self._closed:
            self._closed, self.open = True, False
            self._spawn(self._close())

    async def _close(self) -> None:
        await self.dtls.stop()
        self.dtls.cut()
        for path in (self.path, self._next):
            if path is not None:
                await path.close()


_tasks: set[asyncio.Task[None]] = set()
"What goes on for associations: also for one that nobody holds any more."


async def all_shut() -> None:
    """Wait until what was shut has ended."""
    loop = asyncio.get_running_loop()
    while own := [task for task in _tasks if task.get_loop() is loop]:
        await asyncio.wait(own)
