"""Who is put through to whom: never two calls to one agent, and no caller waits for an agent who is idle."""

import time
from datetime import UTC, datetime, timedelta
from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from hub.rules.menu import URGENT
from hub.rules.queueing import PATIENCE, PAUSE, Idle, Pairing, Waiting, pair, position, rank

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def caller(name: str, waited: float = 10, queue: str = "desk", priority: int = 0, **passed: float) -> Waiting:
    return Waiting(name, queue, ago(waited), priority, {agent: ago(seconds) for agent, seconds in passed.items()})


def agent(name: str, idle: float = 10, *queues: str, place: int = 0, wrap_up: float | None = None) -> Idle:
    free_at = None if wrap_up is None else NOW + timedelta(seconds=wrap_up)
    return Idle(name, queues or ("desk",), ago(idle), free_at, place)


def pairs(waiting: list[Waiting], agents: list[Idle], strategy: str = "longest-idle") -> list[tuple[str, str]]:
    found = pair(waiting, agents, NOW, {"desk": strategy})  # type: ignore[dict-item]
    return [(one.call_id, one.agent_id) for one in found]


def test_nobody_is_paired_with_nobody() -> None:
    assert pair([], [agent("a")], NOW) == []
    assert pair([caller("c")], [], NOW) == []


def test_the_agent_who_was_idle_longest_is_rung() -> None:
    assert pair([caller("c")], [agent("a", 5), agent("b", 50), agent("d", 20)], NOW) == [Pairing("c", "b")]


def test_top_down_rings_in_the_order_of_the_staff() -> None:
    agents = [agent("a", 50, place=2), agent("b", 5, place=1)]
    assert pairs([caller("c")], agents, "top-down") == [("c", "b")]


def test_priority_comes_before_waiting_and_waiting_before_chance() -> None:
    waiting = [caller("late", 10), caller("early", 100), caller("first", 1, priority=10)]
    assert pairs(waiting, [agent("a")]) == [("first", "a")]
    assert pairs(waiting[:2], [agent("a")]) == [("early", "a")]


def test_a_caller_who_waited_too_long_stands_before_every_priority_but_the_urgent() -> None:
    aged = caller("aged", PATIENCE.total_seconds())
    assert pairs([aged, caller("new", 1, priority=100)], [agent("a")]) == [("aged", "a")]
    assert pairs([aged, caller("urgent", 1, priority=URGENT)], [agent("a")]) == [("urgent", "a")]
    almost = caller("almost", PATIENCE.total_seconds() - 1)
    assert pairs([almost, caller("new", 1, priority=1)], [agent("a")]) == [("new", "a")]


def test_agents_get_calls_of_their_queues_only() -> None:
    assert pairs([caller("c", queue="billing")], [agent("a", 10, "desk")]) == []


def test_agents_in_wrap_up_are_left_alone() -> None:
    assert pairs([caller("c")], [agent("a", 10, wrap_up=1)]) == []
    assert pairs([caller("c")], [agent("a", 10, wrap_up=0)]) == [("c", "a")]


def test_an_agent_who_passed_a_call_by_is_rung_for_it_last_and_not_at_once() -> None:
    assert pairs([caller("c", a=20)], [agent("a", 50), agent("b", 5)]) == [("c", "b")]
    assert pairs([caller("c", a=1)], [agent("a", 50)]) == []
    assert pairs([caller("c", a=PAUSE.total_seconds())], [agent("a", 50)]) == [("c", "a")]


def test_an_agent_of_many_queues_is_kept_for_the_caller_whom_only_they_can_take() -> None:
    agents = [agent("both", 100, "desk", "spanish"), agent("desk", 5, "desk")]
    waiting = [caller("first", 60, "desk"), caller("second", 30, "spanish")]
    assert pairs(waiting, agents) == [("first", "desk"), ("second", "both")]


def test_no_caller_is_displaced_by_one_behind() -> None:
    waiting = [caller("first", 60, "desk"), caller("second", 30, "spanish")]
    assert pairs(waiting, [agent("both", 5, "desk", "spanish")]) == [("first", "both")]


def test_a_place_in_the_queue_counts_from_one() -> None:
    waiting = [caller("a", 10), caller("b", 30), caller("c", 20, "billing"), caller("d", 5, priority=5)]
    assert [position(name, waiting, NOW) for name in "abcd"] == [3, 2, 1, 1]
    assert position("nobody", waiting, NOW) is None


queues = st.sampled_from(["desk", "billing", "spanish"])
callers = st.lists(
    st.tuples(
        queues, st.integers(0, 2000), st.integers(0, 100), st.dictionaries(st.sampled_from("ABCD"), st.integers(0, 30))
    ),
    max_size=6,
).map(
    lambda rows: [
        Waiting(f"c{at}", queue, ago(waited), priority, {name: ago(back) for name, back in passed.items()})
        for at, (queue, waited, priority, passed) in enumerate(rows)
    ]
)
agents = st.dictionaries(
    st.sampled_from("ABCD"), st.tuples(st.sets(queues, min_size=1), st.integers(0, 999), st.integers(-5, 5))
).map(
    lambda rows: [
        agent(name, idle, *sorted(served), place=at, wrap_up=wrap_up)
        for at, (name, (served, idle, wrap_up)) in enumerate(sorted(rows.items()))
    ]
)


def can(one: Waiting, other: Idle) -> bool:
    rested = one.passed.get(other.agent_id, ago(1e6)) <= NOW - PAUSE
    return one.queue in other.queues and rested and (other.free_at is None or other.free_at <= NOW)


@settings(deadline=None, max_examples=300)
@given(callers, agents, st.sampled_from(["longest-idle", "top-down"]))
def test_no_agent_gets_two_calls_and_every_caller_who_can_be_served_in_turn_is(
    waiting: list[Waiting], free: list[Idle], strategy: str
) -> None:
    found = pair(waiting, free, NOW, dict.fromkeys(("desk", "billing", "spanish"), strategy))  # type: ignore[arg-type]
    by_call = {one.call_id: one for one in waiting}
    by_agent = {one.agent_id: one for one in free}
    assert len({one.call_id for one in found}) == len({one.agent_id for one in found}) == len(found)
    assert all(can(by_call[one.call_id], by_agent[one.agent_id]) for one in found)
    assert [one.call_id for one in found] == _served_in_turn(waiting, free)


def _served_in_turn(waiting: list[Waiting], free: list[Idle]) -> list[str]:
    """Return who is served when each in turn is, if all before them who are served still can be: by trying all ways."""
    served: list[Waiting] = []
    for one in sorted(waiting, key=lambda one: rank(one, NOW)):
        wanted = [*served, one]
        if any(all(map(can, wanted, way)) for way in permutations(free, len(wanted))):
            served = wanted
    return [one.call_id for one in served]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 100), st.integers(20, 120))
def test_nobody_starves_behind_callers_of_higher_priority(priority: int, every: int) -> None:
    """One agent, a call every few seconds that is always more important, and each conversation as long as the gap."""
    now, poor = NOW, Waiting("poor", "desk", NOW, 0)
    waiting = [poor]
    for turn in range(200):
        waiting.append(Waiting(f"rich{turn:03}", "desk", now, priority))
        (chosen,) = pair(waiting, [Idle("a", ("desk",), now)], now)
        if chosen.call_id == "poor":
            break
        waiting = [one for one in waiting if one.call_id != chosen.call_id]
        now += timedelta(seconds=every)
    assert chosen.call_id == "poor"
    assert now - NOW <= PATIENCE + timedelta(seconds=every)


def test_a_full_waiting_room_is_paired_in_milliseconds() -> None:
    waiting = [caller(f"c{at:03}", at, "desk" if at % 2 else "billing") for at in range(60)]
    free = [agent(f"a{at:03}", at, "desk", "billing") for at in range(30)]
    best = 1.0
    for _ in range(5):
        started = time.process_time()
        found = pair(waiting, free, NOW)
        best = min(best, time.process_time() - started)
    assert len(found) == 30
    assert best < 0.1
