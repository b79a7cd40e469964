"""A caller is handed on at the desk: unasked, asked first, to a queue; and stays where the page is loaded anew."""

import time

import pytest
from playwright.async_api import Page

from hub.demo.phone import available
from tests.hub.web.processes import Practice, at_work, calling, grows
from tests.hub.web.stage import Seat

pytestmark = [
    pytest.mark.peer("chromium", "sipp"),
    pytest.mark.skipif(not available(), reason="needs root: sipp plays its voice through raw sockets"),
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.xdist_group("processes"),
]

BACK_S = 1.0
"From the reloaded page to the call."

BUSY = 4
"How much slower a machine may be that runs other tests beside."


async def takes(page: Page) -> None:
    """Answer the caller of the queue."""
    await page.click(".head__answer")
    await page.wait_for_selector(".head--talking")
    await page.wait_for_selector("text=Talking to")


async def chooses(page: Page, target: str, act: str) -> None:
    """Choose to whom the call goes, by keyboard alone."""
    await page.focus("#phone-transfer")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#phone-to:focus")
    await page.select_option("#phone-to", target)
    await page.focus(act)
    await page.keyboard.press("Enter")


async def has_the_caller(seat: Seat) -> None:
    """See that the caller is heard here, and shown from the first stage."""
    await seat.page.wait_for_selector(".head--talking")
    await seat.page.wait_for_selector("#verify-name")
    await grows(seat.page, "heard")


async def hangs_up(seat: Seat) -> None:
    await seat.page.click("#phone-hangup")
    await seat.page.wait_for_selector(".head--wrap-up")
    await seat.page.wait_for_selector("#asked-what")


async def test_a_caller_is_handed_to_a_colleague_who_sees_them_while_it_rings(practice: Practice) -> None:
    async with at_work(practice, "ana") as ana, at_work(practice, "ben") as ben, calling(practice):
        await takes(ana.page)
        await chooses(ana.page, "102", "#phone-hand button[type=submit]")
        await ben.page.wait_for_selector(".head--ringing")
        await ben.page.wait_for_selector("#verify-name")
        assert await ana.page.query_selector(".head--talking") is not None
        await ben.page.click(".head__answer")
        await has_the_caller(ben)
        await ana.page.wait_for_selector("#phone-call", state="hidden")
        await ana.page.wait_for_selector(".head--wrap-up")
        await ana.page.wait_for_selector("#asked-what")
        await hangs_up(ben)
        assert ana.said == ben.said == []


async def test_a_colleague_who_declines_sees_nothing_more_of_the_caller(practice: Practice) -> None:
    async with at_work(practice, "ana") as ana, at_work(practice, "ben") as ben, calling(practice):
        await takes(ana.page)
        await chooses(ana.page, "102", "#phone-hand button[type=submit]")
        await ben.page.wait_for_selector("#verify-name")
        await ben.page.click("#phone-hangup")
        await ana.page.wait_for_selector("#problem:not([hidden])")  # first: it goes by itself
        await ben.page.wait_for_selector("#pop .nothing")
        await has_the_caller(ana)
        await hangs_up(ana)


async def asked(ana: Seat, ben: Seat) -> None:
    """Ana takes the caller and asks Ben, who answers."""
    await takes(ana.page)
    await chooses(ana.page, "102", "#phone-ask")
    await ben.page.click("#phone-answer")
    await ben.page.wait_for_selector("text=Talking to")
    await ana.page.wait_for_selector("#phone-over:enabled")
    await ana.page.wait_for_selector("#phone-waits:not([hidden])")
    await grows(ben.page, "heard")


async def test_a_caller_is_handed_to_a_colleague_who_was_asked_first(practice: Practice) -> None:
    async with at_work(practice, "ana") as ana, at_work(practice, "ben") as ben, calling(practice):
        await asked(ana, ben)
        await ben.page.wait_for_selector("#pop .nothing")
        assert await ana.violations() == []
        await ana.page.focus("#phone-over")
        await ana.page.keyboard.press("Enter")
        await has_the_caller(ben)
        await ben.page.wait_for_selector("#phone-party >> text=the caller")
        await ana.page.wait_for_selector("#phone-call", state="hidden")
        await ana.page.wait_for_selector(".head--wrap-up")
        assert await ana.page.is_hidden("#problem")
        await hangs_up(ben)
        assert ana.said == ben.said == []


async def test_back_to_the_caller_after_asking(practice: Practice) -> None:
    async with at_work(practice, "ana") as ana, at_work(practice, "ben") as ben, calling(practice):
        await asked(ana, ben)
        await ana.page.focus("#phone-back")
        await ana.page.keyboard.press("Enter")
        await ana.page.wait_for_selector("#phone-hold[aria-pressed=false]")
        await ana.page.wait_for_selector("#phone-waits", state="hidden")
        await ben.page.wait_for_selector("#phone-call", state="hidden")
        await has_the_caller(ana)
        assert await ana.page.evaluate("document.activeElement.id") == "phone-hold"
        await hangs_up(ana)
        assert ana.said == ben.said == []


async def test_a_colleague_who_is_gone_leaves_the_caller_on_hold(practice: Practice) -> None:
    async with at_work(practice, "ana") as ana, at_work(practice, "ben") as ben, calling(practice):
        await asked(ana, ben)
        await ben.page.click("#phone-hangup")
        await ana.page.wait_for_selector("text=The caller is still on hold")
        await ana.page.wait_for_selector("#phone-hold[aria-pressed=true]")
        await ana.page.keyboard.press("Enter")
        await ana.page.wait_for_selector("#phone-hold[aria-pressed=false]")
        await has_the_caller(ana)
        await hangs_up(ana)


async def test_a_caller_goes_back_to_a_queue(practice: Practice) -> None:
    async with at_work(practice, "ana") as ana, calling(practice):
        await takes(ana.page)
        await ana.page.click("#phone-transfer")
        await ana.page.select_option("#phone-to", "appointments")
        assert await ana.page.is_disabled("#phone-ask")
        await ana.page.click("#phone-hand button[type=submit]")
        await ana.page.wait_for_selector("#phone-call", state="hidden")
        await ana.page.wait_for_selector(".head--wrap-up")
        await ana.page.select_option("#asked-what", "transferred")
        await ana.page.click("text=Save and be available")
        await takes(ana.page)
        await has_the_caller(ana)
        await ana.page.click("#phone-hangup")
        await ana.page.wait_for_selector(".head--wrap-up")
        assert ana.said == []


@pytest.mark.parametrize("stands", ["talking", "muted", "held"])
async def test_a_page_that_is_loaded_anew_has_its_call_back(practice: Practice, stands: str) -> None:
    async with at_work(practice, "ana") as ana, calling(practice):
        page = ana.page
        await takes(page)
        await grows(page, "heard")
        if stands == "muted":
            await page.click("#phone-mute")
        if stands == "held":
            await page.click("#phone-hold")
            await page.wait_for_selector("#phone-hold[aria-pressed=true]")
        await page.reload()
        loaded = time.monotonic()
        await page.wait_for_selector("#phone-call:not([hidden])")
        await page.wait_for_selector("#phone-mute:not([hidden])")
        took = time.monotonic() - loaded
        assert took < BACK_S * BUSY, took
        await page.wait_for_selector(".head--talking")
        await page.wait_for_selector("#verify-name")
        await page.wait_for_selector(f"#phone-mute[aria-pressed={'true' if stands == 'muted' else 'false'}]")
        await page.wait_for_selector(f"#phone-hold[aria-pressed={'true' if stands == 'held' else 'false'}]")
        if stands != "held":
            await grows(page, "heard")
        await hangs_up(ana)
        assert ana.said == []


async def test_a_page_that_is_loaded_anew_while_a_colleague_is_asked_has_its_caller_on_hold(practice: Practice) -> None:
    async with at_work(practice, "ana") as ana, at_work(practice, "ben") as ben, calling(practice):
        await asked(ana, ben)
        await ana.page.reload()
        await ana.page.wait_for_selector("#phone-hold[aria-pressed=true]")
        await ben.page.wait_for_selector("#phone-call", state="hidden")
        await ana.page.click("#phone-hold")
        await has_the_caller(ana)
        await hangs_up(ana)
        assert ana.said == ben.said == []
