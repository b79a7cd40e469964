"""What two ends of a leg tell each other: round trip, loss, jitter, a score; and when."""

from collections.abc import Callable

import pytest

from media import rtcp
from media.quality import mos, rating
from media.report import INTERVAL_SECONDS, Report, Reporter
from media.rtcp import Description, Goodbye, Statement
from media.rtp import FRAME, Outbound, Reception


class Time:
    """A clock that is moved by hand, with calls that wait on it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> "Call":
        self.calls.append((when, callback))
        return Call(self, (when, callback))

    def move(self, seconds: float) -> None:
        until = self.now + seconds
        while self.calls and min(self.calls)[0] <= until:
            due = min(self.calls, key=lambda call: call[0])
            self.calls.remove(due)
            self.now = max(self.now, due[0])
            due[1]()
        self.now = until


class Call:
    def __init__(self, time: Time, entry: tuple[float, Callable[[], None]]) -> None:
        self._time, self._entry = time, entry

    def cancel(self) -> None:
        if self._entry in self._time.calls:
            self._time.calls.remove(self._entry)


class End:
    """One end of a line without a line."""

    def __init__(self, time: Time) -> None:
        self.reception, self.outbound = Reception(), Outbound()
        self.time = time
        self.report = Report(self.reception, self.outbound, time.time)

    def say(self, to: "End", count: int, *, lost: range = range(0)) -> None:
        for number in range(count):
            _, sequence, timestamp = self.outbound.next(self.time.now)
            self.outbound.octets += FRAME
            if number not in lost:
                to.reception.heard(self.outbound.ssrc, sequence, timestamp, self.time.now)
            self.time.move(0.02)

    def tell(self, to: "End") -> list[rtcp.Control]:
        data = self.report.make(self.time.now)
        to.report.read(data)
        return rtcp.parse(data)


@pytest.fixture
def ends() -> tuple[End, End]:
    time = Time()
    return End(time), End(time)


def test_the_round_trip_leaves_out_what_the_far_end_waited(ends: tuple[End, End]) -> None:
    here, there = ends
    here.say(there, 10)
    report = here.report.make(here.time.now)
    here.time.move(0.030)
    there.report.read(report)
    here.time.move(2.0)
    answer = there.report.make(here.time.now)
    here.time.move(0.050)
    here.report.read(answer)
    assert here.report.rtt_ms == pytest.approx(80, abs=0.1)
    assert there.report.rtt_ms is None


def test_what_the_far_end_lost_is_known_here(ends: tuple[End, End]) -> None:
    here, there = ends
    here.say(there, 100, lost=range(20, 25))
    (said, *_) = there.tell(here)
    assert isinstance(said, Statement)
    assert said.sent is None  # it has said nothing itself
    (block,) = said.blocks
    assert (block.lost, block.fraction, block.ssrc) == (5, 5 * 256 // 100, here.outbound.ssrc)
    assert here.report.remote_loss == pytest.approx(0.05)
    assert here.report.remote_jitter_ms == pytest.approx(0, abs=0.5)
    # The fraction is of the time since; the count is of all.
    here.say(there, 50)
    (again, *_) = there.tell(here)
    assert isinstance(again, Statement)
    assert (again.blocks[0].lost, again.blocks[0].fraction) == (5, 0)
    assert here.report.remote_loss == pytest.approx(5 / 150)


def test_a_report_says_who_and_what_was_sent(ends: tuple[End, End]) -> None:
    here, there = ends
    here.say(there, 3)
    said, described = here.tell(there)
    assert isinstance(said, Statement)
    assert said.sent is not None
    assert (said.sent.packets, said.sent.octets) == (3, 3 * FRAME)
    assert said.sent.timestamp == here.outbound.timestamp + FRAME & 0xFFFFFFFF
    assert described == Description(((here.outbound.ssrc, here.report.name),))
    assert len(here.report.name) == 16
    assert here.report.name != there.report.name
    # Nothing was sent since: a receiver's report.
    (again, *_) = here.tell(there)
    assert isinstance(again, Statement)
    assert again.sent is None


def test_the_last_report_says_good_bye(ends: tuple[End, End]) -> None:
    here, _ = ends
    *_, bye = rtcp.parse(here.report.make(0.0, goodbye=True))
    assert bye == Goodbye((here.outbound.ssrc,))


def test_reports_on_somebody_else_s_stream_say_nothing(ends: tuple[End, End]) -> None:
    here, there = ends
    there.report.read(bytes(Statement(1, (rtcp.Block(99, 200, 5, 6, 7, 8, 9),))))
    assert (there.report.remote_loss, there.report.rtt_ms, there.report.heard) == (None, None, 1)
    # A round trip of hours is a clock that was set.
    here.report.read(bytes(Statement(1, (rtcp.Block(here.outbound.ssrc, 0, 0, 0, 0, 1, 1),))))
    assert here.report.rtt_ms is None


def test_a_score_needs_something_heard_and_is_that_of_the_worse_way(ends: tuple[End, End]) -> None:
    here, there = ends
    scores = [here.report.mos]
    there.say(here, 50)
    scores.append(here.report.mos)
    here.say(there, 100, lost=range(10, 20))
    there.tell(here)
    scores.append(here.report.mos)
    assert scores == [None, pytest.approx(4.41, abs=0.01), pytest.approx(1.4, abs=0.3)]


@pytest.mark.parametrize(
    ("loss", "delay_ms", "r"),
    [
        (0, 0, 93.2),
        (0, 100, 93.2),
        (0, 150, 93.2 - 0.135),
        (0, 300, 93.2 - 14.77),
        (0.01, 0, 93.2 - 95 / 5.3),
        (1, 0, 2.1),
    ],
)
def test_the_rating_falls_with_loss_and_delay(loss: float, delay_ms: float, r: float) -> None:
    assert rating(loss, delay_ms) == pytest.approx(r, abs=0.1)


def test_scores_lie_between_one_and_four_and_a_half() -> None:
    assert mos(0, 0, None) == pytest.approx(4.41, abs=0.01)
    assert mos(1, 500, 5000) == 1.0
    scores = [mos(loss / 100, 0, 50) for loss in range(0, 30, 3)]
    assert scores == sorted(scores, reverse=True)


class Teller:
    def __init__(self) -> None:
        self.told: list[float] = []

    def send_report(self, now: float) -> None:
        self.told.append(now)


class Faulty(Teller):
    def send_report(self, now: float) -> None:
        super().send_report(now)
        raise RuntimeError


def test_every_leg_is_asked_about_every_five_seconds_out_of_step() -> None:
    time = Time()
    reporter, legs = Reporter(time), [Teller() for _ in range(50)]
    for leg in legs:
        reporter.add(leg)
        reporter.add(leg)
    began = time.now
    time.move(500)
    for leg in legs:
        gaps = [b - a for a, b in zip(leg.told, leg.told[1:], strict=False)]
        assert leg.told[0] - began <= 0.75 * INTERVAL_SECONDS + 0.1
        assert min(gaps) >= 0.5 * INTERVAL_SECONDS - 0.1
        assert max(gaps) <= 1.5 * INTERVAL_SECONDS + 0.1
        assert sum(gaps) / len(gaps) == pytest.approx(INTERVAL_SECONDS, rel=0.15)
    assert len({leg.told[5] for leg in legs}) > 25
    assert len(time.calls) == 1


def test_a_leg_that_is_gone_is_asked_no_more_and_the_last_one_stops_the_timer() -> None:
    time = Time()
    reporter, legs = Reporter(time), [Teller() for _ in range(200)]
    for leg in legs:
        reporter.add(leg)
    for leg in legs[1:]:
        reporter.remove(leg)
        reporter.remove(leg)
    time.move(60)
    assert len(reporter) == 1
    assert len(legs[0].told) > 7
    assert not any(leg.told for leg in legs[1:])
    reporter.remove(legs[0])
    assert time.calls == []


def test_a_fault_in_one_leg_leaves_the_others_asked() -> None:
    time = Time()
    reporter, faulty, sound = Reporter(time), Faulty(), Teller()
    reporter.add(faulty)
    reporter.add(sound)
    for _ in range(40):
        try:
            time.move(1)
        except RuntimeError:
            continue
    assert len(sound.told) >= 5
    assert len(faulty.told) >= 5
