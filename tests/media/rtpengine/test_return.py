"""The only rtpengine dies and comes back, under calls through the gateway: who goes on, and what the record says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hub.cli import setup
from hub.cli.instance import opened
from hub.demo.ports import free_port
from hub.settings import Paths
from media.sdp import Session
from media.sip.outgoing import Outgoing
from media.sip.status import Cause
from tests.media.core.cores import answer_of, offer_of, place_of
from tests.media.farend import FarEnd, far_end
from tests.media.office import Office, Phone, opened_office, policy
from tests.media.rtpengine.daemon import ENGINE_PORTS, Daemon
from tests.media.sip.peer import Peer, answering, peer

pytestmark = [pytest.mark.peer("rtpengine"), pytest.mark.timeout(60), pytest.mark.xdist_group("gateway")]

NUMBER = "+12125550123"


@dataclass
class Scene:
    """A gateway with one rtpengine, a phone, and a carrier."""

    work: Path
    office: Office
    phone: Phone
    sound: FarEnd
    carrier: Peer
    running: list[Daemon]
    told: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self) -> tuple[Outgoing, int]:
        """Call the number outside; return the call, and the port that our side told the phone."""
        made = self.phone.dial(NUMBER)
        session = await made.answered
        assert session is not None
        made.on_offer = self.follow
        return made, place_of(session)[1]

    async def follow(self, offer: Session) -> Session:
        self.told.set()
        return answer_of(self.sound, offer)

    def begin_anew(self) -> None:
        port = self.running[-1].address.port
        self.running.append(Daemon(self.work, port))


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    running = [Daemon(tmp_path, free_port())]
    try:
        await running[0].ready()
        root = tmp_path / "i"
        named = f'[sip]\nrtpengine = ["{running[0].address}"]'
        setup.make(
            Paths(root), policy().replace("[sip]", named, 1).replace("concurrent_each = 1", "concurrent_each = 9")
        )
        async with AsyncExitStack() as stack:
            instance = stack.enter_context(opened(root))
            office = await stack.enter_async_context(opened_office(instance))
            sound = await stack.enter_async_context(far_end())
            phone = await stack.enter_async_context(office.phone("101"))
            carrier = await stack.enter_async_context(peer(answering, office.carrier_port))
            phone.offer = lambda: offer_of(sound)  # type: ignore[method-assign]
            yield Scene(tmp_path, office, phone, sound, carrier, running)
    finally:
        for each in running:
            if each.process.poll() is None:
                each.kill()
    assert all(each.process.poll() is not None for each in running), "nothing is left behind"


async def test_a_call_comes_back_to_the_gateway_and_the_next_goes_through_the_rtpengine_that_came_back(
    scene: Scene,
) -> None:
    made, port = await scene.call()
    assert port in ENGINE_PORTS
    scene.running[0].kill()
    async with asyncio.timeout(20):
        await scene.told.wait()
        await scene.carrier.until(2, "INVITE")
    between, port = await scene.call()
    assert port not in ENGINE_PORTS, "while it is away the gateway carries the sound itself"
    scene.begin_anew()
    await scene.running[-1].ready()
    async with asyncio.timeout(20):
        while not any(engine.up for engine in scene.office.gateway._relay._engines):  # type: ignore[attr-defined]  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    after, port = await scene.call()
    assert port in ENGINE_PORTS
    for each in (made, between, after):
        assert not each.ended.done()
        each.bye()
    await scene.carrier.until(3, "BYE")
    rows = await scene.office.rows(lambda rows: bool(rows) and all(row.ended_at is not None for row in rows))
    assert [row.cause for row in rows] == ["agent"] * 3


async def test_a_phone_that_does_not_follow_is_hung_up_and_the_record_says_why(scene: Scene) -> None:
    made, _ = await scene.call()
    made.on_offer = None
    scene.running[0].kill()
    async with asyncio.timeout(20):
        assert await made.ended is Cause.HANGUP
    await scene.carrier.until(1, "BYE")
    (row,) = await scene.office.rows(lambda rows: bool(rows) and all(row.ended_at is not None for row in rows))
    assert row.cause == "media-lost"
