"""The heap of timers, with a clock turned by hand."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.sip.timer import Timers
from tests.media.sip.line import Clock


def noting(done: list[str], what: str) -> Callable[[], None]:
    return lambda: done.append(what)


def test_timers_fire_in_their_order_once() -> None:
    clock, done = Clock(), list[str]()
    timers = Timers(clock)
    timers.after(2, noting(done, "second"))
    timers.after(1, noting(done, "first"))
    timers.run()
    assert done == []
    clock.now += 1
    timers.run()
    assert done == ["first"]
    clock.now += 10
    timers.run()
    timers.run()
    assert done == ["first", "second"]
    assert timers.next_at is None


def test_a_cancelled_timer_does_not_fire_and_is_not_waited_for() -> None:
    clock, done = Clock(), list[str]()
    timers = Timers(clock)
    first = timers.after(1, noting(done, "first"))
    timers.after(5, noting(done, "second"))
    first.cancel()
    first.cancel()
    assert timers.next_at == clock.now + 5
    assert len(timers) == 1
    clock.now += 5
    timers.run()
    assert done == ["second"]
    first.cancel()
    assert len(timers) == 0


def test_one_timer_may_cancel_another_that_is_due_with_it() -> None:
    clock, done = Clock(), list[str]()
    timers = Timers(clock)
    timers.after(1, lambda: second.cancel())
    second = timers.after(1, noting(done, "second"))
    clock.now += 1
    timers.run()
    assert done == []
    assert len(timers) == 0


def test_one_fault_leaves_the_others_to_the_next_round() -> None:
    clock, done = Clock(), list[str]()
    timers = Timers(clock)
    timers.after(1, lambda: [][0])
    timers.after(1, noting(done, "second"))
    clock.now += 1
    with pytest.raises(IndexError):
        timers.run()
    timers.run()
    assert done == ["second"]


def test_the_loop_is_told_when_the_earliest_becomes_earlier_only() -> None:
    clock, told = Clock(), list[float]()
    timers = Timers(clock, told.append)
    for seconds in (5, 9, 1):
        timers.after(seconds, timers.run)
    assert told == [clock.now + 5, clock.now + 1]


def test_cancelled_timers_do_not_pile_up() -> None:
    timers = Timers(Clock())
    kept = timers.after(50, timers.run)
    for _ in range(5000):
        timers.after(32, timers.run).cancel()
    assert len(timers._heap) < 600
    assert len(timers) == 1
    assert timers.next_at == kept.at


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=60))
def test_exactly_what_was_not_cancelled_fires_in_order(plan: list[tuple[int, bool]]) -> None:
    clock, done = Clock(), list[tuple[int, int]]()
    timers = Timers(clock)
    for place, (delay, cancelled) in enumerate(plan):
        timer = timers.after(delay, lambda entry=(delay, place): done.append(entry))  # type: ignore[misc]
        if cancelled:
            timer.cancel()
    clock.now += 50
    timers.run()
    assert done == sorted((delay, place) for place, (delay, cancelled) in enumerate(plan) if not cancelled)
