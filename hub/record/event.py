"""What happened, for whoever wants to be told by webhook: ids and codes, in two lanes (INTERFACE, "Webhooks out")."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from uuid import UUID

from sqlalchemy import UniqueConstraint, bindparam, func, update
from sqlmodel import Field, Session, SQLModel, col, select

from hub.db import uuid7
from hub.errors import ConflictError, UsageError
from hub.record import column, plain
from hub.settings.practice import EVENTS, Practice

LIVE = frozenset({"call.ringing", "call.offered", "call.answered"})
"Events that are also told at once, or not at all."

PAYLOAD = frozenset(
    {
        "call",
        "queue",
        "agent",
        "match",
        "offer",
        "appointment",
        "message",
        "reminder",
        "voicemail",
        "connection",
        "status",
    }
)
"What a payload may hold: ids, names of the policy and codes. The pop's address is made of `offer` when it is sent."


class DeliveryStateError(ConflictError):
    """Only what failed in the record lane can be told again."""

    code = "delivery-state"


class EventError(UsageError):
    """An event that is not known, or a payload with more than ids and codes."""

    code = "event-invalid"


class Lane(StrEnum):
    """How an event is told."""

    LIVE = "live"
    RECORD = "record"


class DeliveryState(StrEnum):
    """How the telling stands."""

    PENDING = "pending"
    DONE = "done"
    DROPPED = "dropped"
    "The call has moved on."

    FAILED = "failed"


class Event(SQLModel, table=True):
    """One thing that happened; the same id goes out in both lanes."""

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    type: str
    call_id: UUID | None = Field(default=None, foreign_key="call.id", index=True)
    payload: dict[str, str] = column.document()
    at: datetime = column.instant(index=True)


class Delivery(SQLModel, table=True):
    """One event for one webhook in one lane."""

    __tablename__ = "event_delivery"
    __table_args__ = (UniqueConstraint("event_id", "webhook", "lane"),)

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    event_id: UUID = Field(foreign_key="event.id", index=True)
    webhook: str
    "SHA-256 of the address, hex (`webhook_of`)."

    lane: Lane = column.code(Lane)
    state: DeliveryState = column.code(DeliveryState, index=True)
    tries: int = 0
    code: str = ""
    "Why the last try failed: an HTTP status or an error's code."

    settled_at: datetime | None = column.maybe_instant()


_DELIVERY = SQLModel.metadata.tables["event_delivery"]
_SETTLE = (
    update(_DELIVERY)
    .where(_DELIVERY.c.id == bindparam("of"), _DELIVERY.c.state == DeliveryState.PENDING)
    .values(
        state=bindparam("to"),
        settled_at=bindparam("then"),
        code=bindparam("why"),
        tries=_DELIVERY.c.tries + bindparam("more"),
    )
)


def webhook_of(url: str) -> str:
    """Return what stands for a webhook in the record."""
    return hashlib.sha256(url.encode()).hexdigest()


def emit(
    db: Session,
    practice: Practice,
    type: str,
    payload: Mapping[str, str],
    *,
    now: datetime,
    call_id: UUID | None = None,
) -> tuple[Event, list[Delivery]]:
    """Note what happened, and whom to tell: every webhook that asked for it.

    Raises:
        EventError: not one of INTERFACE's events, or a payload with a key outside of `PAYLOAD`.
    """
    if type not in EVENTS or not payload.keys() <= PAYLOAD:
        raise EventError(f"{type} with {', '.join(sorted(payload))}")
    row = Event(type=type, call_id=call_id, payload=dict(payload), at=now)
    plain.add(db, [row])
    lanes = [Lane.LIVE, Lane.RECORD] if type in LIVE else [Lane.RECORD]
    deliveries = [
        Delivery(event_id=row.id, webhook=webhook_of(hook.url), lane=lane, state=DeliveryState.PENDING)
        for hook in practice.webhooks
        if any(fnmatchcase(type, pattern) for pattern in hook.events)
        for lane in lanes
    ]
    plain.add(db, deliveries)
    return row, deliveries


def tried(db: Session, delivery_id: UUID, code: str) -> Delivery:
    """Count a try that failed."""
    row = db.get_one(Delivery, delivery_id)
    if row.state is DeliveryState.PENDING:
        row.tries, row.code = row.tries + 1, code
    db.add(row)
    db.flush()
    return row


def settle(db: Session, delivery_id: UUID, to: DeliveryState, now: datetime, *, code: str = "") -> None:
    """Note how the telling ended; the first word stays."""
    more = int(to is not DeliveryState.DROPPED)
    values = {"of": delivery_id, "to": to, "then": now, "why": code, "more": more}
    plain.change(db, Delivery, delivery_id, _SETTLE, values)


def pending(db: Session, *, limit: int = 100) -> list[Delivery]:
    """Return the deliveries that are still to be made, oldest first."""
    query = select(Delivery).where(Delivery.state == DeliveryState.PENDING)
    return list(db.exec(query.order_by(col(Delivery.id)).limit(limit)))


def deliveries(
    db: Session, *, state: DeliveryState | None = None, before: UUID | None = None, limit: int = 50
) -> list[tuple[Delivery, Event]]:
    """Return deliveries with what they tell, newest first, from the one called `before` on."""
    query = select(Delivery, Event).join(Event, col(Event.id) == col(Delivery.event_id))
    if state is not None:
        query = query.where(Delivery.state == state)
    if before is not None:
        query = query.where(col(Delivery.id) < before)
    return list(db.exec(query.order_by(col(Delivery.id).desc()).limit(limit)))


def again(db: Session, delivery_id: UUID) -> Delivery:
    """Let a delivery that failed be made once more, from its first try on.

    Raises:
        DeliveryStateError: it did not fail, or it belongs to a moment that is over.
    """
    row = db.get_one(Delivery, delivery_id)
    if row.state is not DeliveryState.FAILED or row.lane is not Lane.RECORD:
        raise DeliveryStateError(f"delivery {delivery_id} is {row.state} in the {row.lane} lane")
    row.state, row.tries, row.code, row.settled_at = DeliveryState.PENDING, 0, "", None
    db.add(row)
    db.flush()
    return row


def standing(db: Session) -> dict[tuple[str, DeliveryState], int]:
    """Return how many deliveries each webhook has in each state."""
    query = select(Delivery.webhook, Delivery.state, func.count()).group_by(Delivery.webhook, col(Delivery.state))
    return {(webhook, DeliveryState(state)): count for webhook, state, count in db.exec(query)}
