"""The ways that one call may go: the servers of its trunks, as it becomes known where they are."""

import asyncio
from collections.abc import Iterator, Sequence

from media.sip.hop import Hop
from media.trunk.carrier import Carrier

FOUND_S = 1.0
"How long a call waits to be told where a server is while it could go to another; afterwards that one comes first."

Way = tuple[Carrier, Hop]


class Ways:
    """Looks all servers up at once, and gives each way once, in the order of the trunks.

    What answers comes before what is down, in each trunk. No server waits for the name of another.
    """

    def __init__(self, carriers: Sequence[Carrier]) -> None:
        """Begin to look."""
        self._looks = [(each, [asyncio.create_task(look) for look in each.looks()]) for each in carriers]
        self._given: set[tuple[str, Hop]] = set()
        self._found_by = asyncio.get_running_loop().time() + FOUND_S
        self._tasks: set[asyncio.Task[Way | None]] = set()

    def next(self) -> "asyncio.Task[Way | None]":
        """Return what comes true with the next way, None when there is no other."""
        task = asyncio.create_task(self._next())
        self._tasks.add(task)
        return task

    def close(self) -> None:
        """Look no more; look-ups that others may ask for go on."""
        for task in [*self._tasks, *self._all()]:
            task.cancel()

    async def _next(self) -> Way | None:
        while True:
            late = [look for look in self._all() if not look.done()]
            for carrier, looks in self._looks:
                left = self._found_by - asyncio.get_running_loop().time()
                await asyncio.wait(looks, timeout=max(0.0, left))
                for hop in carrier.ordered(hop for look in looks if look.done() for hop in look.result()):
                    if (carrier.called, hop) not in self._given:
                        self._given.add((carrier.called, hop))
                        return carrier, hop
            if not late:
                return None
            await asyncio.wait(late, return_when=asyncio.FIRST_COMPLETED)

    def _all(self) -> Iterator[asyncio.Task[list[Hop]]]:
        return (look for _, looks in self._looks for look in looks)
