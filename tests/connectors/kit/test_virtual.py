"""Virtual time: pauses cost nothing and keep their length; threads are waited for truly."""

import asyncio
import threading
import time
from contextvars import ContextVar

import pytest

from connectors.kit.virtual import play

MARK: ContextVar[str] = ContextVar("mark", default="")


def test_a_year_of_sleep_takes_no_time() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(365 * 86_400)
        return loop.time()

    begun_at = time.monotonic()
    assert play(main()) == pytest.approx(365 * 86_400)
    assert time.monotonic() - begun_at < 30  # seconds, on however busy a machine


def test_pauses_end_in_the_order_of_their_length() -> None:
    async def main() -> list[int]:
        ended: list[int] = []

        async def pause(seconds: int) -> None:
            await asyncio.sleep(seconds)
            ended.append(seconds)

        await asyncio.gather(*(pause(seconds) for seconds in (30, 10, 3600, 20)))
        return ended

    assert play(main()) == [10, 20, 30, 3600]


def test_a_deadline_strikes_in_virtual_time() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.sleep(60)
        return asyncio.get_running_loop().time()

    assert play(main()) == pytest.approx(30)


def test_a_thread_is_waited_for_before_a_deadline_strikes() -> None:
    """A jump of the clock while a thread works would end what has hardly begun."""

    async def main() -> str:
        answered = threading.Event()
        asyncio.get_running_loop().call_soon(answered.set)
        async with asyncio.timeout(20):
            return await asyncio.to_thread(lambda: "done" if answered.wait(10) else "never")

    assert play(main()) == "done"


def test_a_thread_works_within_the_context_of_who_asked() -> None:
    async def main() -> str:
        MARK.set("watched")
        return await asyncio.get_running_loop().run_in_executor(None, MARK.get)

    assert play(main()) == "watched"
