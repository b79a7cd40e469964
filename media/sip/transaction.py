"""SIP transactions over an unreliable transport (RFC 3261 section 17, as RFC 6026 amends it).

No sockets and no clock of its own: messages come in through `Transactions.receive`, bytes go out through the `send`
it was given, time is what `Timers` says. Retransmissions end here: the transaction user sees each request once.
"""

from collections.abc import Callable, Hashable
from typing import Protocol

from media.sip.header import COOKIE
from media.sip.hop import Hop
from media.sip.message import Headers, Request, Response
from media.sip.timer import Timer, Timers

T1 = 0.5
"Seconds: estimate of the round trip (RFC 3261 section 17.1.1.1)."

T2 = 4.0
"Seconds: the longest wait between retransmissions but for INVITE."

T4 = 5.0
"Seconds: how long a message may stay in the network."

LIFETIME = 64 * T1
"Seconds: timers B, D, F, H, J, L and M over UDP (RFC 3261 table 4, RFC 6026 section 7)."


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
    if branch.startswith(COOKIE):
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
        self._layer.timers.after(LIFETIME, self._end)  # timer J

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
        if self.final >= 300:
            self._repeat = self._layer.timers.after(T1, self._overdue)

    def _overdue(self) -> None:
        """Timer G: the ACK is late."""
        self._again()
        self._wait = min(self._wait * 2, T2)
        self._repeat = self._layer.timers.after(self._wait, self._overdue)

    def _confirm(self) -> None:
        self._confirmed = True
        self._stop()
        self._linger = self._layer.timers.after(T4, self._end)  # timer I

    def _stop(self) -> None:
        for timer in (self._repeat, self._linger):
            if timer is not None:
                timer.cancel()

    def _end(self) -> None:
        self._stop()
        super()._end()


class ClientTransaction:
    """A request other than INVITE on its way (RFC 3261 section 17.1.2)."""

    __slots__ = ("_deadline", "_layer", "_on_response", "_repeat", "_wait", "data", "destination", "final", "key")
    longest_wait = T2

    def __init__(
        self,
        layer: Transactions,
        request: Request,
        destination: Hop,
        on_response: Callable[[Response | None], None],
    ) -> None:
        self._layer = layer
        self._on_response = on_response
        self.destination = destination
        self.data = bytes(request)
        self.final = 0
        "The status of the final response, 408 for silence; 0 before it."
        self.key = (request.via.branch, request.method)
        layer.clients[self.key] = self
        self._wait = T1
        self._repeat: Timer | None = layer.timers.after(T1, self._late)  # timers A and E
        self._deadline: Timer | None = layer.timers.after(LIFETIME, self._silence)  # timers B and F
        layer.send(self.data, destination)

    def receive(self, response: Response) -> None:
        """Take a response; copies of the final one are absorbed."""
        if self.final:
            return
        if response.status < 200:
            self._wait = T2  # RFC 3261 section 17.1.2.2: in Proceeding timer E runs at T2
        else:
            self._finish(response.status, T4)  # timer K
        self._on_response(response)

    def abandon(self) -> None:
        """Forget the request; no response will be heard any more."""
        self._finish(408, 0)

    def _finish(self, status: int, linger: float) -> None:
        self.final = status
        for timer in (self._repeat, self._deadline):
            if timer is not None:
                timer.cancel()
        self._repeat = None
        self._deadline = None
        if linger:
            self._deadline = self._layer.timers.after(linger, self._end)
        else:
            self._end()

    def _late(self) -> None:
        self._layer.resent += 1
        self._layer.send(self.data, self.destination)
        self._wait = min(self._wait * 2, self.longest_wait)
        self._repeat = self._layer.timers.after(self._wait, self._late)

    def _silence(self) -> None:
        on_response = self._on_response
        self._finish(408, 0)
        on_response(None)

    def _end(self) -> None:
        self._layer.clients.pop(self.key, None)
        self._on_response = _nobody  # a leg and its transaction would keep each other alive until the collector comes


class InviteClient(ClientTransaction):
    """An INVITE on its way (RFC 3261 section 17.1.1, RFC 6026 section 7.2)."""

    __slots__ = ("_ack", "_request")
    longest_wait = LIFETIME  # timer A doubles without a limit

    def __init__(
        self,
        layer: Transactions,
        request: Request,
        destination: Hop,
        on_response: Callable[[Response | None], None],
    ) -> None:
        self._request = request
        self._ack = b""
        super().__init__(layer, request, destination, on_response)

    def receive(self, response: Response) -> None:
        """Take a response: acknowledge a refusal each time it comes, pass on every 2xx."""
        status = response.status
        if status < 200:
            if not self.final:
                self._proceed()
                self._on_response(response)
        elif status < 300:
            if not self.final:
                self._finish(status, LIFETIME)  # timer M: more 2xx may come, from other branches of a fork
            if self.final < 300:
                self._on_response(response)
        elif not self.final:
            self._ack = bytes(_ack_of(self._request, response))
            self._layer.send(self._ack, self.destination)
            self._finish(status, LIFETIME)  # timer D
            self._on_response(response)
        elif self._ack:
            self._layer.resent += 1
            self._layer.send(self._ack, self.destination)

    def _proceed(self) -> None:
        """Stop timers A and B: from here on the transaction user decides how long to wait."""
        for timer in (self._repeat, self._deadline):
            if timer is not None:
                timer.cancel()
        self._repeat = None
        self._deadline = None


def _nobody(_response: Response | None) -> None:
    """Hear a response of a transaction that is over."""


def _ack_of(invite: Request, response: Response) -> Request:
    """Return the ACK of a refusal (RFC 3261 section 17.1.1.3)."""
    headers: Headers = {"Via": invite.headers["Via"], "From": invite.headers["From"]}
    headers["To"] = response.headers.get("To") or invite.headers["To"]
    headers["Call-ID"] = invite.headers["Call-ID"]
    headers["CSeq"] = [f"{invite.sequence} ACK"]
    headers["Max-Forwards"] = ["70"]
    if "Route" in invite.headers:
        headers["Route"] = invite.headers["Route"]
    return Request("ACK", invite.uri, headers)
