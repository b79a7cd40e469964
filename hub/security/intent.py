"""Audit intents: what a writing transaction says it did, committed with it, carried to the audit log by the vault."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import MetaData, insert
from sqlmodel import Field, Session, SQLModel

from hub.db import Instant, now, uuid7
from hub.security import lane
from hub.vault import wire
from hub.vault.client import Access, Subject
from hub.vault.wire import MAX_GROUPS, MAX_OBJECTS, MAX_REASON, MAX_WORD, OBJECT, check_note

_encoder = msgspec.msgpack.Encoder()


class Intent(SQLModel, table=True):
    """One record on its way to the audit log; it stays here until it is durable there."""

    __tablename__ = "intent"

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    at: datetime = Field(sa_type=Instant)
    body: bytes
    "msgpack of `hub.vault.wire.Intent`: ids and codes only."


_INSERT = insert(SQLModel.metadata.tables["intent"])


def declare(metadata: MetaData) -> None:
    """Add the table of intents to the metadata of another file."""
    SQLModel.metadata.tables["intent"].to_metadata(metadata)


def note(
    db: Session,
    who: Access | str,
    act: str,
    subjects: Sequence[Subject] = (),
    detail: Mapping[str, str | int] | None = None,
    *,
    at: datetime | None = None,
) -> UUID:
    """Leave an intent in the caller's transaction and return its id.

    `who` may be the name of a process: `system:feeds`. `subjects` name key id, subject and objects; where the key id
    is empty it is looked up. `act` is a code such as `appointment.write`; `detail` holds ids and codes, no text.

    Raises:
        ValueError: `detail` holds more than ids and codes, or there are more than 100 subjects or 500 objects, or who
            asks and why is longer than the log takes.
        NoSubjectError: a subject without key id has no key.
    """
    detail = detail or {}
    check_note(act, detail)
    if len(subjects) > MAX_GROUPS or sum(len(rows) for _, _, rows in subjects) > MAX_OBJECTS:
        raise ValueError("too many subjects or objects for one intent")
    access = who if isinstance(who, Access) else Access(who, "system", "operations")
    longest = max(map(len, (access.actor, access.role, access.purpose, access.session)))
    if longest > MAX_WORD or len(access.reason or "") > MAX_REASON:
        raise ValueError("an actor, role, purpose, session or reason is too long for the log")
    when = at or now()
    body = wire.Intent(
        actor=access.actor,
        role=access.role,
        purpose=access.purpose,
        session=access.session,
        reason=access.reason,
        act=act,
        subjects=[
            (kid or lane.kid_of(db, subject), subject.bytes, [OBJECT.pack(table, row.bytes) for table, row in rows])
            for kid, subject, rows in subjects
        ],
        detail=dict(detail),
        at=int(when.timestamp() * 1e6),
    )
    intent_id = uuid7()
    # Plain, not through the unit of work: every commit of a feed waits for it.
    db.connection().execute(_INSERT, {"id": intent_id, "at": when, "body": _encoder.encode(body)})
    return intent_id
