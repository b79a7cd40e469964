"""The 20 ms clock: no drift, no burst, no leg that silences the others."""

import heapq
from collections.abc import Callable
from itertools import count, pairwise

import pytest

from media.pacer import LATE_FRAMES, SLOTS, Pacer


class FakeClock:
    """Time that passes only when it is told to; each call comes `late` seconds after it was due."""

    def __init__(self, late: Callable[[], float] = lambda: 0.0) -> None:
        self.now = 1000.0
        self.calls = 0
        self._late = late
        self._order = count()
        self._due: list[tuple[float, int, FakeCall]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> "FakeCall":
        call = FakeCall(callback)
        heapq.heappush(self._due, (when, next(self._order), call))
        return call

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            when, _, call = heapq.heappop(self._due)
            if not call.cancelled:
                self.now = max(self.now, when) + self._late()
                self.calls += 1
                call.callback()
        self.now = max(self.now, end)

    @property
    def resting(self) -> bool:
        return all(call.cancelled for _, _, call in self._due)


class FakeCall:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Listener:
    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.at: list[float] = []
        self.then = then

    def send_frame(self, now: float) -> None:
        self.at.append(now)
        self.then()


def distances(leg: Listener) -> list[float]:
    return [round(b - a, 6) for a, b in pairwise(leg.at)]


def test_an_hour_of_frames_does_not_drift_however_late_the_timer_is() -> None:
    lateness = iter(count())
    clock = FakeClock(late=lambda: 0.001 * (next(lateness) % 4))
    pacer, leg = Pacer(clock), Listener()
    asked_at: list[float] = []
    leg.then = lambda: asked_at.append(clock.now)
    began = clock.now
    pacer.add(leg)
    clock.run(3600)
    assert len(asked_at) == pytest.approx(180_000, abs=1)
    assert all(0 <= at - (began + 0.02 * index) < 0.0045 for index, at in enumerate(asked_at))
    # Whatever the timer's delays, a frame belongs to its own instant.
    assert leg.at == pytest.approx([began + 0.02 * index for index in range(len(leg.at))])


def test_legs_are_spread_over_the_20_ms() -> None:
    clock = FakeClock()
    pacer, legs = Pacer(clock), [Listener() for _ in range(4 * SLOTS)]
    for leg in legs:
        pacer.add(leg)
    assert len(pacer) == 4 * SLOTS
    clock.run(1)
    instants = {round(leg.at[-1] % 0.02, 4) for leg in legs}
    assert len(instants) == SLOTS
    assert {len(leg.at) for leg in legs} <= {50, 51}


def test_one_leg_costs_one_call_a_frame() -> None:
    clock = FakeClock()
    pacer = Pacer(clock)
    pacer.add(Listener())
    clock.run(1)
    assert clock.calls == pytest.approx(50, abs=1)


def test_a_leg_added_twice_is_asked_once_and_a_removed_one_no_more() -> None:
    clock = FakeClock()
    pacer, leg, other = Pacer(clock), Listener(), Listener()
    pacer.add(leg)
    pacer.add(leg)
    pacer.add(other)
    clock.run(0.1)
    asked = len(leg.at)
    assert asked == pytest.approx(5, abs=1)
    pacer.remove(leg)
    assert leg not in pacer
    clock.run(0.1)
    assert len(leg.at) == asked
    assert len(other.at) == pytest.approx(10, abs=1)


def test_the_timer_rests_while_nothing_is_played_and_starts_again() -> None:
    clock = FakeClock()
    pacer, leg = Pacer(clock), Listener()
    pacer.add(leg)
    clock.run(0.1)
    pacer.remove(leg)
    assert clock.resting
    clock.run(100)
    pacer.add(leg)
    asked = len(leg.at)
    clock.run(0.1)
    assert len(leg.at) - asked == pytest.approx(5, abs=1)


def test_a_leg_may_leave_and_another_come_while_it_is_asked() -> None:
    clock = FakeClock()
    pacer, second = Pacer(clock), Listener()
    first = Listener()

    def change_over() -> None:
        pacer.remove(first)
        pacer.add(second)

    first.then = change_over
    pacer.add(first)
    clock.run(1)
    assert len(first.at) == 1
    assert len(second.at) == pytest.approx(50, abs=1)
    assert clock.calls == pytest.approx(50, abs=2)


def test_the_last_leg_may_leave_while_it_is_asked() -> None:
    clock = FakeClock()
    pacer = Pacer(clock)
    leg = Listener()
    leg.then = lambda: pacer.remove(leg)
    pacer.add(leg)
    clock.run(1)
    assert (len(leg.at), clock.resting) == (1, True)


def test_a_short_stall_is_made_up_for_and_a_long_one_is_left_out() -> None:
    stalls = {10: 0.06, 30: 3.0}
    calls = iter(count())
    clock = FakeClock(late=lambda: stalls.get(next(calls), 0.0))
    pacer, leg = Pacer(clock), Listener()
    pacer.add(leg)
    clock.run(0.4)
    assert len(leg.at) == pytest.approx(20, abs=1)
    assert set(distances(leg)) == {0.02}
    clock.run(4.6)
    # Three seconds stood still, of which the last frames are made up for.
    assert len(leg.at) == pytest.approx(100 + LATE_FRAMES, abs=3)
    assert sorted(distances(leg))[-2:] == [0.02, pytest.approx(2.9, abs=0.03)]


def test_a_fault_in_one_leg_does_not_silence_the_others() -> None:
    clock = FakeClock()
    pacer, good = Pacer(clock), Listener()

    def fail() -> None:
        raise ZeroDivisionError

    bad = Listener(fail)
    pacer.add(bad)
    pacer.add(good)
    for _ in range(20):
        with pytest.raises(ZeroDivisionError):
            clock.run(1)
    assert len(good.at) >= 19
