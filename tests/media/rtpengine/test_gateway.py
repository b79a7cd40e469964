"""A whole call through the gateway with rtpengines named in practice.toml: signalled, heard, and outliving one."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.audio import tone
from hub.cli import setup
from hub.cli.instance import opened
from hub.demo.ports import free_port
from hub.settings import Paths
from media.offer import answer_audio
from media.sdp import Session
from media.sip.leg import Leg
from media.sip.status import Cause
from tests.media.core.cores import hears, offer_of, place_of
from tests.media.farend import FarEnd, far_end
from tests.media.office import opened_office, policy
from tests.media.rtpengine.daemon import ENGINE_PORTS, Daemon

pytestmark = [pytest.mark.peer("rtpengine"), pytest.mark.timeout(60), pytest.mark.xdist_group("gateway")]


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[list[Daemon]]:
    both = [Daemon(tmp_path, free_port()) for _ in range(2)]
    yield both
    for each in both:
        if each.process.poll() is None:
            each.kill()


class Ear:
    """A phone's sound, and where ours is; it follows a re-INVITE."""

    def __init__(self, sound: FarEnd) -> None:
        self.sound = sound
        self.at = ("", 0)
        self.told = asyncio.Event()

    async def follow(self, offer: Session) -> Session:
        self.at = place_of(offer)
        self.told.set()
        return answer_audio(offer, self.sound.address)[0]

    def on(self, leg: Leg) -> None:
        leg.on_offer = self.follow


async def hear_each_other(a: Ear, b: Ear) -> None:
    for each in (a, b):
        each.sound.heard.clear()
    await asyncio.gather(a.sound.say(a.at, tone(440, seconds=0.5)), b.sound.say(b.at, tone(620, seconds=0.5)))
    await asyncio.gather(a.sound.hear(20), b.sound.hear(20))
    await asyncio.gather(hears(a.sound, 620), hears(b.sound, 440))


async def test_a_colleague_is_called_and_the_talk_outlives_an_rtpengine(tmp_path: Path, daemons: list[Daemon]) -> None:
    named = ", ".join(f'"{each.address}"' for each in daemons)
    root = tmp_path / "i"
    setup.make(Paths(root), policy().replace("[sip]", f"[sip]\nrtpengine = [{named}]", 1))
    for each in daemons:
        await each.ready()
    with opened(root) as instance:
        async with (
            opened_office(instance) as office,
            far_end(ssrc=1) as first,
            far_end(ssrc=2) as second,
            office.phone("101") as ana,
            office.phone("102") as ben,
        ):
            caller, callee = Ear(first), Ear(second)
            await ben.register()
            ana.offer = lambda: offer_of(first)  # type: ignore[method-assign]
            dialled = ana.dial("102")
            async with asyncio.timeout(20):
                rung = await ben.rung.get()
            assert rung.offer is not None
            rung.answer(await callee.follow(rung.offer))
            session = await dialled.answered
            assert session is not None
            caller.at = place_of(session)
            assert caller.at[1] in ENGINE_PORTS, "not a port of the gateway's own"
            for ear, leg in ((caller, dialled), (callee, rung)):
                ear.on(leg)
                ear.told.clear()
            await hear_each_other(caller, callee)
            # Both legs are in one of the two; which, only the relay knows.
            legs = [leg for leg in office.gateway._relay._legs if leg.edge is not None]  # type: ignore[attr-defined]
            (port,) = {leg.edge.engine.place[1] for leg in legs}
            next(each for each in daemons if each.address.port == port).kill()
            async with asyncio.timeout(20):
                await asyncio.gather(caller.told.wait(), callee.told.wait())
            await hear_each_other(caller, callee)
            dialled.bye()
            assert await rung.ended is Cause.HANGUP
            await ben.register(0)
