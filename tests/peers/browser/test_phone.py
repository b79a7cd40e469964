"""The phone of a page in headless Chromium, over the real hub, our SIP and our relay."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from hub.audio import tone
from media.sdp import Direction
from tests.hub.api.office import Office, opened
from tests.media.farend import FarEnd, far_end, relay
from tests.peers.browser.chromium import chromium
from tests.peers.browser.house import House, Talk, practice

pytestmark = [pytest.mark.peer("chromium", "node"), pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with opened(tmp_path_factory.mktemp("office")) as office:
        yield office


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def house(office: Office, browser: Browser) -> AsyncIterator[House]:
    async with relay() as engine, practice(office, browser, engine) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def far(house: House) -> AsyncIterator[FarEnd]:
    async with far_end() as end:
        house.switchboard.far_ends["7001"] = end
        yield end


@pytest_asyncio.fixture(loop_scope="module")
async def desk(house: House, request: pytest.FixtureRequest) -> Page:
    return await house.page(f"2{abs(hash(request.node.name)) % 10000:04}")


async def talk_of(house: House) -> Talk:
    async with asyncio.timeout(5):
        return await house.switchboard.talks.get()


async def hear_each_other(page: Page, end: FarEnd, talk: Talk) -> None:
    """Prove both ways by a tone that is measured at the other end."""
    assert talk.other is not None
    end.heard.clear()
    speaking = asyncio.create_task(end.say(talk.other.leg.local, tone(1000, seconds=5)))
    await page.evaluate("hears(1000)")
    await end.hear(40)
    assert 440 in end.hz()
    speaking.cancel()


async def test_a_page_calls_and_both_hear_each_other(house: House, desk: Page, far: FarEnd) -> None:
    await desk.evaluate("phone.call('7001').then(() => true)")
    talk = await talk_of(house)
    await hear_each_other(desk, far, talk)
    await desk.evaluate("call.hangUp()")
    async with asyncio.timeout(5):
        assert talk.sip is not None
        await talk.sip.ended
    assert await desk.evaluate("call.state") == "ended"
    assert await desk.evaluate("phone.calls.size") == 0
