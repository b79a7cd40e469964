"""An agent's phone holds a caller, and passes them on: to an extension, and to a colleague it asked first."""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from sqlmodel import Session as Db
from sqlmodel import select

from hub import audio
from hub.cli import setup
from hub.cli.instance import opened
from hub.db import now
from hub.instance import Instance
from hub.record import agent, contact, queue, staff
from hub.record.agent import Presence
from hub.record.call import Call
from hub.record.event import Event
from hub.settings import Paths
from media import line
from media.calls import floor
from media.calls.inbound import InboundCall
from media.errors import CallOverError
from media.gateway import REALM, Gateway
from media.offer import answer_audio, offer_audio
from media.sdp import Direction, Session
from media.sip import Address, Cause, Endpoint, Hop, Incoming, Login, Outgoing, TrunkTable, Uri
from media.sip.leg import Leg
from media.sip.referral import Replaces
from media.sip.registrar import Binding
from tests.media import cove
from tests.media.farend import FarEnd, far_end
from tests.media.office import opened_gateway

pytestmark = [pytest.mark.xdist_group("gateway"), pytest.mark.timeout(90)]

HOST = "127.0.0.1"
DESK = "+12125550101"
PEOPLE = {"101": "ana", "102": "ben", "103": "nora"}
STOCK = "please-hold this-call-may-be-recorded goodbye callback-offered"
CALLER_HZ, AGENT_HZ, COLLEAGUE_HZ = 500, 700, 900
TRIES = 40
"So often, for half a second each, somebody says something until it is heard."

HELD_TRIES = 4
"So often who is not to be heard."


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    root = tmp_path_factory.mktemp("passing") / "i"
    patient = (
        cove.policy()
        .replace("ring_seconds = 5", "ring_seconds = 60")
        .replace("after_seconds = 1", "after_seconds = 60")
    )
    setup.make(Paths(root), patient)
    (root / "keys" / "pop.secret").write_text("whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())
    (root / "prompts").mkdir()
    for name in STOCK.split():
        (root / "prompts" / f"{name}.en.wav").write_bytes(audio.wav(audio.tone(300.0, seconds=0.1)))
    with opened(root) as instance:
        yield instance


@dataclass
class Phone:
    """A phone of another make than sipp: our own endpoint, on a port of its own."""

    extension: str
    endpoint: Endpoint
    sound: FarEnd
    gateway: Hop
    secret: str = ""
    calls: asyncio.Queue[Incoming] = field(default_factory=asyncio.Queue)
    answers: bool = True
    rings: asyncio.Event = field(default_factory=asyncio.Event)
    lifted: asyncio.Event = field(default_factory=asyncio.Event)
    "Set unless the test decides when it is picked up."

    async def take(self, call: Incoming) -> None:
        call.ring()
        self.rings.set()
        await self.lifted.wait()
        if not self.answers:
            call.reject(486)
            return
        assert call.offer is not None
        call.answer(answer_audio(call.offer, self.sound.address)[0])
        self.calls.put_nowait(call)

    async def rings_no_more(self) -> None:
        """Wait until nobody calls this phone any more."""
        async with asyncio.timeout(20):
            while self.endpoint.calls:  # noqa: ASYNC110 - the CANCEL is on its way
                await asyncio.sleep(0.01)

    async def dial(self, number: str, replaces: Replaces | None = None) -> tuple[Outgoing, Session]:
        """Call a number, and return the call once it is answered."""
        target = Uri("sip", number, self.gateway.host, self.gateway.port)
        own = Address(Uri("sip", self.extension, HOST))
        login = Login(self.extension, self.secret) if self.secret else None
        leg = self.endpoint.call(target, offer_audio(self.sound.address), from_=own, login=login, replaces=replaces)
        session = await leg.answered
        assert session is not None
        return leg, session

    async def change(self, leg: Leg, direction: Direction) -> None:
        """Hold, or take back."""
        assert leg.local is not None
        origin = leg.local.origin.next()
        await leg.reinvite(offer_audio(self.sound.address, origin=origin, direction=direction))

    async def hears(self, hz: int, speaker: "Phone", leg: Leg, tries: int = TRIES) -> bool:
        """Tell whether this phone hears what `speaker` says on its `leg`, who says it a few times if need be."""
        audio_of = leg.remote.audio if leg.remote is not None else None
        assert audio_of is not None
        for _ in range(tries):
            self.sound.heard.clear()
            await speaker.sound.say((audio_of.address, audio_of.port), audio.tone(float(hz), seconds=0.5))
            if self.sound.heard and any(abs(found - hz) <= 20 for found in self.sound.hz()):
                return True
        return False


@asynccontextmanager
async def phone(extension: str, gateway: Hop) -> AsyncIterator[Phone]:
    async with far_end(ssrc=secrets.randbits(32)) as sound:
        endpoint = Endpoint([Hop(HOST, 0)], credentials=lambda _: None, trunks=TrunkTable({"gateway": [HOST]}))
        made = Phone(extension, endpoint, sound, gateway)
        made.lifted.set()
        endpoint.on_invite = made.take
        await endpoint.start()
        try:
            yield made
        finally:
            await endpoint.close(1.0)


@dataclass
class Office:
    """The gateway, a caller, and two people with phones."""

    instance: Instance
    gateway: Gateway
    caller: Phone
    ana: Phone
    ben: Phone

    async def sign_in(self, who: Phone) -> None:
        def secret(db: Db) -> str:
            person = staff.find(db, f"{PEOPLE[who.extension]}@cove.example")
            assert person is not None
            return staff.add_device(db, person.id, who.extension, REALM, now())

        who.secret = await self.instance.db.run(secret, write=True)
        await self.gateway.line.load()
        contact = Uri("sip", who.extension, HOST, who.endpoint.local.port)
        source = Hop(HOST, who.endpoint.local.port)
        binding = Binding(contact, source, False, 1.0, 0.0, "restored", 1)
        self.gateway.endpoint.registrar.restore(who.extension, "one", 600, binding)
        self.gateway._registered(who.extension, 600)

    async def connected(self) -> tuple[Outgoing, Incoming]:
        """Return the caller's call and Ana's side of it, once they talk."""
        await self.sign_in(self.ana)
        made, _ = await self.caller.dial(DESK)
        taken = await self.ana.calls.get()
        while not any(one.sip.trunk and _talks(one) for one in self.gateway.calls.values()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return made, taken

    async def transferring(self, taken: Incoming) -> asyncio.Task[int]:
        """Let a phone transfer its caller to Ben, whose own rings; return what the transfer comes to."""
        await self.sign_in(self.ben)
        self.ben.lifted.clear()
        passing = asyncio.create_task(taken.refer(Uri("sip", "102", HOST)))
        await self.ben.rings.wait()
        return passing

    async def waits(self) -> None:
        """Return once somebody is in the queue, and nobody is rung for them."""
        async with asyncio.timeout(20):
            while not await self.instance.db.run(lambda db: queue.waiting(db)):  # noqa: ASYNC110 - a thread writes it
                await asyncio.sleep(0.01)

    async def row(self) -> Call:
        (current,) = [one for one in self.gateway.calls if self.gateway.calls[one].sip.trunk]
        return await self.instance.db.run(lambda db: db.get_one(Call, current))

    async def told(self, kind: str) -> int:
        def count(db: Db) -> int:
            return len(db.exec(select(Event).where(Event.type == kind)).all())

        return await self.instance.db.run(count)

    async def staff_id(self, extension: str) -> UUID:
        return self.gateway.line.directory.owners[extension]

    async def presence(self, extension: str) -> Presence:
        owner = self.gateway.line.directory.owners[extension]
        return await self.instance.db.run(lambda db: agent.get(db, owner, now()).presence, write=True)


def _talks(one: object) -> bool:
    return isinstance(one, InboundCall) and one.agent is not None and one.agent.sip.on_refer is not None


@pytest.fixture
async def office(instance: Instance) -> AsyncIterator[Office]:
    async with AsyncExitStack() as phones, opened_gateway(instance, "media-passing") as gateway:
        at = gateway.endpoint.local
        made = [await phones.enter_async_context(phone(one, at)) for one in ("+12125550123", "101", "102")]
        yield Office(instance, gateway, *made)
    await instance.db.run(_all_go_home, write=True)


def _all_go_home(db: Db) -> None:
    for row in db.exec(select(agent.Agent)).all():
        agent.presence(db, row.staff_id, Presence.OFFLINE, now())
        agent.registered(db, row.staff_id, None, now())
    for phone in db.exec(select(contact.Contact)).all():
        db.delete(phone)  # its port may be somebody else's by the next test


async def test_who_signs_in_while_somebody_waits_is_rung_at_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (floor, line):
        monkeypatch.setattr(module, "LOOK_S", 60.0)
    made, _ = await office.caller.dial(DESK)
    await office.waits()
    await office.sign_in(office.ana)
    async with asyncio.timeout(20):
        taken = await office.ana.calls.get()
    made.bye()
    await taken.ended


async def test_a_caller_who_is_held_hears_music_and_comes_back(office: Office) -> None:
    made, taken = await office.connected()
    assert await office.ana.hears(CALLER_HZ, office.caller, made)
    before = await office.told("call.held")
    office.caller.sound.heard.clear()
    await office.ana.change(taken, Direction.SENDONLY)
    assert not await office.ana.hears(CALLER_HZ, office.caller, made, HELD_TRIES)
    assert len(office.caller.sound.heard) > 10, "nothing is played to who waits"
    await office.ana.change(taken, Direction.SENDRECV)
    assert await office.ana.hears(CALLER_HZ, office.caller, made)
    assert await office.caller.hears(AGENT_HZ, office.ana, taken)
    assert await office.told("call.held") == before + 1
    made.bye()
    assert await taken.ended is Cause.HANGUP


async def test_a_call_is_passed_on_to_an_extension(office: Office) -> None:
    made, taken = await office.connected()
    await office.sign_in(office.ben)
    await office.ana.change(taken, Direction.SENDONLY)
    status = await taken.refer(Uri("sip", "102", HOST), referred_by=Address(Uri("sip", "101", HOST)))
    assert status == 200
    assert await taken.ended is Cause.HANGUP
    with_ben = await office.ben.calls.get()
    assert with_ben.request.get("Referred-By") == f"<sip:101@{HOST}>"
    assert await office.ben.hears(CALLER_HZ, office.caller, made)
    assert await office.caller.hears(COLLEAGUE_HZ, office.ben, with_ben)
    row = await office.row()
    assert row.agent_id == await office.staff_id("102")
    assert (await office.presence("101"), await office.presence("102")) == (Presence.AVAILABLE, Presence.BUSY)
    with_ben.bye()
    assert await made.ended is Cause.HANGUP
    assert await office.told("call.transferred") >= 1


async def test_a_phone_that_hangs_up_on_its_transfer_leaves_the_caller_to_the_colleague(office: Office) -> None:
    made, taken = await office.connected()
    passing = await office.transferring(taken)
    taken.bye()
    with pytest.raises(CallOverError):
        await passing
    office.ben.lifted.set()
    with_ben = await office.ben.calls.get()
    assert await office.ben.hears(CALLER_HZ, office.caller, made)
    made.bye()
    assert await with_ben.ended is Cause.HANGUP


@pytest.mark.parametrize(("number", "status"), [("102", 486), ("999", 403), ("+12125550177", 403)])
async def test_a_call_that_cannot_be_passed_on_stays_where_it_is(office: Office, number: str, status: int) -> None:
    made, taken = await office.connected()
    await office.sign_in(office.ben)
    office.ben.answers = False
    assert await taken.refer(Uri("sip", number, HOST)) == status
    assert await office.ana.hears(CALLER_HZ, office.caller, made)
    assert not taken.ended.done()
    made.bye()
    await taken.ended


@pytest.mark.parametrize("on", ["the caller's call", "the colleague's call"])
async def test_a_call_is_passed_on_to_a_colleague_who_was_asked_first(office: Office, on: str) -> None:
    made, taken = await office.connected()
    await office.sign_in(office.ben)
    await office.ana.change(taken, Direction.SENDONLY)
    asked, _ = await office.ana.dial("102")
    with_ben = await office.ben.calls.get()
    assert await office.ben.hears(AGENT_HZ, office.ana, asked)
    first, second = (taken, asked) if on == "the caller's call" else (asked, taken)
    assert second.replacement is not None
    assert await first.refer(Uri("sip", "102", HOST), replaces=second.replacement) == 200
    assert await taken.ended is Cause.HANGUP
    assert await asked.ended is Cause.HANGUP
    assert not with_ben.ended.done()
    assert await office.ben.hears(CALLER_HZ, office.caller, made)
    assert await office.caller.hears(COLLEAGUE_HZ, office.ben, with_ben)
    assert (await office.row()).agent_id == await office.staff_id("102")
    made.bye()
    assert await with_ben.ended is Cause.HANGUP


async def test_a_caller_who_hangs_up_while_a_colleague_rings_leaves_nobody_ringing(office: Office) -> None:
    made, taken = await office.connected()
    passing = await office.transferring(taken)
    made.bye()
    await asyncio.gather(passing, return_exceptions=True)
    assert await taken.ended is Cause.HANGUP
    await office.ben.rings_no_more()
    office.ben.lifted.set()


async def test_a_colleague_s_phone_takes_the_call_over(office: Office) -> None:
    made, taken = await office.connected()
    await office.sign_in(office.ben)
    assert taken.replacement is not None
    with_ben, _ = await office.ben.dial("101", taken.replacement)
    assert await taken.ended is Cause.HANGUP
    assert await office.ben.hears(CALLER_HZ, office.caller, made)
    assert await office.caller.hears(COLLEAGUE_HZ, office.ben, with_ben)
    assert (await office.row()).agent_id == await office.staff_id("102")
    made.bye()
    assert await with_ben.ended is Cause.HANGUP


async def test_nobody_rings_for_a_call_any_more_that_another_phone_took_over(office: Office) -> None:
    made, taken = await office.connected()
    passing = await office.transferring(taken)
    assert taken.replacement is not None
    async with phone("103", office.gateway.endpoint.local) as nora:
        await office.sign_in(nora)
        with_nora, _ = await nora.dial("101", taken.replacement)
        await asyncio.gather(passing, return_exceptions=True)
        await office.ben.rings_no_more()
        assert await office.caller.hears(COLLEAGUE_HZ, nora, with_nora)
        made.bye()
        assert await with_nora.ended is Cause.HANGUP
    office.ben.lifted.set()


async def test_who_proves_nothing_takes_no_call_over(office: Office) -> None:
    made, taken = await office.connected()
    assert taken.replacement is not None
    stranger = office.caller.endpoint.call(
        Uri("sip", "101", HOST, office.gateway.endpoint.local.port),
        offer_audio(office.caller.sound.address),
        from_=Address(Uri("sip", "101", HOST)),
        replaces=taken.replacement,
    )
    assert await stranger.answered is None
    assert stranger.status == 403
    assert await office.ana.hears(CALLER_HZ, office.caller, made)
    made.bye()
    await taken.ended


async def test_a_call_that_nobody_has_cannot_be_taken_over(office: Office) -> None:
    made, taken = await office.connected()
    assert taken.replacement is not None
    assert await taken.refer(Uri("sip", "102", HOST), replaces=taken.replacement) == 481
    assert await office.ana.hears(CALLER_HZ, office.caller, made)
    made.bye()
    await taken.ended
