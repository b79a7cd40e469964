"""Nothing but a browser: an agent works a call from a real phone, through the real vault, hub and media processes."""

import pytest
from playwright.async_api import Page

from hub.demo.phone import available
from hub.record import call, recording, staff
from hub.record.wrapup import Disposition, WrapUp
from tests.hub.web.processes import COUNTED, Practice, at_work, calling, grows
from tests.hub.web.stage import Seat

pytestmark = [
    pytest.mark.peer("chromium", "sipp"),
    pytest.mark.skipif(not available(), reason="needs root: sipp plays its voice through raw sockets"),
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.xdist_group("processes"),
]


async def test_an_agent_works_a_whole_call_in_the_browser_alone(practice: Practice) -> None:
    async with at_work(practice, "ana") as seat:
        page = seat.page
        await page.wait_for_selector("#presence-available[aria-pressed=true]")
        async with calling(practice):
            await talk(seat)
            await page.click("#phone-hangup")
        await page.wait_for_selector(".head--wrap-up")
        await page.select_option("#asked-what", "resolved")
        await page.click("text=Save and be available")
        await page.wait_for_selector("#presence-available[aria-pressed=true]")
        await page.wait_for_selector("#calls >> text=+1 212-555-0177")
        assert seat.said == []
    with practice.instance.db.read() as db:
        (row,) = call.recent(db, limit=1)
        who = staff.find(db, "ana@harbor.example")
        assert who is not None
        kept = db.get_one(WrapUp, (row.id, who.id))
        legs = {leg.role: leg.protection for leg in call.legs(db, row.id)}
    assert (row.agent_id, row.path, kept.disposition) == (who.id, call.ANSWERED, Disposition.RESOLVED)
    assert legs["agent"] == "dtls-srtp"


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


async def test_an_agent_stops_the_recording_and_takes_it_up_again(practice: Practice) -> None:
    async with at_work(practice, "ana") as seat, calling(practice):
        page = seat.page
        await page.click(".head__answer")
        await recorded(page, "true", "This call is recorded")
        await page.focus("#phone-record")
        await page.keyboard.press("Enter")
        await recorded(page, "false", "Recording is paused")
        assert await seat.violations() == []
        await page.reload()
        await recorded(page, "false", "Not recorded")  # what was said until then is a recording of its own
        await page.focus("#phone-record")
        await page.keyboard.press("Space")
        await recorded(page, "true", "This call is recorded")
        assert await seat.violations() == []
        await page.click("#phone-hangup")
        await page.wait_for_selector(".head--wrap-up")
        assert await page.is_hidden("#phone-record")
        assert seat.said == []
    with practice.instance.db.read() as db:
        (row,) = call.recent(db, limit=1)
        kept = recording.of_call(db, row.id)
    assert kept != []


async def recorded(page: Page, pressed: str, words: str) -> None:
    """See how the call is recorded, as the button and the words have it."""
    await page.wait_for_selector(f"#phone-recorded:has-text('{words}')")
    await page.wait_for_selector(f"#phone-record:enabled[aria-pressed={pressed}]")


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
