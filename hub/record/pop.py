"""What an agent's screen may open when a phone rings: a reference that runs out, in two stages.

The token follows from the offer's id under a key, so that the webhook can be sent again without anything secret being
stored; the row keeps its SHA-256.
"""

import base64
import hashlib
import hmac
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlmodel import Field, Session, SQLModel, select

from hub.errors import DeniedError, NotFoundError
from hub.record import call, column
from hub.record.queue import Offer
from hub.rules.pop import attempt

LIFETIME = timedelta(minutes=30)
"From the offer; the end of the call's wrap-up cuts it short (`close`)."


class PopStage(StrEnum):
    """How much of the chart the pop may show."""

    MASKED = "masked"
    FULL = "full"
    "The agent made sure who calls."

    LOCKED = "locked"
    "Three wrong answers: masked for good."


class PopExpiredError(NotFoundError):
    """The pop has run out; the call is over."""

    code = "pop-expired"
    status = 410


class PopLockedError(DeniedError):
    """Name and date of birth were wrong three times."""

    code = "pop-locked"
    status = 423


class Pop(SQLModel, table=True):
    """One pop; its id is the offer's."""

    id: UUID = Field(primary_key=True, foreign_key="queue_offer.id")
    call_id: UUID = Field(foreign_key="call.id", index=True)
    agent_id: UUID = Field(foreign_key="staff.id")
    "The only one who may open it."

    token_hash: bytes = Field(unique=True)
    "SHA-256."

    created_at: datetime = column.instant()
    expires_at: datetime = column.instant()
    stage: PopStage = column.code(PopStage)
    tries: int = 0
    "Wrong answers so far."

    verified_at: datetime | None = column.maybe_instant()
    patient_id: UUID | None = Field(default=None, foreign_key="patient.id")
    "Who it turned out to be."


def token_of(key: bytes, offer_id: UUID) -> str:
    """Return the token of an offer's pop; `key` is `ServiceKeys.pop`."""
    mac = hmac.digest(key, b"pop" + offer_id.bytes, hashlib.sha256)
    return base64.urlsafe_b64encode(mac).decode().rstrip("=")


def open(db: Session, offer: Offer, *, key: bytes, now: datetime) -> Pop:
    """Make the pop of an offer, or return it."""
    kept = db.get(Pop, offer.id)
    if kept is not None:
        return kept
    row = Pop(
        id=offer.id,
        call_id=offer.call_id,
        agent_id=offer.agent_id,
        token_hash=_hash(token_of(key, offer.id)),
        created_at=now,
        expires_at=now + LIFETIME,
        stage=PopStage.MASKED,
    )
    db.add(row)
    db.flush()
    return row


def find(db: Session, token: str, now: datetime, *, agent_id: UUID | None = None) -> Pop:
    """Return the pop of `token`; with `agent_id`, if it is that agent's.

    Raises:
        NotFoundError: there is none, or it is another agent's: nobody is told which.
        PopExpiredError: it has run out.
    """
    row = db.exec(select(Pop).where(Pop.token_hash == _hash(token))).one_or_none()
    if row is None or (agent_id is not None and row.agent_id != agent_id):
        raise NotFoundError("no such pop")
    if row.expires_at <= now:
        raise PopExpiredError(f"pop {row.id} has run out")
    return row


def tried(db: Session, pop_id: UUID, patient_id: UUID | None, *, by: str, now: datetime) -> Pop:
    """Note an agent's answer: `patient_id` where name and date of birth are that patient's, None where they are wrong.

    Commit it before showing anything: a try that is not counted is a free guess.

    Raises:
        PopLockedError: it is locked; nothing is tried any more.
    """
    row = db.get_one(Pop, pop_id)
    if row.stage is PopStage.LOCKED:
        raise PopLockedError(f"pop {pop_id} is locked")
    if patient_id is not None:
        row.stage, row.patient_id, row.verified_at = PopStage.FULL, patient_id, now
        call.verified(db, row.call_id, patient_id, by=by, now=now)
    else:
        row.tries += 1
        if attempt(row.tries - 1, right=False) == "locked":
            row.stage, row.patient_id = PopStage.LOCKED, None
    db.add(row)
    db.flush()
    return row


def close(db: Session, call_id: UUID, at: datetime, *, agent_id: UUID | None = None) -> None:
    """Let the call's pops run out at `at`, the end of the wrap-up; with `agent_id`, that agent's alone."""
    for row in db.exec(select(Pop).where(Pop.call_id == call_id)).all():
        if agent_id is not None and row.agent_id != agent_id:
            continue
        row.expires_at = min(row.expires_at, at)
        db.add(row)
    db.flush()


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
