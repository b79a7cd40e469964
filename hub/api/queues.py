"""Who waits, and who could answer."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from sqlmodel import Session, select

from hub.api.caller import GUARDED, InstanceDep, PersonNeededError, needs, person_of
from hub.api.once import Answered, OnceDep
from hub.api.page import Answer, Page
from hub.api.problem import declared
from hub.record import agent, queue, staff
from hub.record.agent import Presence
from hub.record.idempotency import KeyReusedError
from hub.security.access import Actor, Scope
from hub.settings import Practice

router = APIRouter(responses=GUARDED)

Oneself = Annotated[Actor, needs(Scope.PRESENCE_WRITE)]


class Queue(Answer):
    """One queue of the policy, now."""

    name: str
    waiting: int
    "Callers for whom no phone rings yet."

    since: datetime | None
    "When the first of them came."

    target_seconds: int


class Agent(Answer):
    """One person who takes calls, now."""

    id: UUID
    email: str
    extension: str | None
    queues: list[str]
    presence: Presence
    since: datetime | None
    "When the presence began; null for who was never here."

    reachable: bool
    "Whether a phone of theirs is registered."

    call: UUID | None


class PresenceChange(BaseModel):
    """What an agent says they are doing; busy and wrap-up follow from calls."""

    model_config = ConfigDict(extra="forbid")

    presence: Literal["available", "away", "offline"]


@router.get("/queues", summary="List queues", tags=["queues"], dependencies=[needs(Scope.QUEUES_READ)])
async def queues(instance: InstanceDep) -> Page[Queue]:
    """Return every queue of the policy with how many wait, and since when the first does."""
    _, practice = instance.policy()
    waiting = await instance.db.run(queue.waiting)
    items = []
    for one in practice.queues:
        entered = sorted(caller.entered_at for caller in waiting if caller.queue == one.name)
        since = entered[0] if entered else None
        items.append(Queue(name=one.name, waiting=len(entered), since=since, target_seconds=one.target_seconds))
    return Page(items=items)


@router.get("/agents", summary="List agents", tags=["agents"], dependencies=[needs(Scope.QUEUES_READ)])
async def agents(instance: InstanceDep) -> Page[Agent]:
    """Return everyone whom the policy gives a queue, with what they are doing."""
    _, practice = instance.policy()
    return Page(items=await instance.db.run(lambda db: _agents(db, practice, instance.clock())))


@router.put(
    "/agents/me",
    summary="Set one's presence",
    tags=["agents"],
    responses=declared(PersonNeededError, KeyReusedError),
)
async def presence(change: PresenceChange, actor: Oneself, instance: InstanceDep, once: OnceDep) -> Agent:
    """Set what one is doing; callers who wait are offered to whoever becomes available.

    Who is on a call stays busy until it is over.
    """
    person, now = person_of(actor), instance.clock()
    _, practice = instance.policy()

    def write(db: Session) -> Answered:
        row = agent.presence(db, person, Presence(change.presence), now)
        queue.pair(db, practice, now)
        return _shown(db.get_one(staff.Staff, person), row, practice, now).model_dump(mode="json")

    return Agent.model_validate(await once.run(write))


def _agents(db: Session, practice: Practice, now: datetime) -> list[Agent]:
    emails = [person.email.lower() for person in practice.staff if person.queues]
    people = {row.email: row for row in db.exec(select(staff.Staff)) if row.disabled_at is None}
    found = [people[email] for email in emails if email in people]
    return [_shown(person, db.get(agent.Agent, person.id), practice, now) for person in found]


def _shown(person: staff.Staff, row: agent.Agent | None, practice: Practice, now: datetime) -> Agent:
    listed = next((one for one in practice.staff if one.email.lower() == person.email), None)
    return Agent(
        id=person.id,
        email=person.email,
        extension=listed.extension if listed else None,
        queues=list(listed.queues) if listed else [],
        presence=row.presence if row else Presence.OFFLINE,
        since=row.since if row else None,
        reachable=row is not None and row.contact_until is not None and row.contact_until > now,
        call=row.call_id if row else None,
    )
