"""The desk where only a TURN server is let through: sound goes by it, and a server that refuses is named."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from hub.db import now
from hub.record import policy
from tests.hub.web import processes
from tests.hub.web.processes import PATIENCE_S, Practice, at_work, grows
from tests.peers.turnserver import TurnServer, turnserver

pytestmark = [
    pytest.mark.peer("chromium", "turnserver", "setpriv"),
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.xdist_group("processes"),
]

SECRET = "shared-with-the-turn-server"


@pytest.fixture(scope="module")
def practice(_built: None, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Practice]:
    """A practice of these tests' own: they publish policies."""
    with processes.opened(tmp_path_factory.mktemp("relayed"), browser) as practice:
        yield practice


@pytest_asyncio.fixture(loop_scope="session")
async def turn(practice: Practice, tmp_path: Path) -> AsyncIterator[TurnServer]:
    """A TURN server that the practice's policy names while a test goes on."""
    instance = practice.instance
    with instance.db.read() as db:
        before = policy.current(db)[1]
    async with turnserver(tmp_path, SECRET) as server:
        share(practice, SECRET)
        publish(practice, f'{before}\n[browser]\nturn = ["{server.url}"]\nturn_secret = "file:secrets/turn.secret"\n')
        try:
            yield server
        finally:
            publish(practice, before)


def publish(practice: Practice, text: str) -> None:
    with practice.instance.db.write() as db:
        policy.publish(db, text, policy.current(db)[0], by="system:test", now=now())


def share(practice: Practice, secret: str) -> None:
    path = practice.instance.paths.root / "secrets" / "turn.secret"
    path.parent.mkdir(exist_ok=True)
    path.write_text(secret)


async def test_a_colleague_is_called_through_the_turn_server(practice: Practice, turn: TurnServer) -> None:
    async with at_work(practice, "ana", relayed=True) as ana, at_work(practice, "ben") as ben:
        await ana.page.fill("#phone-number", "102")
        await ana.page.press("#phone-number", "Enter")
        await ben.page.click("#phone-answer")
        for page in (ana.page, ben.page):
            await grows(page, "heard")
            await grows(page, "said")
        async with asyncio.timeout(PATIENCE_S):
            while not turn.said("ALLOCATE processed, success"):  # noqa: ASYNC110 - its log tells nobody
                await asyncio.sleep(0.05)
        await ana.page.click("#phone-hangup")
        await ben.page.wait_for_selector("#phone-call", state="hidden")
        assert ana.said == ben.said == []


async def test_the_desk_says_that_the_turn_server_refuses(practice: Practice, turn: TurnServer) -> None:
    share(practice, "the secret of another server")
    async with at_work(practice, "ana", relayed=True) as ana:
        await ana.page.fill("#phone-number", "102")
        await ana.page.press("#phone-number", "Enter")
        await ana.page.wait_for_selector("#problem:has-text('does not take this page')")
        said = await ana.page.text_content("#problem")
        server = turn.url.removeprefix("turn:").partition("?")[0]
        assert said == (
            "The call was ended, its sound found no way: "
            f"the TURN server {server} does not take this page's password; load the page anew."
        )
        await ana.page.wait_for_selector("#phone-call", state="hidden")
