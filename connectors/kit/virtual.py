"""An event loop whose time is its own: nobody waits for a pause, yet every pause has its length."""

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")

BREATH = 0.05
"Real seconds to wait at most for a thread before looking again."


class _Selector:
    """Stands over the real selector: where nothing else is to be done, time passes at once."""

    def __init__(self, loop: "VirtualLoop", real: selectors.BaseSelector) -> None:
        self._loop = loop
        self._real = real

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; where nothing is and no thread works, move the clock by `timeout`, in seconds."""
        if ready := self._real.select(0):
            return ready
        if self._loop.working or timeout is None:
            begun_at = time.monotonic()
            ready = self._real.select(BREATH if timeout is None else min(timeout, BREATH))
            self._loop.passed(time.monotonic() - begun_at)
            return ready
        self._loop.passed(timeout)
        return []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Jumps to its next timer when nothing is ready; waits truly only for its own threads."""

    def __init__(self) -> None:
        self._elapsed = 0.0
        self.working = 0
        "Calls in threads that have not returned."

        super().__init__(_Selector(self, selectors.DefaultSelector()))  # type: ignore[arg-type]
        # The step to a timer may end a rounding error before it: without some slack a timer far off would never strike.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Return the virtual seconds since the loop was made."""
        return self._elapsed

    def passed(self, seconds: float) -> None:
        """Move the clock on."""
        self._elapsed += max(seconds, 0.0)

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> "asyncio.Future[T]":  # type: ignore[override]
        """Call `func` in a thread, within the caller's context: what is watched here is watched there."""
        self.working += 1
        future = super().run_in_executor(executor, copy_context().run, func, *args)
        future.add_done_callback(self._returned)
        return future

    def _returned(self, _: "asyncio.Future[Any]") -> None:
        self.working -= 1


def play(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on a loop of its own, in this thread, and return what it returns."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
