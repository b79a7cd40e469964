"""What an agent says of a call at its end."""

from datetime import timedelta

import pytest
from sqlmodel import Session

from hub.errors import NotFoundError
from hub.record import agent, call, queue, wrapup
from hub.record.agent import Presence
from hub.record.queue import Offer, OfferState
from hub.record.wrapup import Disposition, WrapUp
from tests.hub.record.conftest import Record
from tests.hub.record.floor import add_agent, add_call


def test_it_is_kept_once_a_call_and_the_last_word_stays(record: Record, db: Session) -> None:
    who, row = add_agent(db, record), add_call(db, record)
    call.bridged(db, row.id, who.id, record.now)
    wrapup.note(db, row.id, who.id, Disposition.MESSAGE, " asked for Dr. Lindqvist ", seal=record.seal, now=record.now)
    kept = db.get_one(WrapUp, (row.id, who.id))
    sealed = wrapup.sealed_of(kept)
    assert sealed is not None
    assert record.open(db, sealed) == {"note": "asked for Dr. Lindqvist"}
    later = record.later(minutes=1)
    wrapup.note(db, row.id, who.id, Disposition.BOOKED, "", seal=record.seal, now=later)
    assert (kept.disposition, kept.sealed, kept.noted_at) == (Disposition.BOOKED, None, later)
    assert wrapup.sealed_of(kept) is None


def test_it_is_said_by_who_had_the_call(record: Record, db: Session) -> None:
    who, other, row = add_agent(db, record), add_agent(db, record, "102"), add_call(db, record)
    call.bridged(db, row.id, who.id, record.now)
    with pytest.raises(NotFoundError):
        wrapup.note(db, row.id, other.id, Disposition.OTHER, "", seal=record.seal, now=record.now)


def test_an_agent_is_asked_during_the_call_and_for_a_while_after_it(record: Record, db: Session) -> None:
    who, row = add_agent(db, record), add_call(db, record)
    assert wrapup.asked(db, who.id, record.now) is None
    call.bridged(db, row.id, who.id, record.now)
    assert wrapup.asked(db, who.id, record.now) is not None
    call.ended(db, row.id, "caller", record.now)
    assert wrapup.asked(db, who.id, record.now + wrapup.ASKED - timedelta(seconds=1)) is not None
    assert wrapup.asked(db, who.id, record.now + wrapup.ASKED) is None
    wrapup.note(db, row.id, who.id, Disposition.RESOLVED, "", seal=record.seal, now=record.now)
    assert wrapup.asked(db, who.id, record.now) is None


def test_a_wrap_up_ends_when_the_agent_says_so(record: Record, db: Session) -> None:
    who, row = add_agent(db, record), add_call(db, record)
    agent.engaged(db, who.id, row.id, record.now)
    assert wrapup.ended(db, who.id, record.now).presence is Presence.BUSY
    agent.freed(db, who.id, row.id, record.now, wrap_up_seconds=60)
    freed = wrapup.ended(db, who.id, record.now)
    assert (freed.presence, freed.wrap_up_until) == (Presence.AVAILABLE, None)


def test_a_call_that_was_passed_on_is_told_by_each_who_had_it(record: Record, db: Session) -> None:
    first, second, row = add_agent(db, record), add_agent(db, record, "102"), add_call(db, record)
    queue.enter(db, row.id, "appointments", 0, record.now, "media-a")
    offer = Offer(
        call_id=row.id,
        agent_id=first.id,
        queue="appointments",
        host="media-a",
        state=OfferState.RINGING,
        offered_at=record.now,
        expires_at=record.now,
    )
    db.add(offer)
    queue.answer(db, offer.id, record.now)
    call.bridged(db, row.id, first.id, record.now)
    call.passed(db, row.id, first.id, second.id, record.now)
    for who, what in ((first, Disposition.TRANSFERRED), (second, Disposition.RESOLVED)):
        assert wrapup.asked(db, who.id, record.now) is not None
        wrapup.note(db, row.id, who.id, what, "", seal=record.seal, now=record.now)
        assert wrapup.asked(db, who.id, record.now) is None
    assert db.get_one(WrapUp, (row.id, first.id)).disposition is Disposition.TRANSFERRED
