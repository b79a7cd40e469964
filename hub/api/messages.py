"""Texts, both ways, and the reminders that some of them are."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from sqlmodel import Session

from hub.api.caller import GUARDED, READING, InstanceDep, SessionDep, needs
from hub.api.page import LIMIT, Answer, CursorParam, LimitParam, Page, page
from hub.record import message, patient, reminder, voice
from hub.security.access import Actor, Scope

router = APIRouter()

Reader = Annotated[Actor, needs(Scope.MESSAGES_READ)]


class Message(Answer):
    """One text; of a patient under break-glass only that there is one."""

    id: UUID
    direction: message.Direction
    connection: str
    status: message.MessageStatus
    code: str
    "The carrier's word for a failure."

    program: str
    "reminder, or empty for an answer in a conversation."

    meaning: str | None
    "What a reply was taken for: confirm, reschedule, stop, help, start or other."

    at: datetime
    patient: UUID | None
    appointment: UUID | None
    number: str | None
    "The person's; null for whoever may not see numbers."

    body: str | None
    restricted: bool


class Reminder(Answer):
    """One reminder of one visit."""

    id: UUID
    appointment: UUID
    starts_at: datetime
    "The visit's start that it counts back from."

    step: str
    "Reminder and offset of the policy: visit:-1d."

    due_at: datetime
    state: reminder.ReminderState
    reason: str
    "Why it was skipped or failed, as a code."

    attempted_at: datetime | None
    settled_at: datetime | None
    message: UUID | None
    call: UUID | None
    "The last call of it, where it is called instead of written; one that was dialled stands among the calls."

    outcome: voice.Outcome
    "What came of that call; empty while it goes on, and where there is none."

    answered_by: str
    "human, machine or unknown; empty where nobody picked up."


@router.get("/messages", summary="List texts", tags=["messages"], responses=READING)
async def messages(
    actor: Reader,
    instance: InstanceDep,
    session: SessionDep,
    patient_id: Annotated[UUID | None, Query(alias="patient", description="Those with this patient.")] = None,
    limit: LimitParam = LIMIT,
    cursor: CursorParam = None,
) -> Page[Message]:
    """Return texts, newest first; whose texts are shown stands in the audit log."""
    access = actor.access("operations", session=session)

    def look(db: Session) -> Page[Message]:
        rows = message.recent(db, patient_id=patient_id, before=cursor, limit=limit + 1)
        hidden = patient.hidden(db, [row.patient_id for row in rows])
        shown = [row for row in rows[:limit] if row.patient_id not in hidden]
        opened = instance.opener.open(db, access, [message.sealed_of(row) for row in shown])
        told = {row.id: said for row, said in zip(shown, opened, strict=True)}
        return page(rows, limit, lambda row: _shown(row, told.get(row.id), actor), lambda row: row.id)

    return await instance.db.run(look)


@router.get(
    "/reminders",
    summary="List reminders",
    tags=["reminders"],
    responses=GUARDED,
    dependencies=[needs(Scope.REMINDERS_READ)],
)
async def reminders(
    instance: InstanceDep,
    appointment: Annotated[UUID | None, Query(description="Those of this visit.")] = None,
    limit: LimitParam = LIMIT,
    cursor: CursorParam = None,
) -> Page[Reminder]:
    """Return reminders, the newest made first: planned, sent, and skipped with the reason."""

    def look(db: Session) -> Page[Reminder]:
        rows = reminder.recent(db, appointment_id=appointment, before=cursor, limit=limit + 1)
        calls = voice.of_reminders(db, [row.id for row in rows])
        return page(rows, limit, lambda row: _step(row, calls.get(row.id)), lambda row: row.id)

    return await instance.db.run(look)


def _shown(row: message.Message, said: dict[str, Any] | None, actor: Actor) -> Message:
    told = said or {}
    return Message(
        id=row.id,
        direction=row.direction,
        connection=row.connection,
        status=row.status,
        code=row.code,
        program=row.program,
        meaning=None if said is None else row.meaning,
        at=row.at,
        patient=None if said is None else row.patient_id,
        appointment=None if said is None else row.appointment_id,
        number=told.get("number") if actor.may(Scope.NUMBERS_READ) else None,
        body=told.get("body"),
        restricted=said is None,
    )


def _step(row: reminder.Reminder, called: voice.ReminderCall | None) -> Reminder:
    return Reminder(
        id=row.id,
        appointment=row.appointment_id,
        starts_at=row.starts_at,
        step=row.step,
        due_at=row.due_at,
        state=row.state,
        reason=row.reason,
        attempted_at=row.attempted_at,
        settled_at=row.settled_at,
        message=row.message_id,
        call=None if called is None else called.id,
        outcome=voice.Outcome.NONE if called is None else called.outcome,
        answered_by="" if called is None else called.answered_by,
    )
