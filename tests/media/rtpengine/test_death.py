"""An rtpengine dies under calls, or begins anew, or is not there: who goes on, where, and who is hung up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hub.audio import tone
from hub.demo.ports import free_port
from hub.settings.practice import Sip
from hub.settings.value import Address as Place
from hub.settings.value import PortRange
from media.core.relay import CoreRelay, relay_for
from media.phone import PhoneLeg
from media.relay import Wanted
from media.rtp import FRAME
from media.rtpengine import ng
from media.rtpengine import relay as edge_relay
from media.rtpengine.edge import Edge
from media.rtpengine.ng import Engine
from media.rtpengine.relay import RtpengineRelay
from media.sdp import Session
from media.sound import Sound
from tests.media.core.cores import answer_of, hears, took
from tests.media.farend import far_end, relay
from tests.media.kept import within
from tests.media.rtpengine.daemon import ENGINE_PORTS, Daemon, daemon, edged
from tests.media.rtpengine.party import plain, protected, until
from tests.media.rtpengine.test_relay import hear_each_other

pytestmark = [pytest.mark.peer("rtpengine"), pytest.mark.timeout(60)]

SDES = Wanted(secure=True, least="sdes-srtp")
WITHIN_S = 2.0


@asynccontextmanager
async def two(work: Path) -> AsyncIterator[tuple[RtpengineRelay, Callable[[Engine], None]]]:
    """A relay with two rtpengines, and what kills the one that is given."""
    async with daemon(work) as first, daemon(work) as second, edged(first, second) as (outer, _):
        yield outer, lambda engine: (first if engine.place[1] == first.address.port else second).kill()


async def test_a_talk_goes_on_in_another_rtpengine_when_its_own_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_relay, "SETTLED_S", 0.05)
    async with two(tmp_path) as (outer, kill), relay() as phones, plain(outer) as caller:
        await caller.call()
        agent = await protected(outer, phones, SDES, beside=caller.leg)
        await agent.ring()
        assert caller.leg.edge is not None
        assert agent.leg.edge is not None
        assert caller.leg.edge.engine is agent.leg.edge.engine
        outer.bridge(caller.leg, agent.leg)
        await until(lambda: caller.leg.edge is not None and caller.leg.edge.turned)
        await hear_each_other(caller, agent)
        before, dead = caller.leg.seen.heard, caller.leg.edge.engine
        kill(dead)
        async with within(WITHIN_S):
            await asyncio.gather(caller.has_moved(), agent.has_moved())
        assert not dead.up
        await hear_each_other(caller, agent)
        assert (agent.leg.protection, agent.phone.protection) == ("sdes-srtp", "sdes-srtp")
        await took(outer, caller.leg, before + 25)
        assert (caller.moves, agent.moves) == (1, 1)
        agent.leg.close()


async def test_a_plain_call_comes_back_to_us_and_a_protected_one_is_not_continued_in_the_clear(tmp_path: Path) -> None:
    async with daemon(tmp_path) as one, edged(one) as (outer, _), relay() as phones, plain(outer) as caller:
        await caller.call()
        agent = await protected(outer, phones, SDES)
        await agent.ring()
        playing = asyncio.create_task(caller.leg.play(Sound.of(tone(440, seconds=30)), barge_in=True))
        await caller.hears(440)
        one.kill()
        async with within(WITHIN_S):
            await caller.has_moved()
            await agent.hung_up.wait()
        assert caller.leg.direct
        caller.forget()
        await caller.hears(440)
        await caller.phone.press(caller.at, "9")
        async with asyncio.timeout(20):
            assert not await playing
        assert caller.leg.digits.get_nowait() == "9"
        assert not caller.hung_up.is_set()
        # New calls are carried, and protected, by ourselves.
        fresh = await protected(outer, phones, SDES)
        await fresh.call()
        assert (fresh.leg.protection, fresh.leg.direct) == ("sdes-srtp", True)
        fresh.leg.close()
        agent.leg.close()


async def test_one_that_was_started_anew_does_not_know_its_calls_and_they_are_made_again(tmp_path: Path) -> None:
    port = free_port()
    one = Daemon(tmp_path, port)
    try:
        await one.ready()
        async with edged(one) as (outer, _), plain(outer) as caller:
            await caller.call()
            edge = caller.leg.edge
            assert edge is not None
            one.kill()
            one = Daemon(tmp_path, port)
            await caller.has_moved()
            await one.ready()
            await until(lambda: edge.engine.up)
            async with plain(outer, ssrc=2) as other:
                await other.call()
                assert other.leg.edge is not None
                outer.bridge(caller.leg, other.leg)
                await hear_each_other(caller, other)
    finally:
        one.kill()


async def test_one_that_forgot_a_call_is_found_out(tmp_path: Path) -> None:
    async with daemon(tmp_path) as one, edged(one) as (outer, _), plain(outer) as caller:
        await caller.call()
        edge = caller.leg.edge
        assert edge is not None
        await edge.end()
        await caller.has_moved()
        assert caller.leg.edge is not None
        assert caller.leg.edge.engine is edge.engine
        assert caller.leg.edge is not edge
        playing = asyncio.create_task(caller.leg.play(Sound.of(tone(440, seconds=2))))
        await caller.hears(440)
        playing.cancel()


async def test_an_answer_to_the_dead_ones_offer_settles_nothing_and_the_far_end_is_asked_again(tmp_path: Path) -> None:
    async with two(tmp_path) as (outer, kill), plain(outer) as callee:
        offer = await callee.leg.offer()
        assert callee.leg.edge is not None
        dead = callee.leg.edge.engine
        kill(dead)
        await callee.leg.settle(answer_of(callee.phone, offer))
        await callee.has_moved()
        playing = asyncio.create_task(callee.leg.play(Sound.of(tone(440, seconds=2))))
        await callee.hears(440)
        playing.cancel()


@pytest.mark.parametrize("when", ["as it answers", "as our leg hears of it"])
async def test_one_that_is_lost_in_the_moment_in_which_a_call_is_agreed_on_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    dead: list[Edge] = []
    offers, settles = Edge.offer, PhoneLeg.settle
    async with two(tmp_path) as (outer, _), plain(outer) as callee:

        def lose() -> None:
            if callee.leg.edge is not None and not dead:
                dead.append(callee.leg.edge)
                callee.leg.lose(callee.leg.edge)

        async def offer(edge: Edge, session: Session) -> Session:
            offered = await offers(edge, session)
            lose()
            return offered

        async def settle(leg: PhoneLeg, answer: Session, *, via: str | None = None) -> None:
            await settles(leg, answer, via=via)
            lose()

        if when == "as it answers":
            monkeypatch.setattr(Edge, "offer", offer)
        else:
            monkeypatch.setattr(PhoneLeg, "settle", settle)
        await callee.ring()
        await until(lambda: callee.leg.edge is not None and callee.leg.edge.last is not None)
        assert callee.leg.edge not in (None, *dead)
        playing = asyncio.create_task(callee.leg.play(Sound.of(tone(440, seconds=2))))
        await callee.hears(440)
        playing.cancel()


async def test_an_rtpengine_that_comes_later_gets_the_next_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ng, "LOOK_S", 0.05)
    port = free_port()
    async with relay() as inner:
        outer = RtpengineRelay(inner, [Place(f"127.0.0.1:{port}")])
        await outer.start()
        async with plain(outer) as early, daemon(tmp_path, port):
            await early.call()
            leg = await outer.allocate()
            while leg.direct:
                leg.close()
                await asyncio.sleep(0.05)
                leg = await outer.allocate()
            leg.close()
            assert early.leg.direct
            assert early.moves == 0
        await outer.close()


async def test_practice_toml_puts_it_before_media_core_processes(tmp_path: Path) -> None:
    async with daemon(tmp_path) as one, far_end() as phone:
        sip = Sip(rtpengine=(one.address,), cores=1, rtp_ports=PortRange("28000-28199"))
        outer = relay_for(sip, Sound(b"\xff" * FRAME), tmp_path)
        assert isinstance(outer, RtpengineRelay)
        assert isinstance(outer.inner, CoreRelay)
        await outer.start()
        await outer.inner.steady()
        leg = await outer.allocate()
        offer = await leg.offer()
        assert offer.media[0].port in ENGINE_PORTS
        await leg.settle(answer_of(phone, offer))
        assert await leg.play(Sound.of(tone(440, seconds=0.4)))
        await hears(phone, 440)
        leg.close()
        assert (await outer.last_stats(leg)).sent >= 20
        await outer.close()
