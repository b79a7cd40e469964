"""What the patient or the practice asked for, as the EHR tells it: a refill, a referral (FHIR R4 Task)."""

from datetime import datetime
from uuid import UUID

from sqlmodel import Field, Session, SQLModel, col, select

from connectors.api import RequestFacts
from hub.db import uuid7
from hub.record import column, patient
from hub.record.error import IncompleteError, UnmatchedError
from hub.record.identity import keys_for, named, only
from hub.record.trail import touch
from hub.record.version import fingerprint_of, rank_of
from hub.security.index import BlindIndex
from hub.security.sealed import Table


class ChartRequest(SQLModel, table=True):
    """One request; codes and ids only, so there is nothing to seal."""

    __tablename__ = "chart_request"

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    connection: str
    patient_id: UUID = Field(foreign_key="patient.id", index=True)
    kind: str
    "refill, referral or other."

    status: str
    "open or done."

    version_at: datetime = column.instant()
    rank: str
    "Of the statement that told it (hub.record.version)."

    changed_at: datetime = column.instant()


class RequestIdentifier(SQLModel, table=True):
    """One business identifier of a request, by blind index."""

    __tablename__ = "chart_request_identifier"

    key: bytes = column.blind(primary_key=True)
    connection: str = Field(primary_key=True)
    request_id: UUID = Field(foreign_key="chart_request.id", index=True)


def upsert(
    db: Session, said: RequestFacts, *, connection: str, index: BlindIndex, now: datetime
) -> tuple[ChartRequest, bool]:
    """Store what `said` says; return the row and whether it changed. Idempotent and independent of order.

    Raises:
        IncompleteError: no identifier.
        UnmatchedError: nobody told us of the patient.
        IdentityConflictError: identifiers of two requests, or of two patients.
    """
    keys = keys_for(said.ids, connection, index)
    if not keys:
        raise IncompleteError("a request without an identifier")
    owner = patient.find(db, keys_for(said.patient_ids, connection, index))
    if owner is None:
        raise UnmatchedError("a request of a patient who was never told")
    stored = named(db, RequestIdentifier, "request_id", keys)
    found = only(keys, stored, "requests")
    rank = rank_of(said.version, fingerprint_of(said.model_dump(exclude={"version"}), index))
    row = None if found is None else db.get_one(ChartRequest, found)
    if row is not None and rank <= row.rank and stored.keys() >= set(keys):
        return row, False
    if row is None:
        row = ChartRequest(
            connection=connection,
            patient_id=owner.id,
            kind=said.kind,
            status=said.status,
            version_at=said.version.at,
            rank=rank,
            changed_at=now,
        )
    elif rank > row.rank:
        row.patient_id, row.kind, row.status = owner.id, said.kind, said.status
        row.version_at, row.rank, row.changed_at = said.version.at, rank, now
    db.add(row)
    db.flush()
    for scope, key in keys:
        if (scope, key) not in stored:
            db.add(RequestIdentifier(key=key, connection=scope, request_id=row.id))
    touch(db, f"connection:{connection}", "write", row.patient_id, Table.REQUEST, row.id)
    db.flush()
    return row, True


def open_of(db: Session, patient_id: UUID) -> list[ChartRequest]:
    """Return the patient's open requests, newest first."""
    return list(
        db.exec(
            select(ChartRequest)
            .where(ChartRequest.patient_id == patient_id, ChartRequest.status == "open")
            .order_by(col(ChartRequest.version_at).desc())
        )
    )
