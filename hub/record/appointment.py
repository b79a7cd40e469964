"""An appointment as its owner last told it (FHIR R4 Appointment; HL7 v2 SIU).

Status, start and length are plain, since queues and reminders are found by them; who, where, what and why are sealed
for the patient.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import cast
from uuid import UUID

from sqlmodel import Field, Session, SQLModel, col, select

from connectors.api import FINAL, AppointmentFacts, AppointmentStatus
from hub.db import uuid7
from hub.record import column, identity, patient
from hub.record.error import IncompleteError, UnmatchedError
from hub.record.identity import Key, key_of, keys_of, only
from hub.record.known import Known
from hub.record.patient import Patient
from hub.record.statement import Statement
from hub.record.trail import touch
from hub.record.version import Told, tag_of
from hub.security.index import BlindIndex
from hub.security.sealed import Sealed, Sealer, Table

SEALED = frozenset({"practitioner", "location", "type", "reason"})
"Told fields that are sealed; beside them the blob holds `ids`."


class Appointment(SQLModel, table=True):
    """One appointment; its foreign ids stand in `AppointmentIdentifier`."""

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    connection: str
    "Who told it first."

    patient_id: UUID = Field(foreign_key="patient.id", index=True)
    status: AppointmentStatus = column.code(AppointmentStatus)
    starts_at: datetime | None = column.maybe_instant(index=True)
    "None while it is only asked for."

    minutes: int | None = None
    version_at: datetime = column.instant()
    version_tag: str
    "meta.versionId, or MSH-10, of the statement that told the status."

    version_connection: str
    "Who made that statement: only there does the tag mean anything."

    confirmed_at: datetime | None = column.maybe_instant()
    "When the patient said that they come; a new start takes it back."

    created_at: datetime = column.instant()
    changed_at: datetime = column.instant()
    since_at: datetime = column.instant()
    "Since when it has this status and this start, by our clock."

    told: dict[str, list[str]] = column.document()
    "Which statement told each field: rank to field names (hub.record.version)."

    sealed: bytes = column.sealed()


class AppointmentIdentifier(SQLModel, table=True):
    """One business identifier of an appointment (placer, filler, FHIR id), by blind index."""

    __tablename__ = "appointment_identifier"

    key: bytes = column.blind(primary_key=True)
    connection: str = Field(primary_key=True)
    "Who told it, or `identity.ANYWHERE`."

    appointment_id: UUID = Field(foreign_key="appointment.id", index=True)


@dataclass(frozen=True, slots=True)
class Upserted:
    """What became of a statement about an appointment."""

    row: Appointment
    changed: bool
    "False where it told nothing new, though perhaps more recently; nobody needs to be woken."

    patient: Patient | None = None
    "Of whom it told as well."


def upsert(
    db: Session,
    said: AppointmentFacts,
    *,
    connection: str,
    seal: Sealer,
    index: BlindIndex,
    now: datetime,
    known: Known | None = None,
) -> Upserted:
    """Store what `said` says of an appointment and of its patient.

    Idempotent and independent of order: for each field the highest-ranked statement counts, and a final status yields
    only to a strictly newer one.

    Raises:
        IncompleteError: no identifier, or a new appointment without a patient.
        UnmatchedError: it changes an appointment that nobody told.
        IdentityConflictError: identifiers of two appointments, or of two patients.
        StaleError: a row must be opened first (`affected`), or changed since.
    """
    statement = statement_of(said, connection, index)
    if not statement.ids:
        raise IncompleteError("an appointment without an identifier")
    owners = named(db, statement.keys)
    found = only(statement.keys, owners, "appointments")
    row = None if found is None else db.get_one(Appointment, found)
    if row is None and not said.creates:
        raise UnmatchedError("a change of an appointment that was never told")
    known = known or Known()
    person: Patient | None = None
    if said.patient is not None:
        person = patient.upsert(db, said.patient, connection=connection, seal=seal, index=index, now=now, known=known)
    owner = None if person is None else person.id
    if row is None and owner is None:
        raise IncompleteError("a new appointment without a patient")
    if row is None:
        row = _new(said, connection, cast(UUID, owner), now)
        db.add(row)
    stored = keys_of(row.id, owners)
    before = row.status, row.starts_at
    if not _store(db, row, said, statement, stored, connection=connection, owner=owner, seal=seal, known=known):
        return Upserted(row, changed=False, patient=person)
    row.changed_at = now
    if (row.status, row.starts_at) != before:
        row.since_at = now
    touch(db, f"connection:{connection}", "write", row.patient_id, Table.APPOINTMENT, row.id)
    db.add(row)
    db.flush()
    return Upserted(row, changed=True, patient=person)


def affected(db: Session, facts: Iterable[AppointmentFacts], *, connection: str, index: BlindIndex) -> list[Sealed]:
    """Return the appointments to open before `facts` can be stored; their patients are `patient.affected`'s."""
    statements = [(said, statement_of(said, connection, index)) for said in facts]
    holders = named(db, {key for _, statement in statements for key in statement.keys})
    rows = {row.id: row for row in db.exec(select(Appointment).where(col(Appointment.id).in_(set(holders.values()))))}
    owners = patient.named(db, {key for said, _ in statements for key in _patient_keys(said, connection, index)})
    wanted: dict[UUID, Sealed] = {}
    for said, statement in statements:
        owned = {owners.get(key) for key in _patient_keys(said, connection, index)}
        for row_id in {holders[key] for key in statement.keys if key in holders} - wanted.keys():
            row = rows[row_id]
            moves = bool(owned) and owned != {row.patient_id}
            if statement.effect(Told.load(row.told), keys_of(row_id, holders), SEALED, reseal=moves).merges:
                wanted[row_id] = sealed_of(row)
    return list(wanted.values())


def statement_of(said: AppointmentFacts, connection: str, index: BlindIndex) -> Statement:
    """Return what `said` tells of an appointment's fields."""
    told = {
        "status": said.status,
        "starts_at": said.starts_at,
        "minutes": said.minutes,
        "patient": None if said.patient is None else [named.model_dump() for named in said.patient.ids],
        "practitioner": said.practitioner,
        "location": said.location,
        "type": said.type,
        "reason": said.reason,
        "confirmed": said.confirmed or None,
    }
    return Statement.of(
        {name: value for name, value in told.items() if value is not None},
        ids=said.ids,
        version=said.version,
        connection=connection,
        index=index,
        final=said.status in FINAL,
    )


def find(db: Session, keys: Collection[Key]) -> Appointment | None:
    """Return the appointment that `keys` (hub.record.identity) name, or None.

    Raises:
        IdentityConflictError: they name two.
    """
    found = only(keys, named(db, keys), "appointments")
    return None if found is None else db.get_one(Appointment, found)


def named(db: Session, keys: Collection[Key]) -> dict[Key, UUID]:
    """Return what `keys` name, and every other key of theirs; one query."""
    return identity.named(db, AppointmentIdentifier, "appointment_id", keys)


def sealed_of(row: Appointment) -> Sealed:
    """Return what `Opener` needs to open an appointment."""
    return Sealed(Table.APPOINTMENT, row.id, row.sealed)


def upcoming(db: Session, patient_id: UUID, now: datetime, *, limit: int = 20) -> list[Appointment]:
    """Return the patient's appointments that are still ahead and still on, soonest first."""
    return list(
        db.exec(
            select(Appointment)
            .where(
                Appointment.patient_id == patient_id,
                col(Appointment.starts_at) >= now,
                col(Appointment.status).not_in(FINAL),
            )
            .order_by(col(Appointment.starts_at))
            .limit(limit)
        )
    )


def coming(db: Session, now: datetime, *, after: UUID | None = None, limit: int = 50) -> list[Appointment]:
    """Return everybody's coming visits by time, from the one called `after` on."""
    query = select(Appointment).where(col(Appointment.starts_at) > now, Appointment.status == AppointmentStatus.BOOKED)
    kept = None if after is None else db.get(Appointment, after)
    if kept is not None:
        later = col(Appointment.starts_at) > kept.starts_at
        same = (col(Appointment.starts_at) == kept.starts_at) & (col(Appointment.id) > kept.id)
        query = query.where(later | same)
    return list(db.exec(query.order_by(col(Appointment.starts_at), col(Appointment.id)).limit(limit)))


def confirm(db: Session, appointment_id: UUID, *, by: str, now: datetime) -> bool:
    """Note that the patient comes; return False where that was known, or the visit is no longer on."""
    row = db.get_one(Appointment, appointment_id)
    if row.confirmed_at is not None or row.status in FINAL:
        return False
    row.confirmed_at = row.changed_at = now
    touch(db, by, "confirm", row.patient_id, Table.APPOINTMENT, row.id)
    db.add(row)
    db.flush()
    return True


def _new(said: AppointmentFacts, connection: str, patient_id: UUID, now: datetime) -> Appointment:
    return Appointment(
        connection=connection,
        patient_id=patient_id,
        status=said.status,
        version_at=said.version.at,
        version_tag=tag_of(said.version),
        version_connection=connection,
        created_at=now,
        changed_at=now,
        since_at=now,
        sealed=b"",
    )


def _store(
    db: Session,
    row: Appointment,
    said: AppointmentFacts,
    statement: Statement,
    stored: Collection[Key],
    *,
    connection: str,
    owner: UUID | None,
    seal: Sealer,
    known: Known,
) -> bool:
    """Merge a statement into its row; return whether anything of it may be different now."""
    told = Told.load(row.told)
    moves = owner is not None and owner != row.patient_id and bool(told.won({"patient"}, statement.rank))
    effect = statement.effect(told, stored, SEALED, reseal=moves)
    if not (effect.won or effect.rewrites):
        return False
    if effect.rewrites:
        before = known.fields(Table.APPOINTMENT, row.id, row.sealed) if effect.merges else {}
        row.patient_id = owner if owner is not None and moves else row.patient_id
        fields = statement.merged(before, effect.won & SEALED)
        row.sealed = seal.seal(db, row.patient_id, Table.APPOINTMENT, row.id, fields)
        known.sealed(Table.APPOINTMENT, row.id, row.sealed, fields)
    if "status" in effect.won:
        row.status = said.status
        row.version_at, row.version_tag, row.version_connection = said.version.at, tag_of(said.version), connection
    if "starts_at" in effect.won:
        row.confirmed_at = row.confirmed_at if row.starts_at == said.starts_at else None
        row.starts_at = said.starts_at
    if "confirmed" in effect.won and row.confirmed_at is None:
        row.confirmed_at = said.version.at
    if "minutes" in effect.won:
        row.minutes = said.minutes
    row.told = told.told(effect.won, statement.rank).dump()
    db.add(row)
    db.flush()
    for scope, key in effect.fresh:
        db.add(AppointmentIdentifier(key=key, connection=scope, appointment_id=row.id))
    return bool(effect.news) or effect.rewrites


def _patient_keys(said: AppointmentFacts, connection: str, index: BlindIndex) -> list[Key]:
    return [] if said.patient is None else [key_of(named, connection, index) for named in said.patient.ids]
