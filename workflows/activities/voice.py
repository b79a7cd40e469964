"""Reminders that are called: asked of the media processes by a row, waited for, and settled like texts."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

from sqlmodel import Session
from temporalio import activity

from hub.db import uuid7
from hub.instance import Instance
from hub.outside import Outside
from hub.record import reminder, voice
from hub.record.appointment import Appointment
from hub.record.reminder import Reminder, ReminderState
from hub.record.voice import CallStage, Outcome, ReminderCall
from hub.rules import dialling
from hub.rules.dialling import Refusal
from hub.rules.voice import TRIES
from hub.security.egress import EgressDeniedError
from hub.settings import Practice
from hub.vault.client import Access
from workflows.activities import visit
from workflows.activities.herald import Herald, Told
from workflows.activities.sending import alive
from workflows.activities.visit import HELD, WRITER, Prospect, Seen, StepDue

PATIENCE = timedelta(minutes=30)
"So long a call waits for a line; then the flow thinks it over again."

LOOK_S = 0.5
"Between two looks at the row of a call."

ANSWERS: Final = {Outcome.CONFIRMED: "confirm", Outcome.RESCHEDULE: "reschedule"}
"What was chosen by a key, as a text would say it."

_LATER = frozenset({Refusal.HOURS, Refusal.BUSY, Refusal.HASTE, Refusal.COST})
"Refusals of `[dialling]` that pass."


@dataclass(frozen=True, slots=True)
class Called:
    """What became of a step that is called."""

    outcome: str
    "A state of the reminder, or `held`."

    answer: str | None = None
    "What the patient chose by a key: confirm or reschedule."

    starts_at: datetime | None = None
    "The start of the visit that they were told of; None where nothing was chosen."


class Voices:
    """The activity of AppointmentFlow that calls."""

    def __init__(self, instance: Instance, outside: Outside, herald: Herald) -> None:
        self._instance = instance
        self._outside = outside
        self._herald = herald

    @activity.defn(name="appointment.call")
    async def call(self, due: StepDue) -> Called:
        """Have the patient called if it is still right to, and return what became of it.

        The call is on record, committed, before a media process can take it. A repeat waits for the same call.
        """
        _, practice = self._instance.policy()
        seen = await asyncio.to_thread(self._look, UUID(due.appointment_id), practice)
        if seen is None:
            return Called(HELD)
        try:
            for trunk in dialling.trunks_for(practice):
                await self._outside.permit(trunk, "call-audio", "treatment")
        except EgressDeniedError as error:
            code, now = error.code, self._instance.clock()
            return Called(await self._instance.db.run(lambda db: visit.refused(db, seen, due, code, now), write=True))
        async with alive():
            asked = await self._instance.db.run(lambda db: self._record(db, seen, due, practice), write=True)
            if isinstance(asked, Called):
                return asked
            await self._over(asked)
        called, told = await self._instance.db.run(lambda db: self._settle(db, asked), write=True)
        await self._herald.start(told)
        return called

    def _look(self, appointment_id: UUID, practice: Practice) -> Seen | None:
        access = Access(WRITER, "system", "treatment", session=f"appointment-{appointment_id}")
        return visit.look(self._instance.db, self._instance.opener, access, appointment_id, practice)

    def _record(self, db: Session, seen: Seen, due: StepDue, practice: Practice) -> UUID | Called:
        """Look once more, and ask for the call; return what became of it where there is none to wait for."""
        now = self._instance.clock()
        if not visit.unchanged(db, seen):
            return Called(HELD)
        prospect = visit.prospect_of(db, seen, practice, self._instance.index, now)
        if prospect is None:
            return Called(HELD)
        row = prospect.rows.get(due.name)
        before = None if row is None else voice.latest(db, row.id)
        if row is not None and row.state is ReminderState.SENDING:
            return Called(HELD) if before is None else before.id
        if row is not None and row.state is not ReminderState.PLANNED:
            return Called(str(row.state)) if before is None else _called_of(row, before)
        if prospect.step is None or not prospect.due(due.name, now) or not prospect.voice:
            visit.tidy(db, prospect, now)
            return Called(HELD)
        return self._ask(db, prospect, due, practice, now)

    def _ask(self, db: Session, prospect: Prospect, due: StepDue, practice: Practice, now: datetime) -> UUID | Called:
        seen, step = prospect.seen, prospect.step
        if step is None or seen.recipient.phone is None:
            return Called(HELD)
        row = reminder.plan(db, seen.appointment.id, prospect.starts_at, due.name, step.due_at)
        reminder.attempt(db, row.id, None, now)
        hours = next(each.hours for each in practice.reminders if each.name == step.reminder)
        local = now.astimezone(seen.recipient.zone)
        closing = datetime.combine(local.date(), hours.end, seen.recipient.zone)
        asked = ReminderCall(
            id=uuid7(),
            reminder_id=row.id,
            appointment_id=seen.appointment.id,
            patient_id=seen.patient.id,
            starts_at=prospect.starts_at,
            stage=CallStage.WAITING,
            outcome=Outcome.NONE,
            asked_at=now,
            until_at=min(now + PATIENCE, closing, prospect.starts_at),
            phone_key=b"",
            sealed=b"",
        )
        number, language = seen.recipient.phone, seen.recipient.language
        seal, index = self._instance.sealer, self._instance.index
        return voice.ask(db, asked, number=number, language=language, seal=seal, index=index).id

    async def _over(self, call_id: UUID) -> None:
        """Return once the call is over, or was taken back because nobody took it."""
        while True:
            now = self._instance.clock()
            row = await self._instance.db.run(lambda db: db.get_one(ReminderCall, call_id))
            if row.stage in {CallStage.OVER, CallStage.WITHDRAWN}:
                return
            if voice.lapsed(row, now):
                await self._instance.db.run(partial(voice.lapse, call_id=call_id, now=now), write=True)
            else:
                await asyncio.sleep(LOOK_S)

    def _settle(self, db: Session, call_id: UUID) -> tuple[Called, Told]:
        now = self._instance.clock()
        row = db.get_one(ReminderCall, call_id)
        step = db.get_one(Reminder, row.reminder_id)
        fresh = step.state is ReminderState.SENDING
        called = settle_call(db, row, now)
        if not fresh or called.outcome != ReminderState.SENT:
            return called, ()
        ids = {"appointment": str(row.appointment_id), "reminder": step.step, "call": str(row.id)}
        return called, self._herald.note(db, "reminder.sent", ids, now)


def settle_call(db: Session, row: ReminderCall, now: datetime) -> Called:
    """Settle the reminder of a call that is over or was withdrawn; a repeat changes nothing."""
    step = db.get_one(Reminder, row.reminder_id)
    if step.state is not ReminderState.SENDING:
        return _called_of(step, row)
    if row.stage is CallStage.WITHDRAWN:
        reminder.released(db, step.id)
        return Called(HELD)
    if row.outcome in voice.UNANSWERED and voice.tries(db, step.id) < TRIES:
        reminder.released(db, step.id)
        return Called(HELD)
    if row.outcome is Outcome.REFUSED and row.reason in _LATER:
        reminder.released(db, step.id)
        return Called(HELD)
    reason = ""
    if row.outcome is Outcome.LOST:
        reason = "crashed"
        reminder.unknown(db, step.id, now, reason)
    elif row.outcome is Outcome.REFUSED or row.outcome in voice.UNANSWERED:
        reason = row.reason if row.outcome is Outcome.REFUSED else str(row.outcome)
        reminder.failed(db, step.id, now, reason)
    else:
        reminder.sent(db, step.id, now)
    if reason:
        visit.ask_outcome(db, db.get_one(Appointment, row.appointment_id), step.id, reason, now)
    return _called_of(step, row)


def _called_of(step: Reminder, row: ReminderCall) -> Called:
    answer = ANSWERS.get(row.outcome)
    return Called(str(step.state), answer, None if answer is None else row.starts_at)
