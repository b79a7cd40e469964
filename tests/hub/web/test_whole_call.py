"""Nothing but a browser: an agent works a call from a real phone, through the real vault, hub and media processes."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Page

from hub.cli import setup
from hub.db import now
from hub.demo.phone import Caller, Phones, available, free_port
from hub.instance import Instance
from hub.record import call, staff
from hub.record.wrapup import Disposition, WrapUp
from hub.settings import Paths
from hub.vault.home import Home
from tests.hub.api.office import Worker
from tests.hub.vault.house import running
from tests.hub.web.stage import PASSWORD, Seat, chromium

pytestmark = [
    pytest.mark.peer("chromium", "sipp"),
    pytest.mark.skipif(not available(), reason="needs root: sipp plays its voice through raw sockets"),
]

PATIENCE_S = 60
STAYS_S = 15.0
"How long the caller speaks, unless hung up."

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


@pytest.fixture
def practice(_built: None, tmp_path: Path) -> Iterator[Practice]:
    paths = Paths(tmp_path / "practice")
    http, sip = free_port(socket.SOCK_STREAM), free_port()
    setup.make(paths, POLICY.format(http=http, sip=sip, did=DID))
    paths.log.mkdir(exist_ok=True)
    with running(Home(paths.root)), contextlib.ExitStack() as processes:
        processes.enter_context(process("media", paths, "media"))
        processes.enter_context(process("hub.api", paths, "hub"))
        instance = Instance.open(paths, "cli", clock=now)
        processes.callback(instance.close)
        phones = Phones(tmp_path / "phones", f"127.0.0.1:{sip}")
        yield Practice(f"http://127.0.0.1:{http}", f"127.0.0.1:{sip}", instance, phones)


def worker(practice: Practice, name: str) -> Worker:
    with practice.instance.db.write() as db:
        row = staff.find(db, f"{name}@harbor.example")
        assert row is not None
        staff.set_password(db, row.id, PASSWORD)
        return Worker(row.id, row.email, "")


async def grows(page: Page, of: str) -> None:
    """Return once packets go this way."""
    before = (await page.evaluate(COUNTED))[of]
    await page.wait_for_function(f"async before => (await ({COUNTED})()).{of} > before + 20", arg=before)


async def test_an_agent_works_a_whole_call_in_the_browser_alone(practice: Practice) -> None:
    async with at_work(practice, "ana") as seat:
        page = seat.page
        await page.wait_for_selector("#presence-available[aria-pressed=true]")
        caller = asyncio.create_task(practice.phones.call(Caller(CALLS_FROM, DID, STAYS_S, waits=True)))
        await talk(seat)
        await page.click("#phone-hangup")
        ended = await caller
        assert ended.ok, ended.detail
        await page.wait_for_selector(".head--wrap-up")
        await page.select_option("#asked-what", "resolved")
        await page.click("text=Save and be available")
        await page.wait_for_selector("#presence-available[aria-pressed=true]")
        await page.wait_for_selector("#calls >> text=+1 212-555-0177")
        assert seat.said == []
    with practice.instance.db.read() as db:
        (row,) = call.recent(db)
        who = staff.find(db, "ana@harbor.example")
        assert who is not None
        kept = db.get_one(WrapUp, (row.id, who.id))
        legs = {leg.role: leg.protection for leg in call.legs(db, row.id)}
    assert (row.agent_id, row.path, kept.disposition) == (who.id, call.ANSWERED, Disposition.RESOLVED)
    assert legs["agent"] == "dtls-srtp"


@asynccontextmanager
async def at_work(practice: Practice, name: str) -> AsyncIterator[Seat]:
    """Sit somebody down before a browser that is a phone."""
    async with chromium(practice.base) as seat:
        await seat.page.add_init_script(SEEN)
        await seat.log_in(worker(practice, name))
        await seat.page.wait_for_selector("#phone-state[data-state=registered]")
        yield seat


async def test_a_caller_is_handed_to_a_colleague(practice: Practice) -> None:
    async with at_work(practice, "ana") as ana, at_work(practice, "ben") as ben:
        caller = asyncio.create_task(practice.phones.call(Caller(CALLS_FROM, DID, STAYS_S, waits=True)))
        await ana.page.click(".head__answer")
        await ana.page.wait_for_selector("text=Talking to")
        await ana.page.click("#phone-transfer")
        await ana.page.select_option("#phone-to", "102")
        await ana.page.click("#phone-hand button[type=submit]")
        await ben.page.click("#phone-answer")
        await ben.page.wait_for_selector("text=Talking to")
        await ana.page.wait_for_selector("#phone-call", state="hidden")
        await grows(ben.page, "heard")
        await ana.page.wait_for_selector(".head--wrap-up")
        await ana.page.wait_for_selector("#asked-what")
        await ben.page.click("#phone-hangup")
        ended = await caller
        assert ended.ok, ended.detail
        assert ana.said == ben.said == []


async def test_two_colleagues_compare_the_digits_of_a_sealed_call(practice: Practice) -> None:
    async with at_work(practice, "ana") as ana, at_work(practice, "ben") as ben:
        await ana.page.fill("#phone-number", "102")
        await ana.page.press("#phone-number", "Enter")
        await ben.page.click("#phone-answer")
        await ana.page.wait_for_selector("#phone-sas:not([hidden])")
        await ben.page.wait_for_selector("#phone-sas:not([hidden])")
        words = [await seat.page.inner_text("#phone-sas-words") for seat in (ana, ben)]
        assert words[0] == words[1]
        assert len(words[0]) == 6
        await grows(ben.page, "heard")
        assert await ana.page.is_disabled("[data-key='1']")
        await ana.page.click("#phone-hangup")
        await ben.page.wait_for_selector("#phone-call", state="hidden")
        assert ana.said == ben.said == []


async def talk(seat: Seat) -> None:
    """Answer, hear each other, hold, go on, mute."""
    page = seat.page
    await page.wait_for_selector("#verify-name")
    assert "Unknown caller" in await page.inner_text("#pop")
    await page.click(".head__answer")
    await page.wait_for_selector(".head--talking")
    await page.wait_for_selector("text=Talking to")
    await grows(page, "heard")
    await grows(page, "said")
    await page.click("#phone-hold")
    await page.wait_for_selector("#phone-hold[aria-pressed=true]")
    await page.click("#phone-hold")
    await page.wait_for_selector("#phone-hold[aria-pressed=false]")
    await grows(page, "heard")
    await page.click("#phone-mute")
    await page.wait_for_selector("text=Muted, talking to")
    assert await seat.violations() == []
    assert (await page.evaluate(COUNTED))["energy"] > 0
