"""What is left for people to do: callbacks, replies to look at, outcomes that nobody knows."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from sqlmodel import Session

from hub.api.caller import GUARDED, InstanceDep, needs
from hub.api.once import Answered, OnceDep
from hub.api.page import LIMIT, Answer, CursorParam, LimitParam, Page, one_of, page
from hub.api.problem import declared
from hub.errors import NotFoundError
from hub.record import patient, task
from hub.record.idempotency import KeyReusedError
from hub.record.task import TaskClosedError
from hub.security.access import Actor, Scope

router = APIRouter(prefix="/tasks", tags=["tasks"], responses=GUARDED)

Writer = Annotated[Actor, needs(Scope.TASKS_WRITE)]


class Task(Answer):
    """One thing to do."""

    id: UUID
    kind: str
    "callback, reschedule, reply, outcome, write-back or voicemail."

    reason: str
    "Why it exists, as a code."

    pressing: bool
    "Comes before all that are not."

    state: task.TaskState
    created_at: datetime
    done_at: datetime | None
    done_by: str | None
    patient: UUID | None
    "Null also where the chart is under break-glass."

    appointment: UUID | None
    call: UUID | None
    message: UUID | None


@router.get("", summary="List open tasks", dependencies=[needs(Scope.TASKS_READ)])
async def tasks(
    instance: InstanceDep,
    kind: Annotated[str | None, Query(max_length=40)] = None,
    limit: LimitParam = LIMIT,
    cursor: CursorParam = None,
) -> Page[Task]:
    """Return what is left to do: what is pressing first, and the oldest of it."""

    def look(db: Session) -> Page[Task]:
        rows = task.open_tasks(db, kind=kind, after=cursor, limit=limit + 1)
        hidden = patient.hidden(db, [row.patient_id for row in rows])
        return page(rows, limit, lambda row: _shown(row, hidden), lambda row: row.id)

    return await instance.db.run(look)


@router.post(
    "/{task_id}/done", summary="Close a task", responses=declared(NotFoundError, TaskClosedError, KeyReusedError)
)
async def done(task_id: UUID, actor: Writer, instance: InstanceDep, once: OnceDep) -> Task:
    """Close a task; one that one closed oneself stays as it is."""
    now = instance.clock()

    def write(db: Session) -> Answered:
        row = task.done(db, one_of(db, task.Task, task_id).id, by=actor.id, now=now)
        return _shown(row, patient.hidden(db, [row.patient_id])).model_dump(mode="json")

    return Task.model_validate(await once.run(write))


def _shown(row: task.Task, hidden: frozenset[UUID]) -> Task:
    return Task(
        id=row.id,
        kind=row.kind,
        reason=row.reason,
        pressing=row.pressing,
        state=row.state,
        created_at=row.created_at,
        done_at=row.done_at,
        done_by=row.done_by,
        patient=None if row.patient_id in hidden else row.patient_id,
        appointment=row.appointment_id,
        call=row.call_id,
        message=row.message_id,
    )
