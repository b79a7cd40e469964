"""What is written back to the EHR: a status, or that there was a contact."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any, cast
from uuid import UUID

import structlog
from sqlmodel import Session
from temporalio import activity

from connectors.api import (
    CommunicationFacts,
    ConnectorError,
    FindsPatients,
    Identifier,
    Logs,
    Receipt,
    SetsStatus,
    TransientError,
    UnknownOutcomeError,
)
from hub.errors import ChartlineError
from hub.instance import Instance
from hub.outside import Outside
from hub.record import appointment, message, patient, task, writeback
from hub.record import call as call_of
from hub.record.appointment import Appointment
from hub.record.call import Call
from hub.record.message import Direction, Message
from hub.record.patient import Patient
from hub.record.statement import identifiers_of
from hub.record.writeback import LOG, STATUS, TEXT, Writeback, WritebackState
from hub.security.sealed import Sealed
from hub.vault.client import Access
from workflows.activities.sending import alive

log = structlog.get_logger()

DATA = {STATUS: "appointments", LOG: "communications", TEXT: "communications"}
"The class of data that each kind carries, as agreements name it."

PHONE = "PHONE"
"HL7 v3 ParticipationMode: by telephone."

SMS = "SMSWRIT"
"HL7 v3 ParticipationMode: by text message."

TOPIC = "Phone call"
REMINDER = "Appointment reminder"
TEXTED = "Text message"

UNMATCHED = "no-identifier"
"The other side does not know the thing by any name of its own."

NO_CONTACT = "no-contact"
"A CRM has nobody, or several, of that number: nothing is noted, and nobody needs to see to it."

SUPERSEDED = "superseded"
"What was to be written is not so any more."


@dataclass(frozen=True, slots=True)
class _Write:
    """A write that is still to be made, with what it needs."""

    row: Writeback
    ids: tuple[Identifier, ...]
    if_version: str | None = None
    communication: CommunicationFacts | None = None
    number: str | None = None
    "For a CRM, which knows people by number (E.164)."


class Writebacks:
    """The activities of writing back."""

    def __init__(self, instance: Instance, outside: Outside) -> None:
        self._instance = instance
        self._outside = outside

    @activity.defn(name="writeback.write")
    async def write(self, writeback_id: str) -> str:
        """Make one write; return its state. A repeat has no second effect on the other side.

        Raises:
            ConnectorError: not now; try again.
        """
        found = await asyncio.to_thread(self._load, UUID(writeback_id))
        if isinstance(found, str):
            return found
        try:
            async with alive():
                if found.number is not None:
                    ids = await self._contact_of(found.row.connection, found.number)
                    if not ids:
                        return await self._note(lambda db: self._quietly(db, found.row, NO_CONTACT))
                    found = replace(found, ids=ids)
                receipt = await self._written(found)
        except UnknownOutcomeError:
            await self._note(lambda db: writeback.tried(db, found.row.id, UnknownOutcomeError.code))
            raise TransientError("no answer to what may be repeated") from None
        except (ConnectorError, ChartlineError) as error:
            code, retry = error.code, error.retry
            if retry:
                await self._note(lambda db: writeback.tried(db, found.row.id, code))
                raise
            if found.number is not None or found.row.kind == TEXT:  # nobody's task: the record has it
                log.warning("contact not noted", connection=found.row.connection, code=code)
                return await self._note(lambda db: self._quietly(db, found.row, code))
            return await self._note(lambda db: self._refused(db, found.row, code))
        return await self._note(lambda db: self._done(db, found.row, receipt))

    @activity.defn(name="writeback.give_up")
    def give_up(self, writeback_id: str) -> None:
        """Leave a write that could not be made to staff."""
        with self._instance.db.write() as db:
            row = db.get(Writeback, UUID(writeback_id))
            if row is not None and row.state is WritebackState.PENDING:
                self._refused(db, row, row.code or "gave-up")

    async def _note(self, change: Any) -> str:
        row = await self._instance.db.run(change, write=True)
        return str(row) if isinstance(row, str) else str(row.state)

    def _load(self, writeback_id: UUID) -> _Write | str:
        with self._instance.db.read() as db:
            row = db.get(Writeback, writeback_id)
            if row is None:
                return "gone"
            if row.state is not WritebackState.PENDING:
                return str(row.state)
            found = {STATUS: self._status, LOG: self._contact, TEXT: self._text}[row.kind](db, row)
        if isinstance(found, str):
            code = found
            with self._instance.db.write() as db:
                if code == SUPERSEDED or row.kind == TEXT:
                    return self._quietly(db, row, code)
                return self._refused(db, row, code)
        return found

    def _status(self, db: Session, row: Writeback) -> _Write | str:
        visit = db.get(Appointment, row.object_id)
        if visit is None or visit.confirmed_at is None:
            return SUPERSEDED
        (fields,) = self._open(db, row, appointment.sealed_of(visit))
        ids = identifiers_of(fields, row.connection)
        version = visit.version_tag if visit.version_connection == row.connection else None
        return _Write(row, ids, if_version=version) if ids else UNMATCHED

    def _contact(self, db: Session, row: Writeback) -> _Write | str:
        call = db.get(Call, row.object_id)
        if call is None:
            return SUPERSEDED
        if self._is_crm(row.connection):
            return self._contact_by_number(db, row, call)
        if call.patient_id is None:
            return SUPERSEDED
        person = db.get_one(Patient, call.patient_id)
        (fields,) = self._open(db, row, patient.sealed_of(person))
        ids = identifiers_of(fields, row.connection)
        return _Write(row, ids, communication=_told(call, ids)) if ids else UNMATCHED

    def _text(self, db: Session, row: Writeback) -> _Write | str:
        text = db.get(Message, row.object_id)
        if text is None or text.patient_id is None:
            return SUPERSEDED
        person = db.get_one(Patient, text.patient_id)
        crm = self._is_crm(row.connection)
        if crm and person.restricted:
            return SUPERSEDED
        opened, named = self._open(db, row, message.sealed_of(text), patient.sealed_of(person))
        said = CommunicationFacts(
            patient_ids=(),
            medium=SMS,
            inbound=text.direction is Direction.IN,
            sent_at=text.at,
            topic=REMINDER if text.program == "reminder" else TEXTED,
            body=opened.get("body"),
        )
        if crm:
            number = str(opened["number"])
            return _Write(row, (), communication=said.model_copy(update={"phone": number}), number=number)
        ids = identifiers_of(named, row.connection)
        return _Write(row, ids, communication=said) if ids else UNMATCHED

    def _is_crm(self, connection: str) -> bool:
        connector = self._outside.connectors().get(connection)
        return connector is not None and connector.kind == "crm"

    def _contact_by_number(self, db: Session, row: Writeback, call: Call) -> _Write | str:
        (fields,) = self._open(db, row, call_of.sealed_of(call))
        number = fields.get("number")
        if not number or call.match == "restricted":
            return SUPERSEDED
        said = _told(call, ()).model_copy(update={"phone": number})
        return _Write(row, (), communication=said, number=number)

    async def _contact_of(self, connection: str, number: str) -> tuple[Identifier, ...]:
        """Return who a CRM says has the number, if that is one."""
        async with self._outside.open(connection, "phone-number", "operations") as line:
            if not isinstance(line.connector, FindsPatients):
                return ()
            refs = await line.connector.find_patients(line.ctx, number)
        return refs[0].facts.ids if len(refs) == 1 else ()

    async def _written(self, write: _Write) -> Receipt:
        purpose = "treatment" if write.number is None else "operations"
        async with self._outside.open(write.row.connection, DATA[write.row.kind], purpose) as line:
            key = str(write.row.id)
            if write.communication is not None:
                said = write.communication.model_copy(update={"patient_ids": write.ids})
                return await cast(Logs, line.connector).log(line.ctx, said, key=key)
            setter = cast(SetsStatus, line.connector)
            return await setter.set_status(line.ctx, write.ids, write.row.to, if_version=write.if_version, key=key)

    def _quietly(self, db: Session, row: Writeback, code: str) -> str:
        return str(writeback.failed(db, row.id, self._instance.clock(), code=code).state)

    def _open(self, db: Session, row: Writeback, *sealed: Sealed) -> list[dict[str, Any]]:
        access = Access("system:workflows", "system", "treatment", session=str(row.id))
        return self._instance.opener.open(db, access, sealed)

    def _done(self, db: Session, row: Writeback, receipt: Receipt) -> str:
        return str(writeback.done(db, row.id, self._instance.clock(), external_id=receipt.external_id).state)

    def _refused(self, db: Session, row: Writeback, code: str) -> str:
        now = self._instance.clock()
        state = writeback.failed(db, row.id, now, code=code).state
        visit = db.get(Appointment, row.object_id) if row.kind == STATUS else None
        call = db.get(Call, row.object_id) if row.kind == LOG else None
        about = visit or call
        task.ask(
            db,
            "write-back",
            key=f"write-back:{row.id}",
            now=now,
            reason=code,
            patient_id=about.patient_id if about else None,
            appointment_id=visit.id if visit else None,
            call_id=call.id if call else None,
        )
        return str(state)


def _told(call: Call, ids: tuple[Identifier, ...]) -> CommunicationFacts:
    talked = call.ended_at - call.bridged_at if call.bridged_at and call.ended_at else None
    return CommunicationFacts(
        patient_ids=ids,
        medium=PHONE,
        inbound=call.direction == "in",
        sent_at=call.started_at,
        topic=TOPIC,
        seconds=None if talked is None else round(talked.total_seconds()),
    )
