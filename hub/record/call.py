"""A call from the first INVITE to its end. Changes may repeat and come late; a call never goes back.

The caller's number and name are sealed: for the patient where the number is one patient's, otherwise for the trunk and
day. What the plan was and how the call went is codes, names of the policy and times.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, case, func, update
from sqlmodel import Field, Session, SQLModel, col, select

from hub.record import agent, column, plain, queue, task
from hub.record.trail import touch
from hub.rules.matching import Match
from hub.rules.routing import Plan
from hub.security.index import BlindIndex
from hub.security.sealed import Sealed, Sealer, Table, line_subject


class CallState(StrEnum):
    """How far a call has come, in order."""

    RINGING = "ringing"
    ANSWERED = "answered"
    QUEUED = "queued"
    BRIDGED = "bridged"
    ENDED = "ended"


_ORDER = {state: place for place, state in enumerate(CallState)}

ANSWERED = "answered"
ABANDONED = "abandoned"
VOICEMAIL = "voicemail"
CALLBACK = "callback"
HUNG_UP = "hung-up"
MISSED = "missed"
DROPPED = "dropped"
UNANSWERED = "unanswered"
FAX = "fax"
"""Paths: bridged to a person; left the queue unserved; left a message; asked to be called back; hung up in the menus;
ended before it was answered; lost with the media process; dialled by staff and taken by nobody; a fax."""

IN = "in"
OUT = "out"


REPEAT = timedelta(hours=72)
"Who calls again within this time has not been helped."


class Call(SQLModel, table=True):
    """One call."""

    id: UUID = Field(primary_key=True)
    direction: str = IN
    "in, or out for what staff dialled: `caller_key` is then of the number that was dialled."
    did: str
    "The practice's own number that was dialled (E.164)."

    trunk: str
    host: str
    "The media process that has the call."

    state: CallState = column.code(CallState, index=True)
    queue: str | None = None
    agent_id: UUID | None = Field(default=None, foreign_key="staff.id")
    started_at: datetime = column.instant(index=True)
    planned_at: datetime | None = column.maybe_instant()
    answered_at: datetime | None = column.maybe_instant()
    queued_at: datetime | None = column.maybe_instant()
    bridged_at: datetime | None = column.maybe_instant()
    ended_at: datetime | None = column.maybe_instant()
    wound_up_at: datetime | None = column.maybe_instant()
    "When its flow saw to what it left: notes for charts and webhooks, a text to who was missed."

    cause: str | None = None
    "Who or what ended it: caller, far-end, agent, system, limit, or a SIP status."

    path: str | None = None
    "How it went, once it is over: one of the paths above."

    match: str
    "none, one, many or restricted (hub.rules.matching)."

    patient_id: UUID | None = Field(default=None, foreign_key="patient.id", index=True)
    "The probable caller; certain once `verified_at` is set."

    verified_at: datetime | None = column.maybe_instant()
    plan: dict[str, Any] | None = column.maybe_document()
    "hub.rules.routing.Plan: names of the policy and codes."

    attestation: str | None = None
    "What the caller's carrier vouches for: A, B or C (RFC 8588), or none where it says nothing that holds."

    caller_key: bytes | None = column.maybe_blind()
    "BlindIndex.phone of the caller's number; None where it is withheld."

    subject: UUID
    "Whom it is sealed for."

    sealed: bytes = column.sealed()


_CALL = SQLModel.metadata.tables["call"]
_SUBJECT = select(_CALL.c.subject).where(_CALL.c.id == bindparam("of"))
_PLANNED = (
    update(_CALL)
    .where(_CALL.c.id == bindparam("of"), _CALL.c.planned_at.is_(None))
    .values(plan=bindparam("as_said"), planned_at=bindparam("then"))
)
_ANSWERED = (
    update(_CALL)
    .where(_CALL.c.id == bindparam("of"), _CALL.c.answered_at.is_(None))
    .values(
        answered_at=bindparam("then"),
        state=case((_CALL.c.state == CallState.RINGING, CallState.ANSWERED), else_=_CALL.c.state),
    )
)


class CallLeg(SQLModel, table=True):
    """What one leg's media was like."""

    __tablename__ = "call_leg"

    call_id: UUID = Field(foreign_key="call.id", primary_key=True)
    role: str = Field(primary_key=True)
    "caller or agent."

    protection: str
    "Of the media as it really was: sframe, dtls-srtp, sdes-srtp, rtp or pstn."

    loss: float = 0.0
    "Share of packets that never came, 0 to 1."

    jitter_ms: float = 0.0

    codec: str = ""
    "As its RTP name; empty where nothing was agreed on."

    rtt_ms: float | None = None
    "Round trip to the far end and back, by its RTCP reports; None where it sent none."

    mos: float | None = None
    "Estimated mean opinion score of what was heard, 1 to 4.5 (ITU-T G.107)."


def ring(
    db: Session,
    call_id: UUID,
    *,
    did: str,
    trunk: str,
    host: str,
    number: str | None,
    name: str | None,
    match: Match,
    seal: Sealer,
    index: BlindIndex,
    now: datetime,
    more: Mapping[str, str] | None = None,
) -> UUID:
    """Note that a call came in, once, and return whom it is sealed for.

    `number` is E.164, or None where it is withheld. `more` is sealed beside it: `attestation` (A, B, C or why none),
    and `first_called` with `first_reason` where somebody else's telephone sent the call on.
    """
    kept: UUID | None = db.connection().execute(_SUBJECT, {"of": call_id}).scalar()
    if kept is not None:
        return kept
    patient_id = match.patients[0] if match.kind == "one" else None
    subject = patient_id or line_subject(trunk, now.date())
    seal.new_subject(db, subject)
    row = Call(
        id=call_id,
        did=did,
        trunk=trunk,
        host=host,
        state=CallState.RINGING,
        started_at=now,
        match=match.kind,
        patient_id=patient_id,
        attestation=_level((more or {}).get("attestation", "")),
        caller_key=_key(index, number),
        subject=subject,
        sealed=seal.seal(db, subject, Table.CALL, call_id, {"number": number, "name": name, **(more or {})}),
    )
    touch(db, "system:media", "write", subject, Table.CALL, row.id)
    plain.add(db, [row])
    return subject


def planned(db: Session, call_id: UUID, plan: Plan, at: datetime) -> None:
    """Note the plan that is followed; the first one noted stays."""
    values = {"of": call_id, "as_said": plan.model_dump(mode="json"), "then": at}
    plain.change(db, Call, call_id, _PLANNED, values)


def answered(db: Session, call_id: UUID, at: datetime) -> None:
    """The caller hears us."""
    plain.change(db, Call, call_id, _ANSWERED, {"of": call_id, "then": at})


def queued(db: Session, call_id: UUID, name: str, at: datetime) -> Call:
    """The caller waits for a person; another queue replaces the first."""
    row = db.get_one(Call, call_id)
    row.queued_at = row.queued_at or at
    if row.state is not CallState.ENDED or row.queue is None:
        row.queue = name
    return _forward(db, row, CallState.QUEUED)


def bridged(db: Session, call_id: UUID, agent_id: UUID, at: datetime) -> Call:
    """The caller and an agent hear each other."""
    row = db.get_one(Call, call_id)
    row.bridged_at = row.bridged_at or at
    row.agent_id = row.agent_id or agent_id
    return _forward(db, row, CallState.BRIDGED)


def passed(
    db: Session, call_id: UUID, before: UUID | None, after: UUID | None, at: datetime, *, wrap_up_seconds: int = 0
) -> Call:
    """Somebody else carries the talk on: `before` is free of it, and it is `after`'s, if they are staff."""
    row = db.get_one(Call, call_id)
    if before is not None and before != after:
        agent.freed(db, before, call_id, at, wrap_up_seconds=wrap_up_seconds)
    if after is not None:
        row.agent_id = after
        agent.took_over(db, after, call_id, at)
    return _kept(db, row)


def ended(db: Session, call_id: UUID, cause: str, at: datetime, *, path: str | None = None) -> Call:
    """The call is over; the first end stays. Without `path` it follows from how far the call came."""
    row = db.get_one(Call, call_id)
    if row.ended_at is None:
        row.ended_at, row.cause, row.path = at, cause, path or _path(row)
    return _forward(db, row, CallState.ENDED)


def wound_up(db: Session, call_id: UUID, at: datetime) -> Call:
    """What the call left behind is seen to; the first time stays."""
    row = db.get_one(Call, call_id)
    row.wound_up_at = row.wound_up_at or at
    return _kept(db, row)


def left(db: Session, since: datetime, until: datetime, *, limit: int = 100) -> list[UUID]:
    """Return calls that ended between two instants and that nobody has wound up: their flow was never told."""
    query = select(Call.id).where(
        Call.state == CallState.ENDED, col(Call.wound_up_at).is_(None), col(Call.ended_at).between(since, until)
    )
    return list(db.exec(query.order_by(col(Call.ended_at)).limit(limit)))


def verified(db: Session, call_id: UUID, patient_id: UUID, *, by: str, now: datetime) -> Call:
    """An agent made sure who calls; this binds the call to that patient (45 CFR 164.528 counts on it)."""
    row = db.get_one(Call, call_id)
    row.patient_id, row.verified_at = patient_id, now
    touch(db, by, "bind", patient_id, Table.CALL, row.id)
    return _kept(db, row)


def leg(
    db: Session,
    call_id: UUID,
    role: str,
    *,
    protection: str,
    loss: float = 0.0,
    jitter_ms: float = 0.0,
    codec: str = "",
    rtt_ms: float | None = None,
    mos: float | None = None,
) -> CallLeg:
    """Note what a leg's media is like; the latest figures stay."""
    row = db.get(CallLeg, (call_id, role)) or CallLeg(call_id=call_id, role=role, protection=protection)
    row.protection, row.loss, row.jitter_ms = protection, loss, jitter_ms
    row.codec, row.rtt_ms, row.mos = codec, rtt_ms, mos
    db.add(row)
    db.flush()
    return row


def legs(db: Session, call_id: UUID) -> list[CallLeg]:
    """Return the legs of a call."""
    return list(db.exec(select(CallLeg).where(CallLeg.call_id == call_id).order_by(col(CallLeg.role))))


def recent(
    db: Session,
    *,
    before: UUID | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 50,
) -> list[Call]:
    """Return calls, newest first, from the one called `before` on; those that began from `since` up to `until`."""
    query = select(Call)
    if before is not None:
        query = query.where(col(Call.id) < before)
    if since is not None:
        query = query.where(col(Call.started_at) >= since)
    if until is not None:
        query = query.where(col(Call.started_at) < until)
    return list(db.exec(query.order_by(col(Call.id).desc()).limit(limit)))


def close_orphans(db: Session, host: str, now: datetime) -> list[UUID]:
    """End every call that the dead media process `host` had, and return their ids.

    Callers who waited for a person get a callback task before all others'; phones stop ringing, agents are free again.
    """
    going_on = [state for state in CallState if state is not CallState.ENDED]
    rows = db.exec(select(Call).where(Call.host == host, col(Call.state).in_(going_on))).all()
    for row in rows:
        if queue.waits(db, row.id):
            task.ask(
                db,
                "callback",
                key=f"callback:{row.id}",
                reason=DROPPED,
                now=now,
                pressing=True,
                call_id=row.id,
                patient_id=row.patient_id,
            )
        queue.leave(db, row.id, DROPPED, now)
        if row.agent_id is not None:
            agent.freed(db, row.agent_id, row.id, now)
        ended(db, row.id, "media-lost", now, path=_path(row) if row.direction == OUT else DROPPED)
    return [row.id for row in rows]


def of_patient(db: Session, patient_id: UUID, *, limit: int = 5) -> list[Call]:
    """Return a patient's latest calls, newest first; also those that only probably were theirs."""
    query = select(Call).where(Call.patient_id == patient_id).order_by(col(Call.id).desc())
    return list(db.exec(query.limit(limit)))


def count_before(db: Session, row: Call) -> int:
    """Return how many calls the same number made in the 72 hours before this one; 0 where it is withheld."""
    if row.caller_key is None:
        return 0
    query = select(func.count()).where(
        Call.caller_key == row.caller_key,
        Call.direction == IN,
        col(Call.started_at) < row.started_at,
        col(Call.started_at) >= row.started_at - REPEAT,
    )
    return db.exec(query).one()


def sealed_of(row: Call) -> Sealed:
    """Return what `Opener` needs to open the caller's number and name."""
    return Sealed(Table.CALL, row.id, row.sealed)


def _forward(db: Session, row: Call, to: CallState) -> Call:
    if _ORDER[to] > _ORDER[row.state]:
        row.state = to
    return _kept(db, row)


def _kept(db: Session, row: Call) -> Call:
    db.add(row)
    db.flush()
    return row


def _path(row: Call) -> str:
    if row.bridged_at is not None:
        return ANSWERED
    if row.direction == OUT:
        return UNANSWERED
    if row.queued_at is not None:
        return ABANDONED
    return MISSED if row.answered_at is None else HUNG_UP


def _level(attestation: str) -> str | None:
    return attestation if attestation in {"A", "B", "C"} else None


def _key(index: BlindIndex, number: str | None) -> bytes | None:
    try:
        return None if number is None else index.phone(number)
    except ValueError:  # an extension, or a caller id that is no number
        return None
