"""The people who work here, and the phones that are theirs."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlmodel import Field, Session, SQLModel, col, select

from hub.db import uuid7
from hub.errors import ConflictError
from hub.record import column
from hub.security import login
from hub.settings.practice import Practice

SECRET_BYTES = 16
"A phone's password: 128 random bits."


POLICY = "policy"
"Stands for the policy where an account was disabled by leaving it."


class StaffExistsError(ConflictError):
    """The address has an account already."""

    code = "staff-exists"


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
    listed: bool = False
    "Named in the policy; whoever is taken off it is disabled."

    password: str | None = None
    "Argon2id hash (hub.security.login); None where the person has none."

    must_change: bool = False
    "The password was given out by somebody else: good for one login, to set one's own."

    created_at: datetime = column.instant()
    disabled_at: datetime | None = column.maybe_instant()
    disabled_by: str | None = None
    "Staff id, or `POLICY`."


class Device(SQLModel, table=True):
    """A SIP phone: digest credentials bound to one person (RFC 8760 for SHA-256)."""

    extension: str = Field(primary_key=True)
    staff_id: UUID = Field(foreign_key="staff.id", index=True)
    realm: str
    ha1_md5: str
    "MD5(extension:realm:password), hex."

    ha1_sha256: str
    created_at: datetime = column.instant()


class Phone(NamedTuple):
    """What makes a phone somebody's, as the line reads it again after each change of the record."""

    extension: str
    staff_id: UUID
    ha1_md5: str
    ha1_sha256: str


def add(
    db: Session, *, email: str, roles: Sequence[str], now: datetime, password: str | None = None, name: str = ""
) -> Staff:
    """Make an account; `password` is good for one login.

    Raises:
        StaffExistsError: the address has one.
    """
    if find(db, email) is not None:
        raise StaffExistsError("this address has an account")
    hashed = None if password is None else login.hash_of(password)
    row = Staff(
        email=email.strip().lower(),
        name=name,
        roles=list(roles),
        password=hashed,
        must_change=hashed is not None,
        created_at=now,
    )
    return _kept(db, row)


def follow(db: Session, practice: Practice, now: datetime) -> None:
    """Make the accounts that the policy names, with its roles; disable those that it no longer names.

    Accounts that were never named in it, and those that a person disabled, stay as they are.
    """
    wanted = {person.email.strip().lower(): person for person in practice.staff}
    rows = {row.email: row for row in db.exec(select(Staff)).all()}
    for email, person in wanted.items():
        row = rows.get(email) or Staff(email=email, created_at=now)
        row.roles, row.listed = list(person.roles), True
        if row.disabled_by == POLICY:
            row.disabled_at = row.disabled_by = None
        _kept(db, row)
    for email, row in rows.items():
        if row.listed and email not in wanted:
            row.listed = False
            disable(db, row.id, by=POLICY, now=now)


def find(db: Session, email: str) -> Staff | None:
    """Return the person with this address, also a disabled one."""
    return db.exec(select(Staff).where(Staff.email == email.strip().lower())).one_or_none()


def check_password(db: Session, email: str, password: str) -> Staff:
    """Return who may log in; look at `must_change`.

    Raises:
        LoginError: nobody; it takes as long whatever the reason.
    """
    row = find(db, email)
    right = login.verify(row.password if row is not None else None, password)
    if row is None or not right or row.disabled_at is not None:
        raise login.LoginError("address and password do not belong together")
    return row


def set_password(db: Session, staff_id: UUID, password: str, *, must_change: bool = False) -> None:
    """Replace the password; one that was given out by somebody else is good for one login."""
    row = db.get_one(Staff, staff_id)
    row.password, row.must_change = login.hash_of(password), must_change
    _kept(db, row)


def disable(db: Session, staff_id: UUID, *, by: str, now: datetime) -> Staff:
    """Take the account away: from the commit on its logins, tokens and phones open nothing."""
    row = db.get_one(Staff, staff_id)
    if row.disabled_at is None:
        row.disabled_at, row.disabled_by = now, by
    return _kept(db, row)


def enable(db: Session, staff_id: UUID) -> Staff:
    """Give a disabled account back."""
    row = db.get_one(Staff, staff_id)
    row.disabled_at = row.disabled_by = None
    return _kept(db, row)


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


_DEVICES = (
    select(Device.extension, Device.staff_id, Device.ha1_md5, Device.ha1_sha256)
    .join(Staff, col(Staff.id) == col(Device.staff_id))
    .where(col(Staff.disabled_at).is_(None))
    .order_by(col(Device.extension))
)


_PEOPLE = select(Staff.email, Staff.id).where(col(Staff.disabled_at).is_(None))


def people(db: Session) -> dict[str, UUID]:
    """Return everyone who is not disabled, by address."""
    return dict(db.exec(_PEOPLE).all())


def devices(db: Session) -> list[Phone]:
    """Return the phones of everyone who is not disabled, by extension."""
    return [Phone(*row) for row in db.exec(_DEVICES)]


def _kept(db: Session, row: Staff) -> Staff:
    db.add(row)
    db.flush()
    return row
