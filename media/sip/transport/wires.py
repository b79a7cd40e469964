"""All transports of one endpoint: which one a message takes, and by which address a peer knows us over it."""

from collections.abc import Callable, Sequence
from functools import lru_cache

from media.sip.header import Via
from media.sip.hop import Hop
from media.sip.message import Request
from media.sip.transport.address import own_address
from media.sip.transport.connection import Limits
from media.sip.transport.contract import Receiver, Transport
from media.sip.transport.stream import StreamTransport
from media.sip.transport.tls import Identity
from media.sip.transport.udp import UdpTransport

NARROW_SECONDS = 600.0
"How long a host that takes no TCP is sent large requests in one datagram without trying again."

_REMEMBERED = 1024


class Wires:
    """The transports of one endpoint, one of each kind at most."""

    def __init__(
        self,
        listeners: Sequence[Hop],
        transports: Sequence[Transport] = (),
        *,
        clock: Callable[[], float],
        identity: Identity | None = None,
        limits: Limits | None = None,
        advertise: str = "",
    ) -> None:
        """Take where to listen, and what is open already.

        Raises:
            ValueError: a listener of another kind than udp, tcp and tls, or one for TLS without an identity.
        """
        for bind in listeners:
            if bind.transport not in ("udp", "tcp", "tls"):
                raise ValueError(f"no listener for {bind.transport}")
            if bind.transport == "tls" and identity is None:
                raise ValueError("TLS needs a certificate and its key")
        self._listeners = tuple(listeners)
        self._open = {transport.local.transport: transport for transport in transports}
        self._clock = clock
        self._identity = identity
        self._limits = limits or Limits()
        self._advertise = advertise
        self._narrow: dict[tuple[str, int], float] = {}
        "Until when each address is known to take no TCP."
        self._reached_at = lru_cache(_REMEMBERED)(self._find_own)

    async def open(self, receiver: Receiver) -> None:
        """Listen.

        Raises:
            OSError: an address is taken or not this machine's, or a certificate is no good; then nothing is open.
        """
        try:
            for bind in self._listeners:
                if bind.transport == "udp":
                    self._open["udp"] = await UdpTransport.open(bind, receiver)
                else:
                    identity = self._identity if bind.transport == "tls" else None
                    self._open[bind.transport] = await StreamTransport.open(bind, receiver, identity, self._limits)
        except OSError:
            await self.close()
            raise

    def add(self, transport: Transport) -> None:
        """Take one more that is open already."""
        self._open[transport.local.transport] = transport

    async def close(self) -> None:
        """Stop listening, and wait until connections are closed."""
        for transport in self._open.values():
            transport.close()
        for transport in self._open.values():
            await transport.wait_closed()

    @property
    def listening(self) -> dict[str, Hop]:
        """The addresses that are listened on, by transport."""
        return {name: transport.local for name, transport in self._open.items()}

    @property
    def local(self) -> Hop:
        """The first of them; before `open` as it was asked for."""
        return next((transport.local for transport in self._open.values()), None) or self._listeners[0]

    def send(self, data: bytes, hop: Hop) -> bool:
        """Send one message; False where nothing is spoken that its transport asks for."""
        transport = self._open.get(hop[2])
        if transport is None:
            return False
        transport.send(data, hop)
        return True

    def owner(self, source: Hop) -> str:
        """Return the extension that a connection belongs to without a password; else empty."""
        if not source.flow:
            return ""
        transport = self._open.get(source.transport)
        return transport.owner(source.flow) if transport is not None else ""

    def address_for(self, peer: Hop) -> str:
        """Return our `host:port` as a peer reaches it over its transport."""
        return self._reached_at(peer.host, peer.transport)

    def _find_own(self, host: str, name: str) -> str:
        transport = self._open.get(name)
        local = transport.local if transport is not None else self.local
        own = self._advertise or own_address(local, host)
        return f"[{own}]:{local.port}" if ":" in own else f"{own}:{local.port}"

    # Requests too large for a datagram (RFC 3261 section 18.1.1)

    def widen(self, request: Request, hop: Hop) -> Hop | None:
        """Address a request that was to go over UDP to TCP instead; None where that cannot be."""
        if "tcp" not in self._open or self._narrow.get(hop[:2], 0.0) > self._clock():
            return None
        wide = Hop(hop.host, hop.port, "tcp")
        via, *others = request.all("Via")
        params = Via.parse(via).params
        head = Via.parse(f"SIP/2.0/TCP {self.address_for(wide)}")
        request.retrace([str(Via("TCP", head.host, head.port, params)), *others])
        return wide

    def narrow(self, hop: Hop) -> None:
        """Learn that an address takes no TCP."""
        if len(self._narrow) >= _REMEMBERED:
            self._narrow.pop(next(iter(self._narrow)))
        self._narrow[hop[:2]] = self._clock() + NARROW_SECONDS
