"""A media core process dies: its legs go on in another, and their far ends hear it."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import UUID

import pytest

from hub.audio import tone
from hub.security.container import binding_of, read, recover
from hub.tape import frames
from media.core.continuation import continued
from media.core.leg import RemoteLeg
from media.core.pool import Pool, Slot
from media.core.recording import LOST
from media.core.relay import CoreRelay
from media.errors import UnacceptableError
from media.latch import Address
from media.leg import LegClosedError
from media.offer import offer_audio
from media.recorder import Place
from media.sdp import Media, Session
from media.sound import Sound
from tests.media.core.cores import (
    alive,
    answer_of,
    connected,
    cores,
    hears,
    kill,
    pid_of,
    place_of,
    took,
    until,
)
from tests.media.farend import FarEnd, far_end
from tests.media.kept import within

MUSIC = Sound.of(tone(350, seconds=1))
KEY, LANE, AAD = bytes(range(32)), b"lane-id-of-16-by", binding_of(b"t" * 16, 4, UUID(int=9))
WITHIN_S = 2.0


class Call:
    """A phone on a leg, and the signalling between them."""

    def __init__(self, relay: CoreRelay, leg: RemoteLeg, phone: FarEnd) -> None:
        self.leg = leg
        self.phone = phone
        self.at: Address = ("", 0)
        self.said: list[Session] = []
        self.moved = asyncio.Event()
        relay.watch(leg, self.follow)

    async def follow(self) -> None:
        offer = await self.leg.offer()
        self.said.append(offer)
        self.at = place_of(offer)
        await self.leg.settle(answer_of(self.phone, offer))
        self.moved.set()

    async def moves(self) -> None:
        async with within(WITHIN_S):
            await self.moved.wait()
        self.moved.clear()


async def on_call(relay: CoreRelay, phone: FarEnd, beside: RemoteLeg | None = None) -> Call:
    leg = await relay.allocate(beside=beside)
    call = Call(relay, leg, phone)
    call.at = await connected(leg, phone)
    return call


async def test_those_who_talked_hear_each_other_again() -> None:
    async with cores(steady=True) as relay, far_end(ssrc=1) as caller, far_end(ssrc=2) as agent:
        a = await on_call(relay, caller)
        b = await on_call(relay, agent, a.leg)
        relay.bridge(a.leg, b.leg)
        await asyncio.gather(a.phone.say(a.at, tone(440, seconds=0.1)), agent.hear(3))
        kill(a.leg)
        await asyncio.gather(a.moves(), b.moves())
        caller.heard.clear()
        agent.heard.clear()
        await asyncio.gather(caller.say(a.at, tone(440, seconds=0.4)), agent.say(b.at, tone(620, seconds=0.4)))
        await asyncio.gather(caller.hear(20), agent.hear(20))
        await asyncio.gather(hears(caller, 620), hears(agent, 440))
        assert a.leg.peer is b.leg
        # And once more.
        await relay.steady()
        kill(a.leg)
        await asyncio.gather(a.moves(), b.moves())
        agent.heard.clear()
        await asyncio.gather(caller.say(a.at, tone(440, seconds=0.2)), agent.hear(10))
        await hears(agent, 440)


async def test_a_prompt_begins_again_and_a_key_still_cuts_it_short() -> None:
    async with cores(steady=True) as relay, far_end() as phone:
        call = await on_call(relay, phone)
        prompt = Sound.of(tone(440, seconds=0.3)) + Sound.of(tone(1000, seconds=30))
        playing = asyncio.create_task(call.leg.play(prompt, barge_in=True))
        await until(lambda: 1000 in phone.hz())
        kill(call.leg)
        await call.moves()
        phone.heard.clear()
        await phone.hear(10)
        assert phone.hz() == [440]
        await phone.press(call.at, "5")
        async with asyncio.timeout(20):
            assert not await playing
        assert call.leg.digits.get_nowait() == "5"


async def test_music_goes_on_and_new_calls_are_taken() -> None:
    async with cores(music=MUSIC) as relay, far_end() as phone, far_end() as other:
        call = await on_call(relay, phone)
        call.leg.hold_music()
        await phone.hear(3)
        pid = kill(call.leg)
        fresh = await relay.allocate()
        await connected(fresh, other)
        await call.moves()
        assert pid_of(fresh) == pid_of(call.leg) != pid
        phone.heard.clear()
        await phone.hear(15)
        await hears(phone, 350)


async def test_the_far_end_is_told_the_next_version_of_the_same_session() -> None:
    async with cores(steady=True) as relay, far_end() as phone:
        leg = await relay.allocate()
        call = Call(relay, leg, phone)
        first = await leg.answer(offer_audio(phone.address))
        kill(leg)
        await call.moves()
        await relay.steady()
        kill(leg)
        await call.moves()
        origins = [session.origin for session in (first, *call.said)]
        assert len({origin.session_id for origin in origins}) == 1
        versions = [int(origin.version) for origin in origins]
        assert versions == [versions[0], versions[0] + 1, versions[0] + 2]


async def test_what_was_asked_of_the_dead_core_is_answered_by_the_next() -> None:
    async with cores(steady=True) as relay, far_end() as phone:
        leg = await relay.allocate()
        os.kill(pid_of(leg), signal.SIGSTOP)
        answering = asyncio.create_task(connected(leg, phone))
        await asyncio.sleep(0)
        kill(leg)
        async with within(WITHIN_S):
            at = await answering
        leg.quiet()
        await phone.hear(3)
        assert at[1] % 2 == 0


async def test_an_answer_to_the_dead_cores_offer_settles_nothing_and_the_far_end_is_asked_again() -> None:
    async with cores(steady=True) as relay, far_end() as phone:
        leg = await relay.allocate()
        offer = await leg.offer()
        pid = kill(leg)
        await until(lambda: leg.core is not None and leg.core.pid != pid)
        await leg.settle(answer_of(phone, offer))
        call = Call(relay, leg, phone)  # only now is anybody there who could tell the far end
        await call.moves()
        leg.quiet()
        await phone.hear(3)


async def test_a_recording_fails_at_once_and_what_was_written_can_be_recovered(tmp_path: Path) -> None:
    path = tmp_path / "one.clm"
    async with cores(steady=True) as relay, far_end() as phone:
        call = await on_call(relay, phone)
        recording = relay.record(Place(path, KEY, AAD, LANE), [call.leg])
        await phone.say(call.at, tone(440, seconds=1.2))
        await until(lambda: path.exists() and path.stat().st_size > 40 * 160)
        kill(call.leg)
        async with within(WITHIN_S):
            ended = await recording.ended
        assert (ended.state, ended.reason) == ("failed", LOST)
        assert await recording.stop() == ended
        # The next part begins while the leg still moves.
        second = relay.record(Place(tmp_path / "two.clm", KEY, AAD, LANE), [call.leg])
        await call.moves()
        await phone.say(call.at, tone(440, seconds=0.2))
        await took(relay, call.leg, 10)
        assert (await second.stop()).state == "sealed"
        found = recover(path, KEY, AAD)
        assert found.kept is None
        with read(path, KEY, AAD) as reader:
            assert len(list(frames(reader))) >= 40
        with read(tmp_path / "two.clm", KEY, AAD) as reader:
            assert len(list(frames(reader))) >= 5


async def test_a_talk_goes_on_after_its_core_is_frozen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("media.core.process.LOOK_S", 0.2)
    async with cores(steady=True) as relay, far_end(ssrc=1) as caller, far_end(ssrc=2) as agent:
        a = await on_call(relay, caller)
        b = await on_call(relay, agent, a.leg)
        relay.bridge(a.leg, b.leg)
        recording = relay.record(Place(tmp_path / "one.clm", KEY, AAD, LANE), [a.leg, b.leg])
        await asyncio.gather(caller.say(a.at, tone(440, seconds=0.1)), agent.hear(3))
        pid = pid_of(a.leg)
        os.kill(pid, signal.SIGSTOP)
        await asyncio.gather(a.moves(), b.moves())
        assert pid_of(a.leg) == pid_of(b.leg) != pid
        assert not alive(pid)
        assert (await recording.stop()).reason == LOST
        agent.heard.clear()
        await asyncio.gather(caller.say(a.at, tone(440, seconds=0.3)), agent.hear(15))
        await hears(agent, 440)


async def test_a_leg_that_closes_while_it_moves_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pool, "_stand_by", lambda _: None)  # so that the move takes its time
    async with cores() as relay, far_end() as phone:
        monkeypatch.undo()
        call = await on_call(relay, phone)
        await phone.say(call.at, tone(440, seconds=0.1))
        before = await took(relay, call.leg, 5)
        playing = asyncio.create_task(call.leg.play(MUSIC))
        lost, displace = asyncio.Event(), relay._pool.on_lost

        def core_lost(slot: Slot) -> None:
            displace(slot)
            lost.set()

        relay._pool.on_lost = core_lost
        pid = kill(call.leg)
        async with asyncio.timeout(20):
            await lost.wait()
        assert call.leg.core is None
        call.leg.close()
        with pytest.raises(LegClosedError):
            await playing
        assert (await relay.last_stats(call.leg)).packets == before.packets == 5
        await relay.steady()
        other = await relay.allocate()
        assert pid_of(other) != pid
        assert len(relay) == 1


async def test_legs_of_two_cores_that_are_bridged_come_together() -> None:
    async with cores(2) as relay, far_end(ssrc=1) as caller, far_end(ssrc=2) as agent:
        a, b = await on_call(relay, caller), await on_call(relay, agent)
        assert pid_of(a.leg) != pid_of(b.leg)
        relay.bridge(a.leg, b.leg)
        await b.moves()
        assert pid_of(a.leg) == pid_of(b.leg)
        assert not a.said
        await asyncio.gather(caller.say(a.at, tone(440, seconds=0.4)), agent.say(b.at, tone(620, seconds=0.4)))
        await asyncio.gather(caller.hear(20), agent.hear(20))
        await asyncio.gather(hears(caller, 620), hears(agent, 440))


async def test_a_far_end_that_takes_no_new_offer_keeps_nobody_waiting() -> None:
    async with cores(steady=True) as relay, far_end() as phone:
        leg = await relay.allocate()
        await connected(leg, phone)

        async def refuse() -> None:
            raise UnacceptableError("no")

        relay.watch(leg, refuse)
        playing = asyncio.create_task(leg.play(Sound.of(tone(440, seconds=0.1))))
        kill(leg)
        async with within(WITHIN_S):
            assert await playing


async def test_fifty_talks_go_on_within_two_seconds() -> None:
    async with cores(steady=True) as relay, AsyncExitStack() as stack:
        phones = [await stack.enter_async_context(far_end(ssrc=number)) for number in range(100)]
        calls: list[Call] = []
        for caller, agent in zip(phones[::2], phones[1::2], strict=True):
            calls.append(await on_call(relay, caller))
            calls.append(await on_call(relay, agent, calls[-1].leg))
            relay.bridge(calls[-2].leg, calls[-1].leg)
        kill(calls[0].leg)
        async with within(WITHIN_S):
            await asyncio.gather(*(call.moved.wait() for call in calls))
            for call in calls:
                call.phone.heard.clear()
            for call in calls:
                call.phone.send(call.at, b"\x2a" * 160)
            await asyncio.gather(*(call.phone.hear(1) for call in calls))
        assert all(call.phone.heard[0].payload == b"\x2a" * 160 for call in calls)


SIGNALLING = """
import asyncio, sys
from media.core.relay import CoreRelay
from media.sound import Sound
async def main():
    relay = CoreRelay("127.0.0.1", 39000, 39099, Sound(b"\\xff" * 160), cores=2)
    await relay.start()
    await relay.steady()
    pids = [slot.process.pid for slot in relay._pool.slots] + [relay._pool._next.result().pid]
    print(*pids, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_a_signalling_process_that_is_killed_leaves_no_core_behind() -> None:
    signalling = await asyncio.create_subprocess_exec(sys.executable, "-c", SIGNALLING, stdout=subprocess.PIPE)
    assert signalling.stdout is not None
    pids = [int(word) for word in (await signalling.stdout.readline()).split()]
    assert len(pids) == 3
    # Whoever ends the whole group means the signalling process, which ends the cores in order.
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
    assert all(alive(pid) for pid in pids)
    signalling.kill()
    await signalling.wait()
    async with asyncio.timeout(20):
        await signalling.stdout.read()  # which the cores hold as well; open, it would outlive the test
    await until(lambda: not any(alive(pid) for pid in pids))


def test_an_offer_keeps_the_sections_that_the_far_end_has_seen() -> None:
    fresh = offer_audio(("127.0.0.1", 4000))
    video = Media("video", 0, "RTP/AVP", "127.0.0.1")
    before = offer_audio(("127.0.0.1", 3000))
    before = Session(before.origin, (video, *before.media))
    session, section = continued(fresh, before, offer=True)
    assert section == 1
    assert [(media.kind, media.port) for media in session.media] == [("video", 0), ("audio", 4000)]
    assert session.origin == before.origin.next()
    assert continued(fresh, None, offer=True) == (fresh, 0)
