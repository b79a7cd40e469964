"""Our browser leg against Chromium, with the test as the signalling between them."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from hub.audio import tone
from hub.g711 import Codec
from media import dtls
from media.browser.leg import BrowserLeg
from media.leg import AudioLeg
from media.phone import PhoneLeg
from media.ports import Ports
from media.relay import BuiltinRelay, Wanted
from media.rtp import FRAME
from media.sdp import Direction, Session
from media.sound import Sound
from tests.media.farend import FarEnd, far_end, relay
from tests.peers.browser.chromium import EAR, PATIENCE_S, page_with
from tests.peers.browser.house import still_heard

pytestmark = [pytest.mark.peer("chromium", "node"), pytest.mark.asyncio(loop_scope="module")]

PAGE = (
    EAR
    + """
const connection = new RTCPeerConnection({iceServers: []});
const player = new Audio();
connection.ontrack = event => {
  const stream = new MediaStream([event.track]);
  player.srcObject = stream;
  player.play();
  listen(stream);
};
function speak() {
  const stream = tone(440);
  window.sender = connection.addTrack(stream.getAudioTracks()[0], stream);
}
async function answer(sdp) {
  speak();
  await connection.setRemoteDescription({type: "offer", sdp});
  await connection.setLocalDescription(await connection.createAnswer());
  return connection.localDescription.sdp;
}
async function reanswer(sdp) {
  await connection.setRemoteDescription({type: "offer", sdp});
  await connection.setLocalDescription(await connection.createAnswer());
  return connection.localDescription.sdp;
}
async function offer(options = {}) {
  if (!window.sender) speak();
  await connection.setLocalDescription(await connection.createOffer(options));
  return connection.localDescription.sdp;
}
async function settle(sdp) { await connection.setRemoteDescription({type: "answer", sdp}); }
async function there() {
  // The port that packets go to now.
  const found = await connection.getStats();
  const transport = [...found.values()].find(each => each.type === "transport");
  return found.get(found.get(transport.selectedCandidatePairId).remoteCandidateId).port;
}
"""
)


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    opened = await page_with(browser, PAGE)
    yield opened
    await opened.context.close()


async def browser_leg(engine: BuiltinRelay) -> BrowserLeg:
    leg = await engine.allocate(Wanted(kind="browser"))
    assert isinstance(leg, BrowserLeg)
    return leg


def read(sdp: str) -> Session:
    return Session.parse(sdp.encode())


async def called(leg: BrowserLeg, page: Page) -> None:
    """Call the page: our offer, its answer."""
    offer = bytes(await leg.offer()).decode()
    await leg.settle(read(await page.evaluate("sdp => answer(sdp)", offer)))
    async with asyncio.timeout(PATIENCE_S):
        await leg.connected


async def calls(leg: BrowserLeg, page: Page) -> None:
    """Let the page call: its offer, our answer."""
    answer = await leg.answer(read(await page.evaluate("offer()")))
    await page.evaluate("sdp => settle(sdp)", bytes(answer).decode())
    async with asyncio.timeout(PATIENCE_S):
        await leg.connected


@pytest.mark.parametrize("way", ["called", "calls"])
async def test_a_page_and_a_phone_hear_each_other(page: Page, way: str) -> None:
    async with relay() as engine, far_end() as phone:
        leg, other = await browser_leg(engine), await engine.allocate()
        await (called if way == "called" else calls)(leg, page)
        await talk(engine, leg, other, phone, page)
        assert leg.protection == "dtls-srtp"
        assert leg.profile == "AEAD_AES_256_GCM"


async def talk(engine: BuiltinRelay, leg: BrowserLeg, other: AudioLeg, phone: FarEnd, page: Page) -> None:
    assert isinstance(other, PhoneLeg)
    other.connect(phone.address, Codec.PCMU, 101)
    engine.bridge(leg, other)
    speaking = asyncio.create_task(phone.say(other.local, tone(1000, seconds=PATIENCE_S)))
    assert await page.evaluate("hears(1000)") == pytest.approx(1000, abs=15)
    await phone.hear(60)
    assert 440 in phone.hz()
    speaking.cancel()


async def test_keys_go_both_ways_as_events(page: Page) -> None:
    async with relay() as engine, far_end() as phone:
        leg, other = await browser_leg(engine), await engine.allocate()
        await called(leg, page)
        other.connect(phone.address, Codec.PCMU, 101)
        engine.bridge(leg, other)
        assert await page.evaluate("sender.dtmf.canInsertDTMF")
        await page.evaluate("sender.dtmf.insertDTMF('159#', 80, 50)")
        async with asyncio.timeout(PATIENCE_S):
            assert [await leg.digits.get() for _ in range(4)] == ["1", "5", "9", "#"]
            while phone.keys() != "159#":
                await phone.hear(len(phone.heard) + 1)


async def test_on_hold_the_silence_of_a_browser_is_dropped_and_its_music_is_played(page: Page) -> None:
    async with relay() as engine, far_end() as phone:
        leg, other = await browser_leg(engine), await engine.allocate()
        await calls(leg, page)
        await talk(engine, leg, other, phone, page)
        await page.evaluate("connection.getTransceivers()[0].direction = 'sendonly'")
        held = await leg.answer(read(await page.evaluate("offer()")))
        await page.evaluate("sdp => settle(sdp)", bytes(held).decode())
        assert held.media[0].direction is Direction.RECVONLY
        assert "setup:passive" in held.media[0].attributes
        passed = other.stats.sent
        await still_heard(leg, 15)
        assert other.stats.sent == passed
        await page.evaluate("connection.getTransceivers()[0].direction = 'sendrecv'")
        resumed = await leg.answer(read(await page.evaluate("offer()")))
        await page.evaluate("sdp => settle(sdp)", bytes(resumed).decode())
        assert int(resumed.origin.version) == int(held.origin.version) + 1
        phone.heard.clear()
        await talk(engine, leg, other, phone, page)


async def test_our_own_next_offer_is_taken_by_a_live_page(page: Page) -> None:
    async with relay() as engine, far_end() as phone:
        leg, other = await browser_leg(engine), await engine.allocate()
        await calls(leg, page)
        for direction in (Direction.SENDONLY, Direction.SENDRECV):
            offer = await leg.offer(direction)
            answer = await page.evaluate("sdp => answer(sdp)", bytes(offer).decode())
            await leg.settle(read(answer))
        await talk(engine, leg, other, phone, page)


async def test_an_ice_restart_moves_the_call_to_another_port_and_keeps_its_keys(page: Page) -> None:
    async with relay() as engine, far_end() as phone:
        leg, other = await browser_leg(engine), await engine.allocate()
        await calls(leg, page)
        await talk(engine, leg, other, phone, page)
        answer = await leg.answer(read(await page.evaluate("offer({iceRestart: true})")))
        assert answer.media[0].port != leg.local[1]
        await page.evaluate("sdp => settle(sdp)", bytes(answer).decode())
        phone.heard.clear()
        before = leg.stats.packets
        await talk(engine, leg, other, phone, page)
        assert leg.stats.packets > before + 50
        assert leg.stats.lost <= 2
        assert await page.evaluate("there()") == answer.media[0].port


async def test_a_closed_page_is_told_of_at_once(page: Page) -> None:
    async with relay() as engine:
        leg = await browser_leg(engine)
        gone = asyncio.Event()
        leg.on_gone = gone.set
        await calls(leg, page)
        await page.evaluate("connection.close()")
        async with asyncio.timeout(10):  # a page that only falls silent is given up after 30 s
            await gone.wait()


async def test_a_leg_that_is_closed_tells_the_page_and_gives_its_ports_back(page: Page) -> None:
    ports = Ports("127.0.0.1", 20_000, 29_999)
    free, engine = len(ports), BuiltinRelay(ports, Sound(b"\xff" * FRAME))
    leg = await browser_leg(engine)
    await calls(leg, page)
    leg.close()
    assert len(engine) == 0
    await engine.close()
    assert len(ports) == free
    await page.wait_for_function("sender.transport.state === 'closed'", timeout=PATIENCE_S * 1000)


async def test_another_media_core_process_takes_a_page_over_by_a_new_offer(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with relay() as died, relay() as engine, far_end() as phone:
        first = await browser_leg(died)
        await calls(first, page)
        asyncio.get_running_loop().remove_reader(first._way.path.pair.rtp.fileno())  # as good as dead
        monkeypatch.setattr(dtls, "_identities", [])  # another process has another certificate
        leg, other = await browser_leg(engine), await engine.allocate()
        offer = bytes(await leg.offer()).decode()
        await leg.settle(read(await page.evaluate("sdp => reanswer(sdp)", offer)))
        async with asyncio.timeout(PATIENCE_S):
            await leg.connected
        await talk(engine, leg, other, phone, page)
