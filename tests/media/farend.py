"""A far end for tests: a UDP socket that speaks RTP at the right pace, and keeps what it hears."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hub.audio import frequencies
from hub.g711 import Codec, Pcm, decode, encode
from media.browser.leg import BrowserLeg
from media.dtmf import Keypad, Tone, tones_of
from media.latch import Address
from media.leg import AudioLeg
from media.ports import Ports
from media.relay import BuiltinRelay
from media.rtp import FRAME, Packet, ahead
from media.sound import Sound

EVENT = 101


class FarEnd(asyncio.DatagramProtocol):
    """A phone's sound, without the phone."""

    def __init__(self, codec: Codec = Codec.PCMU, ssrc: int = 0x1234) -> None:
        self.codec = codec
        self.heard: list[Packet] = []
        self.address: Address = ("", 0)
        self.ssrc = ssrc
        self.sequence = 65_500
        self.timestamp = 0xFFFFFFFF - 2000
        self._transport: asyncio.DatagramTransport
        self._more = asyncio.Event()
        self._lost = asyncio.Event()

    def opened(self, transport: asyncio.DatagramTransport) -> None:
        self._transport = transport
        self.address = transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, addr: Address) -> None:  # noqa: ARG002 - asyncio's signature
        self.heard.append(Packet.parse(data))
        self._more.set()

    def connection_lost(self, exc: Exception | None) -> None:
        assert exc is None
        self._lost.set()

    async def close(self) -> None:
        self._transport.close()
        await self._lost.wait()

    def send(self, to: Address, payload: bytes, *, payload_type: int | None = None, step: bool = True) -> None:
        self.sequence = self.sequence + 1 & 0xFFFF
        if step:
            self.timestamp = self.timestamp + FRAME & 0xFFFFFFFF
        kind = self.codec if payload_type is None else payload_type
        packet = Packet(int(kind), False, self.sequence, self.timestamp, self.ssrc, payload)
        self._transport.sendto(bytes(packet), to)

    def send_raw(self, to: Address, data: bytes) -> None:
        self._transport.sendto(data, to)

    async def say(self, to: Address, pcm: Pcm) -> None:
        """Say it at the pace of speech."""
        coded = encode(self.codec, pcm)
        loop = asyncio.get_running_loop()
        began = loop.time()
        for index, at in enumerate(range(0, len(coded) - FRAME + 1, FRAME)):
            await until(began + index * 0.02)
            self.send(to, coded[at : at + FRAME])

    async def press(self, to: Address, keys: str) -> None:
        for key in keys:
            began = asyncio.get_running_loop().time()
            self.timestamp = self.timestamp + FRAME & 0xFFFFFFFF
            for index, tone in enumerate(tones_of(key, 60)):
                await until(began + index * 0.01)
                self.send(to, bytes(tone), payload_type=EVENT, step=False)
            self.timestamp = self.timestamp + 10 * FRAME & 0xFFFFFFFF

    async def hear(self, count: int) -> list[Packet]:
        """Wait until so many packets have come in all."""
        async with asyncio.timeout(20):
            while len(self.heard) < count:
                self._more.clear()
                await self._more.wait()
        return self.heard

    def sound(self) -> Pcm:
        """What was heard, in one piece, in the order of its sequence numbers."""
        voice = [packet for packet in self.heard if packet.payload_type == self.codec]
        ordered = sorted(voice, key=lambda packet: ahead(packet.sequence, voice[0].sequence))
        return decode(self.codec, b"".join(packet.payload for packet in ordered))

    def hz(self) -> list[int]:
        """The tones that were heard, to the nearest ten."""
        return sorted(round(peak.hz / 10) * 10 for peak in frequencies(self.sound()))

    def keys(self) -> str:
        keypad = Keypad()
        events = [packet for packet in self.heard if packet.payload_type == EVENT]
        found = [keypad.heard(Tone.parse(packet.payload), packet.timestamp) for packet in events]
        return "".join(key for key in found if key)


async def until(when: float) -> None:
    """Wait for a moment of the loop's clock."""
    loop = asyncio.get_running_loop()
    moment = loop.create_future()
    waking = loop.call_at(when, moment.set_result, None)
    try:
        await moment
    finally:
        waking.cancel()


@asynccontextmanager
async def far_end(codec: Codec = Codec.PCMU, ssrc: int = 0x1234, host: str = "127.0.0.1") -> AsyncIterator[FarEnd]:
    loop = asyncio.get_running_loop()
    transport, end = await loop.create_datagram_endpoint(lambda: FarEnd(codec, ssrc), local_addr=(host, 0))
    end.opened(transport)
    try:
        yield end
    finally:
        await end.close()


@asynccontextmanager
async def relay(
    music: Sound | None = None, *, browser_leg: type[BrowserLeg] = BrowserLeg
) -> AsyncIterator[BuiltinRelay]:
    ports = Ports("127.0.0.1", 20_000, 29_999)
    engine = BuiltinRelay(ports, music or Sound(b"\xff" * FRAME), browser_leg=browser_leg)
    try:
        yield engine
    finally:
        await engine.close()


class Ear:
    """A tap that keeps what it is given."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.one_more = asyncio.Event()

    def heard(self, codec: Codec, ssrc: int, timestamp: int, payload: bytes, now: float) -> None:
        assert codec in Codec
        assert 0 <= ssrc < 1 << 32
        assert 0 <= timestamp < 1 << 32
        assert now > 0
        self.payloads.append(payload)
        self.one_more.set()


async def settled(leg: AudioLeg, phone: FarEnd) -> None:
    """Return once the leg has read all that was sent to it so far, by one packet more that comes behind it."""
    ear, last = Ear(), b"last of all".ljust(FRAME)
    leg.tap(ear)
    phone.send(leg.local, last)
    async with asyncio.timeout(20):
        while last not in ear.payloads:
            ear.one_more.clear()
            await ear.one_more.wait()
    leg.tap(None)
