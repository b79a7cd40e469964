"""The practice's policy as versioned data: the text of practice.toml, whoever published it, and when."""

from datetime import datetime

from sqlmodel import Field, Session, SQLModel, col, select

from hub.errors import ConflictError, NotFoundError
from hub.record import column

NEWEST = "SELECT max(version) FROM policy"
"The version in force, for `Database.value`."


class StalePolicyError(ConflictError):
    """Somebody published since the policy was read: look at what they changed, then publish on top of it."""

    code = "policy-stale"


class Policy(SQLModel, table=True):
    """One published version; never changed afterwards."""

    version: int = Field(primary_key=True)
    text: str
    "practice.toml as it was validated; secrets are only named in it."

    by: str
    "Staff id, or system:cli."

    published_at: datetime = column.instant()


def publish(db: Session, text: str, base: int | None, *, by: str, now: datetime) -> int:
    """Publish `text` on top of version `base` (None for the first) and return its version.

    The text in force, published again, makes no new version.

    Raises:
        StalePolicyError: `base` is not the version in force.
    """
    latest = _latest(db)
    if (latest.version if latest else None) != base:
        raise StalePolicyError(f"version {latest.version if latest else 0} is in force, not {base or 0}")
    if latest is not None and latest.text == text:
        return latest.version
    row = Policy(version=(base or 0) + 1, text=text, by=by, published_at=now)
    db.add(row)
    db.flush()
    return row.version


def get(db: Session, version: int) -> Policy:
    """Return one version.

    Raises:
        NotFoundError: there is none of that number.
    """
    row = db.get(Policy, version)
    if row is None:
        raise NotFoundError(f"there is no version {version} of the policy")
    return row


def current(db: Session) -> tuple[int, str]:
    """Return the version in force and its text.

    Raises:
        NotFoundError: nothing was ever published.
    """
    latest = _latest(db)
    if latest is None:
        raise NotFoundError("no policy was ever published")
    return latest.version, latest.text


def history(db: Session, *, before: int | None = None, limit: int = 50) -> list[Policy]:
    """Return the versions, newest first, those older than `before` where it is given."""
    query = select(Policy) if before is None else select(Policy).where(col(Policy.version) < before)
    return list(db.exec(query.order_by(col(Policy.version).desc()).limit(limit)))


def _latest(db: Session) -> Policy | None:
    return db.exec(select(Policy).order_by(col(Policy.version).desc()).limit(1)).one_or_none()
