"""One TCP or TLS connection that carries SIP messages (RFC 3261 section 18)."""

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol

from media.sip.hop import Hop
from media.sip.transport.contract import Receiver, new_flow
from media.sip.transport.framing import PING, PONG, Framer, FramingError

_UNHEARD_BYTES = 32 << 10
"What an open connection remembers of what it sent since the peer last said anything."


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of this machine its peers may take up."""

    connections: int = 4096
    "That peers opened, of one listener."

    per_source: int = 256
    "That one IP address opened: all the phones of an office behind one."

    queued_bytes: int = 256 << 10
    "That wait for one peer; one that lets more pile up is cut off."

    connect_seconds: float = 4.0
    "For TCP, and again for the TLS handshake, in both directions."

    message_seconds: float = 10.0
    "From the first byte of a message to its last, and for what we sent to be read."

    first_seconds: float = 30.0
    "Until the first message is whole."

    idle_seconds: float = 4000.0
    "Without any byte: longer than a registration lasts (RFC 3261 section 18 asks for a transaction's life)."


Unheard = tuple[bytes, Hop]
"""A message, and where it was to go."""


class Keeper(Protocol):
    """The listener that a connection belongs to."""

    receiver: Receiver
    limits: Limits
    transport: str

    def opened(self, connection: "Connection") -> None:
        """Know a connection by its flow from now on."""

    def gone(self, connection: "Connection", unheard: list[Unheard], *, again: bool) -> None:
        """Forget a connection.

        `unheard` is what it sent, or was to send, and nothing came back after; `again` where a new connection may be
        luckier.
        """


class Connection(asyncio.Protocol):
    """One connection, from the attempt to open it on."""

    def __init__(self, keeper: Keeper, dialled: Hop | None = None) -> None:
        self.flow = new_flow()
        self.dialled = dialled
        "Whom we called; None where the peer opened it."

        self.source = dialled or Hop("", 0)
        "What its messages come from."

        self.heard = False
        "Whether the peer ever said anything."

        self._keeper = keeper
        self._framer = Framer()
        self._transport: Any = None  # uvloop's is no asyncio.Transport
        self._unheard: list[Unheard] = []
        self._unheard_bytes = 0
        self._over = False
        self._told = False
        self._due = 0.0
        "When it is closed, on the loop's clock, unless something comes before."
        self._alarm: asyncio.TimerHandle | None = None

    # What the loop tells

    def connection_made(self, transport: Any) -> None:
        """Send what has been waiting."""
        self._transport = transport
        name = transport.get_extra_info("peername")
        if self._over or not name:  # given up meanwhile, or the peer is gone already
            transport.abort()
            return
        host, port = name[:2]
        self.source = Hop(host, port, self._keeper.transport, self.flow)
        self._keeper.opened(self)
        limits = self._keeper.limits
        transport.set_write_buffer_limits(high=limits.queued_bytes // 4)
        self._close_in(limits.first_seconds if self.dialled is None else limits.idle_seconds)
        for data, _ in self._unheard:
            transport.write(data)

    def data_received(self, data: bytes) -> None:
        """Pass on each message that is whole now."""
        keeper = self._keeper
        if self._over:
            return
        self._unheard.clear()
        self._unheard_bytes = 0
        waited = self._framer.waits
        try:
            for message in self._framer.feed(data):
                if message == PING:
                    self._transport.write(PONG)
                else:
                    self.heard = True
                    waited = False
                    keeper.receiver.receive(message, self.source)
                if not self.usable:
                    return
        except FramingError as error:
            keeper.receiver.refuse(error.head, self.source, error.reply)
            self.close()
            return
        if not self._framer.waits:
            if self.heard:
                self._close_in(keeper.limits.idle_seconds)
        elif not waited:
            self._close_in(keeper.limits.message_seconds)

    def pause_writing(self) -> None:
        """Read no more from a peer that does not read either, and close it if that lasts."""
        self._transport.pause_reading()
        self._close_in(self._keeper.limits.message_seconds)

    def resume_writing(self) -> None:
        """Go on: the peer has read."""
        if not self._over:
            self._transport.resume_reading()
            self._close_in(self._keeper.limits.idle_seconds)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the loop's signature
        """Tell who waits for an answer."""
        # What had served before may have been closed for its age, while our message was on its way.
        self._end(again=self.heard and self.dialled is not None and not self._over)

    # What the transport asks

    def send(self, data: bytes, hop: Hop) -> None:
        """Send one message, or keep it until the connection is open; a peer that lets too much pile up is cut off."""
        limit = self._keeper.limits.queued_bytes
        self._unheard.append((data, hop))
        self._unheard_bytes += len(data)
        if self._transport is None:
            if self._unheard_bytes > limit:
                self.abort()
            return
        if self._unheard_bytes > _UNHEARD_BYTES:
            self._unheard.clear()  # too much to say it all again over another connection
            self._unheard_bytes = 0
        if self._transport.get_write_buffer_size() + len(data) > limit:
            self.abort()
        else:
            self._transport.write(data)

    @property
    def usable(self) -> bool:
        """Whether messages can be given to it."""
        return not self._over and (self._transport is None or not self._transport.is_closing())

    def close(self) -> None:
        """Close it when what was sent is read."""
        if self._transport is None:
            self._end()
        else:
            self._over = True
            self._close_in(self._keeper.limits.message_seconds)
            self._transport.close()

    def abort(self) -> None:
        """Close it now."""
        if self._transport is not None:
            self._transport.abort()
        self._end()

    def _end(self, *, again: bool = False) -> None:
        """Let go of everything, once."""
        self._over = True
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        unheard, self._unheard = self._unheard, []
        if not self._told:
            self._told = True
            self._keeper.gone(self, unheard, again=again)

    # Peers that are slow or silent

    def _close_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + seconds
        if self._alarm is None or self._alarm.when() > self._due:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm = loop.call_at(self._due, self._check)

    def _check(self) -> None:
        self._alarm = None
        loop = asyncio.get_running_loop()
        if loop.time() < self._due:
            self._alarm = loop.call_at(self._due, self._check)
        elif self._over:
            self.abort()
        else:
            self.close()
