"""Which writes of the API were made already, so that a repeat answers the same and does nothing.

Follows the Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header). An answer is kept as ids and codes;
what people's records say is read anew.
"""

from datetime import datetime
from typing import Any

from sqlmodel import Field, Session, SQLModel, col, delete

from hub.errors import ConflictError
from hub.record import column


class KeyReusedError(ConflictError):
    """The idempotency key was used for another request."""

    code = "idempotency-key-reused"
    status = 422


class Key(SQLModel, table=True):
    """One write that was asked for with an idempotency key."""

    __tablename__ = "idempotency_key"

    actor: str = Field(primary_key=True)
    route: str = Field(primary_key=True)
    "Method and path template."

    key: str = Field(primary_key=True)
    digest: bytes
    "BlindIndex.digest of path and body."

    answer: dict[str, Any] = column.document()
    "Status, and ids and codes of what was made."

    at: datetime = column.instant(index=True)


def answered(db: Session, *, actor: str, route: str, key: str, digest: bytes) -> dict[str, Any] | None:
    """Return what the first request with this key was answered, or None for the first.

    Raises:
        KeyReusedError: that was another request.
    """
    kept = db.get(Key, (actor, route, key))
    if kept is None:
        return None
    if kept.digest != digest:
        raise KeyReusedError("this idempotency key was used for another request")
    return kept.answer


def keep(
    db: Session, *, actor: str, route: str, key: str, digest: bytes, answer: dict[str, Any], now: datetime
) -> None:
    """Keep the answer, in the transaction of the write itself."""
    db.add(Key(actor=actor, route=route, key=key, digest=digest, answer=answer, at=now))
    db.flush()


def forget(db: Session, before: datetime) -> None:
    """Drop the keys that were used before `before`."""
    db.exec(delete(Key).where(col(Key.at) < before))
