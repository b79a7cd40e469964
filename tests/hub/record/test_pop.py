"""Pops: a token that nobody can guess or keep, three tries, and an end."""

import hashlib
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlmodel import Session

from hub.errors import NotFoundError
from hub.record import pop, queue
from hub.record.call import Call
from hub.record.pop import Pop, PopExpiredError, PopLockedError, PopStage
from tests.hub.record.conftest import Record
from tests.hub.record.floor import add_agent, add_call, practice
from tests.hub.record.say import ANA, person, tell_patient


@pytest.fixture
def popped(record: Record, db: Session) -> Pop:
    add_agent(db, record)
    row = add_call(db, record)
    queue.enter(db, row.id, "appointments", 0, record.now, "media-a")
    (offer,) = queue.pair(db, practice(), record.now)
    return pop.open(db, offer, key=record.pop_key, now=record.now)


def test_the_token_follows_from_the_offer_and_the_key_alone(record: Record) -> None:
    one, two = uuid4(), uuid4()
    token = pop.token_of(record.pop_key, one)
    assert token == pop.token_of(record.pop_key, one)
    assert len(token) == 43
    assert len({token, pop.token_of(record.pop_key, two), pop.token_of(bytes(32), one)}) == 3


def test_only_the_hash_is_kept(record: Record, db: Session, popped: Pop) -> None:
    token = pop.token_of(record.pop_key, popped.id)
    assert popped.token_hash == hashlib.sha256(token.encode()).digest()
    assert pop.find(db, token, record.now) is popped
    with pytest.raises(NotFoundError):
        pop.find(db, popped.token_hash.hex(), record.now)


def test_only_the_agent_who_is_rung_may_open_it(record: Record, db: Session, popped: Pop) -> None:
    token = pop.token_of(record.pop_key, popped.id)
    assert pop.find(db, token, record.now, agent_id=popped.agent_id) is popped
    with pytest.raises(NotFoundError):
        pop.find(db, token, record.now, agent_id=uuid4())


def test_opening_again_keeps_the_stage(record: Record, db: Session, popped: Pop) -> None:
    pop.tried(db, popped.id, None, by="a", now=record.now)
    offer = db.get_one(queue.Offer, popped.id)
    assert pop.open(db, offer, key=record.pop_key, now=record.now).tries == 1


def test_a_right_answer_shows_more_and_binds_the_call(record: Record, db: Session, popped: Pop) -> None:
    owner = tell_patient(db, record, person(**ANA))
    row = pop.tried(db, popped.id, owner.id, by="a", now=record.now)
    assert (row.stage, row.patient_id, row.verified_at) == (PopStage.FULL, owner.id, record.now)
    assert db.get_one(Call, popped.call_id).verified_at == record.now


def test_three_wrong_answers_lock_it_for_good(record: Record, db: Session, popped: Pop) -> None:
    owner = tell_patient(db, record, person(**ANA))
    stages = [pop.tried(db, popped.id, None, by="a", now=record.now).stage for _ in range(3)]
    assert stages == [PopStage.MASKED, PopStage.MASKED, PopStage.LOCKED]
    with pytest.raises(PopLockedError) as caught:
        pop.tried(db, popped.id, owner.id, by="a", now=record.now)
    assert caught.value.status == 423
    assert popped.patient_id is None


def test_it_runs_out_with_the_wrap_up_and_not_later(record: Record, db: Session, popped: Pop) -> None:
    token = pop.token_of(record.pop_key, popped.id)
    pop.close(db, popped.call_id, record.now + timedelta(seconds=30))
    pop.close(db, popped.call_id, record.now + timedelta(hours=3))
    assert pop.find(db, token, record.later(seconds=29)) is popped
    with pytest.raises(PopExpiredError) as caught:
        pop.find(db, token, record.later(seconds=1))
    assert caught.value.status == 410
