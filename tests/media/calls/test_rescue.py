"""A media core process is killed under calls through the whole gateway: they go on within two seconds."""

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from sqlmodel import Session, select

from hub.audio import tone, wav
from hub.cli import setup
from hub.cli.instance import opened
from hub.db import now
from hub.demo.ports import free_port
from hub.instance import Instance
from hub.record import agent, staff
from hub.record.agent import Presence
from hub.record.call import Call
from hub.record.recording import Recording
from hub.settings import Paths
from media.core.relay import CoreRelay
from media.gateway import REALM, Gateway
from media.latch import Address as Place
from media.offer import answer_audio, offer_audio
from media.sdp import PCMU
from media.sdp import Session as Description
from media.sip import Address, Endpoint, Hop, Incoming, Uri
from media.sip.leg import Leg as SipLeg
from media.sip.registrar import Binding
from tests.media import cove
from tests.media.core.cores import place_of, until
from tests.media.farend import FarEnd, far_end
from tests.media.kept import Kept
from tests.media.office import opened_gateway

HOST = "127.0.0.1"
MENU, DESK = "+12125550100", "+12125550101"
MENU_HZ, MUSIC_HZ, CALLER_HZ, AGENT_HZ = 500, 350, 440, 620
WITHIN_S = 2.0
AGENTS = {"101": "ana", "102": "ben"}
_NUMBERS = itertools.count(200)

pytestmark = pytest.mark.xdist_group("gateway")


class Phone:
    """A user agent of its own: signalling on one socket, sound on another."""

    def __init__(self, endpoint: Endpoint, rtp: FarEnd) -> None:
        self.endpoint = endpoint
        self.rtp = rtp
        self.at: Place = ("", 0)
        self.sip: SipLeg | None = None
        self.asked_again = asyncio.Event()
        endpoint.on_invite = self._pick_up

    async def call(self, gateway: Gateway, did: str) -> None:
        speaks = Address(Uri.parse(f"sip:+12125550{next(_NUMBERS)}@{HOST}"))
        there = gateway.endpoint.local
        offer = offer_audio(self.rtp.address, codecs=(PCMU,))
        made = self.endpoint.call(Uri.parse(f"sip:{did}@{there.host}:{there.port}"), offer, from_=speaks)
        self._follow(made)
        async with asyncio.timeout(20):
            answer = await made.answered
        assert answer is not None
        self.at = place_of(answer)

    async def hear_anew(self, packets: int) -> list[int]:
        """Forget what was heard, and return the tones of what comes then."""
        self.rtp.heard.clear()
        await self.rtp.hear(packets)
        return self.rtp.hz()

    def _follow(self, leg: SipLeg) -> None:
        self.sip = leg
        leg.on_offer = self._renegotiate

    async def _renegotiate(self, offer: Description) -> Description:
        self.at = place_of(offer)
        self.asked_again.set()
        return answer_audio(offer, self.rtp.address, codecs=(PCMU,))[0]

    async def _pick_up(self, incoming: Incoming) -> None:
        assert incoming.offer is not None
        self._follow(incoming)
        incoming.answer(await self._renegotiate(incoming.offer))
        self.asked_again.clear()


@asynccontextmanager
async def phone() -> AsyncIterator[Phone]:
    endpoint = Endpoint([Hop(HOST, free_port())], credentials=lambda _: None, trunks=lambda _: "line")
    async with far_end(ssrc=next(_NUMBERS)) as rtp:
        made = Phone(endpoint, rtp)
        await endpoint.start()
        try:
            yield made
        finally:
            await endpoint.close()


async def phones(stack: AsyncExitStack, count: int) -> list[Phone]:
    return [await stack.enter_async_context(phone()) for _ in range(count)]


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    root = tmp_path / "i"
    setup.make(Paths(root), cove.policy().split("[[webhook]]")[0].replace("[sip]\n", "[sip]\ncores = 1\n"))
    prompts = root / "prompts"
    prompts.mkdir()
    for name in ("please-hold", "this-call-may-be-recorded", "invalid-choice", "no-choice", "goodbye"):
        (prompts / f"{name}.en.wav").write_bytes(wav(tone(300.0, seconds=0.1)))
    (prompts / "menu-main.en.wav").write_bytes(wav(tone(float(MENU_HZ), seconds=30)))
    (prompts / "hold-music.wav").write_bytes(wav(tone(float(MUSIC_HZ), seconds=1)))
    with opened(root) as instance:
        async with opened_gateway(instance, "media-rescue") as made:
            await relay_of(made).steady()
            yield made


def relay_of(gateway: Gateway) -> CoreRelay:
    assert isinstance(gateway._relay, CoreRelay)
    return gateway._relay


async def signed_in(gateway: Gateway, extension: str, desk: Phone) -> None:
    """Let an agent be there, as after a REGISTER of their phone."""
    instance = gateway.line.instance

    def change(db: Session) -> None:
        person = staff.find(db, f"{AGENTS[extension]}@cove.example")
        assert person is not None
        staff.add_device(db, person.id, extension, REALM, now())
        agent.presence(db, person.id, Presence.AVAILABLE, now())

    await instance.db.run(change, write=True)
    await gateway.line.load()
    hop = desk.endpoint.local
    contact = Uri.parse(f"sip:{extension}@{hop.host}:{hop.port}")
    binding = Binding(contact, Hop(hop.host, hop.port), False, 1.0, 0.0, f"reg-{extension}", 1)
    gateway.endpoint.registrar.restore(extension, f"{extension}-key", 3600, binding)
    gateway._floor.registered(extension, 3600)


def strike(gateway: Gateway) -> None:
    """Kill the media core process that its pid file names."""
    path = gateway.line.instance.paths.run / "media-core-1.pid"
    os.kill(int(path.read_text()), signal.SIGKILL)


async def test_fifty_calls_in_menu_queue_and_talk_go_on_after_the_core_is_killed(gateway: Gateway) -> None:
    async with AsyncExitStack() as stack:
        desks, talking = await phones(stack, len(AGENTS)), await phones(stack, 2)
        waiting, choosing = await phones(stack, 8), await phones(stack, 40)
        for extension, desk in zip(AGENTS, desks, strict=True):
            await signed_in(gateway, extension, desk)
        await asyncio.gather(*(caller.call(gateway, DESK) for caller in talking))
        await until(lambda: all(desk.sip is not None for desk in desks), 20)
        await asyncio.gather(*(caller.call(gateway, DESK) for caller in waiting))
        await asyncio.gather(*(caller.call(gateway, MENU) for caller in choosing))
        await asyncio.gather(*(_hears(caller, MUSIC_HZ) for caller in waiting))
        await asyncio.gather(*(_hears(caller, MENU_HZ) for caller in choosing))
        await _talk(talking, desks)

        everybody, late, began = [*talking, *desks, *waiting, *choosing], Kept(), asyncio.get_running_loop().time()
        strike(gateway)
        async with asyncio.timeout(20):
            await asyncio.gather(*(each.asked_again.wait() for each in everybody))
            for each in everybody:
                each.rtp.heard.clear()
            await asyncio.gather(*(caller.rtp.hear(1) for caller in [*waiting, *choosing]))
        assert asyncio.get_running_loop().time() - began - 2 * late.seconds < WITHIN_S  # the core waits as long
        await asyncio.gather(*(_hears(caller, MUSIC_HZ) for caller in waiting))
        await asyncio.gather(*(_hears(caller, MENU_HZ) for caller in choosing))
        await _talk(talking, desks)

        # What callers press is heard: nine leads out of the menu, to the voicemail.
        await asyncio.gather(*(caller.rtp.press(caller.at, "9") for caller in choosing[:5]))
        await asyncio.gather(*(_hears_no_more(caller, MENU_HZ) for caller in choosing[:5]))
        assert len(gateway.calls) == 50
        assert all(each.sip is not None and not each.sip.ended.done() for each in everybody)
        for each in [*talking, *waiting, *choosing]:
            assert each.sip is not None
            each.sip.bye()
        await until(lambda: not gateway.calls, 20)
    await _books_agree(gateway.line.instance)


async def _hears(caller: Phone, hz: int) -> None:
    async with asyncio.timeout(30):
        while await caller.hear_anew(15) != [hz]:
            pass


async def _hears_no_more(caller: Phone, hz: int) -> None:
    async with asyncio.timeout(30):
        while hz in await caller.hear_anew(10):
            pass


async def _talk(callers: list[Phone], desks: list[Phone]) -> None:
    """Let all talk until each caller hears a desk and each desk a caller."""
    async with asyncio.timeout(20):
        while not await _understood(callers, desks):
            pass


async def _understood(callers: list[Phone], desks: list[Phone]) -> bool:
    for each in [*callers, *desks]:
        each.rtp.heard.clear()
    said = [caller.rtp.say(caller.at, tone(float(CALLER_HZ), seconds=0.6)) for caller in callers]
    said += [desk.rtp.say(desk.at, tone(float(AGENT_HZ), seconds=0.6)) for desk in desks]
    await asyncio.gather(*said)
    heard = [caller.rtp.hz() == [AGENT_HZ] for caller in callers] + [desk.rtp.hz() == [CALLER_HZ] for desk in desks]
    return all(heard)


async def _books_agree(instance: Instance) -> None:
    """The talks have two parts each: what the dead process wrote, and what came after."""

    def settled() -> bool:
        with instance.db.read() as db:
            return sorted(row.state.value for row in db.exec(select(Recording))) == ["filed"] * 2 + ["partial"] * 2

    await until(settled, 20)
    with instance.db.read() as db:
        calls = list(db.exec(select(Call)))
        assert len(calls) == 50
        assert {row.cause for row in calls} == {"caller"}
