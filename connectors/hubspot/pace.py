"""Not more searches in a second than HubSpot takes; who comes too soon waits for their turn."""

import asyncio
from collections import deque

WINDOW = 1.1
"Seconds: a little more than the second that HubSpot counts, because the ways there differ in length."


class Pace:
    """Lets `most` through in any window of a second, in the order in which they came."""

    def __init__(self, most: int) -> None:
        self._passed: deque[float] = deque(maxlen=most)
        self._lock = asyncio.Lock()

    async def turn(self) -> None:
        """Return when it may be done."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if len(self._passed) == self._passed.maxlen and (early := self._passed[0] + WINDOW - now) > 0:
                await asyncio.sleep(early)
            self._passed.append(asyncio.get_running_loop().time())
