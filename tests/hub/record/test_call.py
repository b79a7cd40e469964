"""Calls: every change may repeat and come late, none goes back, and a dead media process leaves nothing ringing."""

from datetime import timedelta
from itertools import permutations
from uuid import UUID, uuid4

import pytest
from sqlmodel import Session, select

from hub.db import uuid7
from hub.record import agent, call, queue, task
from hub.record.agent import Presence
from hub.record.call import Call, CallState
from hub.record.queue import EntryState, OfferState
from hub.record.task import Task
from hub.rules.matching import Match
from hub.rules.routing import Plan
from hub.security.sealed import line_subject
from tests.hub.record.conftest import Record
from tests.hub.record.floor import add_agent, add_call, practice
from tests.hub.record.say import ANA, MOBILE, START, person, tell_patient

PLAN = Plan(policy=1, language="en", queue="appointments", rule="soon", reads=("patient.appointments.hours_until",))


def test_a_call_of_nobody_known_is_sealed_for_the_trunk_and_day(record: Record, db: Session) -> None:
    row = add_call(db, record, number=MOBILE)
    assert (row.state, row.match, row.patient_id) == (CallState.RINGING, "none", None)
    assert row.subject == line_subject("carrier", record.now.date())
    assert record.open(db, call.sealed_of(row)) == {"number": MOBILE, "name": "RIVERA A"}
    assert row.caller_key == record.index.phone(MOBILE)


def test_a_call_of_one_patient_is_sealed_for_them(record: Record, db: Session) -> None:
    owner = tell_patient(db, record, person(**ANA))
    row = add_call(db, record, match=Match("one", (owner.id,)))
    assert (row.subject, row.patient_id) == (owner.id, owner.id)
    assert record.open(db, call.sealed_of(row))["number"] == MOBILE


def test_a_call_of_several_is_nobodys(record: Record, db: Session) -> None:
    row = add_call(db, record, match=Match("many", (uuid4(), uuid4())))
    assert (row.patient_id, row.match) == (None, "many")


@pytest.mark.parametrize("number", [None, "anonymous", "101"])
def test_a_caller_without_a_number_can_still_call(record: Record, db: Session, number: str | None) -> None:
    row = add_call(db, record, number=number)
    assert row.caller_key is None
    assert call.count_before(db, row) == 0


def test_the_same_invite_makes_one_call(record: Record, db: Session) -> None:
    row = add_call(db, record)
    assert add_call(db, record, call_id=row.id, number="+12125550199") is row
    assert len(db.exec(select(Call)).all()) == 1


def change(db: Session, call_id: UUID, agent_id: UUID, name: str) -> None:
    at = START + timedelta(seconds=["planned", "answered", "queued", "bridged", "ended"].index(name))
    match name:
        case "planned":
            call.planned(db, call_id, PLAN, at)
        case "answered":
            call.answered(db, call_id, at)
        case "queued":
            call.queued(db, call_id, "appointments", at)
        case "bridged":
            call.bridged(db, call_id, agent_id, at)
        case _:
            call.ended(db, call_id, "caller", at, path=call.ANSWERED)


def test_changes_may_come_in_any_order_and_repeat(record: Record, db: Session) -> None:
    person_ = add_agent(db, record)
    seen = []
    for order in permutations(["planned", "answered", "queued", "bridged", "ended"]):
        row = add_call(db, record)
        for name in order * 2:
            change(db, row.id, person_.id, name)
        db.refresh(row)
        seen.append(row.model_dump(exclude={"id", "sealed"}))
    assert all(each == seen[0] for each in seen)
    assert (seen[0]["state"], seen[0]["queue"], seen[0]["agent_id"]) == (CallState.ENDED, "appointments", person_.id)
    assert seen[0]["plan"]["reads"] == ["patient.appointments.hours_until"]
    assert seen[0]["bridged_at"] == START + timedelta(seconds=3)


def test_a_state_never_goes_back(record: Record, db: Session) -> None:
    row = add_call(db, record)
    call.ended(db, row.id, "caller", START)
    call.answered(db, row.id, START + timedelta(seconds=1))
    assert row.state is CallState.ENDED
    call.ended(db, row.id, "agent", START + timedelta(seconds=2))
    assert (row.cause, row.ended_at) == ("caller", START)


def test_the_first_plan_stays(record: Record, db: Session) -> None:
    row = add_call(db, record)
    call.planned(db, row.id, PLAN, START)
    call.planned(db, row.id, PLAN.model_copy(update={"source": "last-good"}), START)
    assert row.plan is not None
    assert row.plan["source"] == "workflow"


@pytest.mark.parametrize(
    ("steps", "path"),
    [
        ([], call.MISSED),
        (["answered"], call.HUNG_UP),
        (["answered", "queued"], call.ABANDONED),
        (["answered", "queued", "bridged"], call.ANSWERED),
    ],
)
def test_the_path_says_how_far_a_call_came(record: Record, db: Session, steps: list[str], path: str) -> None:
    row, person_ = add_call(db, record), add_agent(db, record)
    for name in steps:
        change(db, row.id, person_.id, name)
    assert call.ended(db, row.id, "caller", START).path == path


def test_verification_binds_the_call_to_the_patient(record: Record) -> None:
    with record.database.write() as db:
        owner = tell_patient(db, record, person(**ANA))
        row = add_call(db, record)
        call.verified(db, row.id, owner.id, by="staff-1", now=record.now)
    with record.database.read() as db:
        binds = [noted for noted in record.noted(db) if noted.act == "bind"]
        assert db.get_one(Call, row.id).patient_id == owner.id
    assert [(noted.actor, list(noted.objects)) for noted in binds] == [("staff-1", [owner.id])]


def test_legs_keep_the_latest_figures(record: Record, db: Session) -> None:
    row = add_call(db, record)
    call.leg(db, row.id, "caller", protection="rtp")
    call.leg(db, row.id, "agent", protection="rtp")
    call.leg(db, row.id, "caller", protection="rtp", loss=0.01, jitter_ms=2.5, rtt_ms=20.0, mos=4.1)
    assert [(leg.role, leg.loss, leg.jitter_ms, leg.rtt_ms, leg.mos) for leg in call.legs(db, row.id)] == [
        ("agent", 0.0, 0.0, None, None),
        ("caller", 0.01, 2.5, 20.0, 4.1),
    ]


def test_recent_calls_come_newest_first_by_the_page(record: Record, db: Session) -> None:
    rows = [add_call(db, record, call_id=uuid7()) for _ in range(5)]
    page = call.recent(db, limit=3)
    assert [row.id for row in page] == [row.id for row in reversed(rows)][:3]
    assert [row.id for row in call.recent(db, before=page[-1].id)] == [rows[1].id, rows[0].id]


def test_who_calls_again_within_three_days_is_counted(record: Record, db: Session) -> None:
    add_call(db, record)
    record.later(hours=80)
    add_call(db, record)
    record.later(hours=1)
    add_call(db, record, number="+12125550199")
    assert call.count_before(db, add_call(db, record, now=record.later(minutes=1))) == 1


def test_a_dead_media_process_leaves_no_call_open(record: Record, db: Session) -> None:
    first, second = add_agent(db, record, "101"), add_agent(db, record, "102")
    waiting, offered, talking, menu, elsewhere = (add_call(db, record) for _ in range(5))
    ended = add_call(db, record)
    call.ended(db, ended.id, "caller", record.now)
    elsewhere.host = "media-b"
    queue.enter(db, talking.id, "appointments", 0, record.now, "media-a")
    (offer,) = queue.pair(db, practice(), record.now)
    queue.answer(db, offer.id, record.now)
    call.bridged(db, talking.id, offer.agent_id, record.now)
    for row in (offered, waiting):
        queue.enter(db, row.id, "appointments", 0, record.later(seconds=1), "media-a")
    (ringing,) = queue.pair(db, practice(), record.now)
    gone = call.close_orphans(db, "media-a", record.later(seconds=5))
    assert set(gone) == {waiting.id, offered.id, talking.id, menu.id}
    assert {row.path for row in (waiting, offered, talking, menu)} == {call.DROPPED}
    assert ended.path == call.MISSED
    assert elsewhere.state is CallState.RINGING
    assert ringing.state is OfferState.WITHDRAWN
    assert {each.call_id for each in db.exec(select(Task))} == {waiting.id, offered.id}
    assert {each.state for each in db.exec(select(queue.Entry))} == {EntryState.LEFT}
    assert {agent.get(db, who.id, record.now).presence for who in (first, second)} == {Presence.AVAILABLE}
    assert call.close_orphans(db, "media-a", record.now) == []
    assert [(each.kind, each.pressing) for each in task.open_tasks(db)] == [("callback", True)] * 2
