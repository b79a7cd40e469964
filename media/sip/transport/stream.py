"""SIP over TCP and TLS: a listener, the connections that peers open to it, and those that we open (RFC 3261, 18).

A message goes over the connection that its hop names; without one, or when that is gone, over the connection that we
opened to that address; without one, over a new one, and waits until it is open. No connection that a peer opened is
ever taken for another address than its own (RFC 5923 section 5 is why).
"""

import asyncio
import contextlib
import errno
import socket
from collections import Counter
from collections.abc import Callable, Coroutine

from media.sip.hop import Hop
from media.sip.transport.address import WILDCARDS, family_of
from media.sip.transport.connection import Connection, Limits, Unheard
from media.sip.transport.contract import Receiver
from media.sip.transport.tls import Identity

_BACKLOG = 512
_PAUSE_SECONDS = 0.2
"Before the next peer is let in when this machine has no room for one."

_SHUTDOWN_SECONDS = 1.0
"For the peer to agree that a TLS connection ends."

_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
"Seconds, seconds, times: how a peer that vanished without a word is noticed (tcp(7))."

_UNREAD_MS = 20_000
"How long what was sent may stay without the peer's acknowledgement (tcp(7), TCP_USER_TIMEOUT)."


_Peer = tuple[str, int, str]
"""Address, port, and the name that the certificate was checked for."""


class StreamTransport:
    """A listener for TCP, or with an identity for TLS, on the running loop (uvloop or asyncio's own)."""

    def __init__(self, listener: socket.socket, receiver: Receiver, identity: Identity | None, limits: Limits) -> None:
        """Take a socket that is bound; `open` makes it."""
        self.receiver = receiver
        self.limits = limits
        self.transport = "tcp" if identity is None else "tls"
        self._listener = listener
        name = listener.getsockname()
        self._local = Hop(name[0], name[1], self.transport)
        self._server_tls = identity.server() if identity is not None else None
        self._client_tls = identity.client() if identity is not None else None
        self._handshake_seconds = limits.connect_seconds if identity is not None else None
        self._flows: dict[int, Connection] = {}
        self._dialled: dict[_Peer, Connection] = {}
        self._hosts: dict[Connection, str] = {}
        "The source address of each connection that a peer opened."
        self._sources: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._greetings: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._closing = False

    @classmethod
    async def open(
        cls, bind: Hop, receiver: Receiver, identity: Identity | None = None, limits: Limits | None = None
    ) -> "StreamTransport":
        """Listen on `bind`; port 0 takes a free one.

        Raises:
            OSError: the address is taken or not this machine's; a file of `identity` is missing or no good.
        """
        listener = socket.socket(family_of(bind.host), socket.SOCK_STREAM)
        try:
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(bind[:2])
            listener.listen(_BACKLOG)
            made = cls(listener, receiver, identity, limits or Limits())
        except BaseException:
            listener.close()
            raise
        _spawn(made._tasks, made._accept())
        return made

    @property
    def local(self) -> Hop:
        """The address it is bound to."""
        return self._local

    def __len__(self) -> int:
        """How many connections it has, those included that are being opened."""
        return len(self._hosts) + len(self._dialled)

    def owner(self, flow: int) -> str:  # noqa: ARG002 - the contract's signature
        """Return nobody: every request proves itself."""
        return ""

    def send(self, data: bytes, hop: Hop) -> None:
        """Send one message over the connection that the hop names, one that we opened to it, or a new one."""
        connection = self._flows.get(hop.flow) if hop.flow else None
        if connection is None or not connection.usable:
            connection = self._dialled.get(_peer(hop))
        if connection is None or not connection.usable:
            if self._closing:
                return
            connection = self._dial(hop)
        connection.send(data, hop)

    def opened(self, connection: Connection) -> None:
        """Know a connection by its flow from now on."""
        self._flows[connection.flow] = connection

    def gone(self, connection: Connection, unheard: list[Unheard], *, again: bool) -> None:
        """Forget a connection, and say what it did not deliver, or deliver it over a new one."""
        opened = self._flows.pop(connection.flow, None) is not None
        host = self._hosts.pop(connection, None)
        if host is not None:
            self._let_go(host)
        hop = connection.dialled
        if hop is not None and self._dialled.get(_peer(hop)) is connection:
            del self._dialled[_peer(hop)]
        if opened:
            self._later(self.receiver.closed, connection.flow)
        if again and unheard and hop is not None and not self._closing:
            fresh = self._dial(hop)
            for message in unheard:
                fresh.send(*message)
        else:
            for message in unheard:
                self._later(self.receiver.unsent, *message)
        if self._closing and not len(self):
            self._empty.set()

    def close(self) -> None:
        """Stop listening, and close every connection when what was sent is read."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        if not len(self):
            self._empty.set()
        for connection in [*self._hosts, *self._dialled.values()]:
            connection.close()

    async def wait_closed(self) -> None:
        """Wait until every connection is closed: at most `Limits.message_seconds`."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listener.close()  # where the task that does so never began
        await self._empty.wait()

    # Connections that peers open

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        with self._listener:
            while True:
                try:
                    accepted, address = await loop.sock_accept(self._listener)
                except OSError as error:
                    if error.errno != errno.ECONNABORTED:  # that one is gone already; else there is no room for more
                        await asyncio.sleep(_PAUSE_SECONDS)
                else:
                    self._let_in(accepted, str(address[0]))

    def _let_in(self, accepted: socket.socket, host: str) -> None:
        """Count a peer that has connected, or send it away."""
        if self._sources[host] >= self.limits.per_source or len(self._hosts) >= self.limits.connections:
            accepted.close()
            return
        _tune(accepted)
        connection = Connection(self)
        self._hosts[connection] = host
        self._sources[host] += 1
        _spawn(self._greetings, self._welcome(connection, accepted))

    async def _welcome(self, connection: Connection, accepted: socket.socket) -> None:
        """Shake hands with a peer that was let in."""
        loop = asyncio.get_running_loop()
        tls, seconds = self._server_tls, self._handshake_seconds
        try:
            await loop.connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=tls,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=_SHUTDOWN_SECONDS if tls is not None else None,
            )
        except OSError:
            accepted.close()
            connection.abort()

    def _let_go(self, host: str) -> None:
        self._sources[host] -= 1
        if not self._sources[host]:
            del self._sources[host]

    # Connections that we open

    def _dial(self, hop: Hop) -> Connection:
        connection = Connection(self, hop)
        self._dialled[_peer(hop)] = connection
        _spawn(self._tasks, self._open(connection, hop))
        return connection

    async def _open(self, connection: Connection, hop: Hop) -> None:
        loop = asyncio.get_running_loop()
        made = socket.socket(family_of(hop.host), socket.SOCK_STREAM)
        tls, seconds = self._client_tls, self._handshake_seconds
        name = (hop.name or hop.host) if tls is not None else None
        try:
            made.setblocking(False)
            _tune(made)
            if self._local.host not in WILDCARDS:
                made.bind((self._local.host, 0))  # trunks know us by our address
            async with asyncio.timeout(self.limits.connect_seconds):
                await loop.sock_connect(made, hop[:2])
            await loop.create_connection(
                lambda: connection,
                sock=made,
                ssl=tls,
                server_hostname=name,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=_SHUTDOWN_SECONDS if tls is not None else None,
            )
        except (OSError, ValueError, OverflowError):  # refused, silent, no address, not whom we called
            made.close()
            connection.abort()
        except BaseException:
            made.close()
            raise

    def _later(self, tell: Callable[..., None], *what: object) -> None:
        """Tell something in the loop's next turn: who sends is not ready to hear of it yet."""
        asyncio.get_running_loop().call_soon(tell, *what)


def _peer(hop: Hop) -> _Peer:
    return hop.host, hop.port, hop.name


def _spawn(tasks: set[asyncio.Task[None]], work: Coroutine[None, None, None]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


def _tune(connected: socket.socket) -> None:
    """Have the kernel notice peers that vanish."""
    with contextlib.suppress(OSError):  # it is gone already
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            connected.setsockopt(socket.IPPROTO_TCP, option, value)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_MS)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
