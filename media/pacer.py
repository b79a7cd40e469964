"""One clock for all legs that something is played to: each is asked for its next 20 ms every 20 ms, without drift."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from media.rtp import FRAME_SECONDS

SLOTS = 4
"Legs are spread over as many instants of each 20 ms, so that hundreds do not send in one burst."

LATE_FRAMES = 5
"Frames that are made up for after the loop stood still; what was missed beyond that is left out."

_STEP = FRAME_SECONDS / SLOTS


class Timer(Protocol):
    """What is needed of an event loop."""

    def time(self) -> float:
        """Return seconds on a steady clock."""
        ...

    def call_at(self, when: float, callback: Callable[[], None]) -> "Cancellable":
        """Call back at that time."""
        ...


class Cancellable(Protocol):
    """A call that was asked for."""

    def cancel(self) -> None:
        """Ask for it no more."""
        ...


class Paced(Protocol):
    """What is asked for its next 20 ms."""

    def send_frame(self, now: float) -> None:
        """Send what belongs to the instant `now`, which may be a little past: timestamps follow it, not the delay."""
        ...


class Pacer:
    """The timer; it rests while nothing is played."""

    def __init__(self, timer: Timer | None = None) -> None:
        self._timer: Timer = timer or asyncio.get_running_loop()
        self._slots: list[dict[Paced, None]] = [{} for _ in range(SLOTS)]
        self._origin = 0.0
        self._step = 0
        self._pending: Cancellable | None = None
        self._running = False

    def add(self, leg: Paced) -> None:
        """Ask `leg` every 20 ms from now on; adding twice is once."""
        if leg in self:
            return
        min(self._slots, key=len)[leg] = None
        if not self._running:
            self._running = True
            self._origin, self._step = self._timer.time(), 0
            self._schedule()

    def remove(self, leg: Paced) -> None:
        """Ask it no more."""
        for slot in self._slots:
            slot.pop(leg, None)
        if self._pending is not None and not any(self._slots):
            self._pending.cancel()
            self._pending = None
            self._running = False

    def __contains__(self, leg: Paced) -> bool:
        return any(leg in slot for slot in self._slots)

    def __len__(self) -> int:
        return sum(map(len, self._slots))

    def _due(self) -> float:
        # From the origin, not from the last tick: whatever a tick is late, the next is not.
        return self._origin + self._step * _STEP

    def _schedule(self) -> None:
        while not self._slots[self._step % SLOTS]:
            self._step += 1
        self._pending = self._timer.call_at(self._due(), self._tick)

    def _tick(self) -> None:
        now = self._timer.time()
        missed = int((now - self._due()) / _STEP) - LATE_FRAMES * SLOTS
        if missed > 0:
            self._step += missed
        self._pending = None
        try:
            # A timer may call a moment early; that moment counts as due.
            while (due := self._due()) <= now + _STEP / 2:
                legs = list(self._slots[self._step % SLOTS])
                self._step += 1
                for leg in legs:
                    leg.send_frame(due)
        finally:
            # Also after a fault in one leg: the others are still to be heard.
            self._running = any(self._slots)
            if self._running:
                self._schedule()
