"""What agents and administrators look through: calls, appointments, tasks, queues, agents, connections."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict
from sqlmodel import Session

from hub.api.caller import InstanceDep, SessionDep, needs
from hub.api.page import LIMIT, CursorParam, LimitParam, page
from hub.record import agent, appointment, call, inbox, queue, recording, task
from hub.record.agent import Presence
from hub.record.appointment import Appointment
from hub.record.call import Call
from hub.record.task import Task
from hub.recordings import listen
from hub.security.access import Actor, Scope

router = APIRouter()

CallReader = Annotated[Actor, Depends(needs(Scope.CALLS_READ))]
Listener = Annotated[Actor, Depends(needs(Scope.RECORDINGS_READ))]
VisitReader = Annotated[Actor, Depends(needs(Scope.APPOINTMENTS_READ))]
TaskWriter = Annotated[Actor, Depends(needs(Scope.TASKS_WRITE))]
Oneself = Annotated[Actor, Depends(needs(Scope.PRESENCE_WRITE))]


@router.get("/calls", tags=["calls"])
async def calls(
    actor: CallReader, instance: InstanceDep, session: SessionDep, limit: LimitParam = LIMIT, cursor: CursorParam = None
) -> dict[str, Any]:
    """Return calls, newest first; numbers in full only for those who may see them, which is audited."""
    access = actor.access("operations", session=session)

    def look(db: Session) -> dict[str, Any]:
        rows = call.recent(db, before=cursor, limit=limit + 1)
        shown = rows[:limit] if actor.may(Scope.NUMBERS_READ) else []
        opened = instance.opener.open(db, access, [call.sealed_of(row) for row in shown])
        numbers = {row.id: said.get("number") for row, said in zip(shown, opened, strict=True)}
        return page(rows, limit, lambda row: _call(db, row, numbers.get(row.id)), lambda row: row.id)

    return await instance.db.run(look)


@router.get("/calls/{call_id}/recording", tags=["calls"])
async def call_recording(call_id: UUID, actor: Listener, instance: InstanceDep, session: SessionDep) -> Response:
    """Return the call's recording as stereo WAV: the caller left, the agent right. The read is audited first."""
    access = actor.access("operations", session=session)
    sound = await instance.db.run(lambda db: listen(db, instance, call_id, access))
    return Response(sound, media_type="audio/wav", headers={"Cache-Control": "no-store"})


@router.get("/appointments", tags=["appointments"])
async def appointments(
    actor: VisitReader,
    instance: InstanceDep,
    session: SessionDep,
    limit: LimitParam = LIMIT,
    cursor: CursorParam = None,
) -> dict[str, Any]:
    """Return coming appointments, soonest first."""
    access = actor.access("operations", session=session)

    def look(db: Session) -> dict[str, Any]:
        rows = appointment.coming(db, instance.clock(), after=cursor, limit=limit + 1)
        opened = instance.opener.open(db, access, [appointment.sealed_of(row) for row in rows[:limit]])
        told = {row.id: said for row, said in zip(rows, opened, strict=False)}
        return page(rows, limit, lambda row: _visit(row, told[row.id]), lambda row: row.id)

    return await instance.db.run(look)


@router.get("/tasks", tags=["tasks"], dependencies=[Depends(needs(Scope.TASKS_READ))])
async def tasks(instance: InstanceDep, limit: LimitParam = LIMIT, cursor: CursorParam = None) -> dict[str, Any]:
    """Return what is left for people to do, oldest first."""
    rows = await instance.db.run(lambda db: task.open_tasks(db, after=cursor, limit=limit + 1))
    return page(rows, limit, _task, lambda row: row.id)


@router.post("/tasks/{task_id}/done", tags=["tasks"])
async def task_done(task_id: UUID, actor: TaskWriter, instance: InstanceDep) -> dict[str, Any]:
    """Close a task; closing it again changes nothing."""
    now = instance.clock()
    row = await instance.db.run(lambda db: task.done(db, task_id, by=actor.id, now=now), write=True)
    return _task(row)


@router.get("/queues", tags=["queues"], dependencies=[Depends(needs(Scope.QUEUES_READ))])
async def queues(instance: InstanceDep) -> dict[str, Any]:
    """Return each queue of the policy with how many wait, and since when the first does."""
    _, practice = instance.policy()
    waiting = await instance.db.run(queue.waiting)
    items = []
    for one in practice.queues:
        entered = sorted(caller.entered_at for caller in waiting if caller.queue == one.name)
        items.append({"name": one.name, "waiting": len(entered), "since": entered[0].isoformat() if entered else None})
    return {"items": items, "next": None}


class PresenceChange(BaseModel):
    """What an agent says they are doing."""

    model_config = ConfigDict(extra="forbid")

    presence: Presence


@router.put("/agents/me", tags=["agents"])
async def presence(change: PresenceChange, actor: Oneself, instance: InstanceDep) -> dict[str, Any]:
    """Set one's own presence; callers who wait are offered to whoever becomes available."""
    now = instance.clock()
    _, practice = instance.policy()

    def write(db: Session) -> agent.Agent:
        row = agent.presence(db, UUID(actor.id), change.presence, now)
        queue.pair(db, practice, now)
        return row

    row = await instance.db.run(write, write=True)
    return {"id": str(row.staff_id), "presence": row.presence.value, "since": row.since.isoformat()}


@router.get("/connections", tags=["connections"], dependencies=[Depends(needs(Scope.CONNECTIONS_READ))])
async def connections(instance: InstanceDep) -> dict[str, Any]:
    """Return each connection of the policy with what it delivered."""
    _, practice = instance.policy()

    def look(db: Session) -> list[dict[str, Any]]:
        return [
            {
                "name": one.name,
                "connector": one.connector,
                **inbox.counts(db, one.name),
                "quarantine": inbox.reasons(db, one.name),
            }
            for one in practice.connections
        ]

    return {"items": await instance.inbox.run(look), "next": None}


def _call(db: Session, row: Call, number: str | None) -> dict[str, Any]:
    kept = recording.of_call(db, row.id)
    return {
        "id": str(row.id),
        "direction": row.direction,
        "did": row.did,
        "queue": row.queue,
        "agent": str(row.agent_id) if row.agent_id else None,
        "state": row.state.value,
        "started_at": _at(row.started_at),
        "answered_at": _at(row.answered_at),
        "ended_at": _at(row.ended_at),
        "cause": row.cause,
        "path": row.path,
        "match": row.match,
        "number": number,
        "plan": {name: (row.plan or {}).get(name) for name in ("rule", "reads", "source")},
        "legs": [
            {"role": leg.role, "protection": leg.protection, "loss": leg.loss, "jitter_ms": leg.jitter_ms}
            for leg in call.legs(db, row.id)
        ],
        "recording": kept[0].state.value if kept else None,
    }


def _visit(row: Appointment, said: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "connection": row.connection,
        "external_ids": said.get("ids", []),
        "status": row.status.value,
        "starts_at": _at(row.starts_at),
        "minutes": row.minutes,
        "patient": str(row.patient_id),
        "practitioner": said.get("practitioner"),
        "location": said.get("location"),
        "version": row.version_tag,
        "confirmed_at": _at(row.confirmed_at),
    }


def _task(row: Task) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "kind": row.kind,
        "reason": row.reason,
        "state": row.state.value,
        "created_at": _at(row.created_at),
        "patient": str(row.patient_id) if row.patient_id else None,
        "appointment": str(row.appointment_id) if row.appointment_id else None,
        "call": str(row.call_id) if row.call_id else None,
    }


def _at(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
