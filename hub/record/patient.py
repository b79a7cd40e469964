"""A patient as the owners of the chart last told it, and how to find one.

Names, birth date, numbers and address are sealed for the patient; look-ups go through keyed indexes. What each field
says comes from the highest-ranked statement that mentioned it (hub.record.version), so deliveries may repeat and come
in any order.
"""

from collections.abc import Collection, Iterable
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlmodel import Field, Session, SQLModel, col, delete, select

from connectors.api import PatientFacts
from hub.db import uuid7
from hub.record import column, identity
from hub.record.error import IncompleteError
from hub.record.identity import Key, keys_of, only
from hub.record.known import Known
from hub.record.statement import Effect, Statement
from hub.record.trail import touch
from hub.record.version import Told
from hub.rules.matching import Hit, Match, match
from hub.security.index import BlindIndex
from hub.security.sealed import Sealed, Sealer, Table

SEALED = frozenset({"family", "given", "birth_date", "sex", "phones", "language", "postal_code", "state"})
"Told fields that are sealed; beside them the blob holds `ids`."

PLAIN = frozenset({"deceased", "active", "restricted"})
"Told fields that are columns."


class Patient(SQLModel, table=True):
    """One patient; the id is also the subject that everything about the patient is sealed for."""

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    created_at: datetime = column.instant()
    updated_at: datetime = column.instant()
    version_at: datetime = column.instant()
    "When the newest statement was made."

    merged_into: UUID | None = Field(default=None, foreign_key="patient.id")
    "The survivor, where two records turned out to be one person."

    active: bool = True
    deceased: bool = False
    restricted: bool = False
    "Only under break-glass. A feed may close a chart; only the practice opens it again."

    name_key: bytes | None = column.maybe_blind()
    birth_key: bytes | None = column.maybe_blind()
    told: dict[str, list[str]] = column.document()
    "Which statement told each field: rank to field names (hub.record.version)."

    sealed: bytes = column.sealed()


class PatientIdentifier(SQLModel, table=True):
    """One business identifier of a patient, by blind index."""

    __tablename__ = "patient_identifier"

    key: bytes = column.blind(primary_key=True)
    connection: str = Field(primary_key=True)
    "Who told it, or `identity.ANYWHERE`."

    patient_id: UUID = Field(foreign_key="patient.id", index=True)


class PatientPhone(SQLModel, table=True):
    """One number of a patient, by blind index; replaced whenever a newer statement lists the numbers."""

    __tablename__ = "patient_phone"

    key: bytes = column.blind(primary_key=True)
    patient_id: UUID = Field(foreign_key="patient.id", primary_key=True, index=True)
    use: str = ""
    "FHIR R4 ContactPoint.use."

    rank: int = 1


HITS = """
SELECT patient.id, patient.active, patient.deceased, patient.restricted, patient_phone.use
FROM patient_phone JOIN patient ON patient.id = patient_phone.patient_id WHERE patient_phone.key = ?
"""
"The fields of `Hit` of everyone who gave a number; past the ORM, for a caller waits."


def upsert(
    db: Session,
    said: PatientFacts,
    *,
    connection: str,
    seal: Sealer,
    index: BlindIndex,
    now: datetime,
    known: Known | None = None,
) -> Patient:
    """Store what `said` says and return the row; a field it does not mention stays, one in `cleared` goes.

    Idempotent and independent of order. Needs no reading unless the statement must be merged with what is stored.

    Raises:
        IncompleteError: no identifier.
        IdentityConflictError: identifiers of two patients.
        StaleError: the row must be opened first (`affected`), or changed since.
    """
    statement = statement_of(said, connection, index)
    owners = named(db, statement.keys)
    found = only(statement.keys, owners, "patients")
    if found is not None:
        row = db.get_one(Patient, found)
    else:
        if not statement.ids:
            raise IncompleteError("a patient without an identifier")
        row = Patient(created_at=now, updated_at=now, version_at=said.version.at, sealed=b"")
        db.add(row)
        seal.new_subject(db, row.id)
    effect = statement.effect(Told.load(row.told), keys_of(row.id, owners), SEALED)
    if effect.rewrites:
        known = known or Known()
        stored = known.fields(Table.PATIENT, row.id, row.sealed) if effect.merges else {}
        _seal(db, row, statement.merged(stored, effect.won & SEALED), seal=seal, index=index, known=known)
        touch(db, f"connection:{connection}", "write", row.id, Table.PATIENT, row.id)
    if effect.won or effect.rewrites or said.version.at > row.version_at:
        _tell(db, row, statement, effect, said, index)
        row.updated_at = now if effect.news or effect.rewrites else row.updated_at
        db.add(row)
        db.flush()
    return row


def affected(db: Session, facts: Iterable[PatientFacts], *, connection: str, index: BlindIndex) -> list[Sealed]:
    """Return the rows to open before `facts` can be stored: those that some statement changes only in part."""
    statements = [statement_of(said, connection, index) for said in facts]
    owners = named(db, {key for statement in statements for key in statement.keys})
    rows = {row.id: row for row in db.exec(select(Patient).where(col(Patient.id).in_(set(owners.values()))))}
    wanted: dict[UUID, Sealed] = {}
    for statement in statements:
        for row_id in {owners[key] for key in statement.keys if key in owners} - wanted.keys():
            row = rows[row_id]
            if statement.effect(Told.load(row.told), keys_of(row_id, owners), SEALED).merges:
                wanted[row_id] = sealed_of(row)
    return list(wanted.values())


def statement_of(said: PatientFacts, connection: str, index: BlindIndex) -> Statement:
    """Return what `said` tells of a patient's fields."""
    told = {
        "family": said.family,
        "given": said.given,
        "birth_date": said.birth_date.isoformat() if said.birth_date else None,
        "sex": said.sex,
        "phones": [phone.model_dump() for phone in said.phones] or None,
        "language": said.language,
        "postal_code": said.postal_code,
        "state": said.state,
        "deceased": said.deceased,
        "active": said.active,
        "restricted": said.restricted or None,
    }
    fields = {name: None if name in said.cleared else value for name, value in told.items()}
    mentioned = {name: value for name, value in fields.items() if value is not None or name in said.cleared}
    return Statement.of(mentioned, ids=said.ids, version=said.version, connection=connection, index=index)


def find(db: Session, keys: Collection[Key]) -> Patient | None:
    """Return the patient whom `keys` (hub.record.identity) name, or None.

    Raises:
        IdentityConflictError: they name two.
    """
    found = only(keys, named(db, keys), "patients")
    return None if found is None else db.get_one(Patient, found)


def named(db: Session, keys: Collection[Key]) -> dict[Key, UUID]:
    """Return whom `keys` name, and every other key of theirs; one query."""
    return identity.named(db, PatientIdentifier, "patient_id", keys)


def sealed_of(row: Patient) -> Sealed:
    """Return what `Opener` needs to open a patient."""
    return Sealed(Table.PATIENT, row.id, row.sealed)


def match_phone(db: Session, key: bytes) -> Match:
    """Return whose number it is: none, one, many or restricted; `key` is `BlindIndex.phone`."""
    return match_of(db.connection().exec_driver_sql(HITS, (key,)))


def match_of(rows: Iterable[Any]) -> Match:
    """Return what the rows of `HITS` say."""
    return match(
        [
            Hit(UUID(hex=own), active=bool(active), deceased=bool(deceased), restricted=bool(restricted), use=use)
            for own, active, deceased, restricted, use in rows
        ]
    )


def search(
    db: Session,
    *,
    name: bytes | None = None,
    birth: bytes | None = None,
    identifier: bytes | None = None,
    phone: bytes | None = None,
    restricted: bool = True,
    after: UUID | None = None,
    limit: int = 20,
) -> list[Patient]:
    """Return the rows that have every given blind index value, oldest first from `after` on; no merged ones.

    Without `restricted`, charts under break-glass are left out.
    """
    query = select(Patient).where(col(Patient.merged_into).is_(None))
    if not restricted:
        query = query.where(col(Patient.restricted).is_(False))
    if name is not None:
        query = query.where(Patient.name_key == name)
    if birth is not None:
        query = query.where(Patient.birth_key == birth)
    if identifier is not None:
        holders = select(PatientIdentifier.patient_id).where(PatientIdentifier.key == identifier)
        query = query.where(col(Patient.id).in_(holders))
    if phone is not None:
        callers = select(PatientPhone.patient_id).where(PatientPhone.key == phone)
        query = query.where(col(Patient.id).in_(callers))
    if after is not None:
        query = query.where(col(Patient.id) > after)
    return list(db.exec(query.order_by(col(Patient.id)).limit(limit)))


def hidden(db: Session, patients: Iterable[UUID | None]) -> frozenset[UUID]:
    """Return those of `patients` whose charts are under break-glass."""
    query = select(Patient.id).where(col(Patient.id).in_(set(patients) - {None}), col(Patient.restricted).is_(True))
    return frozenset(db.exec(query))


def restrict(db: Session, patient_id: UUID, restricted: bool, *, by: str, now: datetime) -> Patient:
    """Put a chart under break-glass, or take it out again."""
    row = db.get_one(Patient, patient_id)
    row.restricted, row.updated_at = restricted, now
    touch(db, by, "restrict" if restricted else "unrestrict", row.id, Table.PATIENT, row.id)
    db.add(row)
    db.flush()
    return row


def _seal(db: Session, row: Patient, fields: dict[str, Any], *, seal: Sealer, index: BlindIndex, known: Known) -> None:
    row.sealed = seal.seal(db, row.id, Table.PATIENT, row.id, fields)
    known.sealed(Table.PATIENT, row.id, row.sealed, fields)
    family, given, birth = fields.get("family"), fields.get("given"), fields.get("birth_date")
    row.name_key = index.name(family, given) if family and given else None
    row.birth_key = index.birth(date.fromisoformat(birth)) if birth else None


def _tell(
    db: Session, row: Patient, statement: Statement, effect: Effect, said: PatientFacts, index: BlindIndex
) -> None:
    """Write what stands beside the blob: flags, identifiers, numbers, and who told what."""
    if "active" in effect.won:
        row.active = said.active is not False
    if "deceased" in effect.won:
        row.deceased = said.deceased is True
    if "restricted" in effect.won:
        row.restricted = True
    row.told = Told.load(row.told).told(effect.won, statement.rank).dump()
    row.version_at = max(row.version_at, said.version.at)
    for connection, key in effect.fresh:
        db.add(PatientIdentifier(key=key, connection=connection, patient_id=row.id))
    if "phones" in effect.news:
        db.exec(delete(PatientPhone).where(col(PatientPhone.patient_id) == row.id))
        ranked = sorted(statement.fields["phones"] or (), key=lambda phone: (phone["use"] == "old", phone["rank"]))
        numbers = {_key(index, phone["e164"]): phone for phone in reversed(ranked)}
        for number, phone in numbers.items():
            if number is not None:
                db.add(PatientPhone(key=number, patient_id=row.id, use=phone["use"], rank=phone["rank"]))


def _key(index: BlindIndex, number: str) -> bytes | None:
    try:
        return index.phone(number)
    except ValueError:  # kept with the others, but nobody calls from it
        return None
