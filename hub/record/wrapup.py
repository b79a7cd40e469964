"""What became of a call, as the agent who had it says at its end: a code, and a note where one was written."""

from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlmodel import Field, Session, SQLModel, col, or_, select
from sqlmodel.sql.expression import SelectOfScalar

from hub.errors import NotFoundError
from hub.record import agent, column
from hub.record.agent import Agent, Presence
from hub.record.call import Call
from hub.record.queue import Offer, OfferState
from hub.record.trail import touch
from hub.security.sealed import Sealed, Sealer, Table

ASKED = timedelta(minutes=30)
"How long after a call its agent is still asked what became of it."


LONGEST = timedelta(hours=6)
"Of a call; an older one is not looked for."


class Disposition(StrEnum):
    """What became of a call."""

    RESOLVED = "resolved"
    BOOKED = "booked"
    "A visit was made, moved or cancelled."

    REFILL = "refill"
    MESSAGE = "message"
    "A message was taken for somebody."

    CALLBACK = "callback"
    "Somebody will call back."

    TRANSFERRED = "transferred"
    WRONG_NUMBER = "wrong-number"
    NOBODY = "nobody"
    "Nobody spoke."

    OTHER = "other"


class WrapUp(SQLModel, table=True):
    """One call's end, told by an agent who had it; a call that was passed on is told by each."""

    __tablename__ = "wrap_up"

    call_id: UUID = Field(foreign_key="call.id", primary_key=True)
    agent_id: UUID = Field(foreign_key="staff.id", primary_key=True)
    disposition: Disposition = column.code(Disposition)
    noted_at: datetime = column.instant()
    sealed: bytes | None = column.maybe_sealed()
    "The note, where one was written."


def note(
    db: Session, call_id: UUID, agent_id: UUID, disposition: Disposition, text: str, *, seal: Sealer, now: datetime
) -> WrapUp:
    """Keep what became of a call; said again, it replaces what was said.

    The note is sealed for the patient whom the agent verified, otherwise for whom the call is sealed.

    Raises:
        NotFoundError: the call is not this agent's.
    """
    of = db.exec(_had(agent_id).where(Call.id == call_id)).one_or_none()
    if of is None:
        raise NotFoundError("no such call of this agent")
    row = db.get(WrapUp, (call_id, agent_id)) or WrapUp(
        call_id=call_id, agent_id=agent_id, disposition=disposition, noted_at=now
    )
    row.disposition, row.noted_at, row.sealed = disposition, now, None
    if text.strip():
        subject = of.patient_id if of.patient_id is not None and of.verified_at is not None else of.subject
        row.sealed = seal.seal(db, subject, Table.WRAP_UP, call_id, {"note": text.strip()})
        touch(db, str(agent_id), "write", subject, Table.WRAP_UP, call_id)
    db.add(row)
    db.flush()
    return row


def ended(db: Session, agent_id: UUID, now: datetime) -> Agent:
    """End the agent's wrap-up before its time; whoever is not in wrap-up stays as they are."""
    row = agent.get(db, agent_id, now)
    return row if row.presence is not Presence.WRAP_UP else agent.presence(db, agent_id, Presence.AVAILABLE, now)


def latest(db: Session, agent_id: UUID, now: datetime) -> Call | None:
    """Return the latest call that the agent has or had, also one that they passed on."""
    query = _had(agent_id).where(col(Call.started_at) > now - LONGEST)
    return db.exec(query.order_by(col(Call.started_at).desc()).limit(1)).one_or_none()


def asked(db: Session, agent_id: UUID, now: datetime) -> Call | None:
    """Return the agent's latest call, while it goes on or is not long over, if nobody said what became of it."""
    row = latest(db, agent_id, now)
    if row is None or (row.ended_at is not None and row.ended_at + ASKED <= now):
        return None
    return None if db.get(WrapUp, (row.id, agent_id)) is not None else row


def _had(agent_id: UUID) -> SelectOfScalar[Call]:
    took = select(Offer.id).where(
        Offer.call_id == Call.id, Offer.agent_id == agent_id, Offer.state == OfferState.ANSWERED
    )
    return select(Call).where(or_(Call.agent_id == agent_id, took.exists()))


def sealed_of(row: WrapUp) -> Sealed | None:
    """Return what `Opener` needs to open the note, or None where there is none."""
    return None if row.sealed is None else Sealed(Table.WRAP_UP, row.call_id, row.sealed)
