"""A SIP server on loopback that answers as a test tells it to; its reading and writing are ours, its conduct is not."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from media.offer import answer_audio
from media.sdp import Session
from media.sip.digest import Algorithm, parse_auth, response_of
from media.sip.message import Request, Response, parse

Conduct = Callable[["Peer", Request], Sequence[Response]]


class Peer(asyncio.DatagramProtocol):
    """Keeps every request, and answers each with what `conduct` returns."""

    def __init__(self, conduct: Conduct) -> None:
        self.conduct = conduct
        self.requests: list[Request] = []
        self.address = ("", 0)
        self.rtp = 40_000
        "Where its answers want sound."
        self._source: Any = None
        self._transport: Any = None
        self._more = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.address = transport.get_extra_info("sockname")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        message = parse(data)
        if not isinstance(message, Request):
            return
        self._source = addr
        self.requests.append(message)
        self._more.set()
        self.say(*self.conduct(self, message))

    def say(self, *responses: Response) -> None:
        """Send responses, also long after their request."""
        for response in responses:
            self._transport.sendto(bytes(response), self._source)

    def hang_up(self) -> None:
        """Send the BYE of the call that was answered last."""
        invite = self.of("INVITE")[-1]
        headers = {"Via": [f"SIP/2.0/UDP {self.address[0]}:{self.address[1]};branch=z9hG4bKover"]}
        headers |= {"From": [invite.headers["To"][0] + ";tag=peer"], "To": invite.headers["From"]}
        headers |= {"Call-ID": [invite.call_id], "CSeq": ["1 BYE"], "Max-Forwards": ["70"]}
        self._transport.sendto(bytes(Request("BYE", str(invite.contacts[0].uri), headers)), self._source)

    def of(self, method: str) -> list[Request]:
        """Return the requests of a method so far, each once: on a slow machine they are sent again."""
        copies = {request.via.branch: request for request in self.requests if request.method == method}
        return list(copies.values())

    async def until(self, count: int, method: str) -> list[Request]:
        """Wait for that many requests of a method."""
        async with asyncio.timeout(20):
            while len(self.of(method)) < count:
                self._more.clear()
                await self._more.wait()
        return self.of(method)


def silent(_peer: Peer, _request: Request) -> list[Response]:
    return []


def saying(status: int, **headers: str) -> Conduct:
    """Answer everything but ACK with one status."""
    named = {name.replace("_", "-"): [text] for name, text in headers.items()}

    def conduct(_peer: Peer, request: Request) -> list[Response]:
        if request.method == "ACK":
            return []
        return [request.respond(status, to_tag="peer", headers=named)]

    return conduct


def answering(peer: Peer, request: Request) -> list[Response]:
    """Ring, then pick up; everything else is fine too."""
    if request.method == "ACK":
        return []
    if request.method != "INVITE":
        return [request.respond(200, to_tag="peer")]
    host, port = peer.address
    body = bytes(answer_audio(Session.parse(_sdp(request)), (host, peer.rtp))[0])
    headers = {"Contact": [f"<sip:far@{host}:{port}>"], "Content-Type": ["application/sdp"]}
    return [
        request.respond(100),
        request.respond(180, to_tag="peer", headers={"Contact": headers["Contact"]}),
        request.respond(200, to_tag="peer", headers=headers, body=body),
    ]


def speaking_early(peer: Peer, request: Request) -> list[Response]:
    """Say something before anybody picks up; the answer is left to the test (`Peer.say`)."""
    if request.method != "INVITE":
        return answering(peer, request)
    answer = answering(peer, request)[2]
    return [Response(183, "Session Progress", answer.headers, answer.body)]


def challenging(login: tuple[str, str, str], then: Conduct, status: int = 401) -> Conduct:
    """Ask for a name and password in a realm (SHA-256), and go on with `then` where they are right."""
    username, password, realm = login
    asking = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    answering_ = "Authorization" if status == 401 else "Proxy-Authorization"

    def conduct(peer: Peer, request: Request) -> Sequence[Response]:
        if request.method == "ACK":
            return []
        value = request.get(answering_)
        if value is not None:
            params = parse_auth(value)[1]
            ha1 = Algorithm.SHA256.digest(f"{username}:{realm}:{password}")
            if params["response"] == response_of(Algorithm.SHA256, ha1, request.method, params):
                return then(peer, request)
            return [request.respond(403, to_tag="peer")]
        offered = [
            f'Digest realm="{realm}", nonce="n-{len(peer.requests)}", algorithm={name}, qop="auth"'
            for name in ("MD5", "SHA-256")
        ]
        return [request.respond(status, to_tag="peer", headers={asking: offered})]

    return conduct


@asynccontextmanager
async def peer(conduct: Conduct, port: int = 0) -> AsyncIterator[Peer]:
    """Serve on the loopback interface."""
    served = Peer(conduct)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: served, local_addr=("127.0.0.1", port))
    try:
        yield served
    finally:
        transport.close()


def _sdp(request: Request) -> bytes:
    """Return the offer, also where it is a part among others."""
    start = request.body.index(b"v=0")
    end = request.body.find(b"\r\n--", start)
    return request.body[start:] if end < 0 else request.body[start:end]
