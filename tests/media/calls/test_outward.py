"""A call that staff made to a number outside is handed on, held and waited for like one that came in."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import pytest
from sqlmodel import Session

from hub.cli import setup
from hub.cli.instance import opened
from hub.instance import Instance
from hub.record import agent, staff
from hub.record.agent import Presence
from hub.record.call import Call
from hub.settings import Paths
from media.calls import switchboard, talk
from media.calls.switchboard import RESUME
from media.offer import answer_audio, offer_audio
from media.rtp import FRAME
from media.sdp import Direction
from media.sdp import Session as Sdp
from media.sip import Cause, Incoming, Outgoing, Uri
from tests.media.calls.test_returning import Page, page
from tests.media.office import Office, Phone, opened_office, policy, port_of, rtp
from tests.media.sip.peer import Peer, answering, peer

pytestmark = [pytest.mark.xdist_group("gateway"), pytest.mark.timeout(90)]

HOST = "127.0.0.1"
NUMBER = "+12125550123"


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    root = tmp_path_factory.mktemp("outward") / "i"
    more = '\n[[queue]]\nname = "desk"\n'
    setup.make(Paths(root), policy(more).replace('extension = "101"', 'extension = "101"\nqueues = ["desk"]'))
    with opened(root) as instance:
        yield instance


@dataclass
class Scene:
    """Ana, Ben, and somebody outside whom Ana has called."""

    office: Office
    ana: Phone
    ben: Phone
    carrier: Peer
    far: socket.socket
    made: Outgoing
    call_id: UUID

    async def over(self) -> Call:
        """Return the call's row once it is over."""
        rows = await self.office.rows(lambda rows: any(row.id == self.call_id and row.ended_at for row in rows))
        return next(row for row in rows if row.id == self.call_id)

    async def hears(self, phone: Phone, said: int) -> bool:
        """Tell whether a phone hears who was called."""
        theirs = port_of(Sdp.parse(self.carrier.of("INVITE")[0].body))
        task = asyncio.create_task(phone.hears(bytes([said]) * FRAME))
        while not task.done():
            self.far.sendto(rtp(bytes([said]) * FRAME), (HOST, theirs))
            await asyncio.wait([task], timeout=0.02)
        return task.result()

    async def picked_up(self, phone: Phone) -> Incoming:
        """Let a phone that rings be picked up."""
        async with asyncio.timeout(20):
            rung = await phone.rung.get()
        assert rung.offer is not None
        rung.answer(answer_audio(rung.offer, phone.sound.getsockname())[0])
        return rung

    async def presence(self, email: str) -> Presence:
        def look(db: Session) -> Presence:
            person = staff.find(db, email)
            assert person is not None
            return agent.get(db, person.id, self.office.gateway.line.now()).presence

        return await self.office.gateway._ledger.do(look)  # behind all that was noted before


@asynccontextmanager
async def outside(office: Office) -> AsyncIterator[tuple[Peer, socket.socket]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        far.bind((HOST, 0))
        far.setblocking(False)
        async with peer(answering, office.carrier_port) as carrier:
            carrier.rtp = far.getsockname()[1]
            yield carrier, far


@pytest.fixture
async def scene(instance: Instance) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        office = await stack.enter_async_context(opened_office(instance))
        carrier, far = await stack.enter_async_context(outside(office))
        ana, ben = [await stack.enter_async_context(office.phone(one)) for one in ("101", "102")]
        await ben.register()
        made = ana.dial(NUMBER)
        assert await made.answered is not None
        (call_id,) = office.gateway.calls
        yield Scene(office, ana, ben, carrier, far, made, call_id)


async def test_a_call_that_was_made_is_passed_on_to_an_extension(scene: Scene) -> None:
    passing = asyncio.create_task(scene.made.refer(Uri("sip", "102", HOST)))
    with_ben = await scene.picked_up(scene.ben)
    assert with_ben.from_number == NUMBER
    assert await passing == 200
    assert await scene.made.ended is Cause.HANGUP
    assert await scene.hears(scene.ben, 0x31)
    assert await scene.presence("ana@cove.example") is not Presence.BUSY
    assert await scene.presence("ben@cove.example") is Presence.BUSY
    assert not scene.carrier.of("BYE"), "who was called stays"
    with_ben.bye()
    await scene.carrier.until(1, "BYE")
    row = await scene.over()
    assert (row.cause, row.agent_id) == ("agent", scene.office.gateway.line.directory.owners["102"])
    assert await scene.presence("ben@cove.example") is not Presence.BUSY


async def test_a_phone_that_hangs_up_on_its_transfer_leaves_who_was_called_to_the_colleague(scene: Scene) -> None:
    passing = asyncio.create_task(scene.made.refer(Uri("sip", "102", HOST)))
    rung = await scene.ben.rung.get()
    scene.made.bye()
    await asyncio.gather(passing, return_exceptions=True)
    assert rung.offer is not None
    rung.answer(answer_audio(rung.offer, scene.ben.sound.getsockname())[0])
    assert await scene.hears(scene.ben, 0x32)
    rung.bye()
    await scene.carrier.until(1, "BYE")


@pytest.mark.parametrize("on", ["the call outside", "the colleague's call"])
async def test_a_call_that_was_made_is_passed_on_to_a_colleague_who_was_asked_first(scene: Scene, on: str) -> None:
    asked = scene.ana.dial("102")
    with_ben = await scene.picked_up(scene.ben)
    assert await asked.answered is not None
    first, second = (scene.made, asked) if on == "the call outside" else (asked, scene.made)
    assert second.replacement is not None
    assert await first.refer(Uri("sip", "102", HOST), replaces=second.replacement) == 200
    assert await scene.made.ended is Cause.HANGUP
    assert await asked.ended is Cause.HANGUP
    assert await scene.hears(scene.ben, 0x33)
    with_ben.bye()
    await scene.carrier.until(1, "BYE")


@pytest.mark.parametrize("target", ["999", "desk", "+12125550100", "+12125550177"])
async def test_who_was_called_is_sent_to_no_queue_and_to_no_number(scene: Scene, target: str) -> None:
    assert await scene.made.refer(Uri("sip", target, HOST)) == 403
    assert not scene.made.ended.done()
    assert await scene.hears(scene.ana, 0x34)
    scene.made.bye()
    await scene.carrier.until(1, "BYE")


async def test_who_was_called_hangs_up_on_whoever_has_the_call(scene: Scene) -> None:
    passing = asyncio.create_task(scene.made.refer(Uri("sip", "102", HOST)))
    with_ben = await scene.picked_up(scene.ben)
    assert await passing == 200
    scene.carrier.hang_up()
    assert await with_ben.ended is Cause.HANGUP
    assert (await scene.over()).cause == "far-end"


async def test_who_is_held_hears_music(scene: Scene) -> None:
    assert scene.made.local is not None
    place = scene.ana.sound.getsockname()
    origin = scene.made.local.origin.next()
    await scene.made.reinvite(offer_audio(place, origin=origin, direction=Direction.SENDONLY))
    async with asyncio.timeout(20):
        while len(await asyncio.get_running_loop().sock_recv(scene.far, 2048)) != FRAME + 12:
            pass
    await scene.made.reinvite(offer_audio(place, origin=origin.next()))
    assert await scene.hears(scene.ana, 0x35)
    scene.made.bye()
    await scene.carrier.until(1, "BYE")


async def called_outside(made: Page) -> Outgoing:
    """Let a page call the number outside."""
    call = await made.dial(NUMBER)
    answered = await call.answered
    assert answered is not None
    await made.sound.take(answered)
    async with asyncio.timeout(20):
        await made.sound.keyed.wait()
    return call


@pytest.mark.parametrize("returns", [True, False])
async def test_who_was_called_waits_for_a_page_that_is_loaded_anew(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, returns: bool
) -> None:
    monkeypatch.setattr(talk, "PARKED_S", 60.0 if returns else 0.3)
    monkeypatch.setattr(switchboard, "RESUME_SECONDS", 60.0)
    async with opened_office(instance) as office, outside(office) as (carrier, far), office.phone("101"):
        path = instance.paths.phone_socket
        async with page("first", path) as first:
            await called_outside(first)
        if returns:
            async with page("second", path) as second:
                again = await second.called()
                assert again.request.get(RESUME)
                theirs = port_of(Sdp.parse(carrier.of("INVITE")[0].body))
                said = b"still there".ljust(FRAME)
                while not any(packet.payload == said for packet in second.sound.heard):
                    far.sendto(rtp(said), (HOST, theirs))
                    await asyncio.sleep(0.02)
                assert not carrier.of("BYE")
                again.bye()
        await carrier.until(1, "BYE")
