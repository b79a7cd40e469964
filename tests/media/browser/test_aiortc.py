"""A browser's leg against an implementation of WebRTC that is not ours: ICE, DTLS-SRTP and G.711 of aiortc."""

import asyncio
import fractions
from collections.abc import AsyncIterator

import aioice.ice
import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from av import AudioFrame

from hub.audio import frequencies, tone
from hub.g711 import Pcm
from media.browser.leg import BrowserLeg
from media.relay import BuiltinRelay, Wanted
from media.rtp import FRAME, RATE
from media.sdp import Session
from tests.media.farend import FarEnd, far_end, relay, until
from tests.media.test_phone import phone_leg

PITCH = 440.0


class Tone(MediaStreamTrack):
    """A tone at the pace of speech."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._sound = tone(PITCH, seconds=1.0)
        self._began = asyncio.get_running_loop().time()
        self._at = 0

    async def recv(self) -> AudioFrame:
        await until(self._began + self._at / RATE)
        at = self._at % len(self._sound)
        frame = AudioFrame.from_ndarray(self._sound[at : at + FRAME].reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._at, fractions.Fraction(1, RATE)
        self._at += FRAME
        return frame


class Page:
    """A peer connection that says a tone, and keeps what it hears."""

    def __init__(self) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        codecs = RTCRtpSender.getCapabilities("audio").codecs
        transceiver = self.connection.addTransceiver(Tone())
        transceiver.setCodecPreferences([codec for codec in codecs if codec.mimeType == "audio/PCMU"])
        self._receiver = transceiver.receiver

    async def sound(self, seconds: float) -> Pcm:
        """Return what is heard for so long."""
        pieces: list[Pcm] = []
        while sum(map(len, pieces)) < seconds * RATE:
            frame = await self._receiver.track.recv()
            assert isinstance(frame, AudioFrame)
            assert frame.sample_rate == RATE
            pieces.append(frame.to_ndarray().reshape(-1).astype(np.int16))
        return np.concatenate(pieces)


@pytest.fixture
async def page(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Page]:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **_: ["127.0.0.1"])  # it passes loopback over
    opened = Page()
    yield opened
    await opened.connection.close()


@pytest.fixture
async def engine() -> AsyncIterator[BuiltinRelay]:
    async with relay() as opened:
        yield opened


@pytest.fixture
async def phone() -> AsyncIterator[FarEnd]:
    async with far_end() as opened:
        yield opened


async def connected(leg: BrowserLeg, page: Page, *, offers: str) -> None:
    """Let one of the two call the other."""
    connection = page.connection
    if offers == "page":
        await connection.setLocalDescription(await connection.createOffer())
        answer = await leg.answer(Session.parse(connection.localDescription.sdp.encode()))
        await connection.setRemoteDescription(RTCSessionDescription(bytes(answer).decode(), "answer"))
    else:
        offer = await leg.offer()
        await connection.setRemoteDescription(RTCSessionDescription(bytes(offer).decode(), "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        await leg.settle(Session.parse(connection.localDescription.sdp.encode()))
    async with asyncio.timeout(30):
        await leg.connected


@pytest.mark.parametrize("offers", ["page", "leg"])
async def test_a_phone_and_another_webrtc_hear_each_other(
    engine: BuiltinRelay, page: Page, phone: FarEnd, offers: str
) -> None:
    leg = await engine.allocate(Wanted(kind="browser"))
    assert isinstance(leg, BrowserLeg)
    await connected(leg, page, offers=offers)
    other = await phone_leg(engine)
    other.connect(phone.address, phone.codec, 101)
    engine.bridge(leg, other)
    speaking = asyncio.create_task(phone.say(other.local, tone(1000, seconds=2)))
    async with asyncio.timeout(30):
        heard = await page.sound(1.2)
        await speaking
    assert 1000 in [round(peak.hz, -1) for peak in frequencies(heard[-RATE // 2 :])]
    assert phone.hz() == [PITCH]
    assert leg.protection == "dtls-srtp"
    assert leg.stats.forged == 0
