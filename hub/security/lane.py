"""Public keys waiting for a subject, the subjects that have one, and the lanes through which their rows were sealed.

The same three tables stand in chartline.db (patients) and in inbox.db (a line and a day), each with rows of its own:
`declare` adds them to the metadata of another file. Layouts: docs/reference/vault-protocol.md.
"""

from collections.abc import Iterable
from datetime import date, datetime
from uuid import UUID, uuid5

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import MetaData, delete
from sqlmodel import Field, Session, SQLModel, col, select

from hub.db import Instant
from hub.errors import ChartlineError, NotFoundError, UnavailableError
from hub.vault.client import ServiceKeys
from hub.vault.layout import pool_message

LINE_DAYS = UUID("6b0c6a0e-5c0b-5a86-9d3c-0a6c1f2f7d11")
"Name space of subjects that are a line and a day (RFC 9562 section 5.5)."


class PoolEmptyError(UnavailableError):
    """No public key is left for a new subject; the vault makes more."""

    code = "pool-empty"


class PoolKeyError(ChartlineError):
    """A public key in the database is not one that the vault made: somebody changed it."""

    code = "pool-key"


class NoSubjectError(NotFoundError):
    """Nothing can be sealed for a subject that has no key yet: `Sealer.new_subject` first."""

    code = "no-subject"


class PoolKey(SQLModel, table=True):
    """A public key whose private half only the vault has; taken out when a subject gets it."""

    __tablename__ = "keypool"

    kid: bytes = Field(primary_key=True)
    public: bytes
    "X25519, 32 bytes (RFC 7748)."

    signature: bytes
    "Ed25519 by the vault, over practice, kid and public."


class Subject(SQLModel, table=True):
    """A patient, or a line and day, and its public key."""

    __tablename__ = "subject"

    subject: UUID = Field(primary_key=True)
    kid: bytes = Field(index=True)
    public: bytes
    signature: bytes
    created_at: datetime = Field(sa_type=Instant)


class Lane(SQLModel, table=True):
    """A secret that one writer made for one subject, sealed to its public key."""

    __tablename__ = "lane"

    id: bytes = Field(primary_key=True)
    "First 16 bytes of the blob's SHA-256."

    kid: bytes
    subject: UUID = Field(index=True)
    blob: bytes
    "HPKE (RFC 9180), 80 bytes."

    created_at: datetime = Field(sa_type=Instant)
    writer: str
    "The process that seals through it: `feeds`."


def declare(metadata: MetaData) -> None:
    """Add the tables of sealing to the metadata of another file."""
    for name in ("keypool", "subject", "lane"):
        SQLModel.metadata.tables[name].to_metadata(metadata)


def line_subject(line: str, day: date) -> UUID:
    """Return the subject for what came over `line` (a connection or trunk) on `day` (UTC) from nobody known yet."""
    return uuid5(LINE_DAYS, f"{line}\x00{day.isoformat()}")


def check(keys: ServiceKeys, kid: bytes, public: bytes, signature: bytes) -> None:
    """Refuse a public key that the vault did not make.

    Raises:
        PoolKeyError: the signature is not the vault's.
    """
    try:
        message = pool_message(keys.tenant, kid, public)
        Ed25519PublicKey.from_public_bytes(keys.pool_public).verify(signature, message)
    except InvalidSignature:
        raise PoolKeyError(f"public key {kid.hex()} is not the vault's") from None


def take(db: Session, keys: ServiceKeys, subject: UUID, now: datetime) -> Subject:
    """Give `subject` the next key of the pool, or return the one it has.

    Raises:
        PoolEmptyError: there is none; nothing was changed.
        PoolKeyError: the key was put there by somebody else.
    """
    row = db.get(Subject, subject)
    if row is not None:
        return row
    ready = db.exec(select(PoolKey).limit(1)).first()
    if ready is None:
        raise PoolEmptyError("no public key is ready")
    check(keys, ready.kid, ready.public, ready.signature)
    row = Subject(subject=subject, kid=ready.kid, public=ready.public, signature=ready.signature, created_at=now)
    db.exec(delete(PoolKey).where(col(PoolKey.kid) == ready.kid))
    db.expunge(ready)
    db.add(row)
    db.flush()
    return row


def subject_of(db: Session, subject: UUID) -> Subject:
    """Return the subject's row.

    Raises:
        NoSubjectError: it has none.
    """
    row = db.get(Subject, subject)
    if row is None:
        raise NoSubjectError(f"no key for subject {subject}")
    return row


def kid_of(db: Session, subject: UUID) -> bytes:
    """Return the key id that audit records name for `subject`.

    Raises:
        NoSubjectError: it has none.
    """
    return subject_of(db, subject).kid


def lanes(db: Session, ids: Iterable[bytes]) -> dict[bytes, Lane]:
    """Return the lanes of `ids` that there are."""
    wanted = list(set(ids))
    found: dict[bytes, Lane] = {}
    for start in range(0, len(wanted), 500):
        rows = db.exec(select(Lane).where(col(Lane.id).in_(wanted[start : start + 500])))
        found |= {row.id: row for row in rows}
    return found
