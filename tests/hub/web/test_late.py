"""Answers that come late, or in another order than they were asked for: nothing that was pressed is lost by them."""

import asyncio
import json
from typing import Any

import pytest
from playwright.async_api import WebSocketRoute

from hub.record import agent, queue
from hub.record.agent import Presence
from tests.hub.api.office import number
from tests.hub.web.stage import Seat, Stage, talking
from tests.hub.web.wire import Late, Slow

pytestmark = [pytest.mark.peer("chromium"), pytest.mark.asyncio(loop_scope="session")]

PRESENCE = "**/desk/part/presence"


async def test_a_press_goes_before_the_looks_that_wait(stage: Stage, seat: Seat) -> None:
    page, ana, live = seat.page, stage.ana(), Late()
    await page.route_web_socket("**/live*", live.follow)
    async with page.expect_response(PRESENCE):
        await seat.log_in(ana)
    slow = Slow()
    await page.route(PRESENCE, slow)
    live.holds = True
    for to in (Presence.BUSY, Presence.AVAILABLE):  # the second is to be looked at once the first was
        stage.office.write(agent.presence, ana.id, to, stage.clock())
        await live.has(f'"presence":"{to}"')
        await live.let_through(page)
    await slow.answered.wait()
    live.holds = False
    async with page.expect_response("**/desk/presence"):
        await page.click("#presence-away")
        slow.let_through()
    await page.wait_for_selector("#presence-away[aria-pressed=true]")
    assert stage.office.read(agent.get, ana.id, stage.clock()).presence is Presence.AWAY


async def test_a_task_that_is_done_does_not_come_back_with_an_answer_from_before(stage: Stage, seat: Seat) -> None:
    page, first, second = seat.page, stage.office.task(), stage.office.task()
    await seat.log_in(stage.ana())
    await page.wait_for_selector(f"#done-{first}")
    slow = Slow()
    await page.route(f"**/desk/tasks/{first}/done", slow)
    await page.click(f"#done-{first}")
    await slow.answered.wait()
    await page.wait_for_selector(f"#done-{first}", state="detached")  # by what /live says
    async with page.expect_response("**/desk/part/tasks"):
        await page.click(f"#done-{second}")
    await page.wait_for_selector(f"#done-{second}", state="detached")
    async with page.expect_event("requestfinished", lambda request: request.url.endswith(f"{first}/done")):
        slow.let_through()
    await page.evaluate("new Promise(next => setTimeout(next))")
    assert await page.query_selector(f"#done-{second}") is None


async def test_a_call_that_ends_while_the_page_loads_is_listed(stage: Stage, seat: Seat) -> None:
    page, ana, calls_from = seat.page, stage.ana(), number()
    offer = stage.offer(ana, calls_from)
    stage.answer(offer)
    seen = asyncio.Event()
    page.on("response", lambda answer: seen.set() if answer.url.endswith("/desk/part/pop") else None)

    async def joins(socket: WebSocketRoute) -> None:
        await seen.wait()
        stage.end(offer, 0)
        socket.connect_to_server()

    await page.route_web_socket("**/live*", joins)
    await seat.log_in(ana)
    await page.wait_for_selector(f"#calls >> text={calls_from[-4:]}")


async def test_what_was_there_between_two_words_of_live_does_not_stay(stage: Stage, seat: Seat) -> None:
    page, live, ana = seat.page, Late(), stage.ana()
    await page.route_web_socket("**/live*", live.follow)
    first = await talking(stage, seat, ana)
    stage.end(first)
    await page.wait_for_selector(".head--wrap-up")
    waiting = await page.inner_text("#queues .count")
    state: dict[str, Any] = {}
    for said in map(json.loads, live.heard):
        state |= said.get("state", {})
    live.holds = True
    stage.office.write(agent.presence, ana.id, Presence.AVAILABLE, stage.clock())
    second, third = stage.offer(ana, number()), stage.wait_in_queue()
    live.say(json.dumps({"type": "snapshot", "stream": "another", "seq": 1, "state": state | {"caller": None}}))
    await page.wait_for_selector(".head--ringing")
    await page.wait_for_selector(f"#pop [data-key^='{second.id}']")
    await page.wait_for_selector(f"#queues .count:not(:text-is('{waiting}'))")
    stage.refuse(second)
    stage.office.write(queue.leave, third.id, "abandoned", stage.clock())
    await page.wait_for_selector(".head", state="detached")
    await page.wait_for_selector("#pop .nothing")
    await page.wait_for_selector(f"#queues .count:text-is('{waiting}')")
