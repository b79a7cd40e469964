"""A SIP endpoint on a wire that only remembers, with a clock that is turned by hand."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from media.offer import answer_audio, offer_audio
from media.sdp import Origin, Session
from media.sip.digest import Credentials, Login, authorize
from media.sip.endpoint import Endpoint
from media.sip.hop import Hop
from media.sip.incoming import Incoming
from media.sip.message import Request, Response, parse

HERE = Hop("192.0.2.1", 5060)
TRUNK = Hop("198.51.100.7", 5060)
PHONE = Hop("203.0.113.9", 5062)
REALM = "chartline"
SECRETS = {name: Credentials.of(name, REALM, f"secret of {name}") for name in ("101", "102")}


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Wire:
    """A transport that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Hop]] = []
        self.closed = False

    @property
    def local(self) -> Hop:
        return HERE

    def send(self, data: bytes, destination: Hop) -> None:
        self.sent.append((data, destination))

    def owner(self, flow: int) -> str:  # noqa: ARG002 - the contract's signature
        return ""

    def close(self) -> None:
        self.closed = True

    async def wait_closed(self) -> None: ...


class Line:
    """An endpoint at 192.0.2.1 with a trunk at 198.51.100.7 and two extensions."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.wire = Wire()
        self.calls: list[Incoming] = []
        self.registered: list[tuple[str, int]] = []
        usual: dict[str, Any] = {"credentials": SECRETS.get, "clock": self.clock, "transports": [self.wire]}
        usual["trunks"] = lambda address: "carrier" if address == TRUNK[0] else None
        self.endpoint = Endpoint([HERE], **(usual | options))
        self.endpoint.on_registered = lambda extension, seconds: self.registered.append((extension, seconds))

        async def take(call: Incoming) -> None:
            self.calls.append(call)

        self.endpoint.on_invite = take

    def put(self, message: Request | Response | bytes, source: Hop = TRUNK) -> list[Any]:
        """Have a message arrive; return what is sent because of it."""
        self.endpoint.receive(bytes(message), source)
        return self.take()

    def take(self) -> list[Any]:
        """Return the messages sent since the last look."""
        sent, self.wire.sent = self.wire.sent, []
        return [parse(data) for data, _ in sent]

    async def settle(self) -> None:
        """Let the tasks that calls started run to their end."""
        while tasks := self.endpoint._stack.tasks:
            await asyncio.gather(*tasks)

    def passes(self, seconds: float) -> list[Any]:
        """Let time pass, timer by timer; return what is sent meanwhile."""
        until = self.clock.now + seconds
        while (at := self.endpoint.timers.next_at) is not None and at <= until:
            self.clock.now = max(self.clock.now, at)
            self.endpoint.timers.run()
        self.clock.now = until
        return self.take()


def statuses(messages: Sequence[Request | Response]) -> list[int | str]:
    """Return the status of each response and the method of each request."""
    return [message.status if isinstance(message, Response) else message.method for message in messages]


def request(
    method: str,
    *,
    uri: str = "sip:+12125550100@192.0.2.1",
    branch: str = "z9hG4bKone",
    call_id: str = "call-1",
    sequence: int = 1,
    from_: str = '"Ada" <sip:+12125550123@198.51.100.7>;tag=far',
    to: str = "<sip:+12125550100@192.0.2.1>",
    via: str = "SIP/2.0/UDP 198.51.100.7:5060",
    contact: str = "<sip:ada@198.51.100.7:5060>",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> Request:
    """Return a request as a peer sends it."""
    fields = {"Via": [f"{via};branch={branch}"], "Max-Forwards": ["70"], "From": [from_], "To": [to]}
    fields |= {"Call-ID": [call_id], "CSeq": [f"{sequence} {method}"], "Contact": [contact]}
    fields |= {name: [value] for name, value in (headers or {}).items()}
    if body:
        fields["Content-Type"] = ["application/sdp"]
    return Request(method, uri, {name: values for name, values in fields.items() if values != [""]}, body)


def invite(**changes: Any) -> Request:
    """Return an INVITE with an offer."""
    return request("INVITE", **({"body": bytes(offer())} | changes))


def offer() -> Session:
    """Return what a peer offers."""
    return offer_audio(("198.51.100.7", 30000), origin=Origin("7", "1", "198.51.100.7"))


def answer(to: Session | None = None) -> Session:
    """Return how this side answers."""
    return answer_audio(to or offer(), ("192.0.2.1", 20000), origin=Origin("1", "1", "192.0.2.1"))[0]


def follow(first: Request, response: Response, method: str, *, sequence: int = 1, branch: str = "") -> Request:
    """Return the caller's next request in the dialog that `response` opened."""
    headers = {name: list(first.headers[name]) for name in ("Max-Forwards", "From", "Call-ID", "Contact")}
    via = first.headers["Via"][0].partition(";")[0]
    headers["Via"] = [f"{via};branch=z9hG4bK{branch or method.lower() + str(sequence)}"]
    headers["To"] = response.headers["To"]
    headers["CSeq"] = [f"{sequence} {method}"]
    return Request(method, response.contacts[0].uri.__str__() if response.contacts else first.uri, headers)


def proven(message: Request, refusal: Response, login: Login, *, branch: str = "z9hG4bKproven") -> Request:
    """Return the request again with the answer to the challenge."""
    value = authorize(refusal.headers["WWW-Authenticate"], message.method, message.uri, login)
    assert value is not None
    headers = {name: list(values) for name, values in message.headers.items()}
    headers["Via"] = [message.headers["Via"][0].partition(";")[0] + f";branch={branch}"]
    headers["CSeq"] = [f"{message.sequence + 1} {message.method}"]
    headers["Authorization"] = [value]
    return Request(message.method, message.uri, headers, message.body)


def reply(to: Request, status: int, *, tag: str = "peer", contact: str = "", body: bytes = b"") -> Response:
    """Return the response of the phone that was called."""
    headers = {"Contact": [contact or "<sip:101@203.0.113.9:5062>"]} if status < 300 else {}
    if body:
        headers["Content-Type"] = ["application/sdp"]
    return to.respond(status, to_tag=tag if status > 100 else "", headers=headers, body=body)
