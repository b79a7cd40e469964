"""What the two ends of one leg tell each other of how it sounds (RTCP, RFC 3550 section 6), and when."""

import heapq
import secrets
import time
from collections.abc import Callable
from itertools import count
from typing import Protocol

from media import rtcp
from media.pacer import Cancellable, Timer
from media.quality import mos
from media.rtcp import Block, Control, Description, Goodbye, Sent, Statement
from media.rtp import Outbound, Reception

INTERVAL_SECONDS = 5.0
"Between two reports, on average: the least that section 6.2 allows, and two parties need no more."

_SPREAD = 0.5
"Each interval is drawn from so much less to so much more (section 6.3.1), so that far ends do not fall in step."

_TOGETHER_SECONDS = 0.02
"Reports due within it are sent in one go."

_LONGEST_RTT = 10.0
"Seconds; what is beyond it is no round trip but a clock that was set."

_EPOCH = 2_208_988_800
"Seconds from 1900 to 1970."

Clock = Callable[[], float]


class Report:
    """One leg's half of the conversation: makes our reports, and keeps what the far end's say."""

    __slots__ = (
        "_clock",
        "_expected",
        "_heard_at",
        "_last",
        "_outbound",
        "_packets",
        "_reception",
        "_reported",
        "_since_1900",
        "heard",
        "name",
        "remote_jitter_ms",
        "remote_loss",
        "rtt_ms",
        "strange",
    )

    def __init__(self, reception: Reception, outbound: Outbound, clock: Clock = time.monotonic) -> None:
        self.name = secrets.token_urlsafe(12)
        "Canonical name: 96 random bits for each call, so that it tells nobody who we are (RFC 7022 section 4.2)."
        self.rtt_ms: float | None = None
        self.remote_loss: float | None = None
        self.remote_jitter_ms: float | None = None
        self.heard = self.strange = 0
        "Compound packets that were read, and that could not be."
        self._reception, self._outbound, self._clock = reception, outbound, clock
        # A steady clock that is set once: a round trip does not see the machine's clock being put right.
        self._since_1900 = time.time() + _EPOCH - clock()
        self._last, self._heard_at = 0, 0.0
        self._expected = self._packets = self._reported = 0

    def make(self, now: float, *, goodbye: bool = False) -> bytes:
        """Return our next report; `now` is the time of the loop, on which streams are timed."""
        outbound = self._outbound
        sent = None
        if outbound.packets != self._reported:
            self._reported = outbound.packets
            ntp = int((self._clock() + self._since_1900) * (1 << 32))
            sent = Sent(ntp, outbound.stamp(now), outbound.packets & 0xFFFFFFFF, outbound.octets & 0xFFFFFFFF)
        parts: list[Control] = [Statement(outbound.ssrc, self._blocks(), sent)]
        parts.append(Description(((outbound.ssrc, self.name),)))
        if goodbye:
            parts.append(Goodbye((outbound.ssrc,)))
        return rtcp.compound(parts)

    def _blocks(self) -> tuple[Block, ...]:
        heard = self._reception
        if heard.ssrc is None:
            return ()
        expected, packets = heard.expected - self._expected, heard.packets - self._packets
        self._expected, self._packets = heard.expected, heard.packets
        # Appendix A.3.
        fraction = min(255, (expected - packets) * 256 // expected) if expected > packets else 0
        delay = int((self._clock() - self._heard_at) * 65_536) & 0xFFFFFFFF if self._last else 0
        lost, highest = heard.expected - heard.packets, heard.highest & 0xFFFFFFFF
        return (Block(heard.ssrc, fraction, lost, highest, int(heard.jitter), self._last, delay),)

    def read(self, data: bytes) -> None:
        """Take what the far end sent.

        Raises:
            ProtocolError: it cannot be read.
        """
        now = self._clock()
        for part in rtcp.parse(data):
            if not isinstance(part, Statement):
                continue
            if part.sent is not None:
                self._last, self._heard_at = part.sent.ntp >> 16 & 0xFFFFFFFF, now
            for block in part.blocks:
                if block.ssrc == self._outbound.ssrc:
                    self._told(block, now)
        self.heard += 1

    def _told(self, block: Block, now: float) -> None:
        sent = self._outbound.packets
        self.remote_loss = min(1.0, max(0, block.lost) / sent) if sent else None
        self.remote_jitter_ms = block.jitter * 1000 / self._outbound.clock
        if block.last:
            # Section 6.4.1: what is left of the time since our report when theirs, which waited, is taken off.
            ours = int((now + self._since_1900) * 65_536) & 0xFFFFFFFF
            trip = (ours - block.last - block.delay & 0xFFFFFFFF) / 65_536
            # A wrap means that it was a moment shorter than the clocks can tell.
            trip = 0.0 if trip > 65_536 - 1 else trip
            self.rtt_ms = trip * 1000 if trip <= _LONGEST_RTT else self.rtt_ms

    @property
    def mos(self) -> float | None:
        """The lower of the two ways' scores; None while nothing was heard."""
        heard = self._reception
        if not heard.packets:
            return None
        here = mos(heard.loss, heard.jitter_ms, self.rtt_ms)
        if self.remote_loss is None:
            return here
        return min(here, mos(self.remote_loss, self.remote_jitter_ms or 0.0, self.rtt_ms))


class Reporting(Protocol):
    """What is asked to send a report."""

    def send_report(self, now: float) -> None:
        """Send it; `now` is the loop's time."""
        ...


class Reporter:
    """One timer for the reports of all legs."""

    def __init__(self, timer: Timer) -> None:
        self._timer = timer
        self._due: list[tuple[float, int, Reporting]] = []
        self._legs: set[Reporting] = set()
        self._number = count()
        self._pending: Cancellable | None = None
        self._running = False

    def add(self, leg: Reporting) -> None:
        """Ask `leg` about every five seconds; adding twice is once."""
        if leg in self._legs:
            return
        self._legs.add(leg)
        # The first comes after half the time (section 6.2).
        self._plan(leg, INTERVAL_SECONDS / 2)

    def remove(self, leg: Reporting) -> None:
        """Ask it no more."""
        if leg not in self._legs:
            return
        self._legs.discard(leg)
        if len(self._due) > 64 and len(self._due) > 2 * len(self._legs):
            self._due[:] = [each for each in self._due if each[2] in self._legs]
            heapq.heapify(self._due)
        if not self._legs:
            self._due.clear()
            self._arm()

    def __len__(self) -> int:
        return len(self._legs)

    def _plan(self, leg: Reporting, seconds: float) -> None:
        drawn = seconds * (1 - _SPREAD + 2 * _SPREAD * secrets.randbelow(1 << 16) / (1 << 16))
        heapq.heappush(self._due, (self._timer.time() + drawn, next(self._number), leg))
        if not self._running:
            self._arm()

    def _arm(self) -> None:
        if self._pending is not None:
            self._pending.cancel()
        self._pending = self._timer.call_at(self._due[0][0], self._tick) if self._due else None

    def _tick(self) -> None:
        self._pending, self._running = None, True
        now, due = self._timer.time(), self._due
        try:
            while due and due[0][0] <= now + _TOGETHER_SECONDS:
                leg = heapq.heappop(due)[2]
                if leg in self._legs:
                    self._plan(leg, INTERVAL_SECONDS)
                    leg.send_report(now)
        finally:
            # Also after a fault in one leg: the others still report.
            self._running = False
            self._arm()
