"""Client transactions: a request on its way, until its answer or until nobody will answer (RFC 3261 section 17.1)."""

from collections.abc import Callable
from typing import Protocol

from media.sip.hop import Hop
from media.sip.message import Headers, Request, Response
from media.sip.timer import LIFETIME, T1, T2, T4, Timer, Timers

LARGEST_DATAGRAM = 1300
"Bytes: larger requests take a transport that yields to others, where there is one (RFC 3261 section 18.1.1)."

CONNECT_S = 4.0
"How long such a request may wait for that transport before it goes back to UDP (`Limits.connect_seconds`)."


class Layer(Protocol):
    """What they stand on: all transactions of one endpoint."""

    timers: Timers
    clients: "dict[tuple[str, str], ClientTransaction]"
    resent: int
    send: Callable[[bytes, Hop], None]
    widen: Callable[[Request, Hop], Hop | None]
    narrow: Callable[[Hop], None]


class ClientTransaction:
    """A request other than INVITE on its way (RFC 3261 section 17.1.2)."""

    __slots__ = (
        *("_begun_at", "_deadline", "_heard", "_layer", "_narrow", "_on_response", "_repeat", "_request", "_resting"),
        "_wait",
        *("data", "destination", "final", "key"),
    )
    longest_wait = T2

    def __init__(
        self,
        layer: Layer,
        request: Request,
        destination: Hop,
        on_response: Callable[[Response | None], None],
    ) -> None:
        self._layer = layer
        self._on_response = on_response
        self._request = request
        self._heard = False
        self._resting = False
        self._narrow: tuple[Hop, list[str]] | None = None
        "Where the request was to go over UDP and its Via then, while it tries another transport for its size."
        self.destination = destination
        self.data = bytes(request)
        if len(self.data) > LARGEST_DATAGRAM and not destination.reliable:
            self._widen()
        self.final = 0
        "The status of the final response, 408 for silence, 503 for what could not be sent; 0 before it."
        self.key = (request.via.branch, request.method)
        layer.clients[self.key] = self
        self._wait = T1
        self._repeat: Timer | None = None
        self._deadline: Timer | None = layer.timers.after(LIFETIME, self._silence)  # timers B and F
        self._dispatch()

    @property
    def silence(self) -> float:
        """For how many seconds the peer could have answered since the request went out anew."""
        waits = CONNECT_S if self._narrow is not None else 0.0
        return max(0.0, self._layer.timers.clock() - self._begun_at - waits)

    def _dispatch(self) -> None:
        self._begun_at = self._layer.timers.clock()
        if not self.destination.reliable:
            self._repeat = self._layer.timers.after(T1, self._late)  # timers A and E
        self._layer.send(self.data, self.destination)

    def _widen(self) -> None:
        before, vias = self.destination, self._request.headers["Via"]
        wide = self._layer.widen(self._request, before)
        if wide is not None:
            self._narrow = before, vias
            self.destination, self.data = wide, bytes(self._request)

    def unsent(self) -> None:
        """Give up at once, or go back to UDP: the transport could not deliver the request (section 17.1.4)."""
        if self.final or self._heard:
            return
        if self._narrow is not None:
            self._layer.narrow(self._narrow[0])
            if not self._resting:
                self._go_back(*self._narrow)
                return
        on_response = self._on_response
        self._finish(503, 0)
        on_response(None)

    def _go_back(self, before: Hop, vias: list[str]) -> None:
        self._narrow = None
        self.destination = before
        self._request.retrace(vias)
        self.data = bytes(self._request)
        self._dispatch()

    def receive(self, response: Response) -> None:
        """Take a response; copies of the final one are absorbed."""
        if self.final:
            return
        on_response = self._on_response
        self._heard = True
        if response.status < 200:
            self._wait = T2  # RFC 3261 section 17.1.2.2: in Proceeding timer E runs at T2
        else:
            self._finish(response.status, 0 if self.destination.reliable else T4)  # timer K
        on_response(response)

    def rest(self) -> None:
        """Send it no more, by no transport, but hear what still comes for it."""
        self._resting = True
        if self._repeat is not None:
            self._repeat.cancel()

    def abandon(self) -> None:
        """Forget the request; no response will be heard any more."""
        self._finish(408, 0)

    def _finish(self, status: int, linger: float) -> None:
        self.final = status
        if self._narrow is not None:
            self._request.retrace(self._narrow[1])  # whoever asks again, with a password, begins as before
            self._narrow = None
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

    __slots__ = ("_ack",)
    longest_wait = LIFETIME  # timer A doubles without a limit

    def __init__(
        self,
        layer: Layer,
        request: Request,
        destination: Hop,
        on_response: Callable[[Response | None], None],
    ) -> None:
        self._ack = b""
        super().__init__(layer, request, destination, on_response)

    def receive(self, response: Response) -> None:
        """Take a response: acknowledge a refusal each time it comes, pass on every 2xx."""
        status = response.status
        self._heard = True
        on_response = self._on_response
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
            self._finish(status, 0 if self.destination.reliable else LIFETIME)  # timer D
            on_response(response)
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
