"""Public keys waiting for a subject, the subjects that have one, and the lanes through which their rows were sealed.

The same three tables stand in chartline.db (patients) and in inbox.db (a line and a day), each with rows of its own:
`declare` adds them to the metadata of another file. Layouts: docs/reference/vault-protocol.md.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID, uuid5

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import MetaData, bindparam, delete, insert, select
from sqlmodel import Field, Session, SQLModel

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


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A subject's public key, as the database has it."""

    kid: bytes
    public: bytes
    signature: bytes

    def check(self, keys: ServiceKeys) -> None:
        """Refuse a key that the vault did not make.

        Raises:
            PoolKeyError: the signature is not the vault's.
        """
        try:
            message = pool_message(keys.tenant, self.kid, self.public)
            Ed25519PublicKey.from_public_bytes(keys.pool_public).verify(self.signature, message)
        except InvalidSignature:
            raise PoolKeyError(f"public key {self.kid.hex()} is not the vault's") from None


# Statements on the tables, not on the classes: a feed's first sight of a patient goes through all of them, and the ORM
# would take several times as long as the sealing itself.
_POOL, _SUBJECT, _LANE = (SQLModel.metadata.tables[name] for name in ("keypool", "subject", "lane"))
_KEY = select(_SUBJECT.c.kid, _SUBJECT.c.public, _SUBJECT.c.signature).where(_SUBJECT.c.subject == bindparam("of"))
_TAKE = (
    delete(_POOL)
    .where(_POOL.c.kid == select(_POOL.c.kid).limit(1).scalar_subquery())
    .returning(_POOL.c.kid, _POOL.c.public, _POOL.c.signature)
)


def take(db: Session, keys: ServiceKeys, subject: UUID, now: datetime) -> PublicKey | None:
    """Give `subject` the next key of the pool and return it, checked; None when it has one.

    Raises:
        PoolEmptyError: there is none; nothing was changed.
        PoolKeyError: the key was put there by somebody else.
    """
    if db.connection().execute(_KEY, {"of": subject}).first() is not None:
        return None
    row = db.connection().execute(_TAKE).first()
    if row is None:
        raise PoolEmptyError("no public key is ready")
    taken = PublicKey(*row)
    taken.check(keys)
    values = {"kid": taken.kid, "public": taken.public, "signature": taken.signature}
    db.connection().execute(insert(_SUBJECT), {"subject": subject, "created_at": now, **values})
    return taken


def key_of(db: Session, subject: UUID) -> PublicKey:
    """Return the subject's key.

    Raises:
        NoSubjectError: it has none.
    """
    row = db.connection().execute(_KEY, {"of": subject}).first()
    if row is None:
        raise NoSubjectError(f"no key for subject {subject}")
    return PublicKey(*row)


def kid_of(db: Session, subject: UUID) -> bytes:
    """Return the key id that audit records name for `subject`.

    Raises:
        NoSubjectError: it has none.
    """
    return key_of(db, subject).kid


def begin(db: Session, lane_id: bytes, *, kid: bytes, subject: UUID, blob: bytes, at: datetime, writer: str) -> None:
    """Write the row of a new lane, in the caller's transaction."""
    values = {"id": lane_id, "kid": kid, "subject": subject, "blob": blob, "created_at": at, "writer": writer}
    db.connection().execute(insert(_LANE), values)


@dataclass(frozen=True, slots=True)
class Opening:
    """What the vault needs to open a lane."""

    kid: bytes
    subject: UUID
    blob: bytes


def openings(db: Session, ids: Iterable[bytes]) -> dict[bytes, Opening]:
    """Return the lanes of `ids` that there are."""
    wanted = list(set(ids))
    found: dict[bytes, Opening] = {}
    for start in range(0, len(wanted), 500):
        some = _LANE.c.id.in_(wanted[start : start + 500])
        rows = db.connection().execute(select(_LANE.c.id, _LANE.c.kid, _LANE.c.subject, _LANE.c.blob).where(some))
        found |= {lane_id: Opening(kid, subject, blob) for lane_id, kid, subject, blob in rows}
    return found
