"""What the connections delivered, as it came: sealed, in order, acknowledged to the sender once it is here.

These tables stand in inbox.db, a file of their own, so that a busy feed delays no call. One message is one row, unique
by connection, the sender's own id and a keyed hash of the bytes: a message that is sent again finds its row, and one
that reuses another's id (97 in the public data) still gets its own. The rows are the queue; whatever wakes the reader
may fail.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Index, LargeBinary, MetaData, func, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Field, Session, SQLModel, col, select

from hub.db import uuid7
from hub.record import column
from hub.security import intent, lane
from hub.security.index import BlindIndex
from hub.security.sealed import NoSubjectError, Sealed, Sealer, Table, line_subject
from hub.vault.wire import MAX_OBJECTS

PLAIN_ID = 80
"A sender's own id that is longer is kept as a hash: it is no id."

UNMATCHED = "unmatched"
"The code of a message that changes something nobody told of yet; it may be told later."


class InboxBase(SQLModel):
    """What stands in inbox.db."""

    metadata = MetaData()


lane.declare(InboxBase.metadata)
intent.declare(InboxBase.metadata)


class State(StrEnum):
    """Where a message stands."""

    STORED = "stored"
    "Waits to be read."

    APPLIED = "applied"
    "Read, and in the record."

    QUARANTINED = "quarantined"
    "Not understood, or not to be stored as it is; a person may release it."


class Form(StrEnum):
    """What a row holds."""

    MESSAGE = "message"
    "The bytes as they were delivered; the connector reads them."

    FACT = "fact"
    "One fact that the connector was asked for, as JSON (hub.feeds.fact)."


class InboxMessage(InboxBase, table=True):
    """One message."""

    __tablename__ = "inbox_message"
    __table_args__ = (
        Index("ix_inbox_message_unique", "connection", "control_id", "digest", unique=True),
        # Only what waits is indexed by state: a long inbox costs a look for new rows nothing.
        Index(
            "ix_inbox_message_stored",
            "connection",
            "seq",
            sqlite_where=text("state = 'stored'"),
            postgresql_where=text("state = 'stored'"),
        ),
        Index(
            "ix_inbox_message_quarantined",
            "connection",
            "code",
            sqlite_where=text("state = 'quarantined'"),
            postgresql_where=text("state = 'quarantined'"),
        ),
    )

    seq: int | None = Field(default=None, primary_key=True)
    "The order in which messages were stored."

    id: UUID = Field(default_factory=uuid7, unique=True)
    "What it is sealed under."

    connection: str
    control_id: str
    "The sender's own id, such as MSH-10; a hash where it is none."

    digest: bytes = Field(sa_type=LargeBinary)
    "BlindIndex.digest of the bytes."

    form: Form = column.code(Form)
    received_at: datetime = column.instant()
    state: State = column.code(State)
    code: str | None = None
    "Why it is in quarantine: a stable reason code."

    sealed: bytes = column.sealed()
    "The bytes, as `raw`, sealed for the connection and the UTC day."


class FeedCursor(InboxBase, table=True):
    """Up to where a connection that is asked for changes has answered; in one transaction with what it answered."""

    __tablename__ = "feed_cursor"

    connection: str = Field(primary_key=True)
    cursor: bytes = Field(sa_type=LargeBinary)
    "Opaque; at most 4 KiB. A connector puts times and page marks in it, nothing about a person."

    at: datetime = column.instant()


class FeedHint(InboxBase, table=True):
    """When a connection that is asked for changes last said, by a callback, that it has some."""

    __tablename__ = "feed_hint"

    connection: str = Field(primary_key=True)
    count: int
    "Counts up with each hint: two of one instant are two."

    at: datetime = column.instant()


@dataclass(frozen=True, slots=True)
class Arrival:
    """Something to store."""

    connection: str
    control_id: str
    raw: bytes
    form: Form = Form.MESSAGE


def store(
    db: Session, arrivals: Sequence[Arrival], *, seal: Sealer, index: BlindIndex, now: datetime, by: str
) -> list[bool]:
    """Store what arrived, in order, and return for each whether it is new; `by` is the process, such as system:feeds.

    Idempotent. One audit intent names all that is new.

    Raises:
        PoolEmptyError: no key is ready for the first message of a day; nothing was stored.
    """
    if not arrivals:
        return []
    rows: list[dict[str, Any]] = []
    seen: set[tuple[str, str, bytes]] = set()
    for one in arrivals:
        key = (one.connection, _plain(one.control_id, index), index.digest(one.raw))
        row_id = None if key in seen else uuid7()
        seen.add(key)
        rows.append(dict(zip(("connection", "control_id", "digest"), key, strict=True), id=row_id, form=one.form))
    subjects = {name: line_subject(name, now.date()) for name in {one.connection for one in arrivals}}
    for row, one in zip(rows, arrivals, strict=True):
        if row["id"] is not None:
            row |= {"received_at": now, "state": State.STORED}
            row["sealed"] = _sealed(db, seal, subjects[one.connection], row["id"], one.raw)
    wanted = [row for row in rows if row["id"] is not None]
    stored = _stored(db, wanted)
    _note(db, [row for row in wanted if row["id"] in stored], subjects, by, now)
    return [row["id"] in stored for row in rows]


def _stored(db: Session, rows: Sequence[Mapping[str, Any]]) -> set[UUID]:
    """Insert what is new, pass over what is there already, and return the ids of what is new."""
    ids = {row["id"] for row in rows}
    done = db.connection().execute(_insert(db.get_bind().dialect.name), rows)
    if done.rowcount == len(rows):
        return ids
    return set(db.exec(select(InboxMessage.id).where(col(InboxMessage.id).in_(ids))))


def _plain(control_id: str, index: BlindIndex) -> str:
    """Return the sender's id, or a hash of what cannot be one: a broken header may carry anything there."""
    if len(control_id) <= PLAIN_ID and control_id.isascii() and control_id.isprintable():
        return control_id
    return "#" + index.digest(control_id.encode(errors="surrogatepass")).hex()


@cache
def _insert(dialect: str) -> Any:
    """Return the statement that stores a row unless its message is there already."""
    make: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[dialect]
    table = InboxBase.metadata.tables["inbox_message"]
    return make(table).on_conflict_do_nothing(index_elements=["connection", "control_id", "digest"])


def _sealed(db: Session, seal: Sealer, subject: UUID, row_id: UUID, raw: bytes) -> bytes:
    fields = {"raw": raw}
    try:
        return seal.seal(db, subject, Table.INBOX, row_id, fields)
    except NoSubjectError:  # the first message of this connection today
        seal.new_subject(db, subject)
        return seal.seal(db, subject, Table.INBOX, row_id, fields)


def _note(db: Session, rows: Sequence[Mapping[str, Any]], subjects: Mapping[str, UUID], by: str, now: datetime) -> None:
    objects: dict[str, list[tuple[Table, UUID]]] = {}
    for row in rows:
        objects.setdefault(row["connection"], []).append((Table.INBOX, row["id"]))
    for connection, stored in objects.items():
        for start in range(0, len(stored), MAX_OBJECTS):
            part = stored[start : start + MAX_OBJECTS]
            intent.note(db, by, "inbox.store", [(b"", subjects[connection], part)], at=now)


def pending(db: Session, connection: str, limit: int = 100) -> list[InboxMessage]:
    """Return the messages of a connection that wait to be read, in the order in which they were stored."""
    waiting = select(InboxMessage).where(InboxMessage.connection == connection, _is(State.STORED))
    return list(db.exec(waiting.order_by(col(InboxMessage.seq)).limit(limit)))


def sealed_of(row: InboxMessage) -> Sealed:
    """Return what `Opener` needs to open a message; it opens to `raw`."""
    return Sealed(Table.INBOX, row.id, row.sealed)


def mark(db: Session, ids: Collection[UUID], state: State, code: str | None = None) -> None:
    """Set the state of messages; `code` says why they are in quarantine."""
    changed = {"state": state, "code": code if state is State.QUARANTINED else None}
    db.execute(update(InboxMessage).where(col(InboxMessage.id).in_(ids)).values(changed))


def quarantined(db: Session, connection: str, limit: int = 100) -> list[InboxMessage]:
    """Return the messages of a connection that are in quarantine, oldest first."""
    kept = select(InboxMessage).where(InboxMessage.connection == connection, _is(State.QUARANTINED))
    return list(db.exec(kept.order_by(col(InboxMessage.seq)).limit(limit)))


def release(
    db: Session, connection: str, *, codes: Iterable[str] | None = None, ids: Collection[UUID] | None = None
) -> int:
    """Let messages of a connection out of quarantine, to be read once more; return how many.

    All of them, or those of the given codes, or the given ones.
    """
    chosen = update(InboxMessage).where(col(InboxMessage.connection) == connection, _is(State.QUARANTINED))
    if codes is not None:
        chosen = chosen.where(col(InboxMessage.code).in_(list(codes)))
    if ids is not None:
        chosen = chosen.where(col(InboxMessage.id).in_(ids))
    return int(db.execute(chosen.values(state=State.STORED, code=None)).rowcount)  # type: ignore[attr-defined]


def waiting(db: Session) -> list[str]:
    """Return the connections of which something waits to be read."""
    return sorted(db.exec(select(InboxMessage.connection).where(_is(State.STORED)).distinct()))


def counts(db: Session, connection: str) -> dict[str, int]:
    """Return how many messages of a connection are stored, applied and quarantined."""
    found = db.exec(
        select(InboxMessage.state, func.count())
        .where(InboxMessage.connection == connection)
        .group_by(col(InboxMessage.state))
    )
    return {state.value: 0 for state in State} | {State(state).value: count for state, count in found}


def reasons(db: Session, connection: str) -> dict[str, int]:
    """Return how many messages of a connection are in quarantine, by code."""
    found = db.exec(
        select(InboxMessage.code, func.count())
        .where(InboxMessage.connection == connection, _is(State.QUARANTINED))
        .group_by(col(InboxMessage.code))
    )
    return {code or "": count for code, count in found}


def cursor_of(db: Session, connection: str) -> bytes | None:
    """Return where to ask a connection for changes from, or None for the beginning."""
    row = db.get(FeedCursor, connection)
    return None if row is None else row.cursor


def keep_cursor(db: Session, connection: str, cursor: bytes | None, now: datetime) -> None:
    """Remember up to where a connection has answered; None begins anew."""
    row = db.get(FeedCursor, connection)
    if cursor is None:
        if row is not None:
            db.delete(row)
    elif row is None:
        db.add(FeedCursor(connection=connection, cursor=cursor, at=now))
    else:
        row.cursor, row.at = cursor, now
        db.add(row)
    db.flush()


def hint(db: Session, connection: str, now: datetime) -> None:
    """Note that a connection says it has changes; whoever asks it need not wait for the next round."""
    make: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[db.get_bind().dialect.name]
    table = InboxBase.metadata.tables["feed_hint"]
    noted = make(table).values(connection=connection, count=1, at=now)
    db.connection().execute(
        noted.on_conflict_do_update(index_elements=["connection"], set_={"count": table.c.count + 1, "at": now})
    )


def hints(db: Session, connection: str) -> int:
    """Return how often a connection said that it has changes."""
    row = db.get(FeedHint, connection)
    return 0 if row is None else row.count


def _is(state: State) -> Any:
    """Return the condition on the state, written out: a partial index is used only where the state is no parameter."""
    return text(f"state = '{state.value}'")
