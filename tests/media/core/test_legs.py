"""Legs in media core processes do what legs in this process do."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
import pytest_asyncio

from hub.audio import frequencies, tone
from hub.g711 import Codec
from hub.security.container import binding_of, read
from hub.tape import channels, frames
from media.core.leg import RemoteLeg
from media.core.relay import CoreRelay
from media.errors import ProtocolError, UnacceptableError
from media.hearing.calling import CNG_HZ
from media.hearing.machine import Finding, Verdict
from media.leg import LegClosedError
from media.offer import offer_audio
from media.recorder import Place
from media.relay import Leg, RelayEngine
from media.sdp import PCMU, Direction
from media.sdp import Codec as Coding
from media.sound import Sound
from tests.media.core.cores import called, connected, cores, hears, place_of, took, until
from tests.media.farend import far_end
from tests.media.greeting import noise, on_the_line
from tests.media.hearing.test_inband import pressed, quiet
from tests.media.hearing.test_interpreter import G722, say

pytestmark = pytest.mark.asyncio(loop_scope="module")

MUSIC = Sound.of(tone(350, seconds=1))
KEY, LANE, AAD = bytes(range(32)), b"lane-id-of-16-by", binding_of(b"t" * 16, 4, UUID(int=9))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def relay() -> AsyncIterator[CoreRelay]:
    async with cores(music=MUSIC) as relay:
        yield relay


def place_in(directory: Path) -> Place:
    return Place(directory / "one.clm", KEY, AAD, LANE)


def long_sound() -> Sound:
    return Sound.of(tone(440, seconds=30))


async def test_a_leg_that_is_over_leaves_nothing_for_the_collector(relay: CoreRelay) -> None:
    leg = await relay.allocate()

    async def moved(leg: RemoteLeg = leg) -> None:
        leg.quiet()

    relay.watch(leg, moved)
    leg.on_gone = leg.on_lost = leg.close
    leg.quiet()
    leg.close()
    leg.quiet()
    relay.watch(leg, moved)
    await relay.last_stats(leg)
    left = weakref.ref(leg)
    gc.disable()
    try:
        del leg, moved
        assert left() is None
    finally:
        gc.enable()


async def test_it_is_a_relay_engine(relay: CoreRelay) -> None:
    engine: RelayEngine[RemoteLeg] = relay
    leg: Leg = await engine.allocate()
    leg.close()


async def test_each_hears_the_other_and_figures_outlast_the_legs(relay: CoreRelay) -> None:
    async with far_end(ssrc=1) as caller, far_end(Codec.PCMA, ssrc=2) as agent:
        to_caller = await relay.allocate()
        to_agent = await relay.allocate(beside=to_caller)
        at_caller, at_agent = await connected(to_caller, caller), await called(to_agent, agent)
        relay.bridge(to_caller, to_agent)
        there = len(relay)
        assert to_caller.peer is to_agent
        await asyncio.gather(caller.say(at_caller, tone(440, seconds=0.4)), agent.say(at_agent, tone(620, seconds=0.4)))
        await asyncio.gather(caller.hear(20), agent.hear(20))
        await asyncio.gather(hears(caller, 620), hears(agent, 440))
        assert [(await took(relay, leg, 20)).packets for leg in (to_caller, to_agent)] == [20, 20]
        to_caller.close()
        to_caller.close()
        assert to_agent.peer is None
        stats = await relay.last_stats(to_caller)
        assert (stats.packets, stats.lost, stats.protection) == (20, 0, "rtp")
        assert to_caller.stats == stats
        await agent.hear(len(agent.heard) + 2)
        to_agent.close()
        assert (await relay.last_stats(to_agent)).packets == 20
        assert len(relay) == there - 2


async def test_parted_legs_hear_silence(relay: CoreRelay) -> None:
    async with far_end(ssrc=1) as caller, far_end(ssrc=2) as agent:
        legs = await relay.allocate(), await relay.allocate()
        await connected(legs[0], caller)
        at_agent = await connected(legs[1], agent)
        relay.bridge(*legs)
        relay.bridge(legs[0], legs[0])
        relay.unbridge(legs[1])
        relay.unbridge(legs[1])
        assert (legs[0].peer, legs[1].peer) == (None, None)
        await asyncio.gather(agent.say(at_agent, tone(620, seconds=0.1)), caller.hear(5))
        assert caller.hz() == []
        for leg in legs:
            leg.close()


async def test_a_sound_is_played_whole_and_the_next_behind_it(relay: CoreRelay) -> None:
    async with far_end() as phone:
        leg = await relay.allocate()
        await connected(leg, phone)
        sounds = [Sound.of(tone(hz, seconds=0.2)) for hz in (440, 1000)]
        assert await asyncio.gather(*(leg.play(sound) for sound in sounds)) == [True, True]
        await hears(phone, 440, 1000)
        heard = phone.sound()
        assert [round(peak.hz, -1) for peak in frequencies(heard[: 8 * 160])] == [440]
        leg.close()


async def test_a_key_cuts_a_sound_short_and_is_there_to_be_read(relay: CoreRelay) -> None:
    async with far_end() as phone:
        leg = await relay.allocate()
        at = await connected(leg, phone)
        playing = asyncio.create_task(leg.play(long_sound(), barge_in=True))
        await phone.hear(3)
        await phone.press(at, "5")
        async with asyncio.timeout(20):
            assert not await playing
        assert leg.digits.get_nowait() == "5"
        leg.close()


async def test_a_key_that_waits_already_cuts_a_sound_before_it_begins(relay: CoreRelay) -> None:
    async with far_end() as phone:
        leg = await relay.allocate()
        at = await connected(leg, phone)
        await phone.press(at, "7")
        await until(lambda: not leg.digits.empty())
        assert not await leg.play(long_sound(), barge_in=True)
        # Without barge-in it is played all the same.
        assert await leg.play(Sound.of(tone(440, seconds=0.1)))
        leg.close()


async def test_a_key_cuts_the_sounds_that_wait_behind_the_first_as_well(relay: CoreRelay) -> None:
    async with far_end() as phone:
        leg = await relay.allocate()
        at = await connected(leg, phone)
        tasks = [asyncio.create_task(leg.play(long_sound(), barge_in=True)) for _ in range(2)]
        await phone.hear(3)
        await phone.press(at, "1")
        async with asyncio.timeout(20):
            assert await asyncio.gather(*tasks) == [False, False]
        leg.close()


async def test_who_is_cancelled_stops_the_sound(relay: CoreRelay) -> None:
    async with far_end() as phone:
        leg = await relay.allocate()
        await connected(leg, phone)
        playing = asyncio.create_task(leg.play(long_sound()))
        await phone.hear(3)
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
        async with asyncio.timeout(20):
            assert await leg.play(Sound.of(tone(1000, seconds=0.1)))
        async with asyncio.timeout(20):
            while 1000 not in phone.hz():  # noqa: ASYNC110 - the core process sent it, it may still be on its way
                await asyncio.sleep(0.02)
        leg.close()


async def test_what_is_played_to_a_leg_that_closes_ends_with_an_error(relay: CoreRelay) -> None:
    leg = await relay.allocate()
    playing = asyncio.create_task(leg.play(long_sound()))
    await asyncio.sleep(0)
    leg.close()
    with pytest.raises(LegClosedError):
        await playing
    for late in (leg.play(long_sound()), leg.press("1"), leg.offer()):
        with pytest.raises(LegClosedError):
            await late


async def test_music_a_loop_and_silence_follow_each_other(relay: CoreRelay) -> None:
    async with far_end() as phone:
        leg = await relay.allocate()
        await connected(leg, phone)
        leg.hold_music()
        await phone.hear(15)
        await hears(phone, 350)
        leg.loop(Sound.of(tone(900, seconds=0.1)))
        await until(lambda: 900 in phone.hz())
        leg.quiet()
        await until(lambda: set(phone.heard[-1].payload) == {0xFF})
        leg.close()


async def test_keys_are_pressed_for_the_far_end_and_only_keys(relay: CoreRelay) -> None:
    async with far_end() as phone:
        leg = await relay.allocate()
        await connected(leg, phone)
        await leg.press("42#")
        await until(lambda: len(phone.keys()) >= 3)
        assert phone.keys() == "42#"
        with pytest.raises(ProtocolError):
            await leg.press("x")
        leg.close()


async def test_what_cannot_be_agreed_on_changes_nothing(relay: CoreRelay) -> None:
    async with far_end() as phone:
        leg = await relay.allocate()
        await connected(leg, phone)
        with pytest.raises(UnacceptableError):
            await leg.answer(offer_audio(phone.address, codecs=(Coding(18, "G729", 8000),)))
        leg.quiet()
        await phone.hear(3)
        held = await leg.offer(Direction.INACTIVE)
        assert held.audio is not None
        assert held.audio.direction is Direction.INACTIVE
        leg.close()
        other = await relay.allocate()
        with pytest.raises(UnacceptableError):
            await other.settle(offer_audio(phone.address, codecs=(PCMU,)))
        other.close()


async def test_both_voices_are_recorded_but_for_a_pause(relay: CoreRelay, tmp_path: Path) -> None:
    async with far_end(ssrc=1) as caller, far_end(ssrc=2) as agent:
        legs = await relay.allocate(), await relay.allocate()
        at_caller, at_agent = await connected(legs[0], caller), await connected(legs[1], agent)
        relay.bridge(*legs)
        recording = relay.record(place_in(tmp_path), legs)
        await asyncio.gather(caller.say(at_caller, tone(440, seconds=0.4)), agent.say(at_agent, tone(620, seconds=0.4)))
        await asyncio.gather(*(took(relay, leg, 20) for leg in legs))
        recording.pause()
        await relay.last_stats(legs[0])  # answered behind the pause
        await caller.say(at_caller, tone(1000, seconds=0.2))
        await took(relay, legs[0], 30)
        recording.resume()
        await caller.say(at_caller, tone(440, seconds=0.2))
        await took(relay, legs[0], 40)
        first, again = await recording.stop(), await recording.stop()
        assert first == again == recording.ended.result()
        assert first.state == "sealed"
        for leg in legs:
            leg.close()
    with read(recording.path, KEY, AAD) as reader:
        left, right = channels(frames(reader))
    assert [round(peak.hz, -1) for peak in frequencies(left)] == [440]
    assert [round(peak.hz, -1) for peak in frequencies(right)] == [620]


async def test_a_disk_that_takes_nothing_fails_the_recording(relay: CoreRelay, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    recording = relay.record(place_in(tmp_path / "file"), [])
    async with asyncio.timeout(20):
        ended = await recording.ended
    assert ended.state == "failed"
    assert await recording.stop() == ended


async def test_a_sound_is_sent_once_and_forgotten_when_there_are_too_many(
    relay: CoreRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("media.core.relay.SOUNDS", 3000)
    async with far_end() as phone:
        leg = await relay.allocate()
        await connected(leg, phone)
        assert leg.core is not None
        sounds = [Sound.of(tone(hz, seconds=0.2)) for hz in (440, 1000)]
        await leg.play(sounds[0])
        known = set(leg.core.sounds)
        await leg.play(Sound(sounds[0].ulaw))
        assert leg.core.sounds == known
        await leg.play(sounds[1])
        assert len(leg.core.sounds) == 1
        assert await leg.play(sounds[0])
        leg.close()


async def test_what_is_listened_for_in_a_core_is_told(relay: CoreRelay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("media.dtmf.APART_S", 60)
    async with far_end() as phone:
        leg = await relay.allocate()
        plain = offer_audio(phone.address, codecs=(PCMU,))
        voice = replace(plain.media[0], codecs=(PCMU,))
        place = place_of(await leg.answer(replace(plain, media=(voice,))))
        menu = asyncio.create_task(leg.play(long_sound(), barge_in=True))
        await phone.hear(3)
        await phone.say(place, np.concatenate((quiet(0.04), pressed("4", seconds=0.1), quiet(0.06))))
        assert await menu is False
        leg.pressed("4")
        leg.pressed("5")
        assert [await leg.digits.get(), await leg.digits.get()] == ["4", "5"]
        fax = asyncio.create_task(leg.fax())
        await leg.silence(0.1)
        assert not fax.done()
        await phone.say(place, np.concatenate((tone(CNG_HZ, seconds=0.5), quiet(0.06))))
        await fax
        waiting = asyncio.create_task(leg.silence(60))
        await leg.silence(0.01)
        leg.close()
        with pytest.raises(LegClosedError):
            await waiting


async def test_a_core_tells_who_picked_up_and_hears_the_beep(relay: CoreRelay) -> None:
    async with far_end() as phone:
        leg = await relay.allocate()
        place = await connected(leg, phone)
        found = asyncio.create_task(leg.picked_up())
        beep = asyncio.create_task(leg.beep())
        await leg.silence(0.01)
        await phone.say(place, on_the_line(noise(0.4, -18), quiet(1.0)))
        assert await found == Finding(Verdict.HUMAN, "short-greeting")
        assert not beep.done()
        await phone.say(place, on_the_line(tone(1000, seconds=0.3), quiet(0.4)))
        await beep
        again = asyncio.create_task(leg.picked_up())
        await leg.silence(0.01)
        leg.close()
        with pytest.raises(LegClosedError):
            await again


async def test_a_phone_without_g711_is_understood_in_a_core(relay: CoreRelay) -> None:
    async with far_end(ssrc=5) as modern, far_end() as plain:
        legs = await relay.allocate(), await relay.allocate()
        place = place_of(await legs[0].answer(offer_audio(modern.address, codecs=(G722,))))
        await connected(legs[1], plain)
        relay.bridge(*legs)
        await say(modern, place, G722, tone(440, seconds=1))
        await plain.hear(45)
        await hears(plain, 440)
        for leg in legs:
            leg.close()
