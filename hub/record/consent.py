"""Who does not want texts: by number and programme (47 CFR 64.1200(a)(10)).

The choice belongs to the number, not to a patient, so it holds for everyone who gave it and outlives a merge.
"""

from datetime import datetime

from sqlmodel import Field, Session, SQLModel, col, select

from hub.record import column

ALL = "all"
"The programme that stands for every programme."


class OptOut(SQLModel, table=True):
    """The latest choice made from one number about one programme of texts."""

    __tablename__ = "opt_out"

    key: bytes = column.blind(primary_key=True)
    "BlindIndex.phone."

    program: str = Field(primary_key=True)
    "reminder, campaign:<name>, or `ALL`."

    out: bool
    "False after START."

    at: datetime = column.instant()
    "When the text with the choice was sent."


def stop(db: Session, phone: bytes, program: str, at: datetime) -> bool:
    """Note that this number wants no more texts of `program`; return whether that is new. A later choice stays."""
    return _choose(db, phone, program, True, at)


def start(db: Session, phone: bytes, program: str, at: datetime) -> bool:
    """Note that this number wants texts again; return whether that is new. A later choice stays."""
    return _choose(db, phone, program, False, at)


def opted_out(db: Session, phone: bytes, program: str) -> bool:
    """Return whether texts of `program` to this number are forbidden."""
    found = db.exec(select(OptOut).where(OptOut.key == phone, col(OptOut.program).in_([program, ALL])))
    return any(choice.out for choice in found)


def wanted_since(db: Session, phone: bytes, program: str) -> datetime | None:
    """Return when texts of `program` to this number were last asked for again; None where they never were stopped."""
    found = db.exec(select(OptOut).where(OptOut.key == phone, col(OptOut.program).in_([program, ALL])))
    return max((choice.at for choice in found if not choice.out), default=None)


def _choose(db: Session, phone: bytes, program: str, out: bool, at: datetime) -> bool:
    kept = db.get(OptOut, (phone, program))
    if kept is None:
        db.add(OptOut(key=phone, program=program, out=out, at=at))
        db.flush()
        return out
    if (at, out) <= (kept.at, kept.out):
        return False
    new = kept.out != out
    kept.out, kept.at = out, at
    db.add(kept)
    db.flush()
    return new
