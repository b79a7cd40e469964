"""What a person at the practice has to do: call back, look at a reply, settle an unknown outcome."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Index
from sqlmodel import Field, Session, SQLModel, and_, col, or_, select

from hub.db import uuid7
from hub.errors import ConflictError
from hub.record import column
from hub.record.trail import touch
from hub.security.sealed import Sealed, Sealer, Table


class TaskState(StrEnum):
    """Whether anything is left to do."""

    OPEN = "open"
    DONE = "done"


class TaskClosedError(ConflictError):
    """Somebody else has done it already."""

    code = "task-closed"


class Task(SQLModel, table=True):
    """One thing to do; what it is about stands in the rows that it names."""

    __table_args__ = (Index("ix_task_open", "state", "pressing", "id"),)

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    key: str = Field(unique=True)
    "What it is for, so that asking again makes no second one: callback:<call id>."

    kind: str
    "callback, reschedule, reply, outcome, write-back or voicemail."

    state: TaskState = column.code(TaskState, index=True)
    reason: str = ""
    "A code: why it exists."

    pressing: bool = False
    "Comes before all that are not: somebody was let down already."

    created_at: datetime = column.instant()
    done_at: datetime | None = column.maybe_instant()
    done_by: str | None = None
    patient_id: UUID | None = Field(default=None, foreign_key="patient.id", index=True)
    appointment_id: UUID | None = Field(default=None, foreign_key="appointment.id")
    call_id: UUID | None = Field(default=None, foreign_key="call.id")
    message_id: UUID | None = Field(default=None, foreign_key="message.id")
    sealed: bytes | None = column.maybe_sealed()
    "A note, where someone wrote one."


def ask(
    db: Session,
    kind: str,
    *,
    key: str,
    now: datetime,
    reason: str = "",
    pressing: bool = False,
    patient_id: UUID | None = None,
    appointment_id: UUID | None = None,
    call_id: UUID | None = None,
    message_id: UUID | None = None,
) -> Task:
    """Make a task, or return the one that was made for `key`."""
    kept = db.exec(select(Task).where(Task.key == key)).one_or_none()
    if kept is not None:
        return kept
    row = Task(
        key=key,
        kind=kind,
        state=TaskState.OPEN,
        reason=reason,
        pressing=pressing,
        created_at=now,
        patient_id=patient_id,
        appointment_id=appointment_id,
        call_id=call_id,
        message_id=message_id,
    )
    db.add(row)
    db.flush()
    return row


def note(db: Session, task_id: UUID, text: str, *, subject: UUID, by: str, seal: Sealer) -> Task:
    """Replace the task's note, sealed for `subject` (the patient, or the line and day of the call)."""
    row = db.get_one(Task, task_id)
    row.sealed = seal.seal(db, subject, Table.TASK, row.id, {"note": text})
    touch(db, by, "write", subject, Table.TASK, row.id)
    db.add(row)
    db.flush()
    return row


def done(db: Session, task_id: UUID, *, by: str, now: datetime) -> Task:
    """Close the task; closing it again changes nothing.

    Raises:
        TaskClosedError: someone else closed it.
    """
    row = db.get_one(Task, task_id)
    if row.state is TaskState.DONE:
        if row.done_by != by:
            raise TaskClosedError(f"task {task_id} was closed by someone else")
        return row
    row.state, row.done_at, row.done_by = TaskState.DONE, now, by
    db.add(row)
    db.flush()
    return row


def open_tasks(db: Session, *, kind: str | None = None, after: UUID | None = None, limit: int = 50) -> list[Task]:
    """Return what is left to do, from behind `after` on: what is pressing first, and the oldest of it."""
    query = select(Task).where(Task.state == TaskState.OPEN)
    if kind is not None:
        query = query.where(Task.kind == kind)
    last = None if after is None else db.get(Task, after)
    if last is not None:
        behind = and_(col(Task.pressing) == last.pressing, col(Task.id) > last.id)
        query = query.where(or_(behind, col(Task.pressing).is_(False)) if last.pressing else behind)
    return list(db.exec(query.order_by(col(Task.pressing).desc(), col(Task.id)).limit(limit)))


def open_of(db: Session, patient_id: UUID) -> list[Task]:
    """Return what is left to do for a patient, oldest first."""
    query = select(Task).where(Task.patient_id == patient_id, Task.state == TaskState.OPEN)
    return list(db.exec(query.order_by(col(Task.id))))


def sealed_of(row: Task) -> Sealed | None:
    """Return what `Opener` needs to open the note, or None where there is none."""
    return None if row.sealed is None else Sealed(Table.TASK, row.id, row.sealed)
