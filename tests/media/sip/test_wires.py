"""An endpoint with several listeners: calls over each, requests too large for a datagram, streams that are no SIP."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from hub.demo.ports import free_port
from media.offer import answer_audio, offer_audio
from media.sip import Address, Cause, Credentials, Endpoint, Hop, Incoming, TrunkTable, Uri
from media.sip.message import Response, parse
from media.sip.transport import Identity, Wires
from tests.media.sip.certificate import Office
from tests.media.sip.line import TRUNK, Clock, request

HOST = "127.0.0.1"
FROM = Address.parse("<sip:+12125550123@127.0.0.1>")
OFFER = offer_audio((HOST, 30000))
LARGE = {"Subject": "y" * 1300}
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


class Gateway:
    """An endpoint that answers whatever comes from this machine."""

    def __init__(self, listeners: list[Hop], identity: Identity | None = None) -> None:
        self.calls: list[Incoming] = []
        self.endpoint = Endpoint(
            listeners,
            identity=identity,
            credentials=dict[str, Credentials]().get,
            trunks=TrunkTable({"loopback": [HOST]}),
        )
        self.endpoint.on_invite = self._take

    async def _take(self, call: Incoming) -> None:
        self.calls.append(call)
        assert call.offer is not None
        call.answer(answer_audio(call.offer, (HOST, 20000))[0])


@asynccontextmanager
async def two(
    *transports: str, work: Path | None = None, far: tuple[str, ...] = ()
) -> AsyncIterator[tuple[Gateway, Gateway]]:
    made = []
    identity = Office(work).identity(HOST) if work is not None else None
    for spoken in (transports, far or transports):
        port = free_port()
        hops = [Hop(HOST, 0 if name == "tls" else port, name) for name in spoken]
        made.append(Gateway(hops, identity))
    try:
        for gateway in made:
            await gateway.endpoint.start()
        yield made[0], made[1]
    finally:
        for gateway in made:
            async with asyncio.timeout(30):
                await gateway.endpoint.close()


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_a_call_over_each_transport_to_one_endpoint(
    loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path
) -> None:
    async def story() -> None:
        async with two("udp", "tcp", "tls", work=tmp_path) as (near, far):
            for transport in ("udp", "tcp", "tls"):
                port = far.endpoint.listening[transport].port
                target = Uri.parse(f"sip:x@{HOST}:{port};transport={transport.title()}")
                leg = near.endpoint.call(target, OFFER, from_=FROM)
                async with asyncio.timeout(20):
                    assert await leg.answered is not None
                    call = far.calls[-1]
                    assert await call.acked
                    assert call.source.transport == transport
                    call.bye()
                    assert await leg.ended is Cause.HANGUP
                    await call.gone

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(story())


async def test_a_sips_target_takes_tls_and_nothing_else(tmp_path: Path) -> None:
    async with two("udp", "tls", work=tmp_path) as (near, far):
        port = far.endpoint.listening["tls"].port
        leg = near.endpoint.call(Uri.parse(f"sips:x@{HOST}:{port};transport=udp"), OFFER, from_=FROM)
        async with asyncio.timeout(20):
            assert await leg.answered is not None
        assert far.calls[0].source.transport == "tls"


async def test_a_call_too_large_for_a_datagram_takes_tcp() -> None:
    async with two("udp", "tcp") as (near, far):
        target = Uri.parse(f"sip:x@{HOST}:{far.endpoint.local.port}")
        small = near.endpoint.call(target, OFFER, from_=FROM)
        large = near.endpoint.call(target, OFFER, from_=FROM, headers=LARGE)
        async with asyncio.timeout(20):
            assert await small.answered is not None
            assert await large.answered is not None
            assert sorted(call.source.transport for call in far.calls) == ["tcp", "udp"]
            large.bye()
            await large.gone


async def test_a_call_too_large_for_a_datagram_goes_in_one_where_nobody_takes_tcp() -> None:
    async with two("udp", "tcp", far=("udp",)) as (near, far):
        target = Uri.parse(f"sip:x@{HOST}:{far.endpoint.local.port}")
        for _ in range(2):
            leg = near.endpoint.call(target, OFFER, from_=FROM, headers=LARGE)
            async with asyncio.timeout(20):
                assert await leg.answered is not None
        assert [call.source.transport for call in far.calls] == ["udp", "udp"]
        assert near.endpoint.wires.widen(request("OPTIONS"), far.endpoint.local) is None


def test_an_address_that_takes_no_tcp_is_tried_again_later() -> None:
    clock = Clock()
    wires = Wires([], [_Stream()], clock=clock)
    message = request("OPTIONS", via="SIP/2.0/UDP 192.0.2.1:5060;rport")
    wires.narrow(TRUNK)
    assert wires.widen(message, TRUNK) is None
    assert message.via.transport == "UDP"
    clock.now += 601
    assert wires.widen(message, TRUNK) == Hop(TRUNK.host, TRUNK.port, "tcp")
    assert message.headers["Via"] == ["SIP/2.0/TCP 192.0.2.1:5070;rport;branch=z9hG4bKone"]


class _Stream:
    local = Hop("192.0.2.1", 5070, "tcp")

    def send(self, data: bytes, hop: Hop) -> None:
        raise AssertionError(data, hop)

    def owner(self, flow: int) -> str:  # noqa: ARG002 - the contract's signature
        return ""

    def close(self) -> None: ...

    async def wait_closed(self) -> None: ...


@pytest.mark.parametrize("bind", [Hop(HOST, 0, "ws"), Hop(HOST, 0, "sctp"), Hop(HOST, 0, "tls")])
def test_what_cannot_be_listened_on_is_said_at_once(bind: Hop) -> None:
    with pytest.raises(ValueError, match=r"listener|certificate"):
        Gateway([bind])


async def test_where_one_address_is_taken_none_is_kept() -> None:
    async with two("tcp") as (near, _):
        port = free_port()
        other = Gateway([Hop(HOST, port), near.endpoint.local])
        with pytest.raises(OSError, match="in use"):
            await other.endpoint.start()
        again = Gateway([Hop(HOST, port)])
        await again.endpoint.start()
        await again.endpoint.close()


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ((b"Content-Length: 0\r\n", b""), 400),
        ((b"Content-Length: 0", b"Content-Length: x"), 400),
        ((b"Content-Length: 0", b"Content-Length: 99999"), 513),
        ((b"CSeq: 1", b"Subject: " + b"y" * 40_000 + b"\r\nCSeq: 1"), 513),
    ],
    ids=["no length", "no number", "too long", "endless header"],
)
async def test_a_stream_that_cannot_be_read_on_is_told_why_and_closed(change: tuple[bytes, bytes], status: int) -> None:
    gateway = Gateway([Hop(HOST, 0, "tcp")])
    await gateway.endpoint.start()
    reader, writer = await asyncio.open_connection(HOST, gateway.endpoint.local.port)
    async with asyncio.timeout(20):
        writer.write(bytes(request("OPTIONS", via="SIP/2.0/TCP 127.0.0.1:9")).replace(*change))
        answer = parse(await reader.readuntil(b"\r\n\r\n"))
        assert isinstance(answer, Response)
        assert answer.status == status
        assert await reader.read() == b""
    writer.close()
    await gateway.endpoint.close()
