"""Who may call for a patient, as the chart tells it: a parent, a spouse, a carer (FHIR R4 RelatedPerson; HL7 v2 NK1).

Such a number identifies nobody: whoever calls from it may be asked for whom they call, and is verified like anyone.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlmodel import Field, Session, SQLModel, col, delete, select

from connectors.api import RelatedFacts
from hub.db import uuid7
from hub.record import column, patient
from hub.record.error import IncompleteError, UnmatchedError
from hub.record.identity import keys_for, named, only
from hub.record.patient import Patient
from hub.record.trail import touch
from hub.record.version import fingerprint_of, rank_of
from hub.rules.matching import Match
from hub.security.index import BlindIndex
from hub.security.sealed import Sealed, Sealer, Table


class RelatedPerson(SQLModel, table=True):
    """One relation of one patient, sealed for the patient."""

    __tablename__ = "related_person"

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    connection: str
    patient_id: UUID = Field(foreign_key="patient.id", index=True)
    active: bool = True
    version_at: datetime = column.instant()
    rank: str
    "Of the statement that told it (hub.record.version)."

    changed_at: datetime = column.instant()
    sealed: bytes = column.sealed()
    "Name, relationship and numbers."


class RelatedIdentifier(SQLModel, table=True):
    """One business identifier of a relation, by blind index."""

    __tablename__ = "related_person_identifier"

    key: bytes = column.blind(primary_key=True)
    connection: str = Field(primary_key=True)
    related_id: UUID = Field(foreign_key="related_person.id", index=True)


class RelatedPhone(SQLModel, table=True):
    """One number of a relation, by blind index."""

    __tablename__ = "related_person_phone"

    key: bytes = column.blind(primary_key=True)
    related_id: UUID = Field(foreign_key="related_person.id", primary_key=True, index=True)


def upsert(
    db: Session, said: RelatedFacts, *, connection: str, seal: Sealer, index: BlindIndex, now: datetime
) -> tuple[RelatedPerson, bool]:
    """Store what `said` says, which is all that is known of the relation; return the row and whether it changed.

    Idempotent and independent of order: the highest-ranked statement stands.

    Raises:
        IncompleteError: no identifier.
        UnmatchedError: nobody told us of the patient.
        IdentityConflictError: identifiers of two relations, or of two patients.
    """
    keys = keys_for(said.ids, connection, index)
    if not keys:
        raise IncompleteError("a relation without an identifier")
    owner = patient.find(db, keys_for(said.patient_ids, connection, index))
    if owner is None:
        raise UnmatchedError("a relation of a patient who was never told")
    stored = named(db, RelatedIdentifier, "related_id", keys)
    found = only(keys, stored, "relations")
    rank = rank_of(said.version, fingerprint_of(said.model_dump(mode="json", exclude={"version"}), index))
    row = None if found is None else db.get_one(RelatedPerson, found)
    if row is not None and rank <= row.rank:
        return row, False
    if row is None:
        row = RelatedPerson(
            connection=connection,
            patient_id=owner.id,
            version_at=said.version.at,
            rank=rank,
            changed_at=now,
            sealed=b"",
        )
    row.patient_id, row.active = owner.id, said.active is not False
    row.version_at, row.rank, row.changed_at = said.version.at, rank, now
    row.sealed = seal.seal(db, owner.id, Table.RELATED, row.id, _told(said))
    db.add(row)
    db.flush()
    for scope, key in keys:
        if (scope, key) not in stored:
            db.add(RelatedIdentifier(key=key, connection=scope, related_id=row.id))
    db.exec(delete(RelatedPhone).where(col(RelatedPhone.related_id) == row.id))
    db.add_all(RelatedPhone(key=key, related_id=row.id) for key in _numbers(said, index))
    touch(db, f"connection:{connection}", "write", owner.id, Table.RELATED, row.id)
    db.flush()
    return row, True


def sealed_of(row: RelatedPerson) -> Sealed:
    """Return what `Opener` needs to open a relation."""
    return Sealed(Table.RELATED, row.id, row.sealed)


def proxy_for(db: Session, key: bytes) -> tuple[UUID, ...]:
    """Return the patients for whom somebody of this number may call, in order of id; `key` is `BlindIndex.phone`.

    A restricted chart is left out: the number would tell that it exists.
    """
    found = db.exec(
        select(RelatedPerson.patient_id)
        .join(RelatedPhone, col(RelatedPhone.related_id) == col(RelatedPerson.id))
        .join(Patient, col(Patient.id) == col(RelatedPerson.patient_id))
        .where(
            RelatedPhone.key == key,
            col(RelatedPerson.active),
            col(Patient.active),
            col(Patient.deceased).is_(False),
            col(Patient.restricted).is_(False),
        )
    )
    return tuple(sorted(set(found)))


def match_phone(db: Session, key: bytes) -> Match:
    """Return whose number it is (`patient.match_phone`), and where it is no patient's, for whom its owner may call."""
    found = patient.match_phone(db, key)
    return found if found.kind != "none" else replace(found, proxy_for=proxy_for(db, key))


def of_patient(db: Session, patient_id: UUID) -> list[RelatedPerson]:
    """Return those who may call for a patient."""
    query = select(RelatedPerson).where(RelatedPerson.patient_id == patient_id, col(RelatedPerson.active))
    return list(db.exec(query.order_by(col(RelatedPerson.id))))


def line_of(told: Mapping[str, Any]) -> str:
    """Return who an opened relation is, in a line: "Maria Rivera (mother)"."""
    name = " ".join(part for part in (told.get("given"), told.get("family")) if part)
    kind = told.get("relationship")
    return f"{name} ({kind})" if name and kind else name or str(kind or "")


def _told(said: RelatedFacts) -> dict[str, object]:
    told = {
        "family": said.family,
        "given": said.given,
        "relationship": said.relationship,
        "phones": [phone.model_dump() for phone in said.phones] or None,
        "ids": [identifier.model_dump() for identifier in said.ids],
    }
    return {name: value for name, value in told.items() if value is not None}


def _numbers(said: RelatedFacts, index: BlindIndex) -> set[bytes]:
    keys = set()
    for phone in said.phones:
        try:
            keys.add(index.phone(phone.e164))
        except ValueError:  # kept with the others, but nobody calls from it
            continue
    return keys
