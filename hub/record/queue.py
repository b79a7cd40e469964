"""Callers who wait, and agents' phones that ring for them.

Whoever changes the state of a queue runs `pair` in the same transaction; media reads its own offers from the rows, so
a line queues and rings without anything else running.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Index
from sqlmodel import Field, Session, SQLModel, col, select

from hub.db import uuid7
from hub.record import agent, column
from hub.rules import queueing
from hub.settings.practice import Practice

RING_SECONDS = 20
"Where the policy has dropped the queue in the meantime."

_FROM_QUEUE = ("abandoned", "overflow", "fax")
"Why callers left whom nobody was talking to then."


class EntryState(StrEnum):
    """How a caller's wait stands."""

    WAITING = "waiting"
    OFFERED = "offered"
    "A phone rings for them."

    CONNECTED = "connected"
    LEFT = "left"


class OfferState(StrEnum):
    """How a phone's ringing stands."""

    RINGING = "ringing"
    ANSWERED = "answered"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    WITHDRAWN = "withdrawn"
    "The caller went, the call was lost, or there was no phone to ring any more."


class Entry(SQLModel, table=True):
    """One caller's place."""

    __tablename__ = "queue_entry"

    call_id: UUID = Field(foreign_key="call.id", primary_key=True)
    queue: str
    priority: int = 0
    "Higher is answered first."

    language: str = ""
    entered_at: datetime = column.instant()
    state: EntryState = column.code(EntryState, index=True)
    left_at: datetime | None = column.maybe_instant()
    why: str = ""
    "A code: why they left."

    host: str
    "The media process that has the call."


class Offer(SQLModel, table=True):
    """One agent's phone that rings, or rang, for one caller."""

    __tablename__ = "queue_offer"
    # By call and state: by its state alone, an offer that is over is one of all that ever were.
    __table_args__ = (Index("ix_queue_offer_call", "call_id", "state"),)

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    call_id: UUID = Field(foreign_key="call.id")
    agent_id: UUID = Field(foreign_key="staff.id")
    queue: str
    host: str
    state: OfferState = column.code(OfferState, index=True)
    offered_at: datetime = column.instant()
    expires_at: datetime = column.instant()
    "When the next agent is tried."

    ended_at: datetime | None = column.maybe_instant()


def enter(
    db: Session, call_id: UUID, queue: str, priority: int, now: datetime, host: str, *, language: str = ""
) -> Entry:
    """Let a caller wait. A repeat changes nothing, also once they left: whoever left does not come back by a late word.

    Another queue keeps the time that was waited already.
    """
    row = db.get(Entry, call_id)
    if row is None:
        row = Entry(
            call_id=call_id,
            queue=queue,
            priority=priority,
            language=language,
            entered_at=now,
            state=EntryState.WAITING,
            host=host,
        )
    elif row.queue != queue and row.state in (EntryState.WAITING, EntryState.OFFERED):
        _withdraw(db, call_id, now)
        row.queue, row.priority, row.language, row.state = queue, priority, language, EntryState.WAITING
    return _kept(db, row)


def leave(db: Session, call_id: UUID, why: str, now: datetime, *, wrap_up_seconds: int = 0) -> Entry | None:
    """The caller is gone: out of the queue, or at the end of the talk. Phones stop ringing, the agent is free.

    Returns None for a call that never waited, as one that staff made: a colleague may ring for that too. A repeat
    changes nothing.
    """
    _withdraw(db, call_id, now)
    row = db.get(Entry, call_id)
    if row is None or row.state is EntryState.LEFT:
        return row
    query = select(Offer).where(Offer.call_id == call_id, Offer.state == OfferState.ANSWERED)
    for offer in db.exec(query).all():
        agent.freed(db, offer.agent_id, call_id, now, wrap_up_seconds=wrap_up_seconds)
    row.state, row.left_at, row.why = EntryState.LEFT, now, why
    return _kept(db, row)


def recall(db: Session, call_id: UUID, now: datetime) -> Entry | None:
    """Phones stop ringing for a caller who waits on. Returns None for a call that never waited."""
    row = db.get(Entry, call_id)
    if row is None or row.state is not EntryState.OFFERED:
        return row
    _withdraw(db, call_id, now)
    row.state = EntryState.WAITING
    return _kept(db, row)


def reopen(db: Session, call_id: UUID, now: datetime) -> Entry | None:
    """A caller who talked to somebody waits again, at the head of those who came since they did.

    What they waited before counts, the talk does not; the priority stays. Whoever had the call is rung for it like
    somebody who let it pass. A repeat changes nothing, and neither does it for whoever waits or has left.
    """
    row = db.get(Entry, call_id)
    if row is None or row.state is not EntryState.CONNECTED:
        return row
    served = _served_at(db, call_id)
    if served is not None:
        row.entered_at = now - (served - row.entered_at)
    row.state = EntryState.WAITING
    return _kept(db, row)


def waited(db: Session, call_id: UUID, now: datetime) -> timedelta | None:
    """Return how long a caller has waited until now, or had until somebody took or lost them; talks do not count.

    After a talk that sent them to a queue again it goes on from there. None for a call that never waited.
    """
    row = db.get(Entry, call_id)
    if row is None:
        return None
    until: datetime | None = None
    if row.state is EntryState.CONNECTED or (row.state is EntryState.LEFT and row.why not in _FROM_QUEUE):
        until = _served_at(db, call_id)
    return (until or row.left_at or now) - row.entered_at


def answer(db: Session, offer_id: UUID, now: datetime) -> Offer:
    """The agent picked up. Look at the state: it is `answered` only if the caller was still there to be connected."""
    offer = db.get_one(Offer, offer_id)
    if offer.state is not OfferState.RINGING:
        return offer
    row = db.get_one(Entry, offer.call_id)
    row.state = EntryState.CONNECTED
    offer.state, offer.ended_at = OfferState.ANSWERED, now
    agent.engaged(db, offer.agent_id, offer.call_id, now)
    db.add(offer)
    _kept(db, row)
    return offer


def refuse(db: Session, offer_id: UUID, why: OfferState, now: datetime) -> Offer:
    """The agent did not take it, or could not (`OfferState.WITHDRAWN`); the caller waits on, at their place."""
    offer = db.get_one(Offer, offer_id)
    if offer.state is not OfferState.RINGING:
        return offer
    offer.state, offer.ended_at = why, now
    db.add(offer)
    row = db.get_one(Entry, offer.call_id)
    if row.state is EntryState.OFFERED:
        row.state = EntryState.WAITING
    _kept(db, row)
    return offer


def pair(db: Session, practice: Practice, now: datetime) -> list[Offer]:
    """Ring free agents for waiting callers, in the caller's transaction; return the new offers."""
    agent.wrapped_up(db, now)
    callers = waiting(db)
    if not callers:
        return []
    hosts = {row.call_id: row for row in db.exec(select(Entry).where(Entry.state == EntryState.WAITING))}
    strategies = {queue.name: queue.strategy for queue in practice.queues}
    offers = []
    for pairing in queueing.pair(callers, _idle(db, practice, now), now, strategies):
        row = hosts[UUID(pairing.call_id)]
        settings = practice.find_queue(row.queue)
        seconds = RING_SECONDS if settings is None else settings.ring_seconds
        row.state = EntryState.OFFERED
        db.add(row)
        offers.append(
            Offer(
                call_id=row.call_id,
                agent_id=UUID(pairing.agent_id),
                queue=row.queue,
                host=row.host,
                state=OfferState.RINGING,
                offered_at=now,
                expires_at=now + timedelta(seconds=seconds),
            )
        )
    db.add_all(offers)
    db.flush()
    return offers


def waiting(db: Session) -> list[queueing.Waiting]:
    """Return the callers for whom no phone rings, with the agents who passed them by, or on."""
    rows = db.exec(select(Entry).where(Entry.state == EntryState.WAITING)).all()
    if not rows:
        return []
    passed: dict[UUID, dict[str, datetime]] = {row.call_id: {} for row in rows}
    tried = select(Offer).where(
        col(Offer.call_id).in_(passed),
        col(Offer.state).in_([OfferState.REFUSED, OfferState.TIMEOUT, OfferState.ANSWERED]),
    )
    for offer in db.exec(tried.order_by(col(Offer.ended_at))):
        passed[offer.call_id][str(offer.agent_id)] = offer.ended_at or offer.offered_at
    return [
        queueing.Waiting(str(row.call_id), row.queue, row.entered_at, row.priority, passed[row.call_id]) for row in rows
    ]


def waits(db: Session, call_id: UUID) -> bool:
    """Return whether the caller is in a queue, and nobody has taken the call."""
    row = db.get(Entry, call_id)
    return row is not None and row.state in (EntryState.WAITING, EntryState.OFFERED)


def ringing(db: Session, host: str) -> list[Offer]:
    """Return the offers that a media process must ring, oldest first."""
    query = select(Offer).where(Offer.host == host, Offer.state == OfferState.RINGING)
    return list(db.exec(query.order_by(col(Offer.id))))


def _idle(db: Session, practice: Practice, now: datetime) -> Sequence[queueing.Idle]:
    """Return who is free and reachable, with the queues that the policy gives them."""
    busy = set(db.exec(select(Offer.agent_id).where(Offer.state == OfferState.RINGING)))
    places = {staff.email: (place, staff.queues) for place, staff in enumerate(practice.staff)}
    idle = []
    for row, person in agent.reachable(db, now):
        place, queues = places.get(person.email, (0, ()))
        if queues and row.staff_id not in busy:
            since = max(row.since, row.last_ended_at or row.since)
            idle.append(queueing.Idle(str(row.staff_id), queues, since, place=place))
    return idle


def _served_at(db: Session, call_id: UUID) -> datetime | None:
    """Return when somebody of a queue took the caller last.

    Of colleagues whom the call was passed on to there are offers too, which no process had to ring from the rows.
    """
    query = select(Offer.ended_at).where(Offer.call_id == call_id, Offer.state == OfferState.ANSWERED, Offer.host != "")
    return db.exec(query.order_by(col(Offer.ended_at).desc()).limit(1)).first()


def _withdraw(db: Session, call_id: UUID, now: datetime) -> None:
    query = select(Offer).where(Offer.call_id == call_id, Offer.state == OfferState.RINGING)
    for offer in db.exec(query).all():
        offer.state, offer.ended_at = OfferState.WITHDRAWN, now
        db.add(offer)


def _kept(db: Session, row: Entry) -> Entry:
    db.add(row)
    db.flush()
    return row
