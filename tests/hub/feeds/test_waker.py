"""Flows are woken soon, seldom, and again where it failed."""

import asyncio

from hub.errors import UnavailableError
from hub.feeds.waker import Waker


async def test_a_flow_is_woken_once_for_many_rows() -> None:
    woken: list[str] = []
    both = asyncio.Event()

    async def wake(connection: str) -> None:
        woken.append(connection)
        if len(woken) == 2:
            both.set()

    waker = Waker(wake, quiet_s=0.01)
    task = asyncio.ensure_future(waker.run())
    for _ in range(100):
        waker.note({"lab", "adt"})
    async with asyncio.timeout(20):
        await both.wait()
    task.cancel()
    assert woken == ["adt", "lab"]


async def test_a_wake_that_fails_is_tried_again_with_what_came_meanwhile() -> None:
    tried: list[str] = []
    done = asyncio.Event()

    async def wake(connection: str) -> None:
        tried.append(connection)
        if len(tried) < 3:
            waker.note({"lab"})
            raise UnavailableError("down")
        if connection == "lab":
            done.set()

    waker = Waker(wake, quiet_s=0, again_s=0.001)
    task = asyncio.ensure_future(waker.run())
    waker.note({"adt"})
    async with asyncio.timeout(20):
        await done.wait()
    task.cancel()
    assert tried[:2] == ["adt", "adt"]
    assert set(tried[2:]) == {"adt", "lab"}
