"""Call pops: a reference from the webhook, opened in two stages. Every look is audited before anything is shown."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, cast
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import Session

from connectors.api import Section
from hub.api.caller import InstanceDep, SessionDep, needs
from hub.chart import Charts
from hub.errors import DeniedError
from hub.instance import Instance
from hub.record import appointment, call, patient, pop, request, task
from hub.record.appointment import Appointment
from hub.record.call import Call
from hub.record.pop import Pop, PopLockedError, PopStage
from hub.rules import pop as rules
from hub.rules.matching import Kind
from hub.rules.pop import Identity, Ringing, Typed
from hub.security.access import Actor, Scope
from hub.vault.client import Access

router = APIRouter(prefix="/pops", tags=["pops"])

AgentDep = Annotated[Actor, Depends(needs(Scope.POPS))]


class NotYourPopError(DeniedError):
    """The pop belongs to another agent."""

    code = "pop-not-yours"


class Said(BaseModel):
    """What the caller said of themselves, as the agent typed it."""

    model_config = ConfigDict(extra="forbid", str_max_length=200)

    name: str = Field(min_length=1)
    birth_date: date


@dataclass(frozen=True, slots=True)
class Found:
    """A pop and its call, as the rows say."""

    pop: Pop
    call: Call
    candidates: list[UUID]
    open_tasks: int
    calls_before: int


@router.get("/{token}")
async def get(
    token: str, actor: AgentDep, instance: InstanceDep, session: SessionDep, request: Request
) -> dict[str, Any]:
    """Return the masked stage, or the full one once the agent verified who calls."""
    found = await _found(instance, token, actor)
    access = actor.access("treatment", session=session)
    if found.pop.stage is PopStage.FULL and found.pop.patient_id is not None:
        return await _full(instance, request.app.state.charts, found, found.pop.patient_id, actor, access)
    return await _masked(instance, found, actor, access)


@router.post("/{token}/verify")
async def verify(
    token: str, said: Said, actor: AgentDep, instance: InstanceDep, session: SessionDep, request: Request
) -> dict[str, Any]:
    """Compare name and date of birth with those who gave the number; three misses lock the pop.

    Raises:
        PopLockedError: it is locked.
    """
    found = await _found(instance, token, actor)
    if found.pop.stage is PopStage.LOCKED:
        raise PopLockedError(f"pop {found.pop.id} is locked")
    access = actor.access("treatment", session=session)
    now = instance.clock()
    who = await instance.db.run(lambda db: _identify(db, instance, found.candidates, said, access))

    def note(db: Session) -> Pop:
        row = pop.tried(db, found.pop.id, who, by=actor.id, now=now)
        if who is not None:
            call.verified(db, found.call.id, who, by=actor.id, now=now)
        return row

    row = await instance.db.run(note, write=True)
    if who is None:
        left = max(rules.TRIES - row.tries, 0)
        return {"verified": False, "stage": row.stage.value, "tries_left": left}
    found = await _found(instance, token, actor)
    shown = await _full(instance, request.app.state.charts, found, who, actor, access)
    return {"verified": True, **shown}


async def _found(instance: Instance, token: str, actor: Actor) -> Found:
    now = instance.clock()

    def look(db: Session) -> Found:
        row = pop.find(db, token, now)
        if str(row.agent_id) != actor.id:
            raise NotYourPopError("this pop belongs to another agent")
        found = db.get_one(Call, row.call_id)
        candidates = list(patient.match_phone(db, found.caller_key).patients) if found.caller_key else []
        tasks = sum(len(task.open_of(db, one)) for one in candidates)
        return Found(row, found, candidates, tasks, call.count_before(db, found))

    return await instance.db.run(look)


async def _masked(instance: Instance, found: Found, actor: Actor, access: Access) -> dict[str, Any]:
    def look(db: Session) -> dict[str, Any]:
        said = instance.opener.open(db, access, [call.sealed_of(found.call)])[0]
        return rules.masked(
            Ringing(
                number=said.get("number") or "" if actor.may(Scope.NUMBERS_READ) else "",
                did=found.call.did,
                queue=found.call.queue,
                waited_seconds=_waited(found.call, instance.clock()),
                match=cast(Kind, found.call.match),
                candidates=len(found.candidates),
                language=(found.call.plan or {}).get("language", ""),
                calls_before=found.calls_before,
                open_tasks=found.open_tasks,
            )
        )

    shown = await instance.db.run(look)
    shown["stage"] = "locked" if found.pop.stage is PopStage.LOCKED else shown["stage"]
    return shown


def _identify(db: Session, instance: Instance, candidates: list[UUID], said: Said, access: Access) -> UUID | None:
    rows = [db.get_one(patient.Patient, one) for one in candidates]
    opened = instance.opener.open(db, access, [patient.sealed_of(row) for row in rows])
    stored = [Identity(one.get("given") or "", one.get("family") or "", _date(one.get("birth_date"))) for one in opened]
    index = rules.identify(stored, Typed(said.name, said.birth_date))
    return None if index is None else candidates[index]


async def _full(
    instance: Instance, charts: Charts, found: Found, patient_id: UUID, actor: Actor, access: Access
) -> dict[str, Any]:
    """Ask the record and the chart for the fields that the roles allow, and for nothing else."""
    wanted = rules.fields_of(actor.roles)
    now = instance.clock()

    def look(db: Session) -> tuple[dict[str, Any], dict[str, Any]]:
        row = db.get_one(patient.Patient, patient_id)
        visits = appointment.upcoming(db, patient_id, now) if "appointments" in wanted else []
        opened = instance.opener.open(
            db, access, [patient.sealed_of(row), *(appointment.sealed_of(visit) for visit in visits)]
        )
        person, told = opened[0], opened[1:]
        known: dict[str, Any] = {
            "name": f"{person.get('given') or ''} {person.get('family') or ''}".strip(),
            "language": person.get("language") or "",
            "appointments": [_visit(visit, said) for visit, said in zip(visits, told, strict=True)],
            "requests": [{"kind": one.kind, "status": one.status} for one in request.open_of(db, patient_id)],
            "tasks": [{"id": str(one.id), "kind": one.kind} for one in task.open_of(db, patient_id)],
            "contacts": [_contact(one) for one in call.of_patient(db, patient_id)],
        }
        return known, person

    known, person = await instance.db.run(look)
    sections = frozenset(section for section in Section if section.value in wanted)
    known |= await charts.read(person, sections)
    return {"patient": str(patient_id), "call": str(found.call.id), **rules.full(actor.roles, known)}


def _visit(row: Appointment, said: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "starts_at": row.starts_at.isoformat() if row.starts_at else None,
        "minutes": row.minutes,
        "status": row.status.value,
        "confirmed": row.confirmed_at is not None,
        "practitioner": said.get("practitioner"),
        "location": said.get("location"),
        "type": said.get("type"),
    }


def _contact(row: Call) -> dict[str, Any]:
    return {"medium": "phone", "at": row.started_at.isoformat(), "path": row.path}


def _waited(row: Call, now: datetime) -> int:
    return round((now - (row.queued_at or row.started_at)).total_seconds())


def _date(kept: Any) -> date | None:
    return date.fromisoformat(kept) if isinstance(kept, str) else kept
