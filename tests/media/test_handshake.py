"""A phone's DTLS handshake among strangers: nobody but the far end ends it, wherever the far end comes from."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

import pytest

from media.dtls import RECORDS, Dtls, Identity, identity
from media.handshake import TRIES
from media.latch import Address
from media.phone import PhoneLeg
from media.relay import BuiltinRelay
from media.rtp import FRAME, Packet
from media.sdp import Session
from media.srtp import Writer
from tests.media.farend import Ear, relay

ALERT = bytes.fromhex("15fefd000000000000000000020228")
"handshake_failure, fatal, in epoch 0."

OFFER = """v=0\r
o=- 1 1 IN IP4 {place[0]}\r
s=-\r
c=IN IP4 {place[0]}\r
t=0 0\r
m=audio {place[1]} UDP/TLS/RTP/SAVP 0\r
a=rtpmap:0 PCMU/8000\r
a=fingerprint:{print}\r
a=setup:{setup}\r
a=rtcp-mux\r
"""
NOWHERE: Address = ("127.0.0.20", 9)


class FarDtls(asyncio.DatagramProtocol):
    """A far end that shakes hands, or somebody who would like to be one."""

    def __init__(self, to: Address, *, active: bool) -> None:
        own = Identity(datetime.now(UTC))
        self.print = own.fingerprint
        self.dtls = Dtls(own, active=active, fingerprints=[identity().fingerprint])
        self.keyed, self.answered = asyncio.Event(), asyncio.Event()
        self._lost = asyncio.Event()
        self.to = to
        self.address: Address = ("", 0)

    def opened(self, transport: asyncio.DatagramTransport) -> None:
        self._transport = transport
        self.address = transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, addr: Address) -> None:  # noqa: ARG002 - asyncio's signature
        if data[0] in RECORDS:
            self.say(*self.dtls.heard(data))
            self.answered.set()
        if self.dtls.done:
            self.keyed.set()

    def say(self, *datagrams: bytes) -> None:
        for each in datagrams:
            self._transport.sendto(each, self.to)

    def greet(self) -> None:
        self.say(*self.dtls.start())

    def connection_lost(self, exc: Exception | None) -> None:
        assert exc is None
        self._lost.set()

    async def close(self) -> None:
        self._transport.close()
        await self._lost.wait()


@asynccontextmanager
async def far_dtls(leg: PhoneLeg, host: str, *, active: bool = True) -> AsyncIterator[FarDtls]:
    loop = asyncio.get_running_loop()
    transport, end = await loop.create_datagram_endpoint(
        lambda: FarDtls(leg.local, active=active), local_addr=(host, 0)
    )
    end.opened(transport)
    try:
        yield end
    finally:
        await end.close()


async def phone_leg(engine: BuiltinRelay) -> PhoneLeg:
    leg = await engine.allocate()
    assert isinstance(leg, PhoneLeg)
    return leg


async def shaken(leg: PhoneLeg, far: FarDtls) -> None:
    """Return once both have keys, which a packet proves."""
    async with asyncio.timeout(20):
        await far.keyed.wait()
    assert far.dtls.writes is not None
    ear = Ear()
    leg.tap(ear)
    far.say(Writer(far.dtls.writes).protect(bytes(Packet(0, True, 1, FRAME, 9, b"\x11" * FRAME))))
    async with asyncio.timeout(20):
        await ear.one_more.wait()
    assert leg.remote == far.address


def offered(place: Address, far: FarDtls, setup: str = "active") -> Session:
    return Session.parse(OFFER.format(place=place, print=far.print, setup=setup).encode())


@pytest.mark.parametrize(
    ("host", "said", "via"),
    [
        ("127.0.0.1", None, None),
        ("127.0.0.1", ("127.0.0.1", 9), None),
        ("127.0.0.2", NOWHERE, "127.0.0.2"),
        ("127.0.0.3", NOWHERE, "127.0.0.2"),
    ],
    ids=["where it says", "another port", "where its signalling is", "elsewhere"],
)
async def test_what_strangers_say_keeps_nobody_from_shaking_hands(
    host: str, said: Address | None, via: str | None
) -> None:
    async with relay() as engine:
        leg = await phone_leg(engine)
        lost: list[str] = []
        leg.on_lost = lambda: lost.append("lost")
        async with far_dtls(leg, host) as far, far_dtls(leg, "127.0.0.99") as stranger:
            await leg.answer(offered(said or far.address, far), via=via)
            stranger.say(ALERT, b"\x16" + ALERT[1:], b"\x16\xfe\xfd" + bytes(7) + b"\1\0\x0d" + b"\1" * 13)
            stranger.greet()
            far.say(ALERT)
            far.greet()
            await shaken(leg, far)
        assert lost == []


async def test_a_stranger_s_certificate_ends_nothing() -> None:
    async with relay() as engine:
        leg = await phone_leg(engine)
        lost: list[str] = []
        leg.on_lost = lambda: lost.append("lost")
        async with far_dtls(leg, "127.0.0.1") as far, far_dtls(leg, "127.0.0.99") as stranger:
            await leg.answer(offered(far.address, far))
            stranger.greet()
            async with asyncio.timeout(20):
                await stranger.answered.wait()
            far.greet()
            await shaken(leg, far)
        assert lost == []


async def test_where_it_begins_itself_strangers_are_not_heard_and_a_nat_s_other_port_is() -> None:
    async with relay() as engine:
        leg = await phone_leg(engine)
        lost: list[str] = []
        leg.on_lost = lambda: lost.append("lost")
        async with far_dtls(leg, "127.0.0.1", active=False) as far, far_dtls(leg, "127.0.0.99") as stranger:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inside:
                inside.setblocking(False)
                inside.bind(("127.0.0.1", 0))
                await leg.answer(offered(inside.getsockname(), far, "passive"))
                greeting = await asyncio.get_running_loop().sock_recv(inside, 2000)
            stranger.say(ALERT, b"\x16\xfe\xfd" + bytes(7) + b"\1\0\x0d" + b"\2" * 13)
            far.say(ALERT)
            far.datagram_received(greeting, leg.local)
            await shaken(leg, far)
        assert lost == []
        assert leg.stats.refused == 2


async def test_many_who_greet_are_not_all_answered_and_keep_nobody_near_out() -> None:
    async with relay() as engine:
        leg = await phone_leg(engine)
        async with far_dtls(leg, "127.0.0.1") as far, AsyncExitStack() as stack:
            await leg.answer(offered(("127.0.0.1", 9), far))
            for number in range(TRIES + 5):
                stranger = await stack.enter_async_context(far_dtls(leg, f"127.0.1.{number}"))
                stranger.greet()
            again = await stack.enter_async_context(far_dtls(leg, "127.0.1.1"))
            again.greet()
            far.greet()
            await shaken(leg, far)
            assert leg.stats.refused == 6
