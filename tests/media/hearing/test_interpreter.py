"""Far ends without G.711: answered, told prompts, recorded, and talking to those that speak something else."""

import asyncio
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from hub.audio import frequencies, tone
from hub.g711 import RATE, Codec, Pcm, decode, encode
from media.codec.coder import Decoder, Encoder
from media.dtmf import Tone
from media.errors import UnacceptableError
from media.latch import Address
from media.leg import AudioLeg
from media.offer import PASSED_ON, offer_audio
from media.passing import encoding_of
from media.phone import PhoneLeg
from media.relay import BuiltinRelay
from media.rtp import Packet
from media.sdp import Codec as Coding
from media.sdp import Session
from media.sound import Sound
from tests.media.farend import Ear, FarEnd, far_end, relay, until
from tests.media.hearing.test_attention import keys_of
from tests.media.hearing.test_inband import pressed, quiet

G722, OPUS = PASSED_ON
BOTH = pytest.mark.parametrize("coding", [G722, OPUS], ids=["G722", "Opus"])


def only(coding: Coding, place: Address, *, events: bool = True) -> Session:
    offer = offer_audio(place, codecs=(coding,))
    return offer if events else replace(offer, media=(replace(offer.media[0], codecs=(coding,)),))


async def answered(engine: BuiltinRelay, phone: FarEnd, coding: Coding, *, events: bool = True) -> AudioLeg:
    leg = await engine.allocate()
    offer = only(coding, phone.address, events=events)
    answer = await leg.answer(replace(offer, media=(replace(offer.media[0], ptime=10),)))
    assert answer.audio is not None
    assert answer.audio.ptime == 20
    assert answer.audio.codecs[0].is_like(coding)
    return leg


async def say(phone: FarEnd, to: Address, coding: Coding, pcm: Pcm) -> None:
    """Say it at the pace of speech, in that codec."""
    packets = Encoder(encoding_of(coding)).encode(encode(Codec.PCMU, pcm))
    began = asyncio.get_running_loop().time()
    for index, payload in enumerate(packets):
        await until(began + index * 0.02)
        packet = Packet(coding.payload_type, False, index, index * coding.rate // 50, phone.ssrc, payload)
        phone.send_raw(to, bytes(packet))


def voice_in(phone: FarEnd, coding: Coding) -> list[Packet]:
    return [packet for packet in phone.heard if packet.payload_type == coding.payload_type]


def hz_in(phone: FarEnd, coding: Coding) -> list[float]:
    coder = Decoder(encoding_of(coding))
    there = decode(Codec.PCMU, b"".join(coder.decode(packet.payload) for packet in voice_in(phone, coding)))
    return [round(peak.hz, -1) for peak in frequencies(there, share=0.2)]


@BOTH
async def test_a_prompt_is_made_for_who_speaks_no_g711(coding: Coding) -> None:
    async with relay() as engine, far_end() as phone:
        leg = await answered(engine, phone, coding)
        await leg.play(Sound.of(tone(440, seconds=0.6)))
        await phone.hear(30)
        packets = voice_in(phone, coding)
        assert hz_in(phone, coding) == [440]
        steps = {(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in pairwise(packets)}
        assert coding.rate // 50 in steps
        assert len({packet.ssrc for packet in packets}) == 1


@BOTH
@pytest.mark.parametrize("law", list(Codec))
async def test_two_that_share_no_codec_hear_each_other(coding: Coding, law: Codec) -> None:
    async with relay() as engine, far_end(ssrc=5) as modern, far_end(law) as plain:
        leg, other = await answered(engine, modern, coding), await engine.allocate()
        other.connect(plain.address, law, None)
        engine.bridge(leg, other)
        await asyncio.gather(
            say(modern, leg.local, coding, tone(440, seconds=1)), plain.say(other.local, tone(620, seconds=1))
        )
        await asyncio.gather(plain.hear(45), modern.hear(45))
        assert plain.hz() == [440]
        assert hz_in(modern, coding) == [620]
        assert leg.stats.lost == other.stats.lost == 0


async def test_g722_and_opus_hear_each_other() -> None:
    async with relay() as engine, far_end(ssrc=5) as one, far_end(ssrc=6) as two:
        legs = await answered(engine, one, G722), await answered(engine, two, OPUS)
        engine.bridge(*legs)
        await asyncio.gather(
            say(one, legs[0].local, G722, tone(440, seconds=1)), say(two, legs[1].local, OPUS, tone(620, seconds=1))
        )
        await asyncio.gather(one.hear(45), two.hear(45))
        assert (hz_in(one, G722), hz_in(two, OPUS)) == ([620], [440])


@BOTH
async def test_what_two_share_is_passed_on_as_it_is(coding: Coding) -> None:
    async with relay() as engine, far_end(ssrc=5) as one, far_end(ssrc=6) as two:
        legs = await answered(engine, one, coding), await answered(engine, two, coding)
        engine.bridge(*legs)
        assert legs[0]._tap is None
        packets = Encoder(encoding_of(coding)).encode(encode(Codec.PCMU, tone(440, seconds=0.4)))
        await say(one, legs[0].local, coding, tone(440, seconds=0.4))
        heard = await two.hear(20)
        assert [packet.payload for packet in heard if packet.payload in packets] == packets
        assert engine._bench._thread is None, "nothing was decoded"


@BOTH
async def test_it_is_recorded_and_its_keys_and_silence_are_heard(coding: Coding) -> None:
    async with relay() as engine, far_end() as phone:
        leg = await answered(engine, phone, coding, events=False)
        tape = Ear()
        leg.tap(tape)
        sound = np.concatenate((quiet(0.1), pressed("7", seconds=0.12), quiet(0.1), tone(440, seconds=1)))
        await say(phone, leg.local, coding, sound)
        assert await leg.digits.get() == "7"
        async with asyncio.timeout(20):
            await leg.silence(0.2)
        assert keys_of(leg) == ""
        there = decode(Codec.PCMU, b"".join(tape.payloads))
        assert len(there) > 1.2 * RATE
        assert round(frequencies(there[RATE // 2 :])[0].hz, -1) == 440


async def test_a_key_beside_the_sound_is_pressed_anew_for_a_peer_of_another_codec() -> None:
    async with relay() as engine, far_end(ssrc=5) as modern, far_end() as plain:
        leg, other = await answered(engine, modern, G722), await engine.allocate()
        other.connect(plain.address, plain.codec, 101)
        engine.bridge(leg, other)
        await modern.press(leg.local, "5")
        await plain.press(other.local, "6")
        await asyncio.gather(plain.hear(7), modern.hear(7))
        assert (plain.keys(), modern.keys()) == ("5", "6")


async def test_a_prompt_comes_before_the_peer() -> None:
    async with relay() as engine, far_end(ssrc=5) as modern, far_end() as plain:
        leg, other = await answered(engine, modern, G722), await engine.allocate()
        other.connect(plain.address, plain.codec, None)
        engine.bridge(leg, other)
        await asyncio.gather(leg.play(Sound.of(tone(440, seconds=0.8))), plain.say(other.local, tone(620, seconds=0.7)))
        await modern.hear(40)
        assert hz_in(modern, G722) == [440]
        other.hush(50)
        leg.hush(50)
        modern.heard.clear()
        await plain.say(other.local, tone(620, seconds=0.5))
        await modern.hear(25)
        assert hz_in(modern, G722) == [620]


async def test_a_key_beside_opus_lasts_as_long_as_anywhere() -> None:
    async with relay() as engine, far_end() as phone:
        leg = await answered(engine, phone, OPUS)
        await leg.press("8")
        while len(events := [packet for packet in phone.heard if packet.payload_type == 110]) < 7:
            await phone.hear(len(phone.heard) + 1)
        tones = [Tone.parse(packet.payload) for packet in events]
        assert [tone.ticks for tone in tones] == [960, 1920, 2880, 3840, 4800, 4800, 4800]
        assert len({packet.timestamp for packet in events}) == 1


async def test_g711_comes_first_and_what_nobody_speaks_is_still_refused() -> None:
    async with relay() as engine, far_end() as phone:
        leg = await engine.allocate()
        offer = only(OPUS, phone.address)
        both = replace(offer, media=(replace(offer.media[0], codecs=(OPUS, Coding(8, "PCMA", 8000))),))
        answer = await leg.answer(both)
        assert answer.audio is not None
        assert answer.audio.codecs[0].is_named("PCMA")
        with pytest.raises(UnacceptableError):
            await leg.answer(only(Coding(18, "G729", 8000), phone.address))
        assert isinstance(leg, PhoneLeg)
        assert leg.encoding == "PCMA/8000"


@BOTH
async def test_a_leg_that_was_closed_says_nothing_more(coding: Coding) -> None:
    async with relay() as engine, far_end() as phone:
        leg = await answered(engine, phone, coding)
        await phone.hear(3)
        leg.close()
        assert leg.closed
