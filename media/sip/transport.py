"""Where SIP bytes leave and arrive; today over UDP (RFC 3261 section 18).

`Transport` is what the rest of the package knows; a transport for TCP, TLS or WebSocket implements the same.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Protocol

from media.sip.hop import Hop

Received = Callable[[bytes, Hop], None]

_BUFFER = 4 << 20
"Bytes of socket buffer: a burst of calls waits there while the loop does something else."

_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to


class Transport(Protocol):
    """One listening address."""

    @property
    def local(self) -> Hop:
        """The address it is bound to."""

    def send(self, data: bytes, destination: Hop) -> None:
        """Send one message; what cannot be sent is dropped, retransmission is the transaction's."""

    def close(self) -> None:
        """Stop listening."""


class UdpTransport(asyncio.DatagramProtocol):
    """One UDP socket on the running loop (uvloop or asyncio's own)."""

    def __init__(self, received: Received) -> None:
        self._received = received
        self._transport: Any = None  # uvloop's is no asyncio.DatagramTransport

    @classmethod
    async def open(cls, bind: Hop, received: Received) -> "UdpTransport":
        """Listen on `bind`; port 0 takes a free one.

        Raises:
            OSError: the address is taken or not this machine's.
        """
        family = socket.AF_INET6 if ":" in bind[0] else socket.AF_INET
        with_socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            with_socket.setblocking(False)
            with_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            with_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            with_socket.bind(bind[:2])
            loop = asyncio.get_running_loop()
            _, protocol = await loop.create_datagram_endpoint(lambda: cls(received), sock=with_socket)
        except BaseException:
            with_socket.close()
            raise
        return protocol

    def connection_made(self, transport: Any) -> None:
        """Keep the loop's transport."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Pass one datagram on."""
        self._received(data, Hop(addr[0], addr[1]))

    def error_received(self, exc: Exception) -> None:
        """Ignore an ICMP error: the transaction's timers say when a peer is gone."""

    @property
    def local(self) -> Hop:
        """The address it is bound to."""
        name = self._transport.get_extra_info("sockname")
        return Hop(name[0], name[1])

    def send(self, data: bytes, destination: Hop) -> None:
        """Send one datagram; dropped when the socket is closed or the address cannot be reached."""
        if self._transport.is_closing():
            return
        try:
            self._transport.sendto(data, destination[:2])
        except (OSError, ValueError, UnicodeError):
            # uvloop raises where asyncio calls error_received; a destination that is no address is as good as lost.
            return

    def close(self) -> None:
        """Stop listening."""
        self._transport.close()


def own_address(local: Hop, peer: str) -> str:
    """Return the address of this machine that `peer` can reach; `local` itself unless it is the wildcard."""
    if local.host not in _WILDCARDS:
        return local.host
    family = socket.AF_INET6 if ":" in peer else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((peer, local.port))  # sends nothing: the kernel only chooses a route
        except OSError:
            return local.host
        return str(probe.getsockname()[0])


async def resolve(hop: Hop) -> Hop:
    """Return `hop` with the address in place of its name; a number comes back as it is.

    Raises:
        OSError: no such name.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(hop.host, hop.port, type=socket.SOCK_DGRAM, family=socket.AF_INET)
    return hop._replace(host=str(found[0][4][0]))
