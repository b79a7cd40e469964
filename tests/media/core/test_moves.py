"""Legs of two cores come together, with what records them; and what a core tells of far ends that are gone."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from hub.audio import frequencies, tone
from hub.security.container import binding_of, read
from hub.tape import channels, frames
from media.calls.rescue import follow
from media.core.leg import RemoteLeg
from media.core.pool import Pool
from media.core.recording import MOVED, RemoteRecording
from media.core.relay import CoreRelay
from media.recorder import Place
from media.relay import Relay, Wanted
from media.sdp import Session
from tests.media.browser.farpage import FarPage
from tests.media.core.cores import answer_of, cores, hears, kill, pid_of, place_of, took, until
from tests.media.core.test_death import Call, on_call
from tests.media.farend import far_end, relay

KEY, LANE, AAD = bytes(range(32)), b"lane-id-of-16-by", binding_of(b"t" * 16, 4, UUID(int=9))


def record(engine: CoreRelay, path: Path, legs: Sequence[RemoteLeg]) -> RemoteRecording:
    return engine.record(Place(path, KEY, AAD, LANE), legs)


def tones(path: Path) -> list[list[float]]:
    """Return the tones that the caller and the agent said."""
    with read(path, KEY, AAD) as reader:
        voices = channels(frames(reader))
    return [[round(peak.hz, -1) for peak in frequencies(each)] if np.any(each) else [] for each in voices]


async def say(call: Call, hz: float) -> None:
    await call.phone.say(call.at, tone(hz, seconds=0.3))


async def test_who_is_recorded_stays_and_the_other_comes(tmp_path: Path) -> None:
    async with cores(2) as engine, far_end(ssrc=1) as caller, far_end(ssrc=2) as agent:
        a, b = await on_call(engine, caller), await on_call(engine, agent)
        before, recording = pid_of(b.leg), record(engine, tmp_path / "one", [b.leg])
        engine.bridge(a.leg, b.leg)
        await a.moves()
        assert pid_of(a.leg) == pid_of(b.leg) == before
        await asyncio.gather(say(a, 440), say(b, 620), caller.hear(15), agent.hear(15))
        await asyncio.gather(hears(caller, 620), hears(agent, 440))
        assert (await recording.stop()).reason == ""
    assert tones(tmp_path / "one")[0] == [620]


async def test_of_two_that_are_recorded_one_moves_and_its_recording_says_so(tmp_path: Path) -> None:
    async with cores(2) as engine, far_end(ssrc=1) as caller, far_end(ssrc=2) as agent:
        a, b, began = await on_call(engine, caller), await on_call(engine, agent), asyncio.get_running_loop().time()
        stays, moves = record(engine, tmp_path / "a", [a.leg]), record(engine, tmp_path / "b", [b.leg])
        await asyncio.gather(say(b, 620), agent.hear(1), took(engine, b.leg, 15))
        engine.bridge(a.leg, b.leg)
        async with asyncio.timeout(20):
            ended = await moves.ended
        assert (ended.state, ended.reason) == ("sealed", MOVED)
        assert 0.2 < ended.seconds < asyncio.get_running_loop().time() - began + 0.1
        after = record(engine, tmp_path / "c", [b.leg])
        await b.moves()
        await asyncio.gather(say(a, 440), say(b, 1000), took(engine, a.leg, 15), took(engine, b.leg, 15))
        assert [(await each.stop()).reason for each in (stays, after)] == ["", ""]
    assert [tones(tmp_path / name)[0] for name in "abc"] == [[440], [620], [1000]]


async def test_who_is_recorded_together_is_brought_together(tmp_path: Path) -> None:
    async with cores(2) as engine, far_end(ssrc=1) as caller, far_end(ssrc=2) as agent:
        a, b = await on_call(engine, caller), await on_call(engine, agent)
        assert pid_of(a.leg) != pid_of(b.leg)
        recording = record(engine, tmp_path / "one", [a.leg, b.leg])
        await b.moves()
        engine.bridge(a.leg, b.leg)
        await asyncio.gather(say(a, 440), say(b, 620), took(engine, a.leg, 15), took(engine, b.leg, 15))
        assert (await recording.stop()).state == "sealed"
    assert tones(tmp_path / "one") == [[440], [620]]


async def test_a_leg_that_closes_before_it_is_brought_ends_nobody_else_s_recording(tmp_path: Path) -> None:
    async with cores(2) as engine, far_end(ssrc=1) as caller, far_end(ssrc=2) as agent:
        a, b = await on_call(engine, caller), await on_call(engine, agent)
        recording = record(engine, tmp_path / "one", [a.leg, b.leg])
        b.leg.close()
        await until((tmp_path / "one").exists)
        await asyncio.gather(say(a, 440), took(engine, a.leg, 15))
        assert (await recording.stop()).state == "sealed"
    assert tones(tmp_path / "one")[0] == [440]


async def test_a_leg_that_comes_back_to_a_core_is_not_the_one_that_core_still_closes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("media.core.process.SILENT_LOOKS", 1000)
    async with cores(2) as engine, far_end(ssrc=1) as caller, far_end(ssrc=2) as agent:
        a, b = await on_call(engine, caller), await on_call(engine, agent)
        other, first = await engine.allocate(beside=b.leg), pid_of(b.leg)
        os.kill(first, signal.SIGSTOP)
        engine.bridge(a.leg, b.leg)
        await b.moves()
        engine.bridge(other, b.leg)
        os.kill(first, signal.SIGCONT)
        await until(lambda: b.leg.closed or b.moved.is_set())
        assert not b.leg.closed
        assert pid_of(b.leg) == first


async def test_an_offer_that_was_asked_for_before_a_leg_moved_names_where_it_is_now() -> None:
    async with cores(2) as engine, far_end(ssrc=1) as caller, far_end(ssrc=2) as agent:
        a, leg = await on_call(engine, caller), await engine.allocate()
        first = pid_of(leg)
        os.kill(first, signal.SIGSTOP)
        offering = asyncio.create_task(leg.offer())
        await asyncio.sleep(0)
        engine.bridge(a.leg, leg)
        os.kill(first, signal.SIGCONT)
        offer = await offering
        assert pid_of(leg) == pid_of(a.leg) != first
        await leg.settle(answer_of(agent, offer))
        await asyncio.gather(agent.say(place_of(offer), tone(620, seconds=0.4)), hears(caller, 620))


async def test_a_new_leg_has_a_place_also_where_the_one_it_is_to_be_beside_closes_while_that_moves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Pool, "_stand_by", lambda _: None)  # so that the move takes its time
    monkeypatch.setattr("media.core.relay.PATIENCE_S", 60)
    async with cores() as engine, far_end() as phone:
        call = await on_call(engine, phone)
        dead = call.leg.core
        kill(call.leg)
        await until(lambda: call.leg.core is not dead)
        allocating = asyncio.create_task(engine.allocate(beside=call.leg))
        await asyncio.sleep(0)
        call.leg.close()
        assert (await allocating).core is not None


def forged(said: Session) -> Session:
    """Return a description with somebody else's certificate."""
    media = said.media[0]
    other = tuple("fingerprint:sha-256 " + "00:" * 31 + "00" if "finger" in it else it for it in media.attributes)
    return replace(said, media=(replace(media, attributes=other),))


async def test_a_far_end_with_somebody_else_s_certificate_is_told_as_lost() -> None:
    async with cores() as engine:
        one, other = await engine.allocate(Wanted(least="dtls-srtp")), await engine.allocate()
        lost, gone = asyncio.Event(), asyncio.Event()
        one.on_lost, one.on_gone = lost.set, gone.set
        answer = await other.answer(await one.offer())
        await one.settle(forged(answer))
        async with asyncio.timeout(20):
            await lost.wait()
        assert one.closed
        assert not gone.is_set()
        assert len(engine) == 1


async def test_a_page_that_leaves_is_told_as_gone() -> None:
    async with cores() as engine:
        leg, page = await engine.allocate(Wanted(kind="browser")), FarPage()
        lost, gone = asyncio.Event(), asyncio.Event()
        leg.on_lost, leg.on_gone = lost.set, gone.set
        await page.take(await leg.answer(await page.describe("actpass")))
        async with asyncio.timeout(20):
            await page.keyed.wait()
            await page.close()
            await gone.wait()
        assert leg.closed
        assert not lost.is_set()


class Line:
    """The signalling of a call, as far as it can be hung up."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.broken = ""

    async def reinvite(self, session: Session) -> Session:
        raise AssertionError(session)

    def bye(self) -> None:
        self.over.set()


@pytest.mark.parametrize("where", ["cores", "here"])
async def test_a_call_without_sound_is_hung_up(where: str) -> None:
    async with AsyncExitStack() as stack:
        engine: Relay = await stack.enter_async_context(cores() if where == "cores" else relay())
        phone, page, line, socket = await engine.allocate(Wanted(least="dtls-srtp")), FarPage(), Line(), Line()
        leg = await engine.allocate(Wanted(kind="browser"))
        follow(engine, phone, line)
        follow(engine, leg, socket)
        await page.take(await leg.answer(await page.describe("actpass")))
        other = await engine.allocate()
        await phone.settle(forged(await other.answer(await phone.offer())))
        async with asyncio.timeout(20):
            await page.keyed.wait()
            await page.close()
            await socket.over.wait()
            await line.over.wait()
