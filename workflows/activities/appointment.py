"""Reminders of a visit, and the patient's answers to them."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import cast
from uuid import UUID

from sqlmodel import Session
from temporalio import activity

from connectors.api import FINAL, LANDLINE, Sends, SetsStatus, Sms
from hub.db import uuid7
from hub.instance import Instance
from hub.outside import Outside
from hub.record import appointment, message, reminder, task, writeback
from hub.record.appointment import Appointment
from hub.record.message import MessageStatus
from hub.record.reminder import Reminder, ReminderState
from hub.record.writeback import WritebackState
from hub.security.egress import EgressDeniedError
from hub.settings import Practice
from hub.vault.client import Access
from workflows.activities import visit
from workflows.activities.herald import Herald, Told
from workflows.activities.sending import Handed, Known, alive, hand_over
from workflows.activities.visit import HELD, WRITER, Prospect, Seen, StepDue


@dataclass(frozen=True, slots=True)
class Next:
    """What a visit's flow does next: end, wait, or wait and then take a step."""

    end: str | None = None
    "over or gone; None while there is something to wait for."

    wait_s: float = 0.0
    name: str | None = None
    "The step to take after the wait; None where the wait is only for the visit."

    carrier: str | None = None
    voice: bool = False
    "Whether the step is called."


@dataclass(frozen=True, slots=True)
class Answer:
    """What the patient said."""

    appointment_id: str
    kind: str
    "confirm or reschedule."

    starts_at: datetime | None = None
    "The start that they were told of and that it is about; None: whichever the visit has."


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A text that is recorded as being sent."""

    reminder_id: UUID
    message_id: UUID
    sms: Sms


class Appointments:
    """The activities of AppointmentFlow."""

    def __init__(self, instance: Instance, outside: Outside, herald: Herald) -> None:
        self._instance = instance
        self._outside = outside
        self._herald = herald

    @activity.defn(name="appointment.next_step")
    def next_step(self, appointment_id: str) -> Next:
        """Return what is next for a visit, and keep its planned reminders in step with that."""
        now = self._instance.clock()
        _, practice = self._instance.policy()
        seen = self._look(UUID(appointment_id), practice)
        if seen is None or seen.appointment.status in FINAL:
            self._drop(seen, practice, now)
            return Next(end="gone")
        carrier = self._outside.carrier()
        with self._instance.db.write() as db:
            prospect = visit.prospect_of(db, seen, practice, self._instance.index, now)
            if prospect is None:
                return Next(end="gone")  # it starts anew once the visit has a time
            visit.tidy(db, prospect, now)
        if now >= prospect.starts_at:
            return Next(end="over")
        if prospect.step is None or (carrier is None and not prospect.voice):
            return Next(wait_s=(prospect.starts_at - now).total_seconds())
        wait = max(0.0, (prospect.step.at - now).total_seconds())
        return Next(wait_s=wait, name=prospect.step.name, carrier=carrier, voice=prospect.voice)

    @activity.defn(name="appointment.remind")
    async def remind(self, due: StepDue) -> str:
        """Send the text of a step if it is still right to send it; return what became of it.

        The attempt is on record, committed, before it is made. Where it is on record already and nobody knows its
        outcome, nothing is sent: a person settles it.
        """
        _, practice = self._instance.policy()
        seen = await asyncio.to_thread(self._look, UUID(due.appointment_id), practice)
        carrier = self._outside.carrier()
        if seen is None or carrier is None:
            return HELD
        try:
            async with alive(), self._outside.open(carrier, "message-body", "treatment") as line:
                attempt = await self._instance.db.run(
                    lambda db: self._record(db, seen, due, carrier, practice), write=True
                )
                if isinstance(attempt, str):
                    return attempt
                handed = await hand_over(
                    cast(Sends, line.connector), line.ctx, attempt.sms, key=str(attempt.message_id)
                )
        except EgressDeniedError as error:
            code = error.code
            now = self._instance.clock()
            return await self._instance.db.run(lambda db: visit.refused(db, seen, due, code, now), write=True)
        outcome, told = await self._instance.db.run(lambda db: self._settle(db, seen, attempt, handed), write=True)
        await self._herald.start(told)
        if handed.known is Known.NOT_TAKEN and handed.error is not None:
            raise handed.error
        return outcome

    @activity.defn(name="appointment.take_answer")
    async def take_answer(self, answer: Answer) -> str | None:
        """Record what the patient said; return the write-back that follows, if any is still to be made."""
        queued, told = await self._instance.db.run(lambda db: self._answered(db, answer), write=True)
        await self._herald.start(told)
        return queued

    def _answered(self, db: Session, answer: Answer) -> tuple[str | None, Told]:
        now = self._instance.clock()
        row = db.get(Appointment, UUID(answer.appointment_id))
        if row is None:
            return None, ()
        queued, about = None, answer.starts_at or row.starts_at
        stands = row.status not in FINAL and about == row.starts_at
        if answer.kind == "confirm" and stands and about is not None and about > now:
            new = appointment.confirm(db, row.id, by=WRITER, now=now)
            queued = self._write_back(db, row, about, now)
        else:
            new = _ask_staff(db, row, answer.kind, about, now)
        payload = {"appointment": str(row.id), "status": answer.kind}
        return queued, self._herald.note(db, "reminder.answered", payload, now) if new else ()

    def _look(self, appointment_id: UUID, practice: Practice) -> Seen | None:
        access = Access(WRITER, "system", "treatment", session=f"appointment-{appointment_id}")
        return visit.look(self._instance.db, self._instance.opener, access, appointment_id, practice)

    def _drop(self, seen: Seen | None, practice: Practice, now: datetime) -> None:
        if seen is None:
            return
        with self._instance.db.write() as db:
            prospect = visit.prospect_of(db, seen, practice, self._instance.index, now)
            if prospect is not None:
                visit.tidy(db, prospect, now)

    def _record(self, db: Session, seen: Seen, due: StepDue, carrier: str, practice: Practice) -> _Attempt | str:
        """Look once more, and record the attempt; return an outcome where nothing is to be sent."""
        now = self._instance.clock()
        if not visit.unchanged(db, seen):
            return HELD
        prospect = visit.prospect_of(db, seen, practice, self._instance.index, now)
        if prospect is None:
            return HELD
        row = prospect.rows.get(due.name)
        if row is not None and row.state is ReminderState.SENDING:
            return self._lost(db, seen, row, now)
        if row is not None and row.state is not ReminderState.PLANNED:
            return str(row.state)
        if prospect.step is None or not prospect.due(due.name, now) or prospect.voice:
            visit.tidy(db, prospect, now)
            return HELD
        row = reminder.plan(db, seen.appointment.id, prospect.starts_at, due.name, prospect.step.due_at)
        sms = visit.sms_of(prospect, prospect.step, practice)
        if sms is None:
            return HELD
        return self._attempt(db, prospect, row, sms, carrier, now)

    def _attempt(
        self, db: Session, prospect: Prospect, row: Reminder, sms: Sms, carrier: str, now: datetime
    ) -> _Attempt:
        message_id = uuid7()
        message.attempt(
            db,
            message_id,
            sms,
            connection=carrier,
            program=visit.PROGRAM,
            patient_id=prospect.seen.patient.id,
            appointment_id=prospect.seen.appointment.id,
            seal=self._instance.sealer,
            index=self._instance.index,
            now=now,
        )
        reminder.attempt(db, row.id, message_id, now)
        return _Attempt(row.id, message_id, sms)

    def _lost(self, db: Session, seen: Seen, row: Reminder, now: datetime) -> str:
        """An earlier attempt is on record without an end: its process died between."""
        reminder.unknown(db, row.id, now, "crashed")
        if row.message_id is not None:
            message.progress(db, row.message_id, MessageStatus.UNKNOWN, now, code="crashed")
        visit.ask_outcome(db, seen.appointment, row.id, "crashed", now)
        return str(ReminderState.UNKNOWN)

    def _settle(self, db: Session, seen: Seen, attempt: _Attempt, handed: Handed) -> tuple[str, Told]:
        now = self._instance.clock()
        told: Told = ()
        match handed.known:
            case Known.TAKEN:
                external_id = handed.external_id
                message.progress(db, attempt.message_id, MessageStatus.ACCEPTED, now, external_id=external_id)
                row = reminder.sent(db, attempt.reminder_id, now)
                ids = {"appointment": str(row.appointment_id), "reminder": row.step, "message": str(attempt.message_id)}
                told = self._herald.note(db, "reminder.sent", ids, now)
            case Known.NOT_TAKEN:
                message.progress(db, attempt.message_id, MessageStatus.FAILED, now, code=handed.code)
                row = reminder.released(db, attempt.reminder_id)
            case Known.REFUSED if handed.code == LANDLINE and self._calls(db, attempt.reminder_id):
                message.progress(db, attempt.message_id, MessageStatus.FAILED, now, code=handed.code)
                row = reminder.released(db, attempt.reminder_id)
            case Known.REFUSED:
                message.progress(db, attempt.message_id, MessageStatus.FAILED, now, code=handed.code)
                row = reminder.failed(db, attempt.reminder_id, now, handed.code)
                visit.ask_outcome(db, seen.appointment, row.id, handed.code, now)
            case Known.UNKNOWN:
                message.progress(db, attempt.message_id, MessageStatus.UNKNOWN, now, code=handed.code)
                row = reminder.unknown(db, attempt.reminder_id, now, handed.code)
                visit.ask_outcome(db, seen.appointment, row.id, handed.code, now)
        return str(row.state), told

    def _calls(self, db: Session, reminder_id: UUID) -> bool:
        return visit.may_call(db.get_one(Reminder, reminder_id).step, self._instance.policy()[1])

    def _write_back(self, db: Session, row: Appointment, starts_at: datetime, now: datetime) -> str | None:
        """Enqueue the confirmation for the EHR that told the visit, or else for the first that takes one."""
        able = self._outside.able(SetsStatus)
        connection = row.connection if row.connection in able else next(iter(able), None)
        if connection is None:
            return None
        queued = writeback.enqueue(
            db,
            "status",
            key=f"confirmed:{row.id}:{starts_at.isoformat()}",
            connection=connection,
            object_id=row.id,
            to="confirmed",
            now=now,
        )
        return str(queued.id) if queued.state is WritebackState.PENDING else None


def _ask_staff(db: Session, row: Appointment, said: str, about: datetime | None, now: datetime) -> bool:
    """Let a person see to an answer: another time is asked for, or one is confirmed that is past, off or moved.

    `about` is the start that it is about. Returns whether that is new.
    """
    kind = "reschedule" if said == "reschedule" else "reply"
    key = f"{kind}:{row.id}:{about.isoformat() if about else 'none'}"
    asked = task.ask(db, kind, key=key, now=now, reason=said, patient_id=row.patient_id, appointment_id=row.id)
    return asked.created_at == now
