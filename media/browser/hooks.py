"""What we use of aioice that it does not promise to keep: here, and nowhere else.

aioice does ICE, and has no socket of its own: our leg reads its socket itself, and gives aioice what is STUN.
tests/media/browser/test_hooks.py fails by name when another version has changed what is used.
"""

import asyncio
import contextlib
import struct
from collections.abc import Callable
from typing import Any

from aioice import Candidate, Connection
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import CandidatePair, StunProtocol

from media.latch import Address

Sender = Callable[[bytes, Address], None]


class _Wire(asyncio.DatagramTransport):
    """The transport that aioice believes it has: what it sends goes out of the leg's socket."""

    def __init__(self, send: Sender, local: Address) -> None:
        super().__init__({"sockname": local})
        self._send = send
        self.protocol: StunProtocol | None = None

    def sendto(self, data: Any, addr: Any = None) -> None:
        self._send(data, addr)

    def close(self) -> None:
        # aioice waits until it hears of it; the socket itself is the leg's to close.
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connection_lost(None)


class Ice(Connection):
    """One ICE session over a socket of ours: one host candidate, and whatever place of the browser's proves itself.

    The browser's own candidates are not looked at: we can be reached, so its checks come to us, and each that knows our
    password tells us where it is from (a peer-reflexive candidate, RFC 8445 section 7.3.1.3). Nobody can make us send
    checks to a place of his choice either.
    """

    def __init__(
        self, local: Address, send: Sender, *, controlling: bool, nominated: Callable[[Address], None]
    ) -> None:
        """Take the local address, how to send from it, and who hears where the browser is each time that changes."""
        super().__init__(ice_controlling=controlling)
        self._heard_nominated = nominated
        wire = _Wire(send, local)
        protocol = StunProtocol(self)
        wire.protocol = protocol
        protocol.connection_made(wire)
        self.candidate = Candidate(
            candidate_foundation("host", "udp", local[0]), 1, "udp", candidate_priority(1, "host"), *local, "host"
        )
        protocol.local_candidate = self.candidate
        self._protocol = protocol
        self._protocols.append(protocol)
        self._local_candidates.append(self.candidate)
        # Gathering is over: aioice's own would bind sockets of its own, and leave loopback out.
        self._local_candidates_start = self._local_candidates_end = True

    def know(self, ufrag: str, password: str) -> None:
        """Take the browser's credentials; checks of anybody else are refused from now on."""
        self.remote_username, self.remote_password = ufrag, password

    def heard(self, datagram: bytes, source: Address) -> None:
        """Take a STUN message; what aioice cannot read is dropped."""
        # A number of another length than its own is no ValueError to aioice, which it would drop itself.
        with contextlib.suppress(struct.error):
            self._protocol.datagram_received(datagram, source)

    def has_checked(self, source: Address) -> bool:
        """Tell whether a check that knew our password has come from there; also before the browser's is known."""
        learned = ((each.host, each.port) == source for each in self.remote_candidates)
        return any(learned) or any(early == source for _, early, _ in self._early_checks)

    def check_complete(self, pair: CandidatePair) -> None:
        """Do what aioice does when a check ends, and tell where packets go now."""
        super().check_complete(pair)
        chosen = self._nominated.get(1)
        if chosen is not None:
            self._heard_nominated(chosen.remote_addr)

    async def lost(self) -> None:
        """Wait until consent has expired (RFC 7675), or the session was closed."""
        await self.get_event()
