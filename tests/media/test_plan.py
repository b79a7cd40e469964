"""When the end of a call is told: in a lull, or when patience is over."""

import asyncio

from media.plan import Lull


async def test_where_nobody_asked_it_is_a_lull_already() -> None:
    async with asyncio.timeout(1):
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
