"""A phone's leg as it negotiates for itself: protected in every way there is, with reports, found where it is."""

import asyncio
import socket
from dataclasses import replace

import pytest
import uvloop

from hub.audio import frequencies, tone
from hub.g711 import Codec, decode
from media.errors import UnacceptableError
from media.offer import PASSED_ON, Agreed
from media.phone import PhoneLeg
from media.protection import Terms
from media.relay import BuiltinRelay, Wanted
from media.rtp import FRAME, Packet
from media.sdp import PCMU, Session
from media.sdp import Codec as Named
from media.sound import SILENCE, Sound, pause
from media.srtp import SUITES, Key, Writer
from tests.media.farend import EVENT, Ear, FarEnd, far_end, relay, settled
from tests.media.kept import Kept

PROMPT = Sound.of(tone(440, seconds=0.4))
WAYS = [
    (Wanted(), Wanted(), "rtp"),
    (Wanted(secure=True), Wanted(secure=True), "sdes-srtp"),
    (Wanted(secure=True, least="sdes-srtp"), Wanted(secure=True), "sdes-srtp"),
    (Wanted(least="sdes-srtp"), Wanted(), "dtls-srtp"),
    (Wanted(secure=True, least="dtls-srtp"), Wanted(), "dtls-srtp"),
]


async def phone_leg(engine: BuiltinRelay, wanted: Wanted = Wanted()) -> PhoneLeg:  # noqa: B008 - frozen
    leg = await engine.allocate(wanted)
    assert isinstance(leg, PhoneLeg)
    return leg


async def meet(one: PhoneLeg, other: PhoneLeg) -> None:
    offer = Session.parse(bytes(await one.offer()))
    await one.settle(Session.parse(bytes(await other.answer(offer))))


async def heard_by(leg: PhoneLeg, frames: int) -> list[int]:
    """The tones in the next frames that are no silence."""
    ear = Ear()
    leg.tap(ear)
    async with asyncio.timeout(20):
        while len(voiced := [each for each in ear.payloads if each != SILENCE[Codec.PCMU]]) < frames:
            ear.one_more.clear()
            await ear.one_more.wait()
    leg.tap(None)
    return [round(peak.hz / 10) * 10 for peak in frequencies(decode(Codec.PCMU, b"".join(voiced)))]


@pytest.mark.parametrize(("calls", "called", "protection"), WAYS, ids=lambda each: str(getattr(each, "least", each)))
async def test_a_prompt_is_heard_whole_however_it_is_protected(calls: Wanted, called: Wanted, protection: str) -> None:
    async with relay() as engine:
        one, other = await phone_leg(engine, calls), await phone_leg(engine, called)
        await meet(one, other)
        assert (one.protection, other.protection) == (protection, protection)
        # At once: where keys are awaited, the prompt waits with them.
        heard = asyncio.create_task(heard_by(other, len(PROMPT.ulaw) // FRAME))
        back = asyncio.create_task(heard_by(one, 10))
        playing = asyncio.create_task(other.play(Sound.of(tone(620, seconds=0.4))))
        assert await one.play(PROMPT)
        assert (await heard, await back, await playing) == ([440], [620], True)
        for leg in (one, other):
            assert (leg.stats.forged, leg.stats.strange, leg.stats.refused, leg.stats.lost) == (0, 0, 0, 0)


async def test_less_protection_than_wanted_is_refused_and_the_leg_goes_on() -> None:
    async with relay() as engine, far_end() as phone:
        leg, plain = await phone_leg(engine, Wanted(secure=True, least="sdes-srtp")), await phone_leg(engine)
        with pytest.raises(UnacceptableError):
            await leg.answer(await plain.offer())
        leg.connect(phone.address, Codec.PCMU, EVENT)
        with pytest.raises(UnacceptableError):
            await leg.answer(await plain.offer())
        assert leg.remote == phone.address


async def protected(engine: BuiltinRelay, phone: FarEnd) -> tuple[PhoneLeg, Key, Key]:
    leg, reads, writes = await phone_leg(engine), Key.new(SUITES[0]), Key.new(SUITES[0])
    terms = Terms("sdes-srtp", "RTP/SAVP", reads, writes)
    leg.follow(Agreed(PCMU, 0, phone.address, True, True, EVENT, EVENT, 20, terms))
    return leg, reads, writes


def voice(sequence: int, ssrc: int = 9, payload: bytes = b"\x11" * FRAME) -> bytes:
    return bytes(Packet(0, False, sequence, sequence * FRAME, ssrc, payload))


async def arrived(ear: Ear, count: int) -> None:
    async with asyncio.timeout(20):
        while len(ear.payloads) < count:
            ear.one_more.clear()
            await ear.one_more.wait()


async def test_only_what_was_made_with_the_key_is_heard_wherever_it_comes_from() -> None:
    async with relay() as engine, far_end() as phone, far_end(host="127.0.0.2") as elsewhere:
        leg, reads, _ = await protected(engine, phone)
        ear, writer, other = Ear(), Writer(reads), Writer(Key.new(SUITES[0]))
        leg.tap(ear)
        first = writer.protect(voice(1))
        for datagram in (voice(1), other.protect(voice(1)), first[:-1], first, first):
            phone.send_raw(leg.local, datagram)
        phone.send_raw(leg.local, writer.protect(voice(2)))
        await arrived(ear, 2)
        assert (leg.stats.packets, leg.stats.forged) == (2, 4)
        assert leg.remote == phone.address
        for datagram in (voice(3), other.protect(voice(3)), first):
            elsewhere.send_raw(leg.local, datagram)
        phone.send_raw(leg.local, writer.protect(voice(3)))
        await arrived(ear, 3)
        # The far end itself has moved: its key says so, and no guess is needed.
        elsewhere.send_raw(leg.local, writer.protect(voice(4)))
        await arrived(ear, 4)
        assert (leg.stats.packets, leg.stats.forged, leg.remote) == (4, 7, elsewhere.address)


async def test_what_is_sent_under_a_key_is_not_in_the_clear() -> None:
    async with relay() as engine, far_end() as phone:
        leg, _, _ = await protected(engine, phone)
        await leg.play(PROMPT)
        assert phone.hz() != [440]
        assert {len(packet.payload) for packet in phone.heard} == {FRAME + 16}


async def test_new_keys_in_the_middle_of_a_call_begin_a_new_stream_both_ways() -> None:
    async with relay() as engine, far_end() as phone:
        leg, _, writes = await protected(engine, phone)
        await phone.hear(3)
        before, sent = {packet.ssrc for packet in phone.heard}, leg.stats.sent
        reads, again = Key.new(SUITES[2]), Key.new(SUITES[2])
        terms = Terms("sdes-srtp", "RTP/SAVP", reads, again)
        leg.follow(Agreed(PCMU, 0, phone.address, True, True, EVENT, EVENT, 20, terms))
        ear = Ear()
        leg.tap(ear)
        phone.send_raw(leg.local, Writer(reads).protect(voice(7)))
        await arrived(ear, 1)
        await phone.hear(sent)
        phone.heard.clear()
        await phone.hear(2)
        assert not before & {packet.ssrc for packet in phone.heard}
        assert all(packet.sequence < 0x8000 + 100 for packet in phone.heard)
        assert writes != again
        assert leg.stats.sent >= sent + 2


async def test_a_packet_that_is_repeated_is_passed_on_once_under_a_key() -> None:
    async with relay() as engine, far_end() as caller, far_end() as agent:
        to_caller, (to_agent, _, _) = await phone_leg(engine), await protected(engine, agent)
        to_caller.connect(caller.address, Codec.PCMU, EVENT)
        engine.bridge(to_caller, to_agent)
        for sequence in (1, 2, 2, 3):
            caller.send_raw(to_caller.local, voice(sequence))
        await settled(to_caller, caller)
        assert (to_agent.stats.sent, to_agent.stats.unsent) == (4, 1)


async def test_somebody_else_s_certificate_ends_the_handshake_and_nothing_is_heard() -> None:
    async with relay() as engine:
        one, other = await phone_leg(engine, Wanted(least="dtls-srtp")), await phone_leg(engine)
        lost = asyncio.Event()
        one.on_lost = lost.set
        answer = await other.answer(await one.offer())
        media = answer.media[0]
        said = tuple(
            "fingerprint:sha-256 " + "00:" * 31 + "00" if "finger" in text else text for text in media.attributes
        )
        await one.settle(replace(answer, media=(replace(media, attributes=said),)))
        async with asyncio.timeout(20):
            await lost.wait()
        await one.play(PROMPT)
        assert one.stats.sent == other.stats.packets == 0


@pytest.mark.parametrize(("calls", "called"), [way[:2] for way in WAYS], ids=[way[2] for way in WAYS])
async def test_both_ends_report_how_it_sounds(calls: Wanted, called: Wanted) -> None:
    async with relay() as engine:
        one, other = await phone_leg(engine, calls), await phone_leg(engine, called)
        await meet(one, other)
        for leg in (one, other):
            engine._reporter.remove(leg)  # they report when they are told to alone
        late, loop = Kept(), asyncio.get_running_loop()
        await asyncio.gather(one.play(pause(0.1)), other.play(pause(0.1)))
        async with asyncio.timeout(20):
            for leg, peer in ((one, other), (other, one)) * 2:
                heard = peer.report.heard
                leg.send_report(loop.time())
                while peer.report.heard == heard:
                    await leg.play(pause(0.02))
        for leg in (one, other):
            assert (leg.report.heard, leg.report.strange) == (2, 0)
            assert leg.stats.remote_loss == 0
            assert leg.stats.remote_jitter_ms is not None
            assert leg.stats.rtt_ms is not None
            assert 0 <= leg.stats.rtt_ms < 1000 * (1 + late.seconds)
            assert leg.stats.mos is not None
            assert 3 < leg.stats.mos <= 4.5
        one.close()
        async with asyncio.timeout(20):
            while other.report.heard < 3:
                await other.play(pause(0.02))


async def test_reports_of_strangers_and_floods_of_them_are_refused() -> None:
    async with relay() as engine, far_end() as phone, far_end(host="127.0.0.2") as stranger:
        leg = await phone_leg(engine)
        leg.connect(phone.address, Codec.PCMU, EVENT)
        report, above = leg.report.make(0.0), (leg.local[0], leg.local[1] + 1)
        stranger.send_raw(above, report)
        await settled(leg, phone)
        assert (leg.report.heard, leg.stats.refused) == (0, 1)
        leg._reports_since = asyncio.get_running_loop().time() + 60  # all of it within one second
        for _ in range(30):
            phone.send_raw(above, report)
        phone.send_raw(above, b"\x80\xc9")
        while leg.stats.refused < 12:
            await settled(leg, phone)
        assert leg.report.heard == 20
        # They share RTP's port only where both sides said so.
        phone.send_raw(leg.local, report)
        await settled(leg, phone)
        assert (leg.report.heard, leg.stats.strange) == (20, 1)


async def test_once_the_far_end_is_found_strangers_still_count_and_a_move_is_followed() -> None:
    async with relay() as engine, far_end() as phone, far_end() as moved, far_end(host="127.0.0.2") as stranger:
        leg = await phone_leg(engine)
        leg.connect(phone.address, Codec.PCMU, EVENT)
        await settled(leg, phone)
        stranger.send_raw((leg.local[0], leg.local[1] + 1), leg.report.make(0.0))
        for _ in range(20):
            stranger.send(leg.local, b"\x00" * FRAME)
        async with asyncio.timeout(20):
            while leg.stats.refused < 21:
                await settled(leg, phone)
        assert (leg.stats.refused, leg.remote, stranger.heard) == (21, phone.address, [])
        moved.sequence, moved.timestamp, moved.ssrc = phone.sequence, phone.timestamp, phone.ssrc
        await leg.play(pause(0.1))
        for _ in range(3):
            moved.send(leg.local, b"\x22" * FRAME)
        await settled(leg, moved)
        assert leg.remote == moved.address
        moved.heard.clear()
        await moved.hear(2)


async def test_a_silent_far_end_s_noise_is_heard_until_it_speaks() -> None:
    async with relay() as engine, far_end() as caller, far_end(Codec.PCMA) as agent:
        legs = await phone_leg(engine), await phone_leg(engine)
        for leg, phone in zip(legs, (caller, agent), strict=True):
            leg.connect(phone.address, phone.codec, EVENT)
        engine.bridge(*legs)
        caller.send(legs[0].local, b"\x11" * FRAME)
        await agent.hear(1)
        caller.send(legs[0].local, bytes([40]), payload_type=13)
        noise = (await agent.hear(8))[1:]
        assert len({packet.payload for packet in noise}) == len(noise)
        loud = decode(Codec.PCMA, b"".join(packet.payload for packet in noise)).astype(float)
        assert 150 < (loud**2).mean() ** 0.5 < 700  # -40 dBov is 328
        caller.send(legs[0].local, b"\x11" * FRAME)
        await settled(legs[0], caller)
        count = legs[1].stats.sent
        await legs[1].play(pause(0.06))
        assert {packet.payload for packet in (await agent.hear(count + 3))[count:]} <= {SILENCE[Codec.PCMA]}
        caller.send(legs[0].local, b"", payload_type=13)
        count = len(agent.heard)
        assert {each.payload for each in (await agent.hear(count + 3))[count + 1 :]} == {SILENCE[Codec.PCMA]}


@pytest.mark.parametrize("codec", PASSED_ON, ids=str)
async def test_what_cannot_be_made_here_is_passed_on_between_two_that_speak_it(codec: Named) -> None:
    async with relay() as engine, far_end() as caller, far_end() as agent:
        legs = await phone_leg(engine), await phone_leg(engine)
        for leg, phone in zip(legs, (caller, agent), strict=True):
            leg.follow(Agreed(codec, codec.payload_type, phone.address, True, True, 110, 110, 20))
        engine.bridge(*legs)
        caller.send(legs[0].local, b"compressed", payload_type=codec.payload_type)
        caller.send(legs[0].local, b"\x05\x0a\x03\x20", payload_type=110)
        heard = await agent.hear(2)
        assert [(each.payload_type, each.payload) for each in heard] == [
            (codec.payload_type, b"compressed"),
            (110, b"\x05\x0a\x03\x20"),
        ]
        assert legs[0].digits.get_nowait() == "5"
        # A leg that speaks something else gets nothing of it, and is not sent what it cannot read.
        legs[1].connect(agent.address, Codec.PCMU, EVENT)
        agent.heard.clear()
        caller.send(legs[0].local, b"compressed", payload_type=codec.payload_type)
        await legs[1].play(pause(0.06))
        assert {each.payload for each in agent.heard} == {SILENCE[Codec.PCMU]}


def test_a_far_end_that_opens_its_port_late_is_heard_all_the_same() -> None:
    uvloop.run(opened_late())  # libuv watches a socket no more that was told of an error


async def hears(leg: PhoneLeg, packets: int) -> None:
    ear = Ear()
    leg.tap(ear)
    async with asyncio.timeout(20):
        while leg.stats.packets < packets:
            ear.one_more.clear()
            await ear.one_more.wait()


async def opened_late() -> None:
    async with relay() as engine:
        async with far_end() as early:
            place = early.address
        leg = await phone_leg(engine)
        leg.connect(place, Codec.PCMU, EVENT)
        phone = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        phone.bind(place)
        phone.sendto(bytes(Packet(0, True, 1, 0, 7, b"\x2a" * FRAME)), leg.local)
        await hears(leg, 1)
        phone.close()
        await leg.play(pause(0.2))  # each packet that goes out is answered with "port unreachable"
        refused = leg.stats.unsent
        await leg.play(pause(0.2))
        assert leg.stats.unsent == refused <= 2
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
            phone.bind(place)
            for number in range(2, 7):
                phone.sendto(bytes(Packet(0, False, number, 160 * number, 7, b"\x2a" * FRAME)), leg.local)
            await hears(leg, 6)
