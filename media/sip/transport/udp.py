"""SIP over UDP: a message a datagram (RFC 3261 section 18)."""

import asyncio
import socket
from typing import Any

from media.sip.hop import Hop
from media.sip.transport.address import family_of
from media.sip.transport.contract import Receiver

_BUFFER = 4 << 20
"Bytes of socket buffer: a burst of calls waits there while the loop does something else."


class UdpTransport(asyncio.DatagramProtocol):
    """One UDP socket on the running loop (uvloop or asyncio's own)."""

    def __init__(self, receiver: Receiver) -> None:
        self._receive = receiver.receive
        self._transport: Any = None  # uvloop's is no asyncio.DatagramTransport

    @classmethod
    async def open(cls, bind: Hop, receiver: Receiver) -> "UdpTransport":
        """Listen on `bind`; port 0 takes a free one.

        Raises:
            OSError: the address is taken or not this machine's.
        """
        with_socket = socket.socket(family_of(bind.host), socket.SOCK_DGRAM)
        try:
            with_socket.setblocking(False)
            with_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            with_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            with_socket.bind(bind[:2])
            loop = asyncio.get_running_loop()
            _, protocol = await loop.create_datagram_endpoint(lambda: cls(receiver), sock=with_socket)
        except BaseException:
            with_socket.close()
            raise
        return protocol

    def connection_made(self, transport: Any) -> None:
        """Keep the loop's transport."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Pass one datagram on."""
        self._receive(data, Hop(addr[0], addr[1]))

    def error_received(self, exc: Exception) -> None:
        """Ignore an ICMP error: the transaction's timers say when a peer is gone."""

    @property
    def local(self) -> Hop:
        """The address it is bound to."""
        name = self._transport.get_extra_info("sockname")
        return Hop(name[0], name[1])

    def send(self, data: bytes, hop: Hop) -> None:
        """Send one datagram; dropped when the socket is closed or the address cannot be reached."""
        if self._transport.is_closing():
            return
        try:
            self._transport.sendto(data, hop[:2])
        except (OSError, ValueError, UnicodeError):
            # uvloop raises where asyncio calls error_received; a destination that is no address is as good as lost.
            return

    def owner(self, flow: int) -> str:  # noqa: ARG002 - the contract's signature
        """Return nobody: datagrams prove nothing."""
        return ""

    def close(self) -> None:
        """Stop listening."""
        self._transport.close()

    async def wait_closed(self) -> None:
        """Let the loop close the socket, which it does in its next turn."""
        await asyncio.sleep(0)
