"""What programs and browsers show to be let in: opaque secrets of 256 bits, of which the record keeps the SHA-256."""

import hashlib
import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlmodel import Field, Session, SQLModel, col, select

from hub.db import uuid7
from hub.errors import DeniedError
from hub.record import column
from hub.record.staff import Staff

PREFIX = "cl_"
SECRET_BYTES = 32
SHOWN = 8
"Characters of the secret that lists show, to tell tokens apart."

IDLE = timedelta(minutes=10)
"A session that nobody used for so long is over (45 CFR 164.312(a)(2)(iii))."

SESSION = timedelta(hours=12)
"The longest session, whatever happens in it."

NOTED = timedelta(seconds=30)
"How precisely the last use is kept, so that not every request writes."


class TokenKind(StrEnum):
    """What a token is for."""

    API = "api"
    SESSION = "session"
    LOGIN = "login"
    "Opens one session, once."


class TokenError(DeniedError):
    """The token is not known, has run out, was taken back, or its owner may no longer work here."""

    code = "token-invalid"
    status = 401


class Token(SQLModel, table=True):
    """One token."""

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    kind: TokenKind = column.code(TokenKind)
    prefix: str
    "The first characters, for lists."

    hash: bytes = Field(unique=True)
    "SHA-256."

    scopes: list[str] = column.document(list)
    "What it may do at most; its owner's roles may allow less (hub.security.access)."

    staff_id: UUID | None = Field(default=None, foreign_key="staff.id", index=True)
    "Whom it stands for; None for a program."

    created_at: datetime = column.instant()
    expires_at: datetime = column.instant()
    used_at: datetime | None = column.maybe_instant()
    revoked_at: datetime | None = column.maybe_instant()


def create(
    db: Session,
    *,
    scopes: Collection[str],
    now: datetime,
    lifetime: timedelta,
    staff_id: UUID | None = None,
    kind: TokenKind = TokenKind.API,
) -> tuple[Token, str]:
    """Make a token; return its row and the secret, which is not kept."""
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    row = Token(
        kind=kind,
        prefix=secret[: len(PREFIX) + SHOWN],
        hash=_hash(secret),
        scopes=sorted(scopes),
        staff_id=staff_id,
        created_at=now,
        expires_at=now + (min(lifetime, SESSION) if kind is TokenKind.SESSION else lifetime),
    )
    db.add(row)
    db.flush()
    return row, secret


def find(db: Session, secret: str, now: datetime) -> tuple[Token, Staff | None]:
    """Return the token and whom it stands for.

    Raises:
        TokenError: it opens nothing.
    """
    return checked(db, db.exec(select(Token).where(Token.hash == _hash(secret))).one_or_none(), now)


def checked(db: Session, row: Token | None, now: datetime) -> tuple[Token, Staff | None]:
    """Return the token and whom it stands for, if it still holds.

    Raises:
        TokenError: it opens nothing.
    """
    if row is None or row.revoked_at is not None or row.expires_at <= now:
        raise TokenError("no such token, or it has run out")
    if row.kind is TokenKind.SESSION and idle_at(row) <= now:
        raise TokenError("the session was idle for too long")
    owner = None if row.staff_id is None else db.get_one(Staff, row.staff_id)
    if owner is not None and owner.disabled_at is not None:
        raise TokenError("the account is disabled")
    return row, owner


def idle_at(row: Token) -> datetime:
    """Return when a session is over, if nobody uses it before."""
    return (row.used_at or row.created_at) + IDLE


def due(row: Token, now: datetime) -> bool:
    """Return whether `used` should be called: the kept instant is too old to be of use."""
    return row.used_at is None or row.used_at + NOTED <= now


def used(db: Session, token_id: UUID, now: datetime) -> None:
    """Note that the token was used."""
    row = db.get_one(Token, token_id)
    row.used_at = max(row.used_at or now, now)
    db.add(row)
    db.flush()


def redeem(db: Session, secret: str, now: datetime) -> Staff:
    """Use up a login token and return whom it lets in.

    Raises:
        TokenError: it opens nothing, or is no login token.
    """
    row, owner = find(db, secret, now)
    if row.kind is not TokenKind.LOGIN or owner is None:
        raise TokenError("not a login token")
    row.used_at = row.revoked_at = now
    db.add(row)
    db.flush()
    return owner


def revoke(db: Session, token_id: UUID, now: datetime) -> None:
    """Take a token back."""
    row = db.get_one(Token, token_id)
    row.revoked_at = row.revoked_at or now
    db.add(row)
    db.flush()


def of_staff(db: Session, staff_id: UUID) -> list[Token]:
    """Return the tokens that stand for a person, newest first."""
    return list(db.exec(select(Token).where(Token.staff_id == staff_id).order_by(col(Token.id).desc())))


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
