"""A desk whose hub does not answer: nothing of the call before stays in sight, and what was missed comes by itself."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import pytest
from playwright.async_api import Page, Route

from hub.record.queue import Offer
from tests.hub.api.office import Worker, number
from tests.hub.web.stage import Seat, Stage, says, talking
from tests.hub.web.wire import POP, Late, dead, mute

pytestmark = [pytest.mark.peer("chromium"), pytest.mark.asyncio(loop_scope="session")]

SOON_MS = 7000
"Less than the page waits for an answer."


async def verified(stage: Stage, seat: Seat, ana: Worker) -> Offer:
    """Let Ana talk to a patient whose name she sees."""
    offer = await talking(stage, seat, ana)
    await says(seat.page, "2/3/1980")
    await seat.page.wait_for_selector(".pop--full")
    return offer


async def next_caller(stage: Stage, page: Page, ana: Worker, before: Offer) -> Offer:
    """Let the caller go and the next one talk to Ana at once."""
    stage.end(before)
    await page.wait_for_selector(".head--wrap-up")
    offer = stage.offer(ana, number())
    stage.answer(offer)
    return offer


async def named(page: Page, name: str, *, shown: bool) -> None:
    state: Literal["visible", "detached"] = "visible" if shown else "detached"
    await page.wait_for_selector(f"#pop .who__name:has-text('{name}')", state=state, timeout=SOON_MS)


@pytest.mark.parametrize("line", [dead, mute])
async def test_a_chart_leaves_with_its_call_and_the_next_caller_is_asked_for_until_there_is_an_answer(
    stage: Stage, seat: Seat, line: Callable[[Route], Awaitable[Any]]
) -> None:
    page, late, ana = seat.page, Late(), stage.ana()
    await page.route_web_socket("**/live*", late.follow)
    before = await verified(stage, seat, ana)
    await named(page, "Ana Rivera", shown=True)
    await page.route(POP, line, times=1)
    async with page.expect_request(POP):
        offer = await next_caller(stage, page, ana, before)
    late.holds = True  # nothing more is said that would have the page ask
    await named(page, "Ana Rivera", shown=False)
    await page.wait_for_selector(f"#pop [data-key^='{offer.id}']")


async def test_a_look_that_hangs_is_given_up_for_the_caller_after(stage: Stage, seat: Seat) -> None:
    page, ana = seat.page, stage.ana()
    before = await verified(stage, seat, ana)
    await page.route(POP, mute, times=1)
    async with page.expect_request(POP):
        second = await next_caller(stage, page, ana, before)
    third = await next_caller(stage, page, ana, second)
    await page.wait_for_selector(f"#pop [data-key^='{third.id}']", timeout=SOON_MS)


async def test_the_other_parts_are_asked_for_again_as_well(stage: Stage, seat: Seat) -> None:
    page, late, ana = seat.page, Late(), stage.ana()
    await page.route_web_socket("**/live*", late.follow)
    async with page.expect_response("**/desk/part/head"), page.expect_response("**/desk/part/tasks"):
        await seat.log_in(ana)
    await page.wait_for_selector("#pop .nothing")
    for part in ("head", "tasks"):
        await page.route(f"**/desk/part/{part}", dead, times=1)
    await page.route("**/desk/part/asked", lambda route: route.fulfill(status=502), times=1)
    left = stage.office.task()
    offer = stage.offer(ana, number())
    async with page.expect_request("**/desk/part/asked"):
        stage.answer(offer)
    late.holds = True
    await page.wait_for_selector(".head--talking")
    await page.wait_for_selector(f"#done-{left}")
    await page.wait_for_selector("#asked-what")


async def test_after_a_gap_every_part_is_asked_for_and_the_chart_only_where_it_differs(
    stage: Stage, seat: Seat
) -> None:
    page, late, ana = seat.page, Late(), stage.ana()
    await page.route_web_socket("**/live*", late.follow)
    await verified(stage, seat, ana)
    looks: list[str] = []
    page.on("request", lambda request: looks.append(request.url) if request.url.endswith("/part/pop") else None)
    state: dict[str, Any] = {}
    for said in map(json.loads, late.heard):
        state |= said.get("state", {})
    async with (
        page.expect_response("**/desk/part/presence"),
        page.expect_response("**/desk/part/queues"),
        page.expect_response("**/desk/part/head"),
        page.expect_response("**/desk/part/tasks"),
    ):
        late.say(json.dumps({"type": "snapshot", "stream": "another", "seq": 1, "state": state}))
    await named(page, "Ana Rivera", shown=True)
    assert looks == []
