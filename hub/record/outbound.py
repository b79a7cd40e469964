"""Calls that staff made: the same rows as calls that came in, about the number that was dialled."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from uuid import UUID

from sqlmodel import Session, col, select

from hub.record import agent, plain, queue
from hub.record.agent import Presence
from hub.record.call import OUT, Call, CallState, ended
from hub.record.trail import touch
from hub.rules.matching import Match
from hub.security.index import BlindIndex
from hub.security.sealed import Sealer, Table, line_subject

_FREE = (Presence.AVAILABLE, Presence.WRAP_UP)
"Who is away is no more rung for dialling, and no less away afterwards."


def dial(
    db: Session,
    call_id: UUID,
    *,
    shown: str,
    host: str,
    number: str,
    match: Match,
    price: Decimal,
    agent_id: UUID | None,
    seal: Sealer,
    index: BlindIndex,
    now: datetime,
) -> UUID:
    """Note that somebody calls `number` (E.164 or a short one), and return whom it is sealed for.

    `shown` is the practice's number that the far end sees, `price` that of a minute; the trunk is known later.
    """
    patient_id = match.patients[0] if match.kind == "one" else None
    subject = patient_id or line_subject(OUT, now.date())
    seal.new_subject(db, subject)
    row = Call(
        id=call_id,
        direction=OUT,
        did=shown,
        trunk="",
        host=host,
        state=CallState.RINGING,
        started_at=now,
        match=match.kind,
        patient_id=patient_id,
        agent_id=agent_id,
        plan={"price": str(price)},
        caller_key=_key(index, number),
        subject=subject,
        sealed=seal.seal(db, subject, Table.CALL, call_id, {"number": number, "name": None}),
    )
    touch(db, str(agent_id) if agent_id else "system:media", "write", subject, Table.CALL, row.id)
    plain.add(db, [row])
    if agent_id is not None and agent.get(db, agent_id, now).presence in _FREE:
        agent.engaged(db, agent_id, call_id, now)
    return subject


def connected(db: Session, call_id: UUID, trunk: str, at: datetime) -> Call:
    """The far end picked up, over `trunk`."""
    row = db.get_one(Call, call_id)
    row.trunk, row.answered_at, row.bridged_at = trunk, row.answered_at or at, row.bridged_at or at
    if row.state is CallState.RINGING:
        row.state = CallState.BRIDGED
    db.add(row)
    db.flush()
    return row


def over(db: Session, call_id: UUID, cause: str, at: datetime) -> Call:
    """The call is over; its agent is free again, and no colleague's phone rings for it."""
    row = db.get_one(Call, call_id)
    queue.leave(db, call_id, cause, at)
    if row.agent_id is not None:
        agent.freed(db, row.agent_id, call_id, at)
    return ended(db, call_id, cause, at)


def talks(db: Session, since: datetime, now: datetime) -> Iterator[tuple[Decimal, timedelta]]:
    """Yield the price of a minute, and the length, of each call to the outside that was answered since an instant."""
    query = select(Call).where(Call.direction == OUT, col(Call.bridged_at) >= since)
    for row in db.exec(query):
        try:
            price = Decimal(str((row.plan or {}).get("price", "0")))
        except InvalidOperation:
            continue
        if row.bridged_at is not None:
            yield price, (row.ended_at or now) - row.bridged_at


def _key(index: BlindIndex, number: str) -> bytes | None:
    try:
        return index.phone(number)
    except ValueError:  # a short number
        return None
