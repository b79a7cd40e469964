"""Texts that belong to no reminder: a word after a missed call, and the one answer to STOP, START and HELP."""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast
from uuid import NAMESPACE_URL, UUID, uuid5
from zoneinfo import ZoneInfo

from sqlmodel import Session
from temporalio import activity

from connectors.api import Sends, Sms
from hub.instance import Instance
from hub.outside import Outside
from hub.record import call, consent, message, task
from hub.record.call import Call
from hub.record.message import Message, MessageStatus
from hub.record.patient import Patient
from hub.record.patient import sealed_of as sealed_patient
from hub.rules import reminding, text
from hub.security.egress import EgressDeniedError
from hub.settings import Hours, Practice
from hub.temporal import TextStart
from hub.vault.client import Access
from workflows.activities.recipient import recipient_of
from workflows.activities.sending import Handed, Known, alive, hand_over
from workflows.activities.visit import WEEK, reached_since, sender_of

MISSED: Final = "missed-call"
"Kind, and the programme that it is called in consent and caps."

HOURS: Final = Hours("09:00-20:00")
"A missed call is answered by text only when texts may arrive; it is not held until the morning."

_MISSED: Final[Mapping[str, str]] = {
    "en": "{practice}: sorry we missed your call. Please call us at {phone}. Reply STOP to end texts.",
    "es": "{practice}: no pudimos atender su llamada. Llame al {phone}. Responda STOP para no recibir mas.",
}

_ANSWERS: Final[Mapping[str, Callable[[Practice, str], str]]] = {
    "help": text.help_text,
    "stopped": text.stopped_text,
    "started": text.started_text,
}

_NOT_TAKEN: Final = "not-taken:"
"Before the code of an attempt that surely did not go out and may be repeated."


@dataclass(frozen=True, slots=True)
class _Draft:
    """A text that may be sent, unless the rows say otherwise at the moment of sending."""

    sms: Sms
    patient_id: UUID | None
    appointment_id: UUID | None = None
    program: str = ""
    zone: ZoneInfo | None = None
    "The patient's."


@dataclass(frozen=True, slots=True)
class _Attempt:
    message_id: UUID
    sms: Sms


class Texts:
    """The activities of TextFlow."""

    def __init__(self, instance: Instance, outside: Outside) -> None:
        self._instance = instance
        self._outside = outside

    @activity.defn(name="text.send")
    async def send(self, start: TextStart) -> str:
        """Send the text, once; return `sent`, `dropped`, `failed` or `unknown`.

        Raises:
            ConnectorError: the carrier surely did not take it; try again.
        """
        draft = await asyncio.to_thread(self._draft, start)
        if draft is None:
            return "dropped"
        try:
            async with alive(), self._outside.open(start.carrier, "message-body", "treatment") as line:
                attempt = await self._instance.db.run(lambda db: self._record(db, start, draft), write=True)
                if isinstance(attempt, str):
                    return attempt
                handed = await hand_over(
                    cast(Sends, line.connector), line.ctx, attempt.sms, key=str(attempt.message_id)
                )
        except EgressDeniedError as error:
            code = error.code
            await self._instance.db.run(lambda db: self._ask(db, start, code), write=True)
            return "dropped"
        outcome = await self._instance.db.run(lambda db: self._settle(db, start, attempt, handed), write=True)
        if handed.known is Known.NOT_TAKEN and handed.error is not None:
            raise handed.error
        return outcome

    @activity.defn(name="text.give_up")
    def give_up(self, start: TextStart) -> None:
        """Leave a text that could not be sent to staff."""
        with self._instance.db.write() as db:
            self._ask(db, start, "gave-up")

    def _draft(self, start: TextStart) -> _Draft | None:
        """Return what to send, opened in one audited request; None where there is nobody to send it to."""
        _, practice = self._instance.policy()
        access = Access("system:workflows", "system", "treatment", session=f"text-{start.kind}-{start.object_id}")
        with self._instance.db.read() as db:
            if start.kind == MISSED:
                return self._after_call(db, access, UUID(start.object_id), practice)
            return self._answer(db, access, start, practice)

    def _after_call(self, db: Session, access: Access, call_id: UUID, practice: Practice) -> _Draft | None:
        """Only to the one patient whom the number belongs to, on the number that called."""
        row = db.get(Call, call_id)
        if row is None or row.patient_id is None or row.match != "one":
            return None
        owner = db.get_one(Patient, row.patient_id)
        caller, person = self._instance.opener.open(db, access, [call.sealed_of(row), sealed_patient(owner)])
        to = recipient_of(person, practice)
        if not caller.get("number") or not reminding.in_hours(self._instance.clock(), HOURS, to.zone):
            return None
        body = text.render(text.in_language(_MISSED, to.language, practice)[1], {}, practice)
        return _Draft(Sms(to=caller["number"], sender=row.did, body=body), owner.id, program=MISSED, zone=to.zone)

    def _answer(self, db: Session, access: Access, start: TextStart, practice: Practice) -> _Draft | None:
        row = db.get(Message, UUID(start.object_id))
        if row is None or start.kind not in _ANSWERS:
            return None
        asked = [message.sealed_of(row)]
        owner = None if row.patient_id is None else db.get(Patient, row.patient_id)
        opened = self._instance.opener.open(db, access, [*asked, *([sealed_patient(owner)] if owner else [])])
        language = recipient_of(opened[1], practice).language if owner else practice.practice.languages[0]
        said = opened[0]
        body = _ANSWERS[start.kind](practice, language)
        sms = Sms(to=said["number"], sender=said["line"] or sender_of(practice), body=body)
        return _Draft(sms, row.patient_id, row.appointment_id)

    def _record(self, db: Session, start: TextStart, draft: _Draft) -> _Attempt | str:
        """Look at consent and caps at the last moment, and record the attempt; or return an outcome."""
        now = self._instance.clock()
        message_id, before = _next_id(db, start)
        if before is not None:
            return self._before(db, start, before, now)
        if draft.program and not self._allowed(db, draft, now):
            return "dropped"
        message.attempt(
            db,
            message_id,
            draft.sms,
            connection=start.carrier,
            program=draft.program,
            patient_id=draft.patient_id,
            appointment_id=draft.appointment_id,
            seal=self._instance.sealer,
            index=self._instance.index,
            now=now,
        )
        return _Attempt(message_id, draft.sms)

    def _allowed(self, db: Session, draft: _Draft, now: datetime) -> bool:
        """Return whether this number may get one more text today."""
        key = self._instance.index.phone(draft.sms.to)
        if consent.opted_out(db, key, draft.program):
            return False
        _, practice = self._instance.policy()
        zone = draft.zone or practice.practice.zone
        return not reminding.full(now, zone, reached_since(db, key, now - WEEK))

    def _before(self, db: Session, start: TextStart, row: Message, now: datetime) -> str:
        """An earlier attempt is on record: say how it ended, and let a person settle what nobody knows."""
        if row.status is MessageStatus.SENDING:
            message.progress(db, row.id, MessageStatus.UNKNOWN, now, code="crashed")
            self._ask(db, start, "crashed")
        if row.status is MessageStatus.UNKNOWN:
            return "unknown"
        return "failed" if row.status is MessageStatus.FAILED else "sent"

    def _settle(self, db: Session, start: TextStart, attempt: _Attempt, handed: Handed) -> str:
        now = self._instance.clock()
        if handed.known is Known.TAKEN:
            message.progress(db, attempt.message_id, MessageStatus.ACCEPTED, now, external_id=handed.external_id)
            return "sent"
        if handed.known is Known.UNKNOWN:
            message.progress(db, attempt.message_id, MessageStatus.UNKNOWN, now, code=handed.code)
            self._ask(db, start, handed.code)
            return "unknown"
        if handed.known is Known.REFUSED:
            message.progress(db, attempt.message_id, MessageStatus.FAILED, now, code=handed.code)
            self._ask(db, start, handed.code)
        else:
            message.progress(db, attempt.message_id, MessageStatus.FAILED, now, code=_NOT_TAKEN + handed.code)
        return "failed"

    def _ask(self, db: Session, start: TextStart, reason: str) -> None:
        about = db.get(Message, UUID(start.object_id))
        task.ask(
            db,
            "outcome",
            key=f"outcome:{start.kind}:{start.object_id}",
            now=self._instance.clock(),
            reason=reason,
            patient_id=about.patient_id if about else None,
            call_id=UUID(start.object_id) if start.kind == MISSED else None,
            message_id=about.id if about else None,
        )


def _next_id(db: Session, start: TextStart) -> tuple[UUID, Message | None]:
    """Return the id of the next attempt, and the row of the last one where that forbids another."""
    for number in itertools.count():
        message_id = uuid5(NAMESPACE_URL, f"chartline:text:{start.kind}:{start.object_id}:{number}")
        row = db.get(Message, message_id)
        if row is None or not row.code.startswith(_NOT_TAKEN):
            return message_id, row
    raise AssertionError("count() ends")
