"""What a desk shows of this moment: ids, codes and counts by role; never who calls, which is asked for on record.

One reading serves every desk that is open, since it is made again whenever somebody commits to the record.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlmodel import Session, col, func, select

from hub.record import queue, wrapup
from hub.record.agent import Agent, Presence
from hub.record.pop import Pop, PopStage
from hub.record.queue import Offer, OfferState
from hub.record.task import Task, TaskState
from hub.rules.queueing import Waiting
from hub.security.access import Actor, Scope
from hub.settings import Practice

Phase = Literal["ringing", "talking", "wrap-up"]

State = dict[str, Any]
"What one desk shows, by its parts; a part that the roles do not allow is left out."


@dataclass(frozen=True, slots=True)
class Caller:
    """The call that an agent's phone rings for, or that they have, or had a moment ago."""

    offer: UUID
    call: UUID
    queue: str
    phase: Phase
    stage: PopStage
    tries: int
    "Wrong answers so far."

    at: datetime
    "When the phone began to ring."

    @property
    def key(self) -> str:
        """What changes with what the pop says."""
        return f"{self.offer}.{self.stage}.{self.tries}"


@dataclass(frozen=True, slots=True)
class Floor:
    """What goes on, for the desks that are open."""

    agents: Mapping[UUID, Agent]
    callers: Mapping[UUID, Caller]
    asked: Mapping[UUID, UUID]
    "By agent: the call that nobody said yet what became of."

    waiting: Collection[Waiting]
    tasks: tuple[int, UUID | None]
    "How many are open, and the newest."


def read(db: Session, people: Collection[UUID], now: datetime) -> Floor:
    """Return what goes on, as far as it concerns `people`."""
    agents = {row.staff_id: row for row in db.exec(select(Agent).where(col(Agent.staff_id).in_(people)))}
    ringing = db.exec(select(Offer).where(Offer.state == OfferState.RINGING, col(Offer.agent_id).in_(people)))
    callers = {}
    for offer in ringing.all():
        if found := _caller(db, offer, "ringing", now):
            callers[offer.agent_id] = found
    asked = {}
    for row in agents.values():
        if row.staff_id not in callers and (found := _taken(db, row, now)):
            callers[row.staff_id] = found
        if (last := wrapup.asked(db, row.staff_id, now)) is not None:
            asked[row.staff_id] = last.id
    open_tasks = db.exec(select(func.count(), func.max(Task.id)).where(Task.state == TaskState.OPEN)).one()
    return Floor(agents, callers, asked, queue.waiting(db), (open_tasks[0], open_tasks[1]))


def caller_of(db: Session, staff_id: UUID, now: datetime) -> Caller | None:
    """Return the call of one agent."""
    return read(db, [staff_id], now).callers.get(staff_id)


def state_of(floor: Floor, staff_id: UUID, email: str, actor: Actor, practice: Practice, now: datetime) -> State:
    """Return what the desk of one agent shows."""
    state: State = {}
    mine = next((one for one in practice.staff if one.email.lower() == email), None)
    if actor.may(Scope.PRESENCE_WRITE):
        state["me"] = _me(floor.agents.get(staff_id), mine.extension if mine else None, now)
    if actor.may(Scope.QUEUES_READ):
        state["queues"] = queues_of(floor, practice, mine.queues if mine else ())
    if actor.may(Scope.POPS):
        caller, asked = floor.callers.get(staff_id), floor.asked.get(staff_id)
        state["caller"] = None if caller is None else _caller_said(caller)
        state["asked"] = None if asked is None else str(asked)
    if actor.may(Scope.TASKS_READ):
        state["tasks"] = {"open": floor.tasks[0], "newest": str(floor.tasks[1] or "")}
    return state


def queues_of(floor: Floor, practice: Practice, mine: Collection[str]) -> list[dict[str, Any]]:
    """Return every queue with how many wait and since when the first does; the agent's own first."""
    found = []
    for one in sorted(practice.queues, key=lambda each: each.name not in mine):
        entered = sorted(caller.entered_at for caller in floor.waiting if caller.queue == one.name)
        since = entered[0].isoformat() if entered else None
        found.append(
            {
                "name": one.name,
                "mine": one.name in mine,
                "waiting": len(entered),
                "since": since,
                "target_seconds": one.target_seconds,
            }
        )
    return found


def _taken(db: Session, row: Agent, now: datetime) -> Caller | None:
    call_id, phase = row.call_id, "talking"
    if call_id is None and row.presence is Presence.WRAP_UP:
        last = wrapup.latest(db, row.staff_id, now)
        call_id, phase = last.id if last is not None else None, "wrap-up"
    if call_id is None:
        return None
    query_offer = select(Offer).where(
        Offer.call_id == call_id, Offer.agent_id == row.staff_id, Offer.state == OfferState.ANSWERED
    )
    offer = db.exec(query_offer.order_by(col(Offer.id).desc())).first()
    return None if offer is None else _caller(db, offer, "talking" if phase == "talking" else "wrap-up", now)


def _caller(db: Session, offer: Offer, phase: Phase, now: datetime) -> Caller | None:
    row = db.get(Pop, offer.id)
    if row is None or row.expires_at <= now:
        return None
    return Caller(offer.id, offer.call_id, offer.queue, phase, row.stage, row.tries, offer.offered_at)


def _caller_said(caller: Caller) -> dict[str, Any]:
    return {
        "key": caller.key,
        "call": str(caller.call),
        "phase": caller.phase,
        "at": caller.at.isoformat(),
    }


def _me(row: Agent | None, extension: str | None, now: datetime) -> dict[str, Any]:
    if row is None:
        return {"presence": Presence.OFFLINE, "since": None, "extension": extension, "reachable": False, "ended": None}
    return {
        "presence": row.presence,
        "since": row.since.isoformat(),  # there and back between two looks is a change too: a desk may show the middle
        "extension": extension,
        "reachable": row.contact_until is not None and row.contact_until > now,
        "wrap_up_until": row.wrap_up_until.isoformat() if row.wrap_up_until else None,
        "ended": row.last_ended_at.isoformat() if row.last_ended_at else None,
    }
