"""A talk that goes on with a colleague: their phone rings for it, they take it, and each who has it has a pop of it.

What they see of the caller begins at the first stage again, whatever the one before them had made sure of.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlmodel import Session, select

from hub.record import agent, call, pop
from hub.record.queue import Entry, Offer, OfferState


def rung(db: Session, call_id: UUID, agent_id: UUID, *, key: bytes, now: datetime, until: datetime) -> Offer | None:
    """A colleague's phone rings: their desk shows the call like one from a queue; `key` is `ServiceKeys.pop`.

    None for whoever has a call or is rung for one: their desk goes on showing that, and their phone says that it is
    busy.
    """
    taken = select(Offer.id).where(Offer.agent_id == agent_id, Offer.state == OfferState.RINGING)
    if agent.get(db, agent_id, now).call_id is not None or db.exec(taken).first() is not None:
        return None
    return _offer(db, call_id, agent_id, OfferState.RINGING, key=key, now=now, until=until)


def ended(db: Session, call_id: UUID, why: OfferState, now: datetime) -> None:
    """Nobody's phone rings for the talk any more; who took it was told by `taken` before."""
    for row in _ringing(db, call_id):
        row.state, row.ended_at = why, now
        db.add(row)
    db.flush()


def taken(
    db: Session,
    call_id: UUID,
    before: UUID | None,
    after: UUID | None,
    *,
    key: bytes,
    now: datetime,
    wrap_up_seconds: int = 0,
) -> Offer | None:
    """Somebody else carries the talk on: it is theirs, with a pop, and whoever had it is left to wrap up.

    `before` and `after` are None for who is no staff; return what stands for `after`.
    """
    call.passed(db, call_id, before, after, now, wrap_up_seconds=wrap_up_seconds)
    if before is not None and before != after:
        pop.close(db, call_id, now + timedelta(seconds=wrap_up_seconds), agent_id=before)
    if after is None:
        return None
    row = next((each for each in _ringing(db, call_id) if each.agent_id == after), None)
    if row is None:
        return _offer(db, call_id, after, OfferState.ANSWERED, key=key, now=now, until=now)
    row.state, row.ended_at = OfferState.ANSWERED, now
    db.add(row)
    db.flush()
    return row


def _offer(
    db: Session, call_id: UUID, agent_id: UUID, state: OfferState, *, key: bytes, now: datetime, until: datetime
) -> Offer:
    entry = db.get(Entry, call_id)
    row = Offer(
        call_id=call_id,
        agent_id=agent_id,
        queue=entry.queue if entry is not None else "",
        host="",  # no process has to ring it from the rows: the one that has the talk does
        state=state,
        offered_at=now,
        expires_at=until,
        ended_at=now if state is OfferState.ANSWERED else None,
    )
    db.add(row)
    db.flush()
    pop.open(db, row, key=key, now=now)
    return row


def _ringing(db: Session, call_id: UUID) -> list[Offer]:
    query = select(Offer).where(Offer.call_id == call_id, Offer.state == OfferState.RINGING, Offer.host == "")
    return list(db.exec(query).all())
