"""Two records turn out to be one person (HL7 v2 ADT A40): everything moves to the survivor."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlmodel import Session, SQLModel, col, select, update

from connectors.api import MergeFacts
from hub.record import patient
from hub.record.appointment import Appointment
from hub.record.call import Call
from hub.record.identity import keys_for
from hub.record.known import Known
from hub.record.message import Message
from hub.record.patient import Patient, PatientIdentifier, PatientPhone
from hub.record.pop import Pop
from hub.record.related import RelatedPerson
from hub.record.request import ChartRequest
from hub.record.task import Task
from hub.record.trail import touch
from hub.security.index import BlindIndex
from hub.security.sealed import Sealer, Table

_OWNED: tuple[type[SQLModel], ...] = (Appointment, RelatedPerson, ChartRequest, Message, Call, Task, Pop)


def merge(
    db: Session,
    said: MergeFacts,
    *,
    connection: str,
    seal: Sealer,
    index: BlindIndex,
    now: datetime,
    known: Known | None = None,
) -> Patient:
    """Make the patients that `said.merged` names one with the survivor, and return the survivor.

    Rows keep the key that they were sealed under, which stays on record with the merged patient. An identifier that
    nobody told before becomes the survivor's, so that what comes late finds its way. Consent belongs to the number and
    moves with it. Idempotent.

    Raises:
        IncompleteError, IdentityConflictError, StaleError: as `patient.upsert` of the survivor.
    """
    # PID-3 of an A40 often lists the old number still, which may be another row until the merge is done.
    ids = tuple(named for named in said.survivor.ids if named not in said.merged) or said.survivor.ids
    kept = said.survivor.model_copy(update={"ids": ids})
    survivor = patient.upsert(db, kept, connection=connection, seal=seal, index=index, now=now, known=known)
    keys = keys_for(said.merged, connection, index)
    owners = patient.named(db, keys)
    for scope, key in keys:
        if (scope, key) not in owners:
            db.add(PatientIdentifier(key=key, connection=scope, patient_id=survivor.id))
    for row_id in sorted({owners[key] for key in keys if key in owners} - {survivor.id}):
        _absorb(db, survivor, db.get_one(Patient, row_id), now)
        for row in (survivor.id, row_id):
            touch(db, f"connection:{connection}", "merge", row, Table.PATIENT, row)
    db.flush()
    return survivor


def _absorb(db: Session, survivor: Patient, merged: Patient, now: datetime) -> None:
    merged.merged_into, merged.updated_at = survivor.id, now
    survivor.restricted = survivor.restricted or merged.restricted
    db.add_all([merged, survivor])
    db.flush()
    _move(db, PatientIdentifier, merged.id, survivor.id)
    for model in _OWNED:
        _move(db, model, merged.id, survivor.id)
    _move(db, Patient, merged.id, survivor.id, column="merged_into")
    taken = set(db.exec(select(PatientPhone.key).where(PatientPhone.patient_id == survivor.id)))
    for phone in db.exec(select(PatientPhone).where(PatientPhone.patient_id == merged.id)).all():
        if phone.key not in taken:
            db.add(PatientPhone(key=phone.key, patient_id=survivor.id, use=phone.use, rank=phone.rank))
        db.delete(phone)
    db.flush()


def _move(db: Session, model: type[Any], merged: UUID, survivor: UUID, *, column: str = "patient_id") -> None:
    owner = col(getattr(model, column))
    db.exec(update(model).where(owner == merged).values({column: survivor}))
