"""A practice whose processes run, its agents before browsers and its callers at real phones."""

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, Page

from hub.cli import setup
from hub.db import now
from hub.demo.phone import Caller, Ended, Phones
from hub.demo.ports import free_port
from hub.instance import Instance
from hub.record import agent, staff
from hub.record.agent import Presence
from hub.settings import Paths
from hub.vault.home import Home
from tests.hub.api.office import Worker
from tests.hub.vault.house import running
from tests.hub.web.stage import PASSWORD, Seat, chromium
from tests.peers.browser.chromium import RELAYED

PATIENCE_S = 60
STAYS_S = 100.0
"How long the caller waits to be hung up."

DID = "+12125550100"
CALLS_FROM = "+12125550177"

POLICY = """
[practice]
name = "Harbor Family Medicine"
timezone = "America/New_York"

[http]
bind = "127.0.0.1:{http}"

[sip]
udp = "127.0.0.1:{sip}"

[[trunk]]
name = "line"
hosts = ["127.0.0.1"]

[[number]]
did = "{did}"
queue = "appointments"
voicemail = "front-desk"

[[voicemail]]
name = "front-desk"
roles = ["front-desk"]

[[queue]]
name = "appointments"
wrap_up_seconds = 60

[[staff]]
email = "ana@harbor.example"
roles = ["front-desk"]
queues = ["appointments"]
extension = "101"

[[staff]]
email = "ben@harbor.example"
roles = ["front-desk"]
extension = "102"
"""

SEEN = """
    window.connections = [];
    const Made = RTCPeerConnection;
    window.RTCPeerConnection = class extends Made {
      constructor(...how) { super(...how); window.connections.push(this); }
    };
"""
"Lets the test count what the page's phone hears and says."

COUNTED = """async () => {
    const counted = {heard: 0, said: 0, energy: 0};
    for (const connection of window.connections) {
      for (const [, one] of await connection.getStats()) {
        counted.heard += one.type === "inbound-rtp" ? one.packetsReceived : 0;
        counted.energy += one.type === "inbound-rtp" ? one.totalAudioEnergy : 0;
        counted.said += one.type === "outbound-rtp" ? one.packetsSent : 0;
      }
    }
    return counted;
}"""


@dataclass(frozen=True, slots=True)
class Practice:
    """A practice whose processes run."""

    base: str
    sip: str
    instance: Instance
    phones: Phones
    browser: Browser


@contextmanager
def process(module: str, paths: Paths, ready: str) -> Iterator[None]:
    """Run one process of an instance; return once it says that it is ready."""
    with (paths.log / f"{ready}.log").open("wb") as told:
        command = [sys.executable, "-m", module, "--dir", str(paths.root)]
        with subprocess.Popen(command, stderr=told) as running_one:
            try:
                deadline, wait = time.monotonic() + PATIENCE_S, threading.Event()
                while not (paths.run / f"{ready}.ready").exists():
                    assert running_one.poll() is None, (paths.log / f"{ready}.log").read_text()
                    assert time.monotonic() < deadline
                    wait.wait(0.05)
                yield
            finally:
                running_one.terminate()
                running_one.wait(PATIENCE_S)


@contextmanager
def opened(root: Path, browser: Browser) -> Iterator[Practice]:
    """Make a practice, and run what it consists of."""
    paths = Paths(root / "practice")
    http, sip = free_port(), free_port()
    setup.make(paths, POLICY.format(http=http, sip=sip, did=DID))
    paths.log.mkdir(exist_ok=True)
    with running(Home(paths.root)), contextlib.ExitStack() as processes:
        processes.enter_context(process("media", paths, "media"))
        processes.enter_context(process("hub.api", paths, "hub"))
        instance = Instance.open(paths, "cli", clock=now)
        processes.callback(instance.close)
        phones = Phones(root / "phones", f"127.0.0.1:{sip}")
        yield Practice(f"http://127.0.0.1:{http}", f"127.0.0.1:{sip}", instance, phones, browser)


def worker(practice: Practice, name: str) -> Worker:
    """Return somebody of the policy, who can log in and has no call, whatever another test left."""
    with practice.instance.db.write() as db:
        row = staff.find(db, f"{name}@harbor.example")
        assert row is not None
        staff.set_password(db, row.id, PASSWORD)
        free = agent.get(db, row.id, now())
        free.call_id = None
        agent.presence(db, row.id, Presence.AVAILABLE, now())
        return Worker(row.id, row.email, "")


@asynccontextmanager
async def calling(practice: Practice) -> AsyncIterator[None]:
    """Let somebody call; at the end, see that they were hung up on as a phone expects it."""
    caller = asyncio.create_task(practice.phones.call(Caller(CALLS_FROM, DID, STAYS_S, waits=True)))
    try:
        yield
        ended: Ended = await caller
        assert ended.ok, ended.detail
    finally:
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)  # a later test's queue has no caller of ours


async def grows(page: Page, of: str) -> None:
    """Return once packets go this way."""
    before = (await page.evaluate(COUNTED))[of]
    await page.wait_for_function(f"async before => (await ({COUNTED})()).{of} > before + 20", arg=before)


@asynccontextmanager
async def at_work(practice: Practice, name: str, *, relayed: bool = False) -> AsyncIterator[Seat]:
    """Sit somebody down before a browser that is a phone; the sound of a `relayed` one goes by TURN or not at all."""
    async with chromium(practice.browser, practice.base) as seat:
        await seat.page.add_init_script((RELAYED if relayed else "") + SEEN)
        await seat.log_in(worker(practice, name))
        await seat.page.wait_for_selector("#phone-state[data-state=registered]")
        yield seat
