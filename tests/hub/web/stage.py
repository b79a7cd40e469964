"""A hub that answers on loopback, and a browser before it: what tests of the pages play on."""

import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import uvicorn
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from hub.record import agent, call, queue, staff, wrapup
from hub.record.pop import Pop
from hub.record.queue import Offer, OfferState
from hub.record.wrapup import Disposition
from hub.settings.practice import Role
from tests.hub.api.office import POLICY, Office, Worker, number, opened, phones
from tests.peers import npm

CHROMIUM = "/usr/bin/chromium"
PASSWORD = "a long sentence of my own"
WRAP_UP_S = 60
PATIENCE_MS = 30_000

DESK_POLICY = POLICY.replace(
    '[[queue]]\nname = "appointments"\n', f'[[queue]]\nname = "appointments"\nwrap_up_seconds = {WRAP_UP_S}\n'
)

FLAGS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--use-fake-ui-for-media-stream"),
    *("--use-fake-device-for-media-stream", "--allow-loopback-in-peer-connection"),
]


@contextmanager
def served(office: Office) -> Iterator[str]:
    """Serve an office on a free port as the hub's process does; yield its address."""
    config = uvicorn.Config(office.app, log_config=None, access_log=False, ws="websockets-sansio", lifespan="on")
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def house(root: Path) -> Iterator["Stage"]:
    """Make an office whose clock goes, and serve it."""
    with opened(root) as office:
        office.now = datetime.now(UTC)
        office.publish(DESK_POLICY)
        with served(office) as base:
            yield Stage(office, base)


@dataclass
class Stage:
    """The hub, and what happens on its line."""

    office: Office
    base: str
    ahead: timedelta = field(default_factory=timedelta)

    def __post_init__(self) -> None:
        self.office.instance.clock = self.clock

    def clock(self) -> datetime:
        """Return the time of day, as far ahead as a test has put it."""
        return datetime.now(UTC) + self.ahead

    def tick(self) -> datetime:
        """Bring the office's own clock up to date."""
        self.office.now = self.clock()
        return self.office.now

    def hire(self, *roles: Role, name: str = "") -> Worker:
        """Hire somebody who can log in."""
        self.tick()
        email = f"{roles[0]}-{uuid4().hex[:6]}@harbor.example"
        row = self.office.write(staff.add, email=email, roles=roles, now=self.office.now, name=name)
        return self.let_in(Worker(row.id, email, ""))

    def ana(self) -> Worker:
        """Return the agent of the policy, who can log in and has no call or wrap-up, whatever another test left."""
        self.tick()
        row = self.office.read(staff.find, "ana@harbor.example")
        who = self.let_in(Worker(row.id, row.email, ""))
        with self.office.instance.db.write() as db:
            for offer in [row for row in queue.ringing(db, "media-a") if row.agent_id == who.id]:
                queue.leave(db, offer.call_id, "abandoned", self.office.now)
            free = agent.get(db, who.id, self.office.now)
            free.call_id = None
            agent.presence(db, who.id, agent.Presence.AVAILABLE, self.office.now)
            if (last := wrapup.asked(db, who.id, self.office.now)) is not None:
                seal = self.office.instance.sealer
                wrapup.note(db, last.id, who.id, Disposition.OTHER, "", seal=seal, now=self.office.now)
        return who

    def let_in(self, who: Worker) -> Worker:
        self.office.write(staff.set_password, who.id, PASSWORD)
        return who

    def wait_in_queue(self) -> call.Call:
        """Let somebody wait whom nobody is free for."""
        now = self.tick()
        row = self.office.ring(None)
        self.office.write(queue.enter, row.id, "appointments", 0, now, "media-a")
        return row

    def offer(self, who: Worker, number: str | None) -> Offer:
        """Ring somebody's phone for a caller, as the media process does."""
        self.tick()
        self.office.pop(who, number)
        with self.office.instance.db.read() as db:
            offers = [row for row in queue.ringing(db, "media-a") if row.agent_id == who.id]
        return offers[-1]

    def answer(self, offer: Offer) -> None:
        """The agent picks up."""
        now = self.tick()
        with self.office.instance.db.write() as db:
            queue.answer(db, offer.id, now)
            call.bridged(db, offer.call_id, offer.agent_id, now)

    def end(self, offer: Offer, wrap_up_seconds: int = WRAP_UP_S) -> None:
        """The caller hangs up."""
        now = self.tick()
        with self.office.instance.db.write() as db:
            queue.leave(db, offer.call_id, "answered", now, wrap_up_seconds=wrap_up_seconds)
            db.get_one(Pop, offer.id).expires_at = now + timedelta(seconds=wrap_up_seconds)
            call.ended(db, offer.call_id, "caller", now, path=call.ANSWERED)

    def refuse(self, offer: Offer) -> None:
        """The caller goes before anybody answers."""
        now = self.tick()
        with self.office.instance.db.write() as db:
            queue.refuse(db, offer.id, OfferState.TIMEOUT, now)
            queue.leave(db, offer.call_id, "abandoned", now)
            call.ended(db, offer.call_id, "caller", now)


@asynccontextmanager
async def launched() -> AsyncIterator[Browser]:
    """Start a Chromium for all tests of a run; each opens windows of its own."""
    async with async_playwright() as play:
        browser = await play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def chromium(browser: Browser, base: str, width: int = 1280, height: int = 800) -> AsyncIterator["Seat"]:
    """Open a window that knows nothing of others and keeps nothing, with what it says of its own accord."""
    context = await browser.new_context(
        base_url=base, viewport={"width": width, "height": height}, permissions=["microphone"]
    )
    context.set_default_timeout(PATIENCE_MS)
    try:
        yield Seat(context, await context.new_page())
    finally:
        for page in context.pages:
            await page.unroute_all(behavior="ignoreErrors")  # what a test has held back goes to nobody any more
        await context.close()


class Seat:
    """A person before the browser."""

    def __init__(self, context: BrowserContext, page: Page) -> None:
        self.context = context
        self.page = page
        self.said: list[str] = []
        page.on("console", lambda line: self.said.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: self.said.append(str(error)))

    async def log_in(self, who: Worker) -> None:
        """Sign in by the form, and wait until the desk is live."""
        await self.page.goto("/login")
        await self.page.fill("#email", who.email)
        await self.page.fill("#password", PASSWORD)
        await self.page.press("#password", "Enter")
        await self.page.wait_for_url("**/desk")

    async def violations(self) -> list[str]:
        """Return what axe-core finds on the page as it stands."""
        await self.page.wait_for_selector(".htmx-request", state="detached")  # no part is about to be another
        script = npm.require("axe") / "node_modules" / "axe-core" / "axe.js"
        await self.page.evaluate(script.read_text())
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
        found: dict[str, Any] = await self.page.evaluate(
            "tags => axe.run(document, {runOnly: {type: 'tag', values: tags}})", tags
        )
        return [
            f"{one['id']}: {node['html'][:120]} {node.get('failureSummary', '')[:200]}"
            for one in found["violations"]
            for node in one["nodes"]
        ]


async def talking(stage: Stage, seat: Seat, ana: Worker) -> Offer:
    """Let Ana talk to somebody whom the practice knows, with nothing typed yet."""
    calls_from = number()
    stage.office.patient(**phones(calls_from))
    await seat.log_in(ana)
    await seat.page.wait_for_selector("#pop .nothing")
    offer = stage.offer(ana, calls_from)
    stage.answer(offer)
    await seat.page.wait_for_selector("#verify-name")
    await seat.page.wait_for_selector("#asked-what")
    return offer


async def says(page: Page, birth: str, name: str = "Ana Rivera") -> None:
    """Type what the caller says, by keyboard, and send it."""
    await page.fill("#verify-name", name)
    await page.fill("#verify-birth", birth)
    await page.press("#verify-birth", "Enter")
