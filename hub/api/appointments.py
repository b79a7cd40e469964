"""Coming visits, as the EHR last told them."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter
from sqlmodel import Session

from hub.api.caller import READING, InstanceDep, SessionDep, needs
from hub.api.page import LIMIT, Answer, CursorParam, LimitParam, Page, one_of, page
from hub.api.patients import ExternalId, ids_of
from hub.api.problem import declared
from hub.errors import NotFoundError
from hub.record import appointment, patient
from hub.security.access import Actor, Scope

router = APIRouter(prefix="/appointments", tags=["appointments"], responses=READING)

Reader = Annotated[Actor, needs(Scope.APPOINTMENTS_READ)]


class Appointment(Answer):
    """One visit; of a patient under break-glass only when it is."""

    id: UUID
    connection: str
    external_ids: list[ExternalId]
    status: str
    "FHIR R4 Appointment.status."

    starts_at: datetime | None
    minutes: int | None
    patient: UUID | None
    practitioner: str | None
    location: str | None
    version: str
    "meta.versionId, or MSH-10."

    confirmed_at: datetime | None
    restricted: bool


@router.get("", summary="List coming appointments")
async def appointments(
    actor: Reader, instance: InstanceDep, session: SessionDep, limit: LimitParam = LIMIT, cursor: CursorParam = None
) -> Page[Appointment]:
    """Return everybody's booked visits that are ahead, soonest first."""
    access = actor.access("operations", session=session)

    def look(db: Session) -> Page[Appointment]:
        rows = appointment.coming(db, instance.clock(), after=cursor, limit=limit + 1)
        hidden = patient.hidden(db, [row.patient_id for row in rows])
        shown = [row for row in rows[:limit] if row.patient_id not in hidden]
        opened = instance.opener.open(db, access, [appointment.sealed_of(row) for row in shown])
        told = {row.id: said for row, said in zip(shown, opened, strict=True)}
        return page(rows, limit, lambda row: _shown(row, told.get(row.id)), lambda row: row.id)

    return await instance.db.run(look)


@router.get("/{appointment_id}", summary="Get an appointment", responses=declared(NotFoundError))
async def one(appointment_id: UUID, actor: Reader, instance: InstanceDep, session: SessionDep) -> Appointment:
    """Return one visit, past ones and cancelled ones too."""
    access = actor.access("operations", session=session)

    def look(db: Session) -> Appointment:
        row = one_of(db, appointment.Appointment, appointment_id)
        if patient.hidden(db, [row.patient_id]):
            return _shown(row, None)
        (said,) = instance.opener.open(db, access, [appointment.sealed_of(row)])
        return _shown(row, said)

    return await instance.db.run(look)


def _shown(row: appointment.Appointment, said: dict[str, Any] | None) -> Appointment:
    told = said or {}
    return Appointment(
        id=row.id,
        connection=row.connection,
        external_ids=ids_of(told),
        status=row.status.value,
        starts_at=row.starts_at,
        minutes=row.minutes,
        patient=None if said is None else row.patient_id,
        practitioner=told.get("practitioner"),
        location=told.get("location"),
        version=row.version_tag,
        confirmed_at=row.confirmed_at,
        restricted=said is None,
    )
