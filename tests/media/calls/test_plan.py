"""When the end of a call is told: in a lull, or when patience is over."""

import asyncio

from media.calls.plan import Lull


async def test_where_nobody_asked_it_is_a_lull_already() -> None:
    async with asyncio.timeout(20):
        await Lull(quiet_s=3600, patience_s=3600).come()


async def test_who_asks_is_let_go_first() -> None:
    lull, clock = Lull(quiet_s=0.05, patience_s=3600), asyncio.get_running_loop().time
    lull.asked()
    asking = asyncio.get_running_loop().call_later(0.02, lull.asked)
    began = clock()
    await lull.come()
    assert clock() >= asking.when() + 0.05 > began + 0.05


async def test_it_does_not_wait_for_ever_for_those_who_always_ask() -> None:
    lull, clock = Lull(quiet_s=3600, patience_s=0.05), asyncio.get_running_loop().time
    lull.asked()
    began = clock()
    async with asyncio.timeout(60):
        await lull.come()
    assert clock() >= began + 0.05


async def test_where_nobody_pauses_they_come_one_by_one() -> None:
    lull = Lull(quiet_s=3600, patience_s=0.1, pace_s=0.15)
    loop = asyncio.get_running_loop()
    began, came = loop.time(), []

    async def wait() -> None:
        await lull.come()
        came.append(loop.time() - began)

    waiting = [asyncio.create_task(wait()) for _ in range(3)]
    while len(came) < 3:
        lull.asked()
        await asyncio.sleep(0.01)
    await asyncio.gather(*waiting)
    assert all(at >= 0.1 + 0.15 * number for number, at in enumerate(came))


async def test_a_lull_lets_all_of_them_go_at_once() -> None:
    lull = Lull(quiet_s=0.1, patience_s=0.05, pace_s=3600)
    lull.asked()
    async with asyncio.timeout(20):
        await asyncio.gather(*(lull.come() for _ in range(4)))
