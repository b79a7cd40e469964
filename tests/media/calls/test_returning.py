"""A page that is loaded anew gets its caller back; one that does not come back has hung up."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from media.calls import switchboard, talk
from media.calls.switchboard import RESUME, Side
from media.rtp import FRAME
from media.sip import Address, Endpoint, Hop, Incoming, Outgoing, Uri
from media.sip.referral import Replaces
from media.sip.transport.websocket import EXTENSION
from tests.media.browser.farpage import FarPage
from tests.media.calls import test_passing_on as house
from tests.media.calls.test_passing_on import CALLER_HZ, COLLEAGUE_HZ, DESK, HOST, Office
from tests.media.calls.test_sending_on import current, until
from tests.media.farend import until as moment

instance, office = house.instance, house.office


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pages take their time to come back."""
    monkeypatch.setattr(talk, "PARKED_S", 60.0)
    monkeypatch.setattr(switchboard, "RESUME_SECONDS", 60.0)


pytestmark = [pytest.mark.xdist_group("gateway"), pytest.mark.timeout(90)]

REGISTER = """REGISTER sip:127.0.0.1 SIP/2.0\r
Via: SIP/2.0/WS {name}.invalid;branch=z9hG4bK{once}\r
Max-Forwards: 70\r
From: <sip:101@127.0.0.1>;tag={name}\r
To: <sip:101@127.0.0.1>\r
Call-ID: {once}\r
CSeq: 1 REGISTER\r
Contact: <sip:{name}.invalid:80;transport=ws>;+sip.instance="<urn:uuid:1>";reg-id=1;expires=120\r
Content-Length: 0\r
\r
"""


class Page:
    """A page without a browser: SIP over the gateway's WebSocket, and sound as browsers have it."""

    def __init__(self, name: str, socket: ClientConnection) -> None:
        self.name = name
        self.sound = FarPage()
        self.calls: asyncio.Queue[Incoming] = asyncio.Queue()
        self.acknowledges = asyncio.Event()
        "Set unless the test decides when its ACKs go out."

        self.acknowledges.set()
        self.registered = asyncio.Event()
        self._socket = socket
        self._sent: set[asyncio.Task[None]] = set()
        self.endpoint = Endpoint([], credentials=lambda _: None, trunks=lambda _: "gateway", transports=[self])
        self.endpoint.on_invite = self._take

    @property
    def local(self) -> Hop:
        return Hop(f"{self.name}.invalid", 80, "ws")

    def send(self, data: bytes, hop: Hop) -> None:  # noqa: ARG002 - there is one way only
        task = asyncio.create_task(self._send(data))
        self._sent.add(task)
        task.add_done_callback(self._sent.discard)

    async def _send(self, data: bytes) -> None:
        if data.startswith(b"ACK "):
            await self.acknowledges.wait()
        with contextlib.suppress(ConnectionClosed):
            await self._socket.send(data.decode())

    def owner(self, flow: int) -> str:  # noqa: ARG002 - the contract's signature
        return ""

    def close(self) -> None:
        """Do nothing: the socket is closed by who opened it."""

    async def wait_closed(self) -> None:
        """Wait for nothing."""

    async def read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in self._socket:
                data = message.encode() if isinstance(message, str) else message
                if data.startswith(b"SIP/2.0 200 ") and b" REGISTER\r\n" in data:
                    self.registered.set()
                self.endpoint.receive(data, Hop("127.0.0.1", 1, "ws", 1))

    async def _take(self, call: Incoming) -> None:
        assert call.offer is not None
        call.answer(await self.sound.describe("active", types="0 126"))
        await self.sound.take(call.offer)
        await self.sound.keyed.wait()
        self.calls.put_nowait(call)

    async def dial(self, number: str, replaces: Replaces | None = None) -> Outgoing:
        """Call a number, and return the call at once."""
        uri = Uri.parse(f"sip:{number}@{HOST};transport=ws")
        own = Address(Uri("sip", "101", HOST))
        offer = await self.sound.describe("actpass", types="0 126")
        return self.endpoint.call(uri, offer, from_=own, hop=Hop(HOST, 1, "ws", 1), replaces=replaces)

    async def called(self) -> Incoming:
        async with asyncio.timeout(20):
            return await self.calls.get()


@asynccontextmanager
async def page(name: str, path: Path) -> AsyncIterator[Page]:
    sip = [Subprotocol("sip")]
    async with unix_connect(
        str(path), uri="ws://m/", subprotocols=sip, additional_headers={EXTENSION: "101"}
    ) as socket:
        made = Page(name, socket)
        await made.endpoint.start()
        reading = asyncio.create_task(made.read())
        await socket.send(REGISTER.format(name=name, once=secrets.token_hex(8)))
        try:
            async with asyncio.timeout(20):
                await made.registered.wait()
            yield made
        finally:
            # As a page that goes: its DTLS says so, its SIP nothing.
            await made.sound.close()
            await socket.close()
            await reading


async def heard(office: Office, payload: bytes) -> None:
    """Wait until the caller has heard a packet with that payload."""
    sound, seen = office.caller.sound, 0
    async with asyncio.timeout(20):
        while all(packet.payload != payload for packet in sound.heard[seen:]):
            seen = len(sound.heard)
            await sound.hear(seen + 1)


async def says(office: Office, at: Page) -> None:
    """Prove that the caller hears the page, as soon as the two are bridged."""
    payload = at.name.encode().ljust(FRAME)
    hearing = asyncio.create_task(heard(office, payload))
    while not hearing.done():
        await at.sound.say(payload)
        await asyncio.wait({hearing}, timeout=0.02)
    await hearing


async def talking(office: Office, at: Page) -> tuple[Outgoing, Incoming]:
    """Let the caller call, and hear the page; return the call of each."""
    made, _ = await office.caller.dial(DESK)
    taken = await at.called()
    await says(office, at)
    return made, taken


async def lost_while_transferring(office: Office, name: str) -> Outgoing:
    """Let a page transfer its caller to Ben, whose phone rings, and be lost; return the caller's call."""
    async with page(name, office.instance.paths.phone_socket) as lost:
        made, _ = await office.caller.dial(DESK)
        passing = await office.transferring(await lost.called())
    passing.cancel()
    return made


async def test_a_page_that_is_loaded_anew_gets_its_caller_back(office: Office) -> None:
    path = office.instance.paths.phone_socket
    before = await office.told("call.transferred")
    async with page("before", path) as first:
        made, _ = await talking(office, first)
    async with page("after", path) as second:
        call = await second.called()
        assert call.request.get(RESUME)
        await says(office, second)
        assert not made.ended.done()
        assert await office.told("call.transferred") == before
        made.bye()
        await call.ended


async def test_a_page_that_does_not_come_back_has_hung_up(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "PARKED_S", 0.3)
    async with page("gone", office.instance.paths.phone_socket) as only:
        made, _ = await talking(office, only)
    async with asyncio.timeout(20):
        await made.ended


async def passed_on(office: Office, before: Side | None) -> None:
    """Wait until somebody else than before talks to the caller."""
    await until(lambda: current(office).agent is not before)


async def test_a_page_that_does_not_come_back_leaves_a_colleague_ringing_for_its_caller(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(talk, "PARKED_S", 0.3)
    made = await lost_while_transferring(office, "gone")
    anas = current(office).agent
    assert anas is not None
    await anas.sip.ended
    assert not made.ended.done()
    office.ben.lifted.set()
    with_ben = await office.ben.calls.get()
    await passed_on(office, anas)
    assert await office.ben.hears(CALLER_HZ, office.caller, made)
    assert await office.caller.hears(COLLEAGUE_HZ, office.ben, with_ben)
    with_ben.bye()
    await made.ended


async def test_who_transferred_and_whose_page_is_gone_is_rung_where_the_colleague_says_no(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(talk, "PARKED_S", 0.3)
    made = await lost_while_transferring(office, "closed")
    anas = current(office).agent
    assert anas is not None
    await anas.sip.ended
    await office.sign_in(office.ana)
    office.ben.answers = False
    office.ben.lifted.set()
    again = await office.ana.calls.get()
    await passed_on(office, anas)
    assert await office.ana.hears(CALLER_HZ, office.caller, made)
    again.bye()
    await made.ended


async def test_a_colleague_who_takes_the_call_of_a_lost_page_has_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(talk, "PARKED_S", 3.0)
    async with page("lost", office.instance.paths.phone_socket) as only:
        made, taken = await talking(office, only)
        await office.sign_in(office.ben)
    assert taken.replacement is not None
    anas = current(office).agent
    await office.caller.sound.hear(len(office.caller.sound.heard) + 1)  # music
    waited_until = asyncio.get_running_loop().time() + talk.PARKED_S
    with_ben, _ = await office.ben.dial("101", taken.replacement)
    await passed_on(office, anas)
    await moment(waited_until)
    assert await office.caller.hears(COLLEAGUE_HZ, office.ben, with_ben)
    assert await office.ben.hears(CALLER_HZ, office.caller, made)
    assert not with_ben.ended.done()
    with_ben.bye()
    await made.ended


async def test_a_page_that_comes_back_after_a_colleague_has_picked_up_takes_nothing_from_them(office: Office) -> None:
    made = await lost_while_transferring(office, "transferred")
    anas = current(office).agent
    office.ben.lifted.set()
    with_ben = await office.ben.calls.get()
    await passed_on(office, anas)
    assert await office.caller.hears(COLLEAGUE_HZ, office.ben, with_ben)
    async with page("late", office.instance.paths.phone_socket) as second:
        registrar = office.gateway.endpoint.registrar
        await until(lambda: any(one.contact.host == second.local.host for one in registrar.contacts("101")))
        assert await office.caller.hears(COLLEAGUE_HZ, office.ben, with_ben)
        assert await office.ben.hears(CALLER_HZ, office.caller, made)
        assert second.calls.empty()
        with_ben.bye()
        await made.ended


@pytest.mark.parametrize("answers", [True, False])
async def test_a_page_that_comes_back_while_a_colleague_rings_lets_them_pick_up(office: Office, answers: bool) -> None:
    made = await lost_while_transferring(office, "transfers")
    async with page("early", office.instance.paths.phone_socket) as second:
        call = await second.called()
        office.ben.answers = answers
        office.ben.lifted.set()
        if answers:
            with_ben = await office.ben.calls.get()
            await call.ended
            assert await office.caller.hears(COLLEAGUE_HZ, office.ben, with_ben)
        else:
            await says(office, second)
            assert not call.ended.done()
        made.bye()
