"""A media core process dies under a call with a page in headless Chromium: the page's sound goes on in another."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page

from hub.audio import tone
from media.calls.rescue import follow
from media.core.leg import RemoteLeg
from media.core.relay import CoreRelay
from media.sound import Sound
from tests.hub.api.office import Office
from tests.media.core.cores import cores, kill
from tests.peers.browser.chromium import PATIENCE_S, chromium
from tests.peers.browser.house import House, Talk, practice

pytestmark = pytest.mark.peer("chromium", "node")

MUSIC_HZ = 1000
BACK_S = 3.0
"The new offer, ICE and DTLS anew: half of a second on a machine that has little else to do."


@pytest.fixture
async def relay() -> AsyncIterator[CoreRelay]:
    async with cores(music=Sound.of(tone(MUSIC_HZ, seconds=1)), steady=True) as relay:
        yield relay


@pytest.fixture
async def house(office: Office, relay: CoreRelay) -> AsyncIterator[House]:
    async with chromium() as browser, practice(office, browser, relay) as opened:
        yield opened


async def called(house: House, desk: Page) -> Talk:
    ringing = asyncio.create_task(house.switchboard.ring(await desk.evaluate("phone.extension"), "7001"))
    await desk.wait_for_function("window.call?.state === 'ringing'")
    await desk.evaluate("call.answer()")
    async with asyncio.timeout(PATIENCE_S):
        talk = await ringing
    assert talk is not None
    return talk


async def test_a_page_hears_and_is_heard_after_its_core_was_killed_and_again(house: House, relay: CoreRelay) -> None:
    desk = await house.page()
    talk = await called(house, desk)
    leg: object = talk.leg
    assert isinstance(leg, RemoteLeg)
    assert talk.sip is not None
    follow(relay, leg, talk.sip)
    leg.hold_music()
    await desk.evaluate(f"hears({MUSIC_HZ})")
    for _ in range(2):
        before = leg.core
        kill(leg)
        async with asyncio.timeout(BACK_S):
            # In the new core it has heard nothing before.
            while leg.core in (None, before) or not (await relay.last_stats(leg)).packets:  # noqa: ASYNC110 - a process
                await asyncio.sleep(0.02)
        await desk.evaluate(f"hears({MUSIC_HZ})")
        await desk.evaluate("call.press('5')")
        async with asyncio.timeout(PATIENCE_S):
            assert await leg.digits.get() == "5"
        await relay.steady()
    assert await desk.evaluate("call.state") == "talking"
    talk.end()
    await desk.wait_for_function("call.state === 'ended'")
