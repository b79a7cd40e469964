"""Pages whose sound goes through a real TURN server, let in by the password that the hub gives them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from hub.api.phone import CREDENTIAL_S
from hub.audio import tone
from media.browser.leg import BrowserLeg
from tests.hub.api.office import POLICY, Office
from tests.media.farend import FarEnd, far_end, relay
from tests.peers.browser.chromium import PATIENCE_S
from tests.peers.browser.house import House, Talk, practice
from tests.peers.turnserver import TurnServer, turnserver

pytestmark = [
    pytest.mark.peer("chromium", "node", "turnserver", "setpriv"),
    pytest.mark.asyncio(loop_scope="module"),
]

SECRET = "shared with the TURN server"

WAY = """async () => {
  const found = await call.stats();
  const { selectedCandidatePairId } = [...found.values()].find(each => each.type === "transport");
  const { localCandidateId } = found.get(selectedCandidatePairId);
  const { candidateType, relayProtocol, url, address, port } = found.get(localCandidateId);
  return [candidateType, relayProtocol, url, address, port];
}"""
"What the page's sound goes by."


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def turn(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TurnServer]:
    async with turnserver(tmp_path_factory.mktemp("turn"), SECRET) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def house(office: Office, browser: Browser, turn: TurnServer) -> AsyncIterator[House]:
    office.now = datetime.now(UTC)  # the TURN server's clock tells what has expired
    share(office, turn, SECRET)
    async with relay() as engine, practice(office, browser, engine) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def far(house: House) -> AsyncIterator[FarEnd]:
    async with far_end() as end:
        house.switchboard.far_ends["7001"] = end
        yield end


def share(office: Office, turn: TurnServer, secret: str) -> None:
    """Let the hub tell pages of the server, with passwords made of this secret."""
    (office.instance.paths.root / "secrets" / "turn.secret").write_text(secret)
    office.publish(f'{POLICY}\n[browser]\nturn = ["{turn.url}"]\nturn_secret = "file:secrets/turn.secret"\n')


async def hear_each_other_by_relay(page: Page, talk: Talk, port: Talk, far: FarEnd, turn: TurnServer) -> None:
    """Prove sound both ways, and that the gateway has it from the relay's address and from nowhere else."""
    speaking = asyncio.create_task(far.say(port.port, tone(1000, seconds=PATIENCE_S)))
    assert await page.evaluate("hears(1000)") == pytest.approx(1000, abs=15)
    await far.hear(40)
    assert 440 in far.hz()
    speaking.cancel()
    *how, address, relayed = await page.evaluate(WAY)
    assert how == ["relay", "udp", turn.url]
    assert isinstance(talk.leg, BrowserLeg)
    assert talk.leg.remote == (address, relayed)
    assert turn.said(f"Local relay addr: {address}:{relayed}")


async def test_a_page_calls_through_the_turn_server(house: House, far: FarEnd, turn: TurnServer) -> None:
    page = await house.page(relayed=True)
    await page.evaluate("phone.call('7001').then(() => true)")
    async with asyncio.timeout(PATIENCE_S):
        talk = await house.switchboard.talks.get()
    assert talk.other is not None
    await hear_each_other_by_relay(page, talk, talk.other, far, turn)
    assert await page.evaluate("call.unreached") is None


async def test_a_page_is_called_through_the_turn_server(house: House, far: FarEnd, turn: TurnServer) -> None:
    board, page = house.switchboard, await house.page(relayed=True)
    ringing = asyncio.create_task(board.ring(await page.evaluate("phone.extension"), "7001"))
    await page.wait_for_function("window.call?.state === 'ringing'")
    await page.evaluate("call.answer()")
    async with asyncio.timeout(PATIENCE_S):
        talk = await ringing
    assert talk is not None
    other = await board.far("7001")
    board.join(talk, other)
    await hear_each_other_by_relay(page, talk, other, far, turn)


@pytest.mark.parametrize("wrong", ["another secret", "expired"])
async def test_a_password_that_is_not_taken_ends_the_call_at_once_and_the_page_says_why(
    house: House, far: FarEnd, turn: TurnServer, wrong: str
) -> None:
    if wrong == "expired":
        house.office.later(seconds=-CREDENTIAL_S - 60)
    else:
        share(house.office, turn, "a secret of another server")
    page = await house.page(relayed=True)
    await page.evaluate("phone.call('7001').then(() => true)")
    await page.wait_for_function("call.state === 'ended'", timeout=PATIENCE_S * 1000)
    server = turn.url.removeprefix("turn:").partition("?")[0]
    words = f"the TURN server {server} does not take this page's password; load the page anew"
    assert await page.evaluate("[call.unreached, call.connected]") == [words, False]
    assert house.switchboard.talks.empty()
    assert not far.heard
    ringing = asyncio.create_task(house.switchboard.ring(await page.evaluate("phone.extension"), "7001"))
    await page.wait_for_function("call.state === 'ringing'")
    await page.evaluate("call.answer()")
    async with asyncio.timeout(PATIENCE_S):
        assert await ringing is None
    assert await page.evaluate("call.unreached") == words


async def test_a_page_that_can_do_without_the_turn_server_is_not_troubled_by_it(
    house: House, far: FarEnd, turn: TurnServer
) -> None:
    share(house.office, turn, "a secret of another server")
    page = await house.page()
    await page.evaluate("phone.call('7001').then(() => true)")
    async with asyncio.timeout(PATIENCE_S):
        talk = await house.switchboard.talks.get()
    assert talk.other is not None
    speaking = asyncio.create_task(far.say(talk.other.port, tone(1000, seconds=PATIENCE_S)))
    await page.evaluate("hears(1000)")
    speaking.cancel()
    talk.end()
    await page.wait_for_function("call.state === 'ended'")
    assert await page.evaluate("call.unreached") is None
