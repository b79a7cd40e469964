"""A talk that goes on with a colleague: each who has it has a pop of their own, for as long as it is theirs."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from sqlmodel import Session, select

from hub.db import uuid7
from hub.record import agent, call, outbound, pop, queue, transfer, wrapup
from hub.record.agent import Presence
from hub.record.pop import Pop, PopExpiredError, PopStage
from hub.record.queue import Offer, OfferState
from hub.record.staff import Staff
from tests.hub.record.conftest import Record
from tests.hub.record.floor import NOBODY, add_agent, add_call, practice
from tests.hub.record.say import ANA, person, tell_patient

WRAP_UP_S = 30


class Talk:
    """A caller who talks to the first of two agents, who has verified them."""

    def __init__(self, record: Record, db: Session) -> None:
        self.record, self.db = record, db
        self.first = add_agent(db, record)
        self.id = add_call(db, record).id
        queue.enter(db, self.id, "appointments", 0, record.now, "media-a")
        (offer,) = queue.pair(db, practice(), record.now)
        pop.open(db, offer, key=record.pop_key, now=record.now)
        queue.answer(db, offer.id, record.now)
        call.bridged(db, self.id, self.first.id, record.now)
        pop.tried(db, offer.id, tell_patient(db, record, person(**ANA)).id, by="a", now=record.now)
        self.offer = offer
        self.second = add_agent(db, record, "102")

    def ring(self) -> Offer | None:
        now = self.record.later(seconds=10)
        until = now + timedelta(seconds=50)
        return transfer.rung(self.db, self.id, self.second.id, key=self.record.pop_key, now=now, until=until)

    def hand(self, before: Staff | None, after: Staff | None) -> Offer | None:
        had, has = before.id if before else None, after.id if after else None
        now = self.record.later(seconds=10)
        return transfer.taken(self.db, self.id, had, has, key=self.record.pop_key, now=now, wrap_up_seconds=WRAP_UP_S)

    def stage(self, offer: Offer) -> PopStage:
        """Return what the pop of an offer shows to whose it is, by its token."""
        token = pop.token_of(self.record.pop_key, offer.id)
        return pop.find(self.db, token, self.record.now, agent_id=offer.agent_id).stage


@pytest.fixture
def talk(record: Record, db: Session) -> Talk:
    return Talk(record, db)


@pytest.mark.parametrize("rings", [True, False])
def test_who_takes_it_has_a_pop_of_their_own_from_the_first_stage(talk: Talk, rings: bool) -> None:
    rung = talk.ring() if rings else None
    assert rung is None or (rung.state, talk.stage(rung)) == (OfferState.RINGING, PopStage.MASKED)
    taken = talk.hand(talk.first, talk.second)
    assert taken is not None
    assert rung is None or taken is rung
    assert (taken.state, taken.queue, taken.ended_at) == (OfferState.ANSWERED, "appointments", talk.record.now)
    assert talk.stage(taken) is PopStage.MASKED
    assert talk.stage(talk.offer) is PopStage.FULL
    assert agent.get(talk.db, talk.second.id, talk.record.now).call_id == talk.id
    for who in (talk.first, talk.second):
        asked = wrapup.asked(talk.db, who.id, talk.record.now)
        assert asked is not None
        assert asked.id == talk.id


def test_the_first_pop_ends_with_that_agents_wrap_up_and_the_second_with_the_call(talk: Talk) -> None:
    taken = talk.hand(talk.first, talk.second)
    assert taken is not None
    assert agent.get(talk.db, talk.first.id, talk.record.now).presence is Presence.WRAP_UP
    talk.record.later(seconds=WRAP_UP_S)
    with pytest.raises(PopExpiredError):
        talk.stage(talk.offer)
    assert talk.stage(taken) is PopStage.MASKED
    queue.leave(talk.db, talk.id, "caller", talk.record.now, wrap_up_seconds=WRAP_UP_S)
    assert agent.get(talk.db, talk.second.id, talk.record.now).presence is Presence.WRAP_UP
    pop.close(talk.db, talk.id, talk.record.now + timedelta(seconds=WRAP_UP_S))
    talk.record.later(seconds=WRAP_UP_S)
    with pytest.raises(PopExpiredError):
        talk.stage(taken)


def test_it_comes_back_to_who_had_it_first(talk: Talk) -> None:
    talk.hand(talk.first, talk.second)
    again = talk.hand(talk.second, talk.first)
    assert again is not None
    assert again.id != talk.offer.id
    assert talk.stage(again) is PopStage.MASKED
    assert agent.get(talk.db, talk.first.id, talk.record.now).presence is Presence.BUSY


def test_a_phone_that_rings_for_it_is_rung_for_nobody_else_and_by_no_process(talk: Talk) -> None:
    assert talk.ring() is not None
    assert queue.ringing(talk.db, "media-a") == []
    other = add_call(talk.db, talk.record, call_id=uuid7())
    queue.enter(talk.db, other.id, "appointments", 0, talk.record.now, "media-a")
    assert queue.pair(talk.db, practice(), talk.record.now) == []


@pytest.mark.parametrize("why", [OfferState.REFUSED, OfferState.TIMEOUT])
def test_a_colleague_who_does_not_take_it_leaves_it_where_it_was(talk: Talk, why: OfferState) -> None:
    rung = talk.ring()
    assert rung is not None
    transfer.ended(talk.db, talk.id, why, talk.record.now)
    assert rung.state is why
    transfer.ended(talk.db, talk.id, OfferState.WITHDRAWN, talk.record.now)
    assert rung.state is why
    assert talk.offer.state is OfferState.ANSWERED
    assert agent.get(talk.db, talk.second.id, talk.record.now).presence is Presence.AVAILABLE
    assert wrapup.asked(talk.db, talk.second.id, talk.record.now) is None


def test_a_caller_who_hangs_up_meanwhile_rings_no_more(talk: Talk) -> None:
    rung = talk.ring()
    assert rung is not None
    queue.leave(talk.db, talk.id, "caller", talk.record.now)
    assert rung.state is OfferState.WITHDRAWN


def crashed(db: Session, _call_id: UUID, now: datetime) -> None:
    call.close_orphans(db, "media-a", now)


def hung_up(db: Session, call_id: UUID, now: datetime) -> None:
    outbound.over(db, call_id, "far-end", now)


@pytest.mark.parametrize("end", [crashed, hung_up])
def test_a_colleague_who_is_rung_for_a_call_that_staff_made_is_free_once_it_is_over(
    record: Record, db: Session, end: Callable[[Session, UUID, datetime], None]
) -> None:
    dials, colleague, call_id = add_agent(db, record), add_agent(db, record, "102"), uuid7()
    outbound.dial(
        db,
        call_id,
        shown="+12125550100",
        host="media-a",
        number="+12125550123",
        match=NOBODY,
        price=Decimal(0),
        agent_id=dials.id,
        seal=record.seal,
        index=record.index,
        now=record.now,
    )
    until = record.now + timedelta(seconds=50)
    rung = transfer.rung(db, call_id, colleague.id, key=record.pop_key, now=record.now, until=until)
    assert rung is not None
    end(db, call_id, record.later(seconds=5))
    assert rung.state is OfferState.WITHDRAWN
    other = add_call(db, record, call_id=uuid7())
    queue.enter(db, other.id, "appointments", 0, record.now, "media-a")
    agent.presence(db, dials.id, Presence.AWAY, record.now)
    assert [each.agent_id for each in queue.pair(db, practice(), record.now)] == [colleague.id]


def test_the_desk_of_who_talks_to_another_goes_on_showing_that(talk: Talk) -> None:
    busy = agent.engaged(talk.db, talk.second.id, add_call(talk.db, talk.record, call_id=uuid7()).id, talk.record.now)
    assert talk.ring() is None
    other = busy.call_id
    talk.hand(talk.first, talk.second)
    assert agent.get(talk.db, talk.second.id, talk.record.now).call_id == other


def test_who_is_away_and_helps_out_stays_away(talk: Talk) -> None:
    agent.presence(talk.db, talk.second.id, Presence.AWAY, talk.record.now)
    taken = talk.hand(talk.first, talk.second)
    assert taken is not None
    row = agent.get(talk.db, talk.second.id, talk.record.now)
    assert (row.presence, row.call_id) == (Presence.AWAY, talk.id)
    queue.leave(talk.db, talk.id, "caller", talk.record.now, wrap_up_seconds=WRAP_UP_S)
    assert (row.presence, row.call_id, row.wrap_up_until) == (Presence.AWAY, None, None)


def test_whoever_is_no_staff_has_no_pop(talk: Talk) -> None:
    assert talk.hand(talk.first, None) is None
    assert len(talk.db.exec(select(Pop)).all()) == 1
    assert agent.get(talk.db, talk.first.id, talk.record.now).presence is Presence.WRAP_UP
