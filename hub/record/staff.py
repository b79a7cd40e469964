"""The people who work here, and the phones that are theirs."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlmodel import Field, Session, SQLModel, col, delete, select

from hub.db import uuid7
from hub.errors import ConflictError
from hub.record import column

SECRET_BYTES = 16
"A phone's password: 128 random bits."


class ExtensionTakenError(ConflictError):
    """The extension belongs to somebody else."""

    code = "extension-taken"


class Staff(SQLModel, table=True):
    """One person with an account of their own (45 CFR 164.312(a)(2)(i))."""

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    email: str = Field(unique=True)
    "Lower case."

    name: str = ""
    roles: list[str] = column.document(list)
    password: str | None = None
    "Argon2id hash (hub.security.login); None where the person has none."

    created_at: datetime = column.instant()
    disabled_at: datetime | None = column.maybe_instant()


class Device(SQLModel, table=True):
    """A SIP phone: digest credentials bound to one person (RFC 8760 for SHA-256)."""

    extension: str = Field(primary_key=True)
    staff_id: UUID = Field(foreign_key="staff.id", index=True)
    realm: str
    ha1_md5: str
    "MD5(extension:realm:password), hex."

    ha1_sha256: str
    created_at: datetime = column.instant()


def ensure(db: Session, email: str, roles: Sequence[str], now: datetime, *, name: str = "") -> Staff:
    """Return the person with this address, made where there is none, with these roles and not disabled."""
    row = find(db, email) or Staff(email=email.strip().lower(), created_at=now)
    row.roles, row.disabled_at = list(roles), None
    row.name = name or row.name
    db.add(row)
    db.flush()
    return row


def find(db: Session, email: str) -> Staff | None:
    """Return the person with this address, also a disabled one."""
    return db.exec(select(Staff).where(Staff.email == email.strip().lower())).one_or_none()


def set_password(db: Session, staff_id: UUID, hashed: str | None) -> None:
    """Replace the password's hash (`hub.security.login.hash_of`)."""
    row = db.get_one(Staff, staff_id)
    row.password = hashed
    db.add(row)
    db.flush()


def disable(db: Session, staff_id: UUID, now: datetime) -> Staff:
    """Take the account away; phones stop working at once, tokens are refused from now on."""
    row = db.get_one(Staff, staff_id)
    row.disabled_at = row.disabled_at or now
    db.exec(delete(Device).where(col(Device.staff_id) == staff_id))
    db.add(row)
    db.flush()
    return row


def add_device(db: Session, staff_id: UUID, extension: str, realm: str, now: datetime) -> str:
    """Give a person a phone, or the phone a new password; return the password, which is not kept.

    Raises:
        ExtensionTakenError: the extension is somebody else's.
    """
    kept = db.get(Device, extension)
    if kept is not None and kept.staff_id != staff_id:
        raise ExtensionTakenError(f"extension {extension} is taken")
    secret = secrets.token_urlsafe(SECRET_BYTES)
    said = f"{extension}:{realm}:{secret}".encode()
    row = kept or Device(extension=extension, staff_id=staff_id, realm=realm, ha1_md5="", ha1_sha256="", created_at=now)
    row.realm = realm
    row.ha1_md5 = hashlib.md5(said, usedforsecurity=False).hexdigest()  # RFC 3261 section 22.4 knows nothing else
    row.ha1_sha256 = hashlib.sha256(said).hexdigest()
    db.add(row)
    db.flush()
    return secret


def device(db: Session, extension: str) -> tuple[Device, Staff] | None:
    """Return a phone and whose it is, or None where there is none or the person is disabled."""
    query = select(Device, Staff).join(Staff, col(Staff.id) == col(Device.staff_id))
    return db.exec(query.where(Device.extension == extension, col(Staff.disabled_at).is_(None))).one_or_none()


def devices(db: Session) -> list[Device]:
    """Return the phones of everyone who is not disabled, by extension."""
    query = select(Device).join(Staff, col(Staff.id) == col(Device.staff_id)).where(col(Staff.disabled_at).is_(None))
    return list(db.exec(query.order_by(col(Device.extension))))
