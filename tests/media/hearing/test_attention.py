"""What is heard on a leg beside being passed on: keys in the sound, silence, a fax machine that calls."""

import asyncio

import numpy as np
import pytest

from hub.audio import linear, read_wav, resample, tone
from hub.g711 import RATE, Codec, Pcm, encode
from media.dtmf import APART_S, Presses
from media.hearing.attention import Attention
from media.hearing.calling import CNG_HZ, Calling
from media.leg import AudioLeg, LegClosedError
from media.prompts import ASSETS
from media.relay import BuiltinRelay
from media.rtp import FRAME
from media.sound import Sound
from tests.media.farend import EVENT, Ear, FarEnd, far_end, relay, settled
from tests.media.hearing.test_inband import pressed, quiet

PROMPT = Sound.of(tone(440, seconds=5))


def speech(seconds: float) -> Pcm:
    wave = read_wav((ASSETS / "en" / "please-hold.wav").read_bytes())
    return resample(wave.pcm, wave.rate, RATE)[: round(seconds * RATE)]


async def leg_to(engine: BuiltinRelay, phone: FarEnd, event_type: int | None = None) -> AudioLeg:
    leg = await engine.allocate()
    leg.connect(phone.address, phone.codec, event_type)
    return leg


def keys_of(leg: AudioLeg) -> str:
    return "".join(leg.digits.get_nowait() for _ in range(leg.digits.qsize()))


@pytest.mark.parametrize("codec", list(Codec))
async def test_a_key_in_the_sound_is_read_like_any_other(codec: Codec) -> None:
    async with relay() as engine, far_end(codec) as phone:
        leg = await leg_to(engine, phone)
        menu = asyncio.create_task(leg.play(PROMPT, barge_in=True))
        await phone.hear(3)
        await phone.say(leg.local, np.concatenate((quiet(0.04), pressed("4", seconds=0.1), quiet(0.06))))
        assert await menu is False
        assert await leg.digits.get() == "4"
        assert leg.digits.empty()


async def test_one_press_is_one_key_however_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("media.dtmf.APART_S", 60)
    async with relay() as engine, far_end() as phone:
        leg = await leg_to(engine, phone, EVENT)
        # A phone that sends events, and lets the tone be heard as well.
        await phone.press(leg.local, "5")
        await phone.say(leg.local, pressed("5", seconds=0.1))
        await settled(leg, phone)
        assert keys_of(leg) == "5"
        leg.pressed("5")
        assert keys_of(leg) == ""
        leg.pressed("6")
        assert keys_of(leg) == "6"


def test_a_press_that_is_told_twice_is_told_by_two_ways_and_soon() -> None:
    presses = Presses()
    assert presses.fresh("1", signalled=False, now=0.0)
    assert not presses.fresh("1", signalled=True, now=0.2)
    assert presses.fresh("1", signalled=False, now=0.4)
    assert presses.fresh("2", signalled=True, now=0.5)
    assert not presses.fresh("2", signalled=False, now=0.6)
    assert presses.fresh("2", signalled=False, now=0.6 + APART_S)


async def test_a_key_by_signalling_cuts_a_prompt_short() -> None:
    async with relay() as engine, far_end() as phone:
        leg = await leg_to(engine, phone, EVENT)
        menu = asyncio.create_task(leg.play(PROMPT, barge_in=True))
        await phone.hear(3)
        leg.pressed("7")
        assert await menu is False
        assert keys_of(leg) == "7"


async def test_a_leg_is_recorded_and_listened_to_at_once() -> None:
    async with relay() as engine, far_end() as phone:
        leg = await leg_to(engine, phone)
        tape = Ear()
        leg.tap(tape)
        said = np.concatenate((quiet(0.04), pressed("8", seconds=0.1), quiet(0.06)))
        await phone.say(leg.local, said)
        assert await leg.digits.get() == "8"
        assert b"".join(tape.payloads) in encode(Codec.PCMU, said)


async def test_nobody_listens_to_a_talk_nor_where_keys_come_beside_the_sound() -> None:
    async with relay() as engine, far_end() as caller, far_end(ssrc=9) as agent:
        legs = await leg_to(engine, caller), await leg_to(engine, agent, EVENT)
        assert legs[1]._tap is None
        engine.bridge(*legs)
        assert legs[0]._tap is None
        await caller.say(legs[0].local, pressed("3", seconds=0.2))
        await settled(legs[0], caller)
        assert legs[0].digits.empty()
        engine.unbridge(legs[0])
        await caller.say(legs[0].local, np.concatenate((quiet(0.06), pressed("2", seconds=0.1), quiet(0.06))))
        assert await legs[0].digits.get() == "2"


async def test_silence_is_waited_for_behind_the_last_word() -> None:
    async with relay() as engine, far_end() as phone:
        leg = await leg_to(engine, phone, EVENT)
        loop = asyncio.get_running_loop()
        waiting = asyncio.create_task(leg.silence(0.8))
        await phone.say(leg.local, np.concatenate((quiet(0.1), speech(1.0))))
        assert not waiting.done()
        ended = loop.time()
        # Packets with nothing in them are as silent as none.
        async with asyncio.timeout(20):
            await asyncio.gather(waiting, phone.say(leg.local, quiet(0.2)))
        assert loop.time() - ended > 0.6
        assert leg._tap is None


async def test_who_says_nothing_at_all_is_silent_and_a_closed_leg_is_told() -> None:
    async with relay() as engine, far_end() as phone:
        leg = await leg_to(engine, phone, EVENT)
        await leg.silence(0.05)
        both = asyncio.gather(leg.silence(60), leg.fax(), return_exceptions=True)
        await settled(leg, phone)
        leg.close()
        assert [type(error) for error in await both] == [LegClosedError, LegClosedError]
        with pytest.raises(LegClosedError):
            await leg.silence(1)


async def test_a_fax_machine_is_heard_by_all_who_listen_for_it() -> None:
    async with relay() as engine, far_end() as phone:
        leg = await leg_to(engine, phone, EVENT)
        both = asyncio.gather(leg.fax(), leg.fax())
        await settled(leg, phone)
        await phone.say(leg.local, np.concatenate((quiet(0.1), tone(CNG_HZ, seconds=0.5), quiet(0.1))))
        async with asyncio.timeout(20):
            await both
        assert leg._tap is None


def machine_in(*sounds: Pcm) -> bool:
    calling, pcm = Calling(), np.concatenate(sounds)
    return any(calling.heard(pcm[at : at + FRAME]) for at in range(0, len(pcm) - FRAME + 1, FRAME))


@pytest.mark.parametrize("off", [-38, -20, 0, 20, 38])
@pytest.mark.parametrize("seconds", [0.425, 0.5, 0.575])
@pytest.mark.parametrize("ahead", [0.0, 0.007, 0.013])
def test_a_calling_tone_is_known_wherever_it_may_lie(off: float, seconds: float, ahead: float) -> None:
    noise = np.random.default_rng(5).normal(0, 60, RATE)
    sound = np.concatenate((quiet(0.1 + ahead), tone(CNG_HZ + off, seconds=seconds, level=-25), quiet(0.1)))
    assert machine_in(linear(sound + noise[: len(sound)]))


def test_no_other_tone_and_no_word_is_a_fax_machine() -> None:
    for hz in ((350, 440), (440, 480), (1004,), (1209,), (2100,), (1300,)):
        assert not machine_in(quiet(0.1), tone(*hz, seconds=0.5), quiet(0.1))
    assert not machine_in(tone(CNG_HZ, seconds=0.2), quiet(0.1))
    assert not machine_in(tone(CNG_HZ, seconds=2.0), quiet(0.1))
    for path in sorted(ASSETS.rglob("*.wav")):
        wave = read_wav(path.read_bytes())
        assert not machine_in(resample(wave.pcm, wave.rate, RATE), quiet(0.1))


async def test_frames_of_any_length_are_listened_to_and_repeated_ones_are_not() -> None:
    found: list[str] = []
    attention = Attention(found.append, lambda: None)
    attention.hear_keys(True)
    silence, fax = asyncio.ensure_future(attention.silence(0.01)), asyncio.ensure_future(attention.fax())
    await silence
    coded = encode(
        Codec.PCMU, np.concatenate((quiet(0.1), tone(CNG_HZ, seconds=0.5), quiet(0.1), pressed("9"), quiet(1)))
    )
    for at in range(0, len(coded) - 240, 240):
        for _ in range(2):
            attention.heard(Codec.PCMU, 1, at, coded[at : at + 240], 0.0)
    await fax
    assert found == ["9"]
