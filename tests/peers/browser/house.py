"""A practice for pages: a real hub, our SIP endpoint and relay behind it, and a switchboard between phones."""

import asyncio
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
import uvicorn
from playwright.async_api import Browser, Page
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from hub.api.caller import SESSION_COOKIE
from hub.g711 import Codec
from hub.record import staff, token
from hub.record.token import TokenKind
from hub.security.access import Scope
from media.browser import sealing
from media.browser.leg import BrowserLeg
from media.calls.floor import wanted
from media.latch import Address
from media.leg import AudioLeg
from media.phone import PhoneLeg
from media.relay import Relay
from media.sdp import Direction, Session
from media.sip.endpoint import Endpoint
from media.sip.hop import Hop
from media.sip.incoming import Incoming
from media.sip.leg import Leg
from media.sip.transfer import Refer
from media.sip.transport.websocket import WebSocketTransport
from media.sip.uri import Address as SipAddress
from media.sip.uri import Uri
from tests.hub.api.office import Office
from tests.media.farend import FarEnd
from tests.peers.browser.chromium import EAR, PATIENCE_S, RELAYED

WEB = Path(__file__).resolve().parents[3] / "hub" / "web"
ESBUILD = WEB / "node_modules" / ".bin" / "esbuild"
REALM = "chartline"

CLOSING = """reaches => {
    // The socket closes under the next message that `cuts` fits, which has reached the gateway or not; then under the
    // next that fits the first of `further`.
    const { send } = WebSocket.prototype;
    WebSocket.prototype.send = function (said) {
      const cut = window.cuts?.test(said);
      if (!cut || reaches) send.call(this, said);
      if (!cut) return;
      window.cuts = window.further?.shift() ?? null;
      this.close();
    };
}"""

TWICE = """() => {
    // Answer is pressed again while the microphone is being opened.
    const { capture } = phone;
    let plug;
    const plugged = new Promise(done => { plug = done; });
    window.streams = [];
    phone.capture = async () => {
      await plugged;
      streams.push(await capture());
      return streams.at(-1);
    };
    const pressed = [call.answer(), call.answer()];
    plug();
    return Promise.allSettled(pressed).then(() => true);
}"""

_EXTENSIONS = count(2001)


def bundle() -> str:
    """Return the phone as browsers load it, made by the tools of the pages' own build."""
    if not ESBUILD.exists():
        needs = "needs the packages of hub/web (sh hub/web/build.sh)"
        if os.environ.get("CHARTLINE_REQUIRE_PEERS") == "1":
            pytest.fail(needs, pytrace=False)
        pytest.skip(needs)
    entry = Path(__file__).with_name("pages.js")
    made = subprocess.run(
        [ESBUILD, entry, "--bundle", "--format=esm", "--define:global=globalThis", "--log-level=error"],
        check=True,
        capture_output=True,
        env={"NODE_PATH": str(WEB / "node_modules"), "PATH": "/usr/bin:/bin"},
    )
    return made.stdout.decode()


@dataclass(eq=False)
class Talk:
    """One party of a call through the switchboard."""

    leg: AudioLeg
    sip: Leg | None = None
    "None for a far end, which has no signalling."
    other: "Talk | None" = None
    offers: list[Direction] = field(default_factory=list)
    "Directions of the offers that came inside the call."
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    "The page is lost."

    @property
    def port(self) -> Address:
        """Where the far end of this party sends its packets."""
        assert isinstance(self.leg, PhoneLeg)
        return self.leg.local

    def end(self) -> None:
        if self.sip is not None:
            self.sip.bye()
        self.leg.close()


async def still_heard(leg: AudioLeg, times: int) -> None:
    """Wait until packets of a leg's far end have been read so often, whatever became of them."""
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(times):
            before = leg.heard_at
            while leg.heard_at == before:  # noqa: ASYNC110 - a leg tells nobody
                await asyncio.sleep(0.005)


class Switchboard:
    """Connects pages with each other by extension, and with far ends by the numbers they stand for."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.endpoint = Endpoint([Hop("127.0.0.1", 0)], credentials=lambda _: None, trunks=lambda _: None, realm=REALM)
        self.endpoint.on_invite = self._take
        self.endpoint.on_registered = lambda extension, seconds: self.registered.put_nowait((extension, seconds))
        self.registered: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self.far_ends: dict[str, FarEnd] = {}
        self.talks: asyncio.Queue[Talk] = asyncio.Queue()
        self.transport: WebSocketTransport
        self.talking: list[Talk] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, path: Path) -> None:
        await self.endpoint.start()
        await self.listen(path)

    async def listen(self, path: Path) -> None:
        """Take pages."""
        self.transport = await WebSocketTransport.open(path, self.endpoint)
        self.endpoint.wires.add(self.transport)

    async def close(self) -> None:
        await self.endpoint.close(0.2)
        await self.transport.wait_closed()

    async def _take(self, call: Incoming) -> None:
        assert call.offer is not None
        talk = Talk(await self.relay.allocate(wanted(call.source)), call)
        other = await self._reach(call)
        if other is None:
            call.reject(486)
            talk.leg.close()
            return
        self.pair(talk, other)
        said = sealing.said_in(other.sip.remote if other.sip is not None else None)
        call.answer(await sealing.answer(talk.leg, call.offer, said))
        await call.acked
        self.relay.bridge(talk.leg, other.leg)
        self.talks.put_nowait(talk)

    async def _reach(self, call: Incoming) -> Talk | None:
        if call.to_number in self.far_ends:
            return await self.far(call.to_number)
        return await self.ring(call.to_number, call.extension, call.offer)

    async def far(self, number: str) -> Talk:
        """Return a leg that speaks with a far end."""
        leg = await self.relay.allocate()
        leg.connect(self.far_ends[number].address, Codec.PCMU, 101)
        return Talk(leg)

    async def ring(
        self, number: str, from_: str, offer: Session | None = None, headers: dict[str, str] | None = None
    ) -> Talk | None:
        """Call an extension's page, and return the call once it is answered."""
        contacts = self.endpoint.registrar.contacts(number)
        if not contacts:
            return None
        leg = await self.relay.allocate(wanted(contacts[0].hop()))
        speaks = SipAddress(Uri.parse(f"sip:{from_}@chartline.invalid"))
        offered = sealing.told(await leg.offer(), sealing.said_in(offer))
        sip = self.endpoint.call(contacts[0], offered, from_=speaks, headers=headers)
        answer = await sip.answered
        if answer is None:
            leg.close()
            return None
        await leg.settle(answer)
        return Talk(leg, sip)

    def join(self, a: Talk, b: Talk) -> None:
        """Let two speak with each other."""
        self.pair(a, b)
        self.relay.bridge(a.leg, b.leg)

    def pair(self, a: Talk, b: Talk) -> None:
        """Carry out what two parties of a call ask."""
        a.other, b.other = b, a
        for each in (a, b):
            self.talking.append(each)
            self._follow(each)
        if a.sip is not None and b.sip is not None:
            sealing.carry(a.sip, b.sip)

    def _follow(self, talk: Talk) -> None:
        if talk.sip is None or talk.sip.on_offer is not None:
            return

        async def offered(offer: Session) -> Session:
            assert offer.audio is not None
            talk.offers.append(offer.audio.direction)
            return await talk.leg.answer(offer)

        async def refer(asked: Refer) -> None:
            await self._transfer(talk, asked)

        talk.sip.on_offer, talk.sip.on_refer = offered, refer
        if isinstance(talk.leg, BrowserLeg):
            talk.leg.on_gone = talk.gone.set
        self._spawn(self._until_over(talk, talk.sip))

    async def _transfer(self, talk: Talk, asked: Refer) -> None:
        """Let whom the page speaks with speak with somebody else, and the page go."""
        staying = talk.other
        assert staying is not None
        if asked.replaces is not None:
            replaced = self.endpoint.find_leg(asked.replaces)
            other = next(each for each in self.talking if each.sip is replaced).other
        else:
            other = await self.far(asked.target.user)
        assert other is not None
        self.join(staying, other)
        asked.progress(200)

    async def _until_over(self, talk: Talk, sip: Leg) -> None:
        await asyncio.shield(sip.ended)
        talk.leg.close()
        if talk.other is not None and talk.other.other is talk:
            talk.other.end()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


PAGE = f"<!doctype html><title>test</title><script>{EAR}</script><script type=module src=/test/phone.js></script>"


def beside(app: ASGIApp, scripts: Mapping[str, str]) -> Starlette:
    """Return the hub with the tests' page, which has to come from where its socket leads."""
    routes: list[BaseRoute] = [Route("/test", lambda _: HTMLResponse(PAGE))]
    for name, text in scripts.items():
        served = Response(text, media_type="text/javascript")
        routes.append(Route(f"/test/{name}", lambda _, served=served: served))
    return Starlette(routes=[*routes, Mount("/", app)])


@asynccontextmanager
async def serving(app: ASGIApp, port: int = 0) -> AsyncIterator[int]:
    """Serve as the hub's process does, and return the port."""
    config = uvicorn.Config(
        app,
        port=port,
        log_config=None,
        lifespan="off",
        ws="websockets-sansio",
        ws_max_size=65_536,
        timeout_graceful_shutdown=1,
    )
    server = Server(config)
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(PATIENCE_S):
        await server.listening.wait()
    try:
        yield int(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        await serving


@dataclass
class House:
    """All of it, for one test."""

    office: Office
    switchboard: Switchboard
    browser: Browser
    port: int

    async def page(self, *, hz: int = 440, relayed: bool = False) -> Page:
        """Log somebody with a new extension in, and return a page whose phone is ready; it says a tone.

        Sound of a `relayed` page goes through the policy's TURN server or not at all.
        """
        office, extension = self.office, str(next(_EXTENSIONS))
        worker = office.worker("front-desk")
        office.write(staff.add_device, worker.id, extension, REALM, office.now)
        lasting = {"now": office.now, "lifetime": timedelta(hours=1), "kind": TokenKind.SESSION}
        secret = office.write(token.create, scopes=list(Scope), staff_id=worker.id, **lasting)[1]
        origin = f"http://127.0.0.1:{self.port}"
        context = await self.browser.new_context()
        await context.add_cookies([{"name": SESSION_COOKIE, "value": secret, "url": origin, "httpOnly": True}])
        page = await context.new_page()
        await page.add_init_script(f"window.options = {json.dumps({'hz': hz})};{RELAYED if relayed else ''}")
        await page.goto(f"{origin}/test")
        await page.wait_for_function("window.phone && phone.state === 'ready'", timeout=PATIENCE_S * 1000)
        return page


@asynccontextmanager
async def practice(office: Office, browser: Browser, relay: Relay) -> AsyncIterator[House]:
    """Open a practice."""
    path = office.instance.paths.phone_socket
    path.parent.mkdir(exist_ok=True)
    board = Switchboard(relay)
    await board.start(path)
    try:
        scripts = {"phone.js": bundle(), "e2e.js": (WEB / "static" / "e2e.js").read_text()}
        async with serving(beside(office.app, scripts)) as port:
            yield House(office, board, browser, port)
            for context in browser.contexts:
                await context.close()
    finally:
        await board.close()
