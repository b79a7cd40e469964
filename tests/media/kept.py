"""Time that a busy machine keeps from a test, so that what is measured is not the machine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.media.core.cores import started


class Kept:
    """Counts from now on."""

    def __init__(self) -> None:
        self._before = _waited()

    @property
    def seconds(self) -> float:
        """How long we, and those we started, could have run, and had no CPU."""
        return sum(max(0.0, waited - self._before.get(task, 0.0)) for task, waited in _waited().items())


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """See that something takes no longer, but for what the machine keeps."""
    loop, kept = asyncio.get_running_loop(), Kept()
    began = loop.time()
    async with asyncio.timeout(60):
        yield
    assert loop.time() - began - kept.seconds < seconds


def _waited() -> dict[int, float]:
    """Return for how long each thread has waited for a CPU so far, 0 where the kernel does not count it.

    Source: Linux, Documentation/scheduler/sched-stats.rst, /proc/<pid>/schedstat.
    """
    found: dict[int, float] = {}
    for pid in ("self", *started()):
        for task in Path("/proc", pid, "task").glob("*"):
            with suppress(OSError):  # it has ended
                found[int(task.name)] = int((task / "schedstat").read_text().split()[1]) / 1e9
    return found
