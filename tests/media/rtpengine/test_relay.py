"""Calls through rtpengine itself: prompts, keys, hold, two parties, and what is told of them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from hub.audio import tone
from hub.security.container import binding_of, read
from hub.tape import frames
from media.errors import UnacceptableError
from media.recorder import Place
from media.relay import BuiltinRelay, Wanted
from media.rtpengine import relay as edge_relay
from media.rtpengine.relay import RtpengineRelay
from media.sdp import Direction
from media.sound import Sound
from tests.media.core.cores import answer_of, offer_of, place_of, took
from tests.media.farend import far_end, relay
from tests.media.rtpengine.daemon import Daemon, daemon, edged
from tests.media.rtpengine.party import Party, drained, plain, protected, until

pytestmark = [pytest.mark.peer("rtpengine"), pytest.mark.timeout(60)]

SDES, DTLS = Wanted(secure=True, least="sdes-srtp"), Wanted(least="dtls-srtp")
KEY, LANE, AAD = bytes(range(32)), b"lane-id-of-16-by", binding_of(b"t" * 16, 4, UUID(int=9))
MUSIC = Sound.of(tone(350, seconds=1))


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with daemon(tmp_path) as one:
        yield one


async def hear_each_other(a: Party, b: Party) -> None:
    """Let both speak, and see that each hears the other and nothing else."""
    for party in (a, b):
        party.forget()
    await asyncio.gather(a.say(tone(440, seconds=0.5)), b.say(tone(620, seconds=0.5)))
    await asyncio.gather(a.hears(620), b.hears(440))


async def test_a_caller_hears_a_prompt_and_presses_keys(engine: Daemon) -> None:
    async with edged(engine) as (outer, inner), plain(outer) as caller:
        await caller.call()
        assert caller.leg.edge is not None
        assert caller.at != ("127.0.0.1", 0)
        playing = asyncio.create_task(caller.leg.play(Sound.of(tone(440, seconds=30)), barge_in=True))
        await caller.hears(440)
        await caller.phone.press(caller.at, "42#")
        async with asyncio.timeout(20):
            assert not await playing
            assert [await caller.leg.digits.get() for _ in range(3)] == ["4", "2", "#"]
        await caller.leg.press("7")
        await until(lambda: caller.phone.keys() == "7")
        stats = await outer.last_stats(caller.leg)
        assert (stats.protection, stats.lost, stats.forged) == ("rtp", 0, 0)
        assert stats.packets == 3 * 5
        assert stats.sent >= 20
        assert len(outer) == len(inner) == 1
    assert len(outer) == 0


@pytest.mark.parametrize("wanted", [SDES, DTLS, Wanted(secure=True)], ids=["sdes", "dtls", "keys beside"])
@pytest.mark.parametrize("way", ["call", "ring"])
async def test_protection_is_what_was_negotiated_with_the_far_end(engine: Daemon, wanted: Wanted, way: str) -> None:
    async with edged(engine) as (outer, _), relay() as phones:
        party = await protected(outer, phones, wanted)
        await getattr(party, way)()
        expected = "sdes-srtp" if wanted.secure else wanted.least
        assert party.leg.protection == party.phone.protection == expected
        playing = asyncio.create_task(party.leg.play(Sound.of(tone(440, seconds=3))))
        await party.hears(440)
        playing.cancel()
        stats = await outer.last_stats(party.leg)
        assert (stats.protection, stats.forged) == (expected, 0)
        assert party.phone.stats.forged == 0
        party.leg.close()


async def test_less_protection_than_the_least_is_refused(engine: Daemon) -> None:
    async with edged(engine) as (outer, _), far_end() as phone:
        for wanted in (SDES, DTLS):
            leg = await outer.allocate(wanted)
            with pytest.raises(UnacceptableError):
                await leg.answer(offer_of(phone))
            leg.close()


async def test_an_offer_may_be_made_anew_and_answered_by_one_after_the_other(engine: Daemon) -> None:
    async with edged(engine) as (outer, _), plain(outer) as callee, far_end(ssrc=2) as other:
        first = await callee.leg.offer()
        offer = await callee.leg.offer()
        assert place_of(first) == place_of(offer)
        # One speaks before anybody picks up; then another does.
        await callee.leg.settle(answer_of(other, offer))
        playing = asyncio.create_task(callee.leg.play(Sound.of(tone(440, seconds=30)), barge_in=True))
        await until(lambda: 440 in other.hz())
        await callee.leg.settle(await callee.respond(offer))
        await callee.hears(440)
        await callee.phone.press(callee.at, "1")
        async with asyncio.timeout(20):
            assert not await playing
        # What was refused in between changes nothing.
        held = await callee.leg.offer(Direction.SENDONLY)
        assert place_of(held) == callee.at
        await callee.call()
        assert callee.at == place_of(offer)


async def test_two_hear_each_other_and_their_sound_does_not_come_to_us(
    engine: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_relay, "SETTLED_S", 0.05)
    async with edged(engine) as (outer, _), relay() as phones, plain(outer) as caller:
        await caller.call()
        agent = await protected(outer, phones, SDES, beside=caller.leg)
        await agent.ring()
        outer.bridge(caller.leg, agent.leg)
        await until(lambda: all(p.leg.edge is not None and p.leg.edge.turned for p in (caller, agent)))
        await drained(caller, agent)
        before = [party.leg.inner.stats.packets for party in (caller, agent)]
        await hear_each_other(caller, agent)
        assert [party.leg.inner.stats.packets for party in (caller, agent)] == before
        await took(outer, caller.leg, 25)
        assert agent.phone.stats.forged == 0
        # Somebody is held: the other hears music, and nothing goes past us any more.
        outer.unbridge(caller.leg)
        agent.leg.loop(MUSIC)
        await until(lambda: not any(p.leg.edge is None or p.leg.edge.turned for p in (caller, agent)))
        caller.forget()
        await agent.hears(350)
        await agent.say(tone(620, seconds=0.2))
        assert 620 not in caller.hz()
        assert caller.moves == agent.moves == 0
        agent.leg.close()
        last = await outer.last_stats(agent.leg)
        assert last.protection == "sdes-srtp"
        assert last.packets >= 30


async def test_a_far_end_that_holds_and_resumes_is_answered(engine: Daemon) -> None:
    async with edged(engine, music=MUSIC) as (outer, _), relay() as phones, plain(outer) as caller:
        await caller.ring()
        agent = await protected(outer, phones, SDES, beside=caller.leg)
        await agent.call()
        outer.bridge(caller.leg, agent.leg)
        await hear_each_other(caller, agent)
        held = await agent.hold(Direction.SENDONLY)
        assert held.audio is not None
        assert held.audio.direction is Direction.RECVONLY
        outer.unbridge(caller.leg)
        caller.leg.hold_music()
        caller.forget()
        await caller.hears(350)
        resumed = await agent.hold(Direction.SENDRECV)
        assert resumed.audio is not None
        assert resumed.audio.direction is Direction.SENDRECV
        outer.bridge(caller.leg, agent.leg)
        await hear_each_other(caller, agent)
        agent.leg.close()


async def test_whatever_is_told_last_holds(engine: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_relay, "SETTLED_S", 0)
    async with edged(engine) as (outer, _), plain(outer) as caller, plain(outer, beside=caller.leg, ssrc=2) as agent:
        await caller.call()
        await agent.ring()
        legs = caller.leg, agent.leg
        for turns in range(8):
            outer.bridge(*legs)
            for _ in range(turns):
                await asyncio.sleep(0)
            outer.unbridge(legs[0])
        for leg in legs:
            await leg.steer()
            assert leg.edge is not None
            assert not leg.edge.turned
        caller.forget()
        await agent.say(tone(620, seconds=0.2))
        assert 620 not in caller.hz()
        outer.bridge(*legs)
        await until(lambda: all(leg.edge is not None and leg.edge.turned for leg in legs))
        await hear_each_other(caller, agent)
        # A far end that says the same again, as sessions are refreshed, is answered as before.
        said = caller.at
        await caller.call()
        assert caller.at == said
        await hear_each_other(caller, agent)
        await until(lambda: all(leg.edge is not None and leg.edge.turned for leg in legs))
        await caller.leg.press("5")
        await until(lambda: caller.phone.keys() == "5")
        caller.leg.close()
        await until(lambda: agent.leg.edge is not None and not agent.leg.edge.turned)


async def test_what_is_recorded_comes_to_us_until_that_ends(
    engine: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_relay, "SETTLED_S", 0.05)
    async with edged(engine) as (outer, _), plain(outer) as caller, plain(outer, beside=caller.leg, ssrc=2) as agent:
        await caller.call()
        await agent.ring()
        outer.bridge(caller.leg, agent.leg)
        await until(lambda: caller.leg.edge is not None and caller.leg.edge.turned)
        recording = outer.record(Place(tmp_path / "one.clm", KEY, AAD, LANE), [caller.leg, agent.leg])
        await until(lambda: not any(p.leg.edge is None or p.leg.edge.turned for p in (caller, agent)))
        before = sum(party.leg.inner.stats.packets for party in (caller, agent))
        await hear_each_other(caller, agent)
        await until(lambda: sum(party.leg.inner.stats.packets for party in (caller, agent)) >= before + 40)
        recorded = await recording.stop()
        assert recorded.state == "sealed"
        with read(tmp_path / "one.clm", KEY, AAD) as reader:
            assert len(list(frames(reader))) >= 40
        await until(lambda: all(p.leg.edge is not None and p.leg.edge.turned for p in (caller, agent)))
        await hear_each_other(caller, agent)


async def test_sound_of_a_stranger_is_not_heard(engine: Daemon) -> None:
    async with edged(engine) as (outer, _), plain(outer) as caller, far_end(ssrc=99) as stranger:
        await caller.call()
        caller.leg.quiet()
        await caller.say(tone(440, seconds=4))  # rtpengine looks for three seconds where the far end really is
        await drained(caller)
        before = caller.leg.inner.stats.packets
        await stranger.say(caller.at, tone(620, seconds=0.4))
        await caller.say(tone(440, seconds=0.1))
        assert before <= caller.leg.inner.stats.packets <= before + 5


async def test_browsers_speak_with_us(engine: Daemon) -> None:
    async with edged(engine) as (outer, _):
        leg = await outer.allocate(Wanted(kind="browser"))
        assert leg.direct
        leg.close()


async def test_without_an_rtpengine_calls_go_on(tmp_path: Path) -> None:
    async with relay() as inner, daemon(tmp_path) as gone:
        gone.kill()
        outer = RtpengineRelay(inner, [gone.address])
        await outer.start()
        async with plain(outer) as caller:
            await caller.call()
            assert caller.leg.direct
            playing = asyncio.create_task(caller.leg.play(Sound.of(tone(440, seconds=1))))
            await caller.hears(440)
            playing.cancel()
        leg = await outer.allocate(SDES)
        offer = await leg.offer()
        assert offer.media[0].protocol == "RTP/SAVP"
        await outer.close()
        assert isinstance(inner, BuiltinRelay)
