"""Who can take calls now: presence as people set it, and the phone that they are reachable on."""

from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlmodel import Field, Session, SQLModel, col, select

from hub.record import column
from hub.record.staff import Staff


class Presence(StrEnum):
    """What an agent is doing."""

    AVAILABLE = "available"
    BUSY = "busy"
    "On a call that came through a queue."

    WRAP_UP = "wrap-up"
    AWAY = "away"
    OFFLINE = "offline"


class Agent(SQLModel, table=True):
    """One person who takes calls."""

    staff_id: UUID = Field(foreign_key="staff.id", primary_key=True)
    presence: Presence = column.code(Presence, index=True)
    since: datetime = column.instant()
    "When the presence began."

    last_ended_at: datetime | None = column.maybe_instant()
    "End of the last call from a queue."

    wrap_up_until: datetime | None = column.maybe_instant()
    contact_until: datetime | None = column.maybe_instant()
    "When the phone's registration runs out; None where there is no phone."

    call_id: UUID | None = Field(default=None, foreign_key="call.id")


def get(db: Session, staff_id: UUID, now: datetime) -> Agent:
    """Return the agent's row; a new one is offline."""
    row = db.get(Agent, staff_id)
    if row is None:
        row = Agent(staff_id=staff_id, presence=Presence.OFFLINE, since=now)
        db.add(row)
        db.flush()
    return row


def presence(db: Session, staff_id: UUID, to: Presence, now: datetime) -> Agent:
    """Set what an agent is doing; the same again keeps `since`.

    An agent on a call stays busy: what they ask for comes after it (`freed`).
    """
    row = get(db, staff_id, now)
    if row.presence is to or (row.call_id is not None and to is not Presence.BUSY):
        return row
    return _become(db, row, to, now)


def registered(db: Session, staff_id: UUID, until: datetime | None, now: datetime) -> Agent:
    """Note until when the agent's phone is reachable, None when it signs off. Signing in is coming to work."""
    row = get(db, staff_id, now)
    row.contact_until = until
    if until is not None and row.presence is Presence.OFFLINE:
        return _become(db, row, Presence.AVAILABLE, now)
    db.add(row)
    db.flush()
    return row


def engaged(db: Session, staff_id: UUID, call_id: UUID, now: datetime) -> Agent:
    """The agent took a call."""
    row = get(db, staff_id, now)
    row.call_id = call_id
    return _become(db, row, Presence.BUSY, now)


def took_over(db: Session, staff_id: UUID, call_id: UUID, now: datetime) -> Agent:
    """The agent took a call from a colleague. Who is away has it and stays away; who has another keeps that."""
    row = get(db, staff_id, now)
    if row.call_id is not None:
        return row
    if row.presence is not Presence.AWAY:
        return engaged(db, staff_id, call_id, now)
    row.call_id = call_id
    db.add(row)
    db.flush()
    return row


def freed(db: Session, staff_id: UUID, call_id: UUID, now: datetime, *, wrap_up_seconds: int = 0) -> Agent:
    """The agent's call is over: wrap-up, then available; away for who was. Another call's end changes nothing."""
    row = get(db, staff_id, now)
    if row.call_id != call_id:
        return row
    row.call_id, row.last_ended_at = None, now
    if row.presence is Presence.AWAY:
        return _become(db, row, Presence.AWAY, row.since)
    row.wrap_up_until = now + timedelta(seconds=wrap_up_seconds) if wrap_up_seconds else None
    return _become(db, row, Presence.WRAP_UP if wrap_up_seconds else Presence.AVAILABLE, now)


def wrapped_up(db: Session, now: datetime) -> list[Agent]:
    """Make those available whose wrap-up is over, and return them."""
    query = select(Agent).where(Agent.presence == Presence.WRAP_UP, col(Agent.wrap_up_until) <= now)
    return [_become(db, row, Presence.AVAILABLE, now) for row in db.exec(query).all()]


def reachable(db: Session, now: datetime) -> list[tuple[Agent, Staff]]:
    """Return the agents who are available, have a phone that can ring and may work here."""
    query = (
        select(Agent, Staff)
        .join(Staff, col(Staff.id) == col(Agent.staff_id))
        .where(
            Agent.presence == Presence.AVAILABLE,
            col(Agent.contact_until) > now,
            col(Staff.disabled_at).is_(None),
        )
    )
    return list(db.exec(query))


def _become(db: Session, row: Agent, to: Presence, now: datetime) -> Agent:
    row.presence, row.since = to, now
    if to is not Presence.WRAP_UP:
        row.wrap_up_until = None
    db.add(row)
    db.flush()
    return row
