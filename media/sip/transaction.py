"""SIP transactions (RFC 3261 section 17, as RFC 6026 amends it).

No sockets and no clock of its own: messages come in through `Transactions.receive`, bytes go out through the `send`
it was given, time is what `Timers` says. Retransmissions end here: the transaction user sees each request once.
Over a transport that delivers by itself nothing is sent again, and nobody waits for copies (timers A, E and G are off;
D, I, J and K are zero).
"""

from collections.abc import Callable, Hashable
from typing import Protocol

from media.sip.client_transaction import ClientTransaction, InviteClient
from media.sip.header import COOKIE
from media.sip.hop import Hop
from media.sip.message import Request, Response, parse
from media.sip.timer import LIFETIME, T1, T2, T4, Timer, Timers

__all__ = [
    "LIFETIME",
    "T1",
    "T2",
    "T4",
    "ClientTransaction",
    "InviteClient",
    "InviteServer",
    "ServerTransaction",
    "Transactions",
    "User",
]


class User(Protocol):
    """What stands over the transactions: the transaction user of RFC 3261 section 5."""

    def on_request(self, request: Request, source: Hop) -> None:
        """Take a request that no transaction knows; `Transactions.serve` makes one for it."""

    def on_ack(self, request: Request) -> None:
        """Take an ACK that belongs to no transaction: one for a 2xx."""


class Transactions:
    """All transactions of one endpoint."""

    def __init__(self, send: Callable[[bytes, Hop], None], timers: Timers, user: User) -> None:
        self.send = send
        self.timers = timers
        self.user = user
        self.servers: dict[Hashable, ServerTransaction] = {}
        self.clients: dict[tuple[str, str], ClientTransaction] = {}
        self.origins: dict[Hashable, Hashable] = {}
        "Server transactions by what a merged request shares with the first one (RFC 3261 section 8.2.2.2)."
        self.widen: Callable[[Request, Hop], Hop | None] = _stay
        "Addresses a request that is too large for UDP to another transport; None where there is none."
        self.narrow: Callable[[Hop], None] = _forget
        "Hears of an address that the other transport did not reach."
        self.resent = 0
        "Messages sent again, by timer or on request, since the start."

    def receive(self, message: Request | Response, source: Hop) -> None:
        """Take one message; a request must have passed `check`.

        Raises:
            ProtocolError: a response without the fields that say whose it is.
        """
        if isinstance(message, Response):
            if len(message.all("Via")) == 1:  # RFC 3261 section 8.1.3.3
                client = self.clients.get((message.via.branch, message.sequence_method))
                if client is not None:
                    client.receive(message)
            return
        message.stamp(source)
        server = self.servers.get(_key(message, message.method))
        if server is not None:
            server.receive(message)
        elif message.method == "ACK":
            self.user.on_ack(message)
        else:
            self.user.on_request(message, source)

    def unsent(self, data: bytes) -> None:
        """Learn that a message could not be delivered: who waits for its answer waits in vain (section 17.1.4).

        A response or an ACK is nobody's to wait for: the other side asks again.
        """
        message = parse(data)
        if isinstance(message, Request):
            client = self.clients.get((message.via.branch, message.method))
            if client is not None and client.data == data:
                client.unsent()

    def server_of(self, request: Request) -> "ServerTransaction | None":
        """Return the transaction that serves `request`, if one does."""
        return self.servers.get(_key(request, request.method))

    def merged(self, request: Request) -> bool:
        """Tell whether this is another copy of a request being served, come by another way (section 8.2.2.2)."""
        return not request.to_tag and _origin(request) in self.origins

    def serve(self, request: Request) -> "ServerTransaction":
        """Return a new server transaction for `request`."""
        return InviteServer(self, request) if request.method == "INVITE" else ServerTransaction(self, request)

    def serve_invite(self, request: Request) -> "InviteServer":
        """Return a new server transaction for an INVITE."""
        return InviteServer(self, request)

    def invite_of(self, cancel: Request) -> "InviteServer | None":
        """Return the INVITE transaction that a CANCEL names (RFC 3261 section 9.2)."""
        server = self.servers.get(_key(cancel, "INVITE"))
        return server if isinstance(server, InviteServer) else None

    def request(
        self, request: Request, destination: Hop, on_response: Callable[[Response | None], None]
    ) -> "ClientTransaction":
        """Send `request`; `on_response` hears each response, or None when none came.

        Copies are absorbed but those of a 2xx to INVITE: each of them wants its ACK (RFC 6026 section 7.2).
        """
        if request.method == "CANCEL" and (invite := self.clients.get((request.via.branch, "INVITE"))) is not None:
            destination = invite.destination  # the way its INVITE took in the end (RFC 3261 section 9.1)
        kind = InviteClient if request.method == "INVITE" else ClientTransaction
        return kind(self, request, destination, on_response)

    def reply(self, request: Request, response: Response) -> None:
        """Answer without keeping state (RFC 3261 section 8.2.7)."""
        self.send(bytes(response), request.back)


def _key(request: Request, method: str) -> Hashable:
    """Return what all copies of a request share (RFC 3261 section 17.2.3)."""
    via = request.via
    if method == "ACK":
        method = "INVITE"
    branch = via.branch
    if branch.startswith(COOKIE) and branch != COOKIE:
        return branch, via.host, via.port, method
    return request.call_id, request.sequence, request.from_tag, via.host, via.port, branch, method


def _origin(request: Request) -> Hashable:
    return request.call_id, request.sequence, request.from_tag, request.method


class ServerTransaction:
    """A request other than INVITE being served (RFC 3261 section 17.2.2)."""

    __slots__ = ("_last", "_layer", "_origin", "destination", "final", "key", "request")

    def __init__(self, layer: Transactions, request: Request) -> None:
        self._layer = layer
        self.request = request
        self.destination = request.back
        self.final = 0
        "The status of the final response; 0 before it."
        self._last = b""
        self.key = _key(request, request.method)
        layer.servers[self.key] = self
        self._origin = None if request.to_tag else _origin(request)
        if self._origin is not None:
            layer.origins[self._origin] = self.key

    def respond(self, response: Response) -> None:
        """Send a response; after a final one nothing more is sent but its copies."""
        if self.final:
            return
        self._last = bytes(response)
        self._layer.send(self._last, self.destination)
        if response.status >= 200:
            self.final = response.status
            self._finished()

    def receive(self, _request: Request) -> None:
        """Answer a retransmission with what was answered before, if anything was."""
        if self._last:
            self._again()

    def _finished(self) -> None:
        # Timer J; even zero lets what is going on now come to its end.
        self._layer.timers.after(0 if self.destination.reliable else LIFETIME, self._end)

    def _again(self) -> None:
        self._layer.resent += 1
        self._layer.send(self._last, self.destination)

    def _end(self) -> None:
        layer = self._layer
        layer.servers.pop(self.key, None)
        if self._origin is not None and layer.origins.get(self._origin) == self.key:
            del layer.origins[self._origin]


class InviteServer(ServerTransaction):
    """An INVITE being served (RFC 3261 section 17.2.1, RFC 6026 section 7.1)."""

    __slots__ = ("_confirmed", "_linger", "_repeat", "_wait", "on_cancel", "tag")

    def __init__(self, layer: Transactions, request: Request) -> None:
        super().__init__(layer, request)
        self.tag = ""
        "Our tag, once the transaction user has one: the response to a CANCEL carries it too."
        self.on_cancel: Callable[[], None] | None = None
        "Called when a CANCEL comes before a final response."
        self._repeat: Timer | None = None
        self._linger: Timer | None = None
        self._wait = T1
        self._confirmed = False

    def receive(self, request: Request) -> None:
        """Absorb a retransmitted INVITE; take the ACK of a refusal, pass on one for a 2xx that reuses the branch."""
        accepted = 200 <= self.final < 300
        if request.method == "ACK":
            if accepted:
                self._layer.user.on_ack(request)
            elif self.final and not self._confirmed:
                self._confirm()
        elif not accepted and not self._confirmed:
            # While accepted the transaction user repeats the 2xx by its own timer (RFC 6026 section 7.1).
            super().receive(request)

    def repeat(self, data: bytes) -> None:
        """Send a 2xx again: the transaction user does so until the ACK comes (RFC 3261 section 13.3.1.4)."""
        self._layer.resent += 1
        self._layer.send(data, self.destination)

    def _finished(self) -> None:
        self._linger = self._layer.timers.after(LIFETIME, self._end)  # timer H, timer L
        if self.final >= 300 and not self.destination.reliable:
            self._repeat = self._layer.timers.after(T1, self._overdue)

    def _overdue(self) -> None:
        """Timer G: the ACK is late."""
        self._again()
        self._wait = min(self._wait * 2, T2)
        self._repeat = self._layer.timers.after(self._wait, self._overdue)

    def _confirm(self) -> None:
        self._confirmed = True
        self._stop()
        self._linger = self._layer.timers.after(0 if self.destination.reliable else T4, self._end)  # timer I

    def _stop(self) -> None:
        for timer in (self._repeat, self._linger):
            if timer is not None:
                timer.cancel()

    def _end(self) -> None:
        self._stop()
        super()._end()


def _stay(_request: Request, _hop: Hop) -> Hop | None:
    """Leave a request to UDP."""
    return None


def _forget(_hop: Hop) -> None:
    """Learn nothing of an address."""
