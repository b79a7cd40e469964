"""Every timer of one SIP endpoint in one heap, and how long they run; the clock is passed in, for tests to turn."""

import heapq
from collections.abc import Callable
from itertools import count

T1 = 0.5
"Seconds: estimate of the round trip (RFC 3261 section 17.1.1.1)."

T2 = 4.0
"Seconds: the longest wait between retransmissions but for INVITE."

T4 = 5.0
"Seconds: how long a message may stay in the network."

LIFETIME = 64 * T1
"Seconds: timers B, F, H, L and M, and over UDP D and J (RFC 3261 table 4, RFC 6026 section 7)."

_SWEEP = 256
"Cancelled timers that may lie in the heap before it is swept; they hold messages alive."


class Timer:
    """One thing to do at a time to come."""

    __slots__ = ("_timers", "at", "fire")

    def __init__(self, timers: "Timers", at: float, fire: Callable[[], None]) -> None:
        self._timers = timers
        self.at = at
        "Seconds on the clock of `Timers`."
        self.fire: Callable[[], None] | None = fire

    def cancel(self) -> None:
        """Forget it; harmless when it has fired."""
        if self.fire is not None:
            self.fire = None
            self._timers.forgot()


class Timers:
    """The timers of one endpoint.

    `clock` gives seconds that never go back. `wake` is told whenever the earliest timer becomes earlier, so that
    whoever owns the loop calls `run` then.
    """

    def __init__(self, clock: Callable[[], float], wake: Callable[[float], None] | None = None) -> None:
        self.clock = clock
        self._wake = wake
        self._heap: list[tuple[float, int, Timer]] = []
        self._count = count()
        self._cancelled = 0

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def after(self, seconds: float, fire: Callable[[], None]) -> Timer:
        """Call `fire` once, `seconds` from now."""
        at = self.clock() + seconds
        timer = Timer(self, at, fire)
        heap = self._heap
        heapq.heappush(heap, (at, next(self._count), timer))
        if self._wake is not None and heap[0][2] is timer:
            self._wake(at)
        return timer

    def forgot(self) -> None:
        """Note one cancelled timer, and sweep when most of the heap is such."""
        self._cancelled += 1
        if self._cancelled > _SWEEP and self._cancelled * 2 > len(self._heap):
            # In place: `run` holds on to this very list.
            self._heap[:] = [entry for entry in self._heap if entry[2].fire is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    @property
    def next_at(self) -> float | None:
        """When the earliest timer is due, or None without any."""
        heap = self._heap
        while heap and heap[0][2].fire is None:
            heapq.heappop(heap)
            self._cancelled -= 1
        return heap[0][0] if heap else None

    def run(self) -> None:
        """Fire everything that is due."""
        now = self.clock()
        heap = self._heap
        while heap and heap[0][0] <= now:
            timer = heapq.heappop(heap)[2]
            if timer.fire is None:
                self._cancelled -= 1
            else:
                fire, timer.fire = timer.fire, None
                fire()
