"""A jitter buffer: packets that come unevenly are taken evenly, as late as they need to be and no later.

Pure: it is given the clock. Used only where sound is decoded; what is passed on keeps its order and gaps, and the far
end's own buffer deals with them.
"""

from typing import Literal

from media.rtp import ahead

LEAST_S, MOST_S = 0.04, 0.12
"How long a packet is kept at least and at most."

STEP_S = 0.02
"Between two takings."

GIVEN_UP = 5
"Takings that find nothing before it is taken that the far end says nothing for now."

KEPT = 64
"Packets that are kept at most: 1.3 s of them. Of more than that, what is farthest ahead is left out."

_FORGET = 0.998
"By which an outlier of lateness counts less with each packet."

_SLACK = 3
"Steps by which more may be kept than is needed before one is left out."

Taken = bytes | Literal["lost", "wait"]
"A packet; `lost`: 20 ms are to be made up; `wait`: nothing is due."


class JitterBuffer:
    """The packets of one stream that were heard and not taken yet."""

    def __init__(self, clock: int) -> None:
        """Take the timestamp units a second."""
        self.delay_s = LEAST_S
        "How long a packet is kept now."

        self._clock = clock
        self._step = round(clock * STEP_S)
        self._kept: dict[int, tuple[bytes, int]] = {}
        self._ssrc: int | None = None
        self._due: int | None = None
        "The timestamp that is taken next; None until enough is kept."
        self._first: tuple[int, float] | None = None
        self._covered = 0
        self._missed = 0
        self._early: float | None = None
        self._zero = 0, 0.0
        self._spread = 0.0

    @property
    def idle(self) -> bool:
        """Whether nothing is kept and nothing is awaited."""
        return self._due is None and not self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, ssrc: int, timestamp: int, payload: bytes, length: int, now: float) -> None:
        """Keep a packet of `length` timestamp units that came at `now`, in seconds; one that is too late is dropped."""
        if ssrc != self._ssrc or (self._due is not None and abs(ahead(timestamp, self._due, 32)) > 2 * self._clock):
            self._ssrc, self._early, self._spread = ssrc, None, 0.0
            self._kept.clear()
            self._due = self._first = None
        self._measure(timestamp, now)
        if self._due is not None and ahead(timestamp, self._due, 32) < 0:
            return
        if self._first is None:
            self._first = timestamp, now
        self._kept[timestamp] = payload, length
        if len(self._kept) > KEPT:
            start = self._first[0] if self._due is None else self._due
            del self._kept[max(self._kept, key=lambda each: ahead(each, start, 32))]

    def take(self, now: float) -> Taken:
        """Return what is due; to be called every 20 ms."""
        if self._due is None and not self._begins(now):
            return "wait"
        due = self._due or 0
        self._due = due + self._step & 0xFFFFFFFF
        if len(self._kept) * self._step > self.delay_s * self._clock + _SLACK * self._step:
            # Too much is kept: the far end's clock is faster, or a burst has come. 20 ms are left out.
            self._kept.pop(due, None)
            due, self._due = self._due, self._due + self._step & 0xFFFFFFFF
        found = self._at(due)
        if found is not None:
            self._missed, self._covered = 0, max(found[1] // self._step - 1, 0)
            return found[0]
        if self._covered:
            self._covered -= 1
            return "wait"
        self._missed += 1
        if self._missed >= GIVEN_UP and not self._kept:
            self._due = self._first = None
            self._missed = 0
            return "wait"
        return "lost"

    def _at(self, due: int) -> tuple[bytes, int] | None:
        found = self._kept.pop(due, None)
        if found is None and self._kept:
            # A far end whose packets are not whole steps apart.
            near = min(self._kept, key=lambda each: ahead(each, due, 32))
            if ahead(near, due, 32) < self._step:
                found = self._kept.pop(near)
                self._due = near + self._step & 0xFFFFFFFF
        return found

    def _begins(self, now: float) -> bool:
        if self._first is None or now - self._first[1] < self.delay_s - STEP_S / 2:
            return False
        self._due = min(self._kept, key=lambda each: ahead(each, self._first[0] if self._first else each, 32))
        self._covered = 0
        return True

    def _measure(self, timestamp: int, now: float) -> None:
        """Learn how much later than the earliest packets come; that is how long they have to be kept."""
        if self._early is None:
            self._early, self._zero = 0.0, (timestamp, now)
        else:
            late = now - self._zero[1] - ahead(timestamp, self._zero[0], 32) / self._clock
            # The earliest drifts up slowly, so that two clocks which differ are no lateness.
            self._early = min(late, self._early + 0.0001)
            self._spread = min(max(late - self._early, self._spread * _FORGET), MOST_S)
        self.delay_s = min(max(self._spread + STEP_S, LEAST_S), MOST_S)
