"""Queues: a caller keeps their place, an agent rings once, and every way out leaves the rows in order."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event
from sqlmodel import Session, select

from hub.record import agent, queue, staff
from hub.record.agent import Agent, Presence
from hub.record.call import Call
from hub.record.queue import Entry, EntryState, Offer, OfferState
from hub.rules.queueing import PAUSE
from tests.hub.record.conftest import Record
from tests.hub.record.floor import add_agent, add_call, practice


def wait(db: Session, record: Record, name: str = "appointments", priority: int = 0) -> Call:
    row = add_call(db, record)
    queue.enter(db, row.id, name, priority, record.now, "media-a")
    return row


def pair(db: Session, record: Record) -> list[Offer]:
    return queue.pair(db, practice(), record.now)


def test_the_one_who_waits_longest_gets_the_agent_who_is_idle_longest(record: Record, db: Session) -> None:
    fresh = add_agent(db, record, "102")
    agent.presence(db, fresh.id, Presence.AWAY, record.now)
    idle = add_agent(db, record, "101")
    agent.presence(db, fresh.id, Presence.AVAILABLE, record.later(seconds=30))
    first = wait(db, record)
    record.later(seconds=5)
    second = wait(db, record)
    offers = pair(db, record)
    assert [(offer.call_id, offer.agent_id) for offer in offers] == [(first.id, idle.id), (second.id, fresh.id)]
    assert {offer.expires_at for offer in offers} == {record.now + timedelta(seconds=20)}
    assert [row.state for row in db.exec(select(Entry))] == [EntryState.OFFERED] * 2
    assert pair(db, record) == []


def test_priority_goes_first(record: Record, db: Session) -> None:
    add_agent(db, record)
    wait(db, record)
    record.later(seconds=60)
    urgent = wait(db, record, priority=10)
    assert [offer.call_id for offer in pair(db, record)] == [urgent.id]


def test_an_answer_connects_and_makes_the_agent_busy(record: Record, db: Session) -> None:
    person = add_agent(db, record)
    row = wait(db, record)
    (offer,) = pair(db, record)
    assert [each.id for each in queue.ringing(db, "media-a")] == [offer.id]
    assert queue.ringing(db, "media-b") == []
    for _ in range(2):
        assert queue.answer(db, offer.id, record.now).state is OfferState.ANSWERED
    held = db.get_one(Agent, person.id)
    assert (held.presence, held.call_id) == (Presence.BUSY, row.id)
    assert not queue.waits(db, row.id)
    wait(db, record)
    assert pair(db, record) == []


def test_a_caller_who_hung_up_is_not_connected(record: Record, db: Session) -> None:
    person = add_agent(db, record)
    row = wait(db, record)
    (offer,) = pair(db, record)
    assert queue.leave(db, row.id, "abandoned", record.now) is not None
    assert queue.answer(db, offer.id, record.now).state is OfferState.WITHDRAWN
    assert agent.get(db, person.id, record.now).presence is Presence.AVAILABLE
    entry = queue.leave(db, row.id, "other", record.later(seconds=1))
    assert entry is not None
    assert (entry.why, entry.state) == ("abandoned", EntryState.LEFT)


@pytest.mark.parametrize("why", [OfferState.REFUSED, OfferState.TIMEOUT])
def test_who_does_not_take_a_call_is_tried_last(record: Record, db: Session, why: OfferState) -> None:
    first, second = add_agent(db, record, "101"), add_agent(db, record, "102")
    row = wait(db, record)
    (offer,) = pair(db, record)
    queue.refuse(db, offer.id, why, record.later(seconds=3))
    (again,) = pair(db, record)
    assert {offer.agent_id, again.agent_id} == {first.id, second.id}
    queue.refuse(db, again.id, why, record.now)
    assert pair(db, record) == []
    record.later(seconds=PAUSE.total_seconds())
    assert [each.call_id for each in pair(db, record)] == [row.id]
    entry = db.get_one(Entry, row.id)
    assert entry.entered_at < record.now


def test_the_first_word_on_how_an_offer_ended_stays(record: Record, db: Session) -> None:
    add_agent(db, record)
    row = wait(db, record)
    (offer,) = queue.pair(db, practice(ring_seconds=5), record.now)
    assert offer.expires_at == record.now + timedelta(seconds=5)
    assert queue.refuse(db, offer.id, OfferState.TIMEOUT, record.later(seconds=5)).state is OfferState.TIMEOUT
    assert queue.waits(db, row.id)
    assert queue.refuse(db, offer.id, OfferState.REFUSED, record.now).state is OfferState.TIMEOUT


def test_the_end_of_a_talk_frees_the_agent_after_wrap_up(record: Record, db: Session) -> None:
    person = add_agent(db, record)
    row = wait(db, record)
    (offer,) = pair(db, record)
    queue.answer(db, offer.id, record.now)
    queue.leave(db, row.id, "done", record.later(minutes=3), wrap_up_seconds=30)
    held = db.get_one(Agent, person.id)
    assert (held.presence, held.last_ended_at, held.call_id) == (Presence.WRAP_UP, record.now, None)
    other = wait(db, record)
    assert pair(db, record) == []
    record.later(seconds=30)
    assert [each.call_id for each in pair(db, record)] == [other.id]


def test_another_queue_keeps_the_time_waited_and_stops_the_phone(record: Record, db: Session) -> None:
    add_agent(db, record)
    row = wait(db, record)
    (offer,) = pair(db, record)
    entry = queue.enter(db, row.id, "refills", 5, record.later(seconds=20), "media-a")
    assert (offer.state, entry.state, entry.queue, entry.priority) == (
        OfferState.WITHDRAWN,
        EntryState.WAITING,
        "refills",
        5,
    )
    assert entry.entered_at == record.now - timedelta(seconds=20)
    queue.enter(db, row.id, "refills", 5, record.now, "media-a")
    assert [each.queue for each in pair(db, record)] == ["refills"]


def test_nobody_rings_who_is_away_unreachable_disabled_or_not_in_the_queue(record: Record, db: Session) -> None:
    away, gone, fired, other = (add_agent(db, record, extension) for extension in ("101", "102", "103", "104"))
    agent.presence(db, away.id, Presence.AWAY, record.now)
    agent.registered(db, gone.id, None, record.now)
    staff.disable(db, fired.id, by="admin", now=record.now)
    wait(db, record)
    assert queue.pair(db, practice("101", "102", "103"), record.now) == []
    record.later(hours=2)
    assert queue.pair(db, practice("104"), record.now) == []
    agent.registered(db, other.id, record.now + timedelta(hours=1), record.now)
    assert [offer.agent_id for offer in queue.pair(db, practice("104"), record.now)] == [other.id]


def test_top_down_goes_by_the_policys_order(record: Record, db: Session) -> None:
    second = add_agent(db, record, "102")
    record.later(minutes=1)
    first = add_agent(db, record, "101")
    wait(db, record, "refills")
    assert [offer.agent_id for offer in pair(db, record)] == [first.id]
    assert second.id != first.id


def test_signing_in_is_coming_to_work_but_not_coming_back(record: Record, db: Session) -> None:
    person = add_agent(db, record)
    assert agent.get(db, person.id, record.now).presence is Presence.AVAILABLE
    since = record.now
    agent.presence(db, person.id, Presence.AVAILABLE, record.later(seconds=5))
    assert agent.get(db, person.id, record.now).since == since
    agent.presence(db, person.id, Presence.AWAY, record.now)
    agent.registered(db, person.id, record.now + timedelta(hours=1), record.now)
    assert agent.get(db, person.id, record.now).presence is Presence.AWAY


def test_an_agent_on_a_call_stays_busy_until_it_ends(record: Record, db: Session) -> None:
    person = add_agent(db, record)
    row = wait(db, record)
    (offer,) = pair(db, record)
    queue.answer(db, offer.id, record.now)
    assert agent.presence(db, person.id, Presence.AVAILABLE, record.now).presence is Presence.BUSY
    assert agent.freed(db, person.id, uuid4(), record.now).presence is Presence.BUSY
    assert agent.freed(db, person.id, row.id, record.now).presence is Presence.AVAILABLE


def test_who_left_does_not_come_back_by_a_late_word(record: Record, db: Session) -> None:
    row = wait(db, record)
    queue.leave(db, row.id, "gone", record.now)
    for name in ("appointments", "refills"):
        assert queue.enter(db, row.id, name, 0, record.now, "media-a").state is EntryState.LEFT
    assert queue.waiting(db) == []


def test_a_caller_for_whom_phones_stop_ringing_waits_on(record: Record, db: Session) -> None:
    first = add_agent(db, record)
    row = wait(db, record)
    (offer,) = pair(db, record)
    entry = queue.recall(db, row.id, record.now)
    assert entry is not None
    assert (entry.state, offer.state) == (EntryState.WAITING, OfferState.WITHDRAWN)
    (again,) = pair(db, record)
    assert again.agent_id == first.id
    queue.answer(db, again.id, record.now)
    queue.recall(db, row.id, record.now)
    assert entry.state is EntryState.CONNECTED
    assert queue.recall(db, uuid4(), record.now) is None


def test_leaving_what_was_never_entered_is_nothing(record: Record, db: Session) -> None:
    row = add_call(db, record)
    assert queue.leave(db, row.id, "done", record.now) is None
    assert not queue.waits(db, row.id)


STEPS = ["enter", "move", "leave", "recall", "answer", "refuse", "pair"]


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 3)), max_size=25))
def test_whatever_happens_rows_agree(record: Record, db: Session, steps: list[tuple[str, int]]) -> None:
    savepoint = db.begin_nested()
    for extension in ("101", "102"):
        add_agent(db, record, extension)
    calls = [add_call(db, record) for _ in range(4)]
    for step, number in steps:
        now = record.later(seconds=3)
        ringing = queue.ringing(db, "media-a")
        match step:
            case "enter":
                queue.enter(db, calls[number].id, "appointments", 0, now, "media-a")
            case "move":
                queue.enter(db, calls[number].id, "refills", 1, now, "media-a")
            case "leave":
                queue.leave(db, calls[number].id, "gone", now)
            case "recall":
                queue.recall(db, calls[number].id, now)
            case "answer" if ringing:
                queue.answer(db, ringing[number % len(ringing)].id, now)
            case "refuse" if ringing:
                queue.refuse(db, ringing[number % len(ringing)].id, OfferState.REFUSED, now)
            case "pair":
                pair(db, record)
        check(db)
    savepoint.rollback()
    db.expunge_all()


def check(db: Session) -> None:
    """An offered caller has one phone ringing, a connected one has one busy agent, and nobody rings twice."""
    entries = {row.call_id: row.state for row in db.exec(select(Entry))}
    ringing = [row for row in db.exec(select(Offer)) if row.state is OfferState.RINGING]
    assert sorted(row.call_id for row in ringing) == sorted(
        call_id for call_id, state in entries.items() if state is EntryState.OFFERED
    )
    assert len({row.agent_id for row in ringing}) == len(ringing)
    busy = {row.call_id: row.staff_id for row in db.exec(select(Agent)) if row.presence is Presence.BUSY}
    assert set(busy) == {call_id for call_id, state in entries.items() if state is EntryState.CONNECTED}
    assert not set(busy.values()) & {row.agent_id for row in ringing}


def test_a_caller_who_is_passed_on_waits_before_those_who_came_meanwhile(record: Record, db: Session) -> None:
    first_agent = add_agent(db, record, "101")
    row = wait(db, record, priority=5)
    record.later(seconds=30)
    (offer,) = pair(db, record)
    queue.answer(db, offer.id, record.now)
    record.later(seconds=300)
    newcomer = wait(db, record, priority=5)
    record.later(seconds=20)
    for _ in range(2):
        entry = queue.reopen(db, row.id, record.now)
    assert entry is not None
    assert (entry.state, entry.priority) == (EntryState.WAITING, 5)
    assert record.now - entry.entered_at == timedelta(seconds=30), "the talk is not waiting"
    agent.freed(db, first_agent.id, row.id, record.now)
    colleague = add_agent(db, record, "102")
    offers = {each.call_id: each.agent_id for each in pair(db, record)}
    assert offers == {row.id: colleague.id, newcomer.id: first_agent.id}


def test_a_caller_who_is_passed_on_twice_has_waited_as_long_as_nobody_talked_to_them(
    record: Record, db: Session
) -> None:
    person = add_agent(db, record)
    row = wait(db, record)
    entry = db.get_one(Entry, row.id)
    total = 0
    for waits in (30, 7, 11):
        record.later(seconds=waits)
        total += waits
        assert queue.waited(db, row.id, record.now) == timedelta(seconds=total)
        agent.freed(db, person.id, row.id, record.now)
        (offer,) = pair(db, record)
        queue.answer(db, offer.id, record.now)
        record.later(seconds=400)
        assert queue.waited(db, row.id, record.now) == timedelta(seconds=total), "the talk is not waiting"
        queue.reopen(db, row.id, record.now)
        assert record.now - entry.entered_at == timedelta(seconds=total)
    record.later(seconds=2)
    newcomer = wait(db, record)
    assert [caller.entered_at for caller in queue.waiting(db) if caller.call_id == str(row.id)] == [entry.entered_at]
    assert entry.entered_at < db.get_one(Entry, newcomer.id).entered_at, "they keep their place"
    queue.leave(db, row.id, "abandoned", record.now)
    record.later(seconds=50)
    assert queue.waited(db, row.id, record.now) == timedelta(seconds=total + 2)


def test_a_caller_who_hangs_up_in_a_talk_has_waited_until_it_began(record: Record, db: Session) -> None:
    add_agent(db, record)
    row = wait(db, record)
    (offer,) = pair(db, record)
    queue.answer(db, offer.id, record.later(seconds=9))
    queue.leave(db, row.id, "caller", record.later(seconds=60))
    assert queue.waited(db, row.id, record.now) == timedelta(seconds=9)
    assert queue.waited(db, uuid4(), record.now) is None


def test_who_passed_a_caller_on_is_rung_for_them_again_only_later(record: Record, db: Session) -> None:
    person = add_agent(db, record)
    row = wait(db, record)
    (offer,) = pair(db, record)
    queue.answer(db, offer.id, record.now)
    queue.reopen(db, row.id, record.now)
    agent.freed(db, person.id, row.id, record.now)
    assert pair(db, record) == []
    record.later(seconds=PAUSE.total_seconds())
    assert [each.agent_id for each in pair(db, record)] == [person.id]


def test_whoever_left_or_waits_is_not_let_in_again(record: Record, db: Session) -> None:
    add_agent(db, record)
    row = wait(db, record)
    waits = queue.reopen(db, row.id, record.later(seconds=9))
    assert waits is not None
    assert waits.entered_at == record.now - timedelta(seconds=9)
    (offer,) = pair(db, record)
    queue.answer(db, offer.id, record.now)
    queue.leave(db, row.id, "caller", record.now)
    left = queue.reopen(db, row.id, record.now)
    assert left is not None
    assert left.state is EntryState.LEFT
    assert queue.reopen(db, uuid4(), record.now) is None


def test_offers_of_a_call_are_not_looked_for_among_all_that_ever_were(record: Record, db: Session) -> None:
    add_agent(db, record)
    row = wait(db, record)
    (offer,) = pair(db, record)
    asked: list[tuple[str, Any]] = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        if statement.startswith("SELECT") and "queue_offer.call_id" in statement.partition("WHERE")[2]:
            asked.append((statement, parameters))

    event.listen(db.get_bind(), "before_cursor_execute", note)
    queue.refuse(db, offer.id, OfferState.REFUSED, record.now)
    queue.waiting(db)
    queue.waited(db, row.id, record.now)
    queue.leave(db, row.id, "abandoned", record.now)
    event.remove(db.get_bind(), "before_cursor_execute", note)
    assert len(asked) >= 3
    for statement, parameters in asked:
        plan = db.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
        assert any("ix_queue_offer_call " in step[3] for step in plan), plan
