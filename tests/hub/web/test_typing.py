"""What an agent types at the desk outlives what is shown anew meanwhile, however late `/live` and the answers come."""

import pytest
from playwright.async_api import Page

from hub.record.wrapup import WrapUp
from tests.hub.api.office import number
from tests.hub.web.stage import Seat, Stage, says, talking
from tests.hub.web.wire import POP, Late, Slow, asked

pytestmark = [pytest.mark.peer("chromium"), pytest.mark.asyncio(loop_scope="session")]

VERIFY = "**/desk/verify"


async def types(page: Page, birth: str) -> None:
    """Type a date over the one that stands there, and leave the caret in its midst."""
    await page.fill("#verify-birth", birth)
    await page.keyboard.press("ArrowLeft")


async def stands(page: Page, birth: str, name: str = "Ana Rivera") -> None:
    """See that what was typed is there, and the caret where it was left."""
    assert await page.input_value("#verify-name") == name
    assert await page.input_value("#verify-birth") == birth
    at = "[document.activeElement.id, document.activeElement.selectionStart]"
    assert await page.evaluate(at) == ["verify-birth", len(birth) - 1]


async def test_live_that_lags_behind_the_answers_disturbs_nobody(stage: Stage, seat: Seat) -> None:
    page, late = seat.page, Late()
    await page.route_web_socket("**/live*", late.follow)
    await talking(stage, seat, stage.ana())
    late.holds = True
    await says(page, "7/4/1980")
    await page.wait_for_selector("text=2 tries left")
    await late.has(".masked.1")
    await says(page, "6/4/1980")
    await page.wait_for_selector("text=1 try left")
    await late.has(".masked.2")
    looks = asked(page, "/part/pop")
    await types(page, "5/4/1980")
    await late.let_through(page)
    await stands(page, "5/4/1980")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("text=Locked after three wrong answers")
    assert looks() == 0
    assert seat.said == []


async def test_what_is_typed_while_an_answer_is_on_its_way_stays(stage: Stage, seat: Seat) -> None:
    page, slow = seat.page, Slow()
    await talking(stage, seat, stage.ana())
    await page.route(VERIFY, slow)
    await says(page, "7/4/1980")
    await slow.answered.wait()
    await types(page, "2/3/1980")
    await page.keyboard.press("Enter")  # no second try while the first is under way
    slow.let_through()
    await page.wait_for_selector("text=2 tries left")
    await stands(page, "2/3/1980")
    await page.keyboard.press("Enter")
    await page.wait_for_selector(".pop--full")


async def test_what_was_asked_for_before_an_answer_was_sent_does_not_replace_what_came_of_it(
    stage: Stage, seat: Seat
) -> None:
    page, slow, ana = seat.page, Slow(), stage.ana()
    await talking(stage, seat, ana)
    other = await seat.context.new_page()
    await other.goto("/desk")
    await page.route(POP, slow)
    await says(other, "7/4/1980")
    await other.wait_for_selector("text=2 tries left")
    await slow.answered.wait()  # the first desk looks anew, as there is a try less
    await says(page, "6/4/1980")
    await page.wait_for_selector("text=1 try left")
    await types(page, "2/3/1980")
    heard = "document.body.addEventListener('htmx:afterRequest', ({detail}) => detail.target.id === 'pop' && next())"
    await page.evaluate(f"window.over = new Promise(next => {heard}); 0")
    slow.let_through()
    await page.evaluate("window.over")
    assert "1 try left" in await page.inner_text(".verify")
    await stands(page, "2/3/1980")
    await page.keyboard.press("Enter")
    await page.wait_for_selector(".pop--full")


async def test_a_look_that_was_needed_takes_over_what_is_typed(stage: Stage, seat: Seat) -> None:
    page, ana = seat.page, stage.ana()
    await talking(stage, seat, ana)
    await page.fill("#verify-name", "Ana Rivera")
    await types(page, "2/3/1980")
    other = await seat.context.new_page()
    await other.goto("/desk")
    await says(other, "7/4/1980")
    await page.wait_for_selector("text=2 tries left")
    await stands(page, "2/3/1980")


async def test_what_was_typed_is_there_again_after_trouble(stage: Stage, seat: Seat) -> None:
    page = seat.page
    await talking(stage, seat, stage.ana())
    trouble = (
        '<div data-trouble data-key=""><button type="button" id="again" hx-get="/desk/part/pop" hx-target="#pop">'
        "Try again</button></div>"
    )
    await page.route(VERIFY, lambda route: route.fulfill(body=trouble, content_type="text/html"), times=1)
    await says(page, "2/3/1980")
    await page.click("#again")
    await page.wait_for_selector("#verify-birth")
    assert await page.input_value("#verify-birth") == "2/3/1980"
    await page.press("#verify-birth", "Enter")
    await page.wait_for_selector(".pop--full")


async def test_a_note_is_not_cut_short_by_the_next_call(stage: Stage, seat: Seat) -> None:
    page, ana = seat.page, stage.ana()
    first = await talking(stage, seat, ana)
    stage.end(first)
    await page.wait_for_selector(".head--wrap-up")
    await page.select_option("#asked-what", "message")
    await page.fill("#asked-note", "Wants the nurse to")
    second = stage.offer(ana, number())
    stage.answer(second)
    await page.wait_for_selector("text=What became of the call before this one?")
    await page.press("#asked-note", "End")
    await page.keyboard.type(" ring back")
    assert await page.input_value("#asked-note") == "Wants the nurse to ring back"
    await page.keyboard.press("Enter")
    await page.wait_for_selector(f"#asked [data-call='{second.call_id}']")
    assert await page.input_value("#asked-note") == ""
    with stage.office.instance.db.read() as db:
        assert db.get_one(WrapUp, (first.call_id, ana.id)).sealed is not None
        assert db.get(WrapUp, (second.call_id, ana.id)) is None
