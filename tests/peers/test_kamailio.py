"""The SIP endpoint behind kamailio, which stays in the way of every call, over UDP, TCP and TLS."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from media.offer import offer_audio
from media.sip import Address, Cause, Endpoint, Hop, TrunkTable, Uri
from tests.media.sip.certificate import Office
from tests.peers import kamailio
from tests.peers.sipp import HOST, Sipp, unhurried
from tests.peers.test_sip import FROM, MEDIA, Desk, went_well

pytestmark = [pytest.mark.peer("sipp", "kamailio")]

_TLS = any(Path("/usr/lib").glob("*/kamailio/modules/tls.so")) or os.environ.get("CHARTLINE_REQUIRE_PEERS") == "1"
TRANSPORTS = [
    "udp",
    "tcp",
    pytest.param("tls", marks=pytest.mark.skipif(not _TLS, reason="needs kamailio-tls-modules on this machine")),
]


@pytest.fixture
async def sipp(tmp_path: Path) -> AsyncIterator[Sipp]:
    made = Sipp(tmp_path)
    yield made
    await made.close()


class Behind(Desk):
    """A desk whose carrier is a proxy on loopback, and which speaks TLS too."""

    def __init__(self, work: Path) -> None:
        super().__init__()
        self.identity = Office(work).identity(HOST)
        self.endpoint = Endpoint(
            [Hop(HOST, 0), Hop(HOST, 0, "tcp"), Hop(HOST, 0, "tls")],
            identity=self.identity,
            credentials=lambda _extension: None,
            trunks=TrunkTable({"carrier": [HOST]}),
            clock=unhurried,
        )
        self.endpoint.on_invite = self.take


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Behind]:
    made = Behind(tmp_path)
    await made.endpoint.start()
    yield made
    await made.endpoint.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_call_that_comes_in_follows_the_proxy_s_route_to_its_end(
    desk: Behind, sipp: Sipp, transport: str, tmp_path: Path
) -> None:
    proxy = await kamailio.start(tmp_path, gateway=desk.endpoint.listening[transport], identity=desk.identity)
    try:
        caller = await sipp.start("call-routed", proxy.hops["udp"])
        async with asyncio.timeout(20):
            await proxy.passes(3)  # the ACK of the answer, the re-INVITE, its ACK
            (call,) = desk.calls
            assert call.source.transport == transport
            call.bye()
            await call.gone
            assert went_well(await caller.done())
        assert proxy.said("LOST") == []
        passed = proxy.said("PASSED")
        assert [line.split()[0] for line in passed] == ["ACK", "INVITE", "ACK", "BYE"]
        assert passed[-1].split()[2] == transport
        assert desk.endpoint.transactions.resent == 0
    finally:
        await proxy.stop()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_call_that_goes_out_follows_the_proxy_s_route_to_its_end(
    desk: Behind, sipp: Sipp, transport: str, tmp_path: Path
) -> None:
    phone = await sipp.start("phone-routed")
    gateway = desk.endpoint.listening[transport]
    proxy = await kamailio.start(tmp_path, gateway=gateway, phone=phone.hop, identity=desk.identity)
    try:
        hop = proxy.hops[transport]
        target = Uri.parse(f"sip:101@{HOST}:{hop.port};transport={transport}")
        leg = desk.endpoint.call(target, offer_audio(MEDIA), from_=FROM, to=Address(target))
        async with asyncio.timeout(20):
            assert await leg.answered is not None
            await leg.reinvite(offer_audio((HOST, 20010)))
            leg.bye()
            assert await leg.ended is Cause.CLOSED
            await leg.gone
            assert went_well(await phone.done())
        assert proxy.said("LOST") == []
        assert [line.split()[:3] for line in proxy.said("PASSED")] == [
            [method, "from", transport] for method in ("ACK", "INVITE", "ACK", "BYE")
        ]
    finally:
        await proxy.stop()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_hundred_calls_at_once_over_one_connection(
    desk: Behind, sipp: Sipp, transport: str, tmp_path: Path
) -> None:
    proxy = await kamailio.start(tmp_path, gateway=desk.endpoint.listening[transport], identity=desk.identity)
    try:
        outcome = await sipp.run("call-proxied", proxy.hops["udp"], calls=100, rate=200, hold_ms=1000)
        assert went_well(outcome, 100)
        assert await desk.causes() == [Cause.HANGUP] * 100
        assert len({call.source.flow for call in desk.calls}) == 1
        assert proxy.said("LOST") == []
    finally:
        await proxy.stop()
