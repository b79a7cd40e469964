"""Wake the flows that read the inbox: soon, seldom, and never in anybody's way.

The rows are the truth and the flows look by themselves as well, so a wake that fails costs a few seconds at most.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import structlog

from hub.errors import ChartlineError

log = structlog.get_logger()

QUIET_S = 0.05
"Between the first new row and the wake: what else arrives meanwhile needs none of its own."

AGAIN_S = 1.0
LONGEST_S = 30.0
"Between tries while Temporal is down."

Wake = Callable[[str], Awaitable[None]]
"Wakes the flow of one connection, or raises."


class Waker:
    """Remembers whom to wake, and does it."""

    def __init__(self, wake: Wake, *, quiet_s: float = QUIET_S, again_s: float = AGAIN_S) -> None:
        self._wake = wake
        self._quiet_s = quiet_s
        self._again_s = again_s
        self._due: set[str] = set()
        self._told = asyncio.Event()

    def note(self, connections: Iterable[str]) -> None:
        """Remember connections that have new rows."""
        self._due.update(connections)
        if self._due:
            self._told.set()

    async def run(self) -> None:
        """Wake until cancelled."""
        pause = self._again_s
        while True:
            await self._told.wait()
            await asyncio.sleep(self._quiet_s)
            self._told.clear()
            due, self._due = self._due, set()
            try:
                while due:
                    connection = min(due)
                    await self._wake(connection)
                    due.discard(connection)
                pause = self._again_s
            except Exception as error:  # whatever it is: the rows are stored, and senders must not feel it
                code = error.code if isinstance(error, ChartlineError) else type(error).__name__
                log.warning("flows not woken", connections=len(due), code=code, again_in_s=pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_S)
                self.note(due)
