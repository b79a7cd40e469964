"""A browser's leg, with a far end that speaks as browsers do."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from aioice import stun

from hub.demo.ports import free_media_port
from hub.g711 import Codec, convert
from media.browser import association
from media.browser.leg import BrowserLeg
from media.browser.sealing import said_in, told
from media.dtls import Dtls, Identity, identity
from media.dtmf import tones_of
from media.errors import UnacceptableError
from media.leg import LegClosedError
from media.phone import PhoneLeg
from media.ports import NoPortError, Ports
from media.relay import BuiltinRelay, Wanted
from media.rtp import FRAME, Packet
from media.sdp import Direction
from media.sound import Sound
from tests.media.browser.farpage import FarPage
from tests.media.farend import FarEnd, far_end, relay

SOUND = bytes(range(FRAME))


@pytest.fixture
async def engine() -> AsyncIterator[BuiltinRelay]:
    async with relay() as opened:
        yield opened


@pytest.fixture
async def page() -> AsyncIterator[FarPage]:
    opened = FarPage()
    yield opened
    await opened.vanish()


@pytest.fixture
async def phone() -> AsyncIterator[FarEnd]:
    async with far_end() as opened:
        yield opened


async def leg_of(engine: BuiltinRelay) -> BrowserLeg:
    leg = await engine.allocate(Wanted(kind="browser"))
    assert isinstance(leg, BrowserLeg)
    return leg


async def called(leg: BrowserLeg, page: FarPage) -> None:
    """Let the page call."""
    await page.take(await leg.answer(await page.describe("actpass")))
    async with asyncio.timeout(20):
        await asyncio.gather(leg.connected, page.keyed.wait())


async def phone_leg(engine: BuiltinRelay, phone: FarEnd) -> PhoneLeg:
    leg = await engine.allocate()
    assert isinstance(leg, PhoneLeg)
    leg.connect(phone.address, Codec.PCMU, 101)
    return leg


async def heard(end: FarEnd | FarPage, payload: bytes) -> Packet:
    """Return the packet with that payload, once it came; silence from before the bridge comes as well."""
    seen = 0
    async with asyncio.timeout(20):
        while True:
            packets = await end.hear(seen + 1)
            for packet in packets[seen:]:
                if packet.payload == payload:
                    return packet
            seen = len(packets)


@pytest.mark.parametrize("ours", [True, False])
async def test_sound_goes_both_ways_as_it_is(engine: BuiltinRelay, page: FarPage, phone: FarEnd, ours: bool) -> None:
    leg, other = await leg_of(engine), await phone_leg(engine, phone)
    if ours:
        offer = await leg.offer()
        await leg.settle(await page.describe("active", types="0 126"))
        await page.take(offer)
        async with asyncio.timeout(20):
            await asyncio.gather(leg.connected, page.keyed.wait())
    else:
        await called(leg, page)
    engine.bridge(leg, other)
    await page.say(SOUND, extension=b"\x10\x55\x00\x00")
    packet = await heard(phone, SOUND)
    assert (packet.payload_type, packet.extension) == (0, None)
    assert packet.ssrc != 1234
    phone.send(other.local, SOUND)
    assert (await heard(page, SOUND)).payload_type == 0
    assert (leg.protection, leg.profile) == ("dtls-srtp", "AEAD_AES_256_GCM")


async def test_another_law_is_translated_and_events_take_the_types_that_were_agreed(
    engine: BuiltinRelay, page: FarPage, phone: FarEnd
) -> None:
    leg, other = await leg_of(engine), await phone_leg(engine, phone)
    other.connect(phone.address, Codec.PCMA, 96)
    await called(leg, page)
    engine.bridge(leg, other)
    await page.say(SOUND)
    assert (await heard(phone, convert(SOUND, Codec.PCMU, Codec.PCMA))).payload_type == 8
    for tone in tones_of("5", 40):
        await page.say(bytes(tone), 126)
        assert (await heard(phone, bytes(tone))).payload_type == 96
    assert await leg.digits.get() == "5"


async def test_a_prompt_waits_until_it_can_be_heard(engine: BuiltinRelay, page: FarPage) -> None:
    leg = await leg_of(engine)
    played = asyncio.create_task(leg.play(Sound(SOUND * 3)))
    await called(leg, page)
    assert await played
    said = [packet.payload for packet in await page.hear(3)]
    assert said[:3] == [SOUND] * 3


async def test_on_hold_silence_is_dropped_and_keys_are_not(engine: BuiltinRelay, page: FarPage, phone: FarEnd) -> None:
    leg, other = await leg_of(engine), await phone_leg(engine, phone)
    await called(leg, page)
    engine.bridge(leg, other)
    held = await leg.answer(await page.describe("actpass", direction="sendonly"))
    assert held.media[0].direction is Direction.RECVONLY
    assert "setup:passive" in held.media[0].attributes
    await page.say(SOUND)
    for tone in tones_of("9", 40):
        await page.say(bytes(tone), 126)
        await heard(phone, bytes(tone))
    assert await leg.digits.get() == "9"
    assert all(packet.payload != SOUND for packet in phone.heard)
    resumed = await leg.answer(await page.describe("actpass"))
    assert (resumed.origin.session_id, int(resumed.origin.version)) == (
        held.origin.session_id,
        int(held.origin.version) + 1,
    )
    await page.say(SOUND)
    await heard(phone, SOUND)


async def test_an_ice_restart_takes_another_port_keeps_the_keys_and_gives_the_old_port_back(page: FarPage) -> None:
    ports = Ports("127.0.0.1", 20_000, 29_999)
    engine, free = BuiltinRelay(ports, Sound(b"\xff" * FRAME)), len(ports)
    leg = await leg_of(engine)
    await called(leg, page)
    before = leg.local
    await page.restart()
    answer = await leg.answer(await page.describe("actpass"))
    assert answer.media[0].port != before[1]
    assert len(ports) == free - 2  # the old path goes on until the new one is proven
    await page.take(answer)
    await page.say(SOUND)
    async with asyncio.timeout(20):
        while leg.local == before or not leg.stats.packets:
            await page.hear(len(page.heard) + 1)
    leg.close()
    await engine.close()
    assert len(ports) == free


async def test_an_ice_restart_whose_answer_was_lost_once_leaves_nothing_behind(page: FarPage) -> None:
    engine = BuiltinRelay(Ports("127.0.0.1", 20_000, 29_999), Sound(b"\xff" * FRAME))
    leg = await leg_of(engine)
    await called(leg, page)
    before = leg.local
    await page.restart()
    offer = await page.describe("actpass")
    await leg.answer(offer)
    await page.take(await leg.answer(offer))
    await page.say(SOUND)
    async with asyncio.timeout(20):
        while leg.local == before or not leg.stats.packets:
            await page.hear(len(page.heard) + 1)
    async with asyncio.timeout(association.CONNECT_SECONDS / 4):
        await engine.close()


async def test_an_ice_restart_without_a_port_left_is_refused_and_the_call_goes_on(page: FarPage) -> None:
    port = free_media_port()
    engine = BuiltinRelay(Ports("127.0.0.1", port, port + 1), Sound(b"\xff" * FRAME))
    leg = await leg_of(engine)
    with pytest.raises(NoPortError):
        await leg_of(engine)
    await called(leg, page)
    other = FarPage()
    other.fingerprint = page.fingerprint
    with pytest.raises(UnacceptableError):
        await leg.answer(await other.describe("actpass"))
    await other.vanish()
    await page.say(SOUND)
    await page.hear(len(page.heard) + 2)
    assert leg.stats.packets == 1
    await engine.close()


async def test_a_page_that_closes_is_told_of_once(engine: BuiltinRelay, page: FarPage) -> None:
    leg = await leg_of(engine)
    told_: list[str] = []
    gone = asyncio.Event()

    def lost() -> None:
        told_.append("gone")
        gone.set()

    leg.on_gone = lost
    await called(leg, page)
    await page.close()
    async with asyncio.timeout(20):
        await gone.wait()
    leg.close()
    assert told_ == ["gone"]


async def test_a_page_that_never_comes_is_told_of(
    engine: BuiltinRelay, page: FarPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(association, "CONNECT_SECONDS", 0.05)
    leg, gone = await leg_of(engine), asyncio.Event()
    leg.on_gone = gone.set
    await leg.answer(await page.describe("actpass"))
    async with asyncio.timeout(20):
        await gone.wait()


async def test_a_leg_that_is_closed_says_so_and_ends_what_it_plays(engine: BuiltinRelay, page: FarPage) -> None:
    leg = await leg_of(engine)
    await called(leg, page)
    playing = asyncio.create_task(leg.play(Sound(b"\xff" * 80_000)))
    await page.hear(2)
    leg.close()
    leg.close()
    with pytest.raises(LegClosedError):
        await playing
    async with asyncio.timeout(20):
        await page.closed.wait()
    assert leg.closed
    assert len(engine) == 0


async def test_what_is_forged_or_no_packet_at_all_is_counted_and_changes_nothing(
    engine: BuiltinRelay, page: FarPage, phone: FarEnd
) -> None:
    leg, other = await leg_of(engine), await phone_leg(engine, phone)
    await called(leg, page)
    engine.bridge(leg, other)
    for strange in (b"\x80\x00" + b"x" * 170, b"\x80", b"\x90" * 1480, b"\x80\xc8" + b"x" * 40, b"\xff", b"\x00", b"G"):
        await page.send_raw(strange)
    await page.say(SOUND)
    await heard(phone, SOUND)
    assert leg.stats.forged == 2
    assert leg.stats.packets == 1


async def test_a_description_that_a_browser_would_not_write_is_refused_and_nothing_changes(
    engine: BuiltinRelay, page: FarPage
) -> None:
    leg = await leg_of(engine)
    good = await page.describe("actpass")
    audio = good.media[0]

    def without(name: str) -> tuple[str, ...]:
        return tuple(each for each in audio.attributes if not each.startswith(name))

    for bad in (
        *(replace(audio, attributes=without(name)) for name in ("ice-ufrag", "ice-pwd", "fingerprint", "rtcp-mux")),
        replace(audio, protocol="RTP/AVP"),
        replace(audio, port=0),
        replace(audio, codecs=tuple(codec for codec in audio.codecs if codec.name == "opus")),
    ):
        with pytest.raises(UnacceptableError):
            await leg.answer(replace(good, media=(bad,)))
    await called(leg, page)
    page.fingerprint = "sha-256 " + ":".join(["AB"] * 32)
    with pytest.raises(UnacceptableError):
        await leg.answer(await page.describe("actpass"))
    with pytest.raises(UnacceptableError):
        await leg.settle(good)


async def test_a_certificate_that_was_not_said_gets_no_sound(engine: BuiltinRelay, page: FarPage) -> None:
    leg, gone = await leg_of(engine), asyncio.Event()
    leg.on_gone = gone.set
    page.fingerprint = "sha-256 " + ":".join(["AB"] * 32)
    await page.take(await leg.answer(await page.describe("actpass")))
    async with asyncio.timeout(20):
        await gone.wait()
    assert not leg.connected.done()


@pytest.mark.parametrize("ours", [True, False])
async def test_what_a_stranger_says_keeps_no_page_from_shaking_hands(
    engine: BuiltinRelay, page: FarPage, ours: bool
) -> None:
    leg = await leg_of(engine)
    gone: list[str] = []
    leg.on_gone = lambda: gone.append("gone")
    (greeting,) = Dtls(Identity(datetime.now(UTC)), active=True, fingerprints=[identity().fingerprint]).start()
    alert = bytes.fromhex("15fefd000000000000000000020228")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.setblocking(False)
        stranger.bind(("127.0.0.99", 0))

        async def shout() -> None:
            for each in (alert, greeting, b"\x16" + alert[1:]) * association.EARLY:
                stranger.sendto(each, leg.local)
            # What is no check is answered as an error, once all before it was read.
            asked = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
            stranger.sendto(bytes(asked), leg.local)
            async with asyncio.timeout(20):
                await asyncio.get_running_loop().sock_recv(stranger, 2000)

        if ours:
            offer = await leg.offer()
            await shout()
            await leg.settle(await page.describe("active", types="0 126"))
        else:
            offer = await leg.answer(await page.describe("actpass"))
        await shout()
        await page.take(offer)
        async with asyncio.timeout(20):
            await asyncio.gather(leg.connected, page.keyed.wait())
        await shout()
    await page.say(SOUND)
    await page.hear(len(page.heard) + 2)
    assert leg.stats.packets == 1
    assert gone == []


async def test_a_sealed_leg_passes_on_to_a_sealed_leg_alone(engine: BuiltinRelay, page: FarPage, phone: FarEnd) -> None:
    leg, other, far = await leg_of(engine), await leg_of(engine), await phone_leg(engine, phone)
    second = FarPage()
    await page.take(await leg.answer(told(await page.describe("actpass"), "commit x")))
    await second.take(await other.answer(told(await second.describe("actpass"), "key y")))
    async with asyncio.timeout(20):
        await asyncio.gather(leg.connected, other.connected, page.keyed.wait(), second.keyed.wait())
    assert (leg.protection, other.protection) == ("sframe", "sframe")
    assert leg.mouth is other.mouth is None, "nothing here can hear or make what is sealed"
    engine.bridge(leg, other)
    await page.say(SOUND + b"and a tag")
    await heard(second, SOUND + b"and a tag")
    engine.bridge(leg, far)
    await page.say(SOUND)
    leg.hold_music()
    await second.vanish()
    assert all(packet.payload != SOUND for packet in phone.heard)
    assert said_in(await leg.offer()) == ""
