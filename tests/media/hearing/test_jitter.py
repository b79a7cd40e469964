"""The jitter buffer, by a clock of its own: order, loss, lateness, pauses, clocks that differ."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.hearing.jitter import KEPT, LEAST_S, MOST_S, JitterBuffer, Taken

STEP = 160


def played(arrivals: list[tuple[float, int]], seconds: float, *, length: int = STEP) -> list[Taken]:
    """Return what is taken, every 20 ms, of packets that come at a time (s) with a number."""
    buffer, left, taken = JitterBuffer(8000), sorted(arrivals), []
    for tick in range(round(seconds / 0.02)):
        now = tick * 0.02
        while left and left[0][0] <= now:
            at, number = left.pop(0)
            buffer.put(7, 0xFFFFFE00 + number * length & 0xFFFFFFFF, b"%d" % number, length, at)
        taken.append(buffer.take(now))
    return taken


def numbers(taken: list[Taken]) -> list[int]:
    return [int(each) for each in taken if isinstance(each, bytes)]


def test_even_packets_are_taken_in_time_over_the_wrap_of_their_timestamps() -> None:
    taken = played([(n * 0.02, n) for n in range(50)], 1.3)
    assert numbers(taken) == list(range(50))
    assert taken[: round(LEAST_S / 0.02)].count("wait") == round(LEAST_S / 0.02)
    assert "lost" not in taken[:52]


def test_packets_that_change_places_are_put_right_and_one_that_is_lost_is_made_up() -> None:
    arrivals = [(n * 0.02, n) for n in range(30) if n != 12]
    arrivals[20], arrivals[21] = (arrivals[21][0], arrivals[20][1]), (arrivals[20][0], arrivals[21][1])
    taken = played(arrivals, 0.64)
    assert numbers(taken) == [n for n in range(30) if n != 12]
    assert taken.count("lost") == 1


@given(late=st.lists(st.floats(0, 0.03), min_size=60, max_size=60))
def test_a_little_jitter_loses_nothing(late: list[float]) -> None:
    taken = played([(0.0, 0)] + [(n * 0.02 + late[n], n) for n in range(1, 60)], 1.4)
    assert len(numbers(taken)) >= 57
    assert numbers(taken) == sorted(numbers(taken))


def test_more_jitter_is_met_by_more_delay_and_by_no_more_than_there_is_patience_for() -> None:
    buffer = JitterBuffer(8000)
    assert buffer.delay_s == LEAST_S
    for n in range(20):
        buffer.put(7, n * STEP, b"x", STEP, n * 0.02 + (0.05 if n % 4 == 3 else 0.0))
    assert 0.06 < buffer.delay_s < 0.08
    buffer.put(7, 20 * STEP, b"x", STEP, 20 * 0.02 + 1.0)
    assert buffer.delay_s == MOST_S
    for n in range(21, 1500):
        buffer.put(7, n * STEP, b"x", STEP, n * 0.02)
        buffer.take(n * 0.02)
    assert buffer.delay_s < 0.07


def test_who_pauses_is_waited_for_and_not_made_up() -> None:
    taken = played([(n * 0.02, n) for n in range(10)] + [(2 + n * 0.02, 100 + n) for n in range(10)], 2.5)
    assert numbers(taken) == [*range(10), *range(100, 110)]
    assert taken.count("lost") < 10


def test_a_packet_of_sixty_milliseconds_fills_three_takings() -> None:
    taken = played([(n * 0.06, n) for n in range(5)], 0.34, length=3 * STEP)
    assert numbers(taken) == list(range(5))
    assert "lost" not in taken
    assert taken.count("wait") >= 10


@pytest.mark.parametrize("pace", [0.0199, 0.0201])
def test_clocks_that_differ_are_followed(pace: float) -> None:
    taken = played([(n * pace, n) for n in range(1000)], 20)
    assert len(numbers(taken)) > 985
    assert taken.count("lost") < 15


def test_another_stream_begins_anew() -> None:
    buffer = JitterBuffer(8000)
    buffer.put(1, 0, b"old", STEP, 0.0)
    buffer.put(2, 900_000, b"new", STEP, 0.02)
    assert buffer.take(0.1) == b"new"
    assert not buffer.idle
    assert [buffer.take(0.12 + 0.02 * n) for n in range(6)] == ["lost"] * 4 + ["wait"] * 2
    assert buffer.idle


def flood(buffer: JitterBuffer, seconds: float) -> tuple[int, int]:
    """Put 400 packets a second that are scattered over 1.9 s; return the most that was kept, and what is due then."""
    scattered, most, due = Random(1), 0, 0
    for tick in range(round(seconds / 0.02)):
        for each in range(8):
            off = scattered.randrange(1, 15_200) if each else 0
            buffer.put(7, due + off, b"noise", STEP, tick * 0.02)
            most = max(most, len(buffer))
        buffer.take(tick * 0.02)
        due += STEP
    return most, due


def test_a_flood_that_is_scattered_over_time_fills_no_memory() -> None:
    assert flood(JitterBuffer(8000), 10)[0] <= KEPT


def test_what_is_said_after_a_flood_is_heard_within_two_seconds() -> None:
    buffer = JitterBuffer(8000)
    _, due = flood(buffer, 10)
    taken: list[Taken] = []
    for n in range(200):
        buffer.put(7, due + n * STEP, b"%d" % n, STEP, 10 + n * 0.02)
        taken.append(buffer.take(10 + n * 0.02))
    heard = numbers(taken[100:])
    assert heard == list(range(heard[0], heard[0] + 100))
    assert 100 - heard[0] <= 10


def test_of_too_much_what_is_due_first_is_kept() -> None:
    buffer = JitterBuffer(8000)
    for n in reversed(range(KEPT + 10)):
        buffer.put(7, n * STEP, b"%d" % n, STEP, 0.0)
    assert len(buffer) == KEPT
    assert buffer.take(1.0) == b"1"  # one is left out, since so much is kept
