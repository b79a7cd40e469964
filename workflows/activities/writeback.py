"""What is written back to the EHR: a status, or that there was a contact."""

import asyncio
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from sqlmodel import Session
from temporalio import activity

from connectors.api import (
    CommunicationFacts,
    ConnectorError,
    Context,
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
from hub.record import appointment, patient, task, writeback
from hub.record.appointment import Appointment
from hub.record.call import Call
from hub.record.patient import Patient
from hub.record.statement import identifiers_of
from hub.record.writeback import Writeback, WritebackState
from hub.security.sealed import Sealed
from hub.vault.client import Access
from workflows.activities.sending import alive

STATUS = "status"
LOG = "log"

DATA = {STATUS: "appointments", LOG: "communications"}
"The class of data that each kind carries, as agreements name them."

PHONE = "PHONE"
"HL7 v3 ParticipationMode: by telephone."

TOPIC = "Phone call"

UNMATCHED = "no-identifier"
"The other side does not know the thing by any name of its own."

SUPERSEDED = "superseded"
"What was to be written is not so any more."


@dataclass(frozen=True, slots=True)
class _Write:
    """A write that is still to be made, with what it needs."""

    row: Writeback
    ids: tuple[Identifier, ...]
    if_version: str | None = None
    communication: CommunicationFacts | None = None


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
            async with alive(), self._outside.open(found.row.connection, DATA[found.row.kind], "treatment") as line:
                receipt = await _written(line.connector, line.ctx, found)
        except UnknownOutcomeError:
            await self._note(lambda db: writeback.tried(db, found.row.id, UnknownOutcomeError.code))
            raise TransientError("no answer to what may be repeated") from None
        except (ConnectorError, ChartlineError) as error:
            code, retry = error.code, error.retry
            if retry:
                await self._note(lambda db: writeback.tried(db, found.row.id, code))
                raise
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
            found = self._status(db, row) if row.kind == STATUS else self._contact(db, row)
        if isinstance(found, str):
            code = found
            with self._instance.db.write() as db:
                if code == SUPERSEDED:
                    return str(writeback.failed(db, row.id, self._instance.clock(), code=code).state)
                return self._refused(db, row, code)
        return found

    def _status(self, db: Session, row: Writeback) -> _Write | str:
        visit = db.get(Appointment, row.object_id)
        if visit is None or visit.confirmed_at is None:
            return SUPERSEDED
        fields = self._open(db, row, appointment.sealed_of(visit))
        ids = identifiers_of(fields, row.connection)
        version = visit.version_tag if visit.version_connection == row.connection else None
        return _Write(row, ids, if_version=version) if ids else UNMATCHED

    def _contact(self, db: Session, row: Writeback) -> _Write | str:
        call = db.get(Call, row.object_id)
        if call is None or call.patient_id is None:
            return SUPERSEDED
        person = db.get_one(Patient, call.patient_id)
        ids = identifiers_of(self._open(db, row, patient.sealed_of(person)), row.connection)
        if not ids:
            return UNMATCHED
        said = CommunicationFacts(
            patient_ids=ids, medium=PHONE, inbound=call.direction == "in", sent_at=call.started_at, topic=TOPIC
        )
        return _Write(row, ids, communication=said)

    def _open(self, db: Session, row: Writeback, sealed: Sealed) -> dict[str, Any]:
        access = Access("system:workflows", "system", "treatment", session=str(row.id))
        (fields,) = self._instance.opener.open(db, access, [sealed])
        return fields

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


async def _written(connector: object, ctx: Context, write: _Write) -> Receipt:
    key = str(write.row.id)
    if write.communication is not None:
        return await cast(Logs, connector).log(ctx, write.communication, key=key)
    setter = cast(SetsStatus, connector)
    return await setter.set_status(ctx, write.ids, write.row.to, if_version=write.if_version, key=key)
