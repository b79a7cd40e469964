"""Who answers: what everyone is doing, one's own presence, one's phone, and what became of one's last call."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import Session, select

from hub.api.caller import GUARDED, InstanceDep, PersonNeededError, needs, person_of
from hub.api.once import Answered, OnceDep
from hub.api.page import Answer, Page
from hub.api.problem import declared
from hub.errors import NotFoundError
from hub.record import agent, queue, staff, wrapup
from hub.record.agent import Presence
from hub.record.idempotency import KeyReusedError
from hub.record.wrapup import Disposition
from hub.security.access import Actor, Scope
from hub.settings import Practice

router = APIRouter(responses=GUARDED)

Watcher = Annotated[Actor, needs(Scope.QUEUES_READ)]
Oneself = Annotated[Actor, needs(Scope.PRESENCE_WRITE)]

LONGEST_NOTE = 2000
"Letters of a note on a call."


class Agent(Answer):
    """One person who takes calls, now."""

    id: UUID
    email: str
    name: str
    extension: str | None
    queues: list[str]
    presence: Presence
    since: datetime | None
    "When the presence began; null for who was never here."

    reachable: bool
    "Whether a phone of theirs is registered."

    call: UUID | None
    wrap_up_until: datetime | None
    "When the wrap-up ends by itself."


class PresenceChange(BaseModel):
    """What an agent says they are doing; busy and wrap-up follow from calls."""

    model_config = ConfigDict(extra="forbid")

    presence: Literal["available", "away", "offline"]


class WrapUpSaid(BaseModel):
    """What became of a call."""

    model_config = ConfigDict(extra="forbid")

    disposition: Disposition
    note: str = Field("", max_length=LONGEST_NOTE)
    "Sealed with the call."

    call: UUID | None = None
    "One's own; the latest where it is left out."


@router.get("/agents", summary="List agents", tags=["agents"], dependencies=[needs(Scope.QUEUES_READ)])
async def agents(instance: InstanceDep) -> Page[Agent]:
    """Return everyone whom the policy gives a queue, with what they are doing."""
    _, practice = instance.policy()
    return Page(items=await instance.db.run(lambda db: listed(db, practice, instance.clock())))


@router.get("/agents/me", summary="Get one's presence", tags=["agents"], responses=declared(PersonNeededError))
async def me(actor: Watcher, instance: InstanceDep) -> Agent:
    """Return what one is doing, and whether one's phone can ring."""
    person, now = person_of(actor), instance.clock()
    _, practice = instance.policy()
    return await instance.db.run(lambda db: shown(db, db.get_one(staff.Staff, person), practice, now))


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
        agent.presence(db, person, Presence(change.presence), now)
        queue.pair(db, practice, now)
        return shown(db, db.get_one(staff.Staff, person), practice, now).model_dump(mode="json")

    return Agent.model_validate(await once.run(write))


@router.post(
    "/agents/me/wrap-up",
    summary="Say what became of a call",
    tags=["agents"],
    responses=declared(PersonNeededError, NotFoundError, KeyReusedError),
)
async def wrap_up(said: WrapUpSaid, actor: Oneself, instance: InstanceDep, once: OnceDep) -> Agent:
    """Keep what became of one's call, and end the wrap-up: callers who wait are offered at once.

    During the call it is kept as well, and replaced by what is said later.
    """
    person, now = person_of(actor), instance.clock()
    _, practice = instance.policy()

    def write(db: Session) -> Answered:
        of = said.call
        if of is None:
            last = wrapup.asked(db, person, now)
            if last is None:
                raise NotFoundError("no call of yours waits for this")
            of = last.id
        wrapup.note(db, of, person, said.disposition, said.note, seal=instance.sealer, now=now)
        wrapup.ended(db, person, now)
        queue.pair(db, practice, now)
        return shown(db, db.get_one(staff.Staff, person), practice, now).model_dump(mode="json")

    return Agent.model_validate(await once.run(write))


def listed(db: Session, practice: Practice, now: datetime, *, phones: bool = False) -> list[Agent]:
    """Return everyone whom the policy gives a queue and who may work here, in the policy's order.

    With `phones`, everyone to whom it gives an extension.
    """
    emails = [person.email.lower() for person in practice.staff if (person.extension if phones else person.queues)]
    people = {row.email: row for row in db.exec(select(staff.Staff)) if row.disabled_at is None}
    return [shown(db, people[email], practice, now) for email in emails if email in people]


def shown(db: Session, person: staff.Staff, practice: Practice, now: datetime) -> Agent:
    """Return what is known of one person now."""
    row = db.get(agent.Agent, person.id)
    on_list = next((one for one in practice.staff if one.email.lower() == person.email), None)
    return Agent(
        id=person.id,
        email=person.email,
        name=person.name,
        extension=on_list.extension if on_list else None,
        queues=list(on_list.queues) if on_list else [],
        presence=row.presence if row else Presence.OFFLINE,
        since=row.since if row else None,
        reachable=row is not None and row.contact_until is not None and row.contact_until > now,
        call=row.call_id if row else None,
        wrap_up_until=row.wrap_up_until if row else None,
    )
