"""Reading what a connection delivered into the record: batch by batch, in order, and none held up by another.

A crash anywhere is safe. Statements are idempotent and independent of order, rows are marked only once the flows that
they concern were told, and the first batch of a process tells all of its visits: a predecessor may have stored it and
died before telling.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, col, select
from temporalio import activity
from temporalio.client import Client

from connectors.api import (
    LANDLINE,
    AnyConnector,
    ConnectorError,
    ReceiptFacts,
    RejectedError,
    ReplyFacts,
)
from hub.errors import ChartlineError
from hub.feeds.fact import read_row
from hub.instance import Instance
from hub.outside import Outside
from hub.record import change, inbox, reminder
from hub.record.change import Said
from hub.record.error import StaleError
from hub.record.inbox import UNMATCHED, InboxMessage, State
from hub.record.known import Known
from hub.record.message import Message
from hub.security.sealed import KeyGoneError, SealBrokenError
from hub.settings import Practice
from hub.temporal import appointment_answered, appointment_changed, send_text
from hub.vault.client import Access
from workflows.activities import reply
from workflows.activities.herald import Herald, Told
from workflows.activities.reply import Consequence
from workflows.activities.visit import may_call
from workflows.fault import DEFECT, place_of

log = structlog.get_logger()

BATCH = 100
"Messages read at once: what the vault opens in one request."

PORTION = 16
"Messages in one transaction: a call that waits for its turn to write waits for so many at most."

YIELD_S = 0.002
"Between two transactions, for writers of other processes to get their turn."

TELLING = 16
"Signals under way at once."

YOUNG = timedelta(seconds=60)
"A carrier's receipt may overtake the answer to our own request: so long it is tried again by itself."

RELEASED = 500
"Messages that wait for something to match which are tried again at once."

STALE_TRIES = 3


@dataclass(frozen=True, slots=True)
class Drained:
    """What one look at the inbox came to."""

    rows: int = 0
    more: bool = False
    "There may be more to read at once."

    closed: bool = False
    "The policy has no such connection, or it cannot be used: nobody reads on until it is woken again."


@dataclass(slots=True)
class _Read:
    """One message on its way."""

    row: InboxMessage
    changes: Sequence[Said] = ()
    code: str | None = None
    "Why it goes into quarantine."

    visits: set[UUID] = field(default_factory=set)
    "Visits whose flows are to look."

    replies: list[str] = field(default_factory=list)
    "The carrier's ids of new texts."

    told: list[Told] = field(default_factory=list)
    changed: bool = False
    "It told something that may let others match."


class Feeds:
    """The activity of FeedFlow."""

    def __init__(self, instance: Instance, outside: Outside, herald: Herald, client: Client) -> None:
        self._instance = instance
        self._outside = outside
        self._herald = herald
        self._client = client
        self._followed: set[str] = set()

    @activity.defn(name="feed.drain")
    async def drain(self, connection: str) -> Drained:
        """Read the next batch of `connection` into the record and tell the flows that it concerns.

        Raises:
            VaultUnavailableError, TemporalUnavailableError, PoolEmptyError: later; nothing is lost.
        """
        connector = self._outside.connectors().get(connection)
        if connector is None:
            return Drained(closed=True)
        first = connection not in self._followed
        self._followed.discard(connection)
        batch = await asyncio.to_thread(self._read, connection, connector)
        if batch:
            await asyncio.to_thread(self._apply, connection, batch, tell_all=first)
            await self._tell(connection, batch)
            await self._instance.inbox.run(lambda db: _mark(db, batch), write=True)
        self._followed.add(connection)
        if len(batch) == BATCH:
            return Drained(len(batch), more=True)
        return Drained(len(batch), more=await self._release(connection, changed=any(each.changed for each in batch)))

    def _read(self, connection: str, connector: AnyConnector) -> list[_Read]:
        """Return the next messages, opened and read."""
        _, practice = self._instance.policy()
        access = Access("system:workflows", "system", "operations", session=f"feed-{connection}")
        with self._instance.inbox.read() as db:
            batch = [_Read(row) for row in inbox.pending(db, connection, BATCH)]
            raws = self._open(db, access, batch)
        for each, raw in zip(batch, raws, strict=True):
            if raw is not None:
                _understand(each, connector, raw, practice)
        return batch

    def _open(self, db: Session, access: Access, batch: Sequence[_Read]) -> list[bytes | None]:
        """Open a batch in one audited request; where one of it is broken, each by itself."""
        if not batch:
            return []
        try:
            opened = self._instance.opener.open(db, access, [inbox.sealed_of(each.row) for each in batch])
            return [fields["raw"] for fields in opened]
        except (SealBrokenError, KeyGoneError) as error:
            if len(batch) == 1:
                batch[0].code = error.code
                return [None]
        return [raw for each in batch for raw in self._open(db, access, [each])]

    def _apply(self, connection: str, batch: Sequence[_Read], *, tell_all: bool) -> None:
        """Store what the messages say; what cannot be stored gets its code."""
        _, practice = self._instance.policy()
        left = [each for each in batch if each.code is None]
        for _ in range(STALE_TRIES):
            left = self._portions(connection, left, practice, tell_all=tell_all)
            if not left:
                return
        raise StaleError("rows change faster than they can be read")

    def _portions(self, connection: str, batch: Sequence[_Read], practice: Practice, *, tell_all: bool) -> list[_Read]:
        """Store a batch in short transactions; return the messages whose rows must be opened again."""
        known = self._known(connection, [said for each in batch for said in each.changes])
        stale = []
        for start in range(0, len(batch), PORTION):
            if start:
                time.sleep(YIELD_S)
            with self._instance.db.write() as db:
                for each in batch[start : start + PORTION]:
                    if not self._one(db, connection, each, known, practice, tell_all=tell_all):
                        stale.append(each)
        return stale

    def _known(self, connection: str, changes: Sequence[Said]) -> Known:
        """Open, in one audited request, what statements must be merged with."""
        access = Access("system:workflows", "system", "operations", session=f"feed-{connection}")
        with self._instance.db.read() as db:
            rows = change.affected(db, changes, connection=connection, index=self._instance.index)
            if not rows:
                return Known()
            return Known(zip(rows, self._instance.opener.open(db, access, rows), strict=True))

    def _one(
        self, db: Session, connection: str, each: _Read, known: Known, practice: Practice, *, tell_all: bool
    ) -> bool:
        """Store one message under a savepoint of its own; return False where rows must be opened again first."""
        try:
            with db.begin_nested():
                for said in each.changes:
                    self._store(db, connection, each, said, known, practice, tell_all=tell_all)
        except StaleError:
            _forget(each)
            return False
        except DBAPIError:
            raise  # the file's fault, not the message's
        except (ChartlineError, ConnectorError) as error:
            if error.retry:
                raise
            _forget(each)
            each.code = error.code
        except Exception as error:
            log.error("message failed", connection=connection, row=str(each.row.id), **place_of(error))
            _forget(each)
            each.code = DEFECT
        return True

    def _store(
        self,
        db: Session,
        connection: str,
        each: _Read,
        said: Said,
        known: Known,
        practice: Practice,
        *,
        tell_all: bool,
    ) -> None:
        now, index = self._instance.clock(), self._instance.index
        applied = change.apply(
            db, said, connection=connection, seal=self._instance.sealer, index=index, now=now, known=known
        )
        each.changed = each.changed or not isinstance(said, ReplyFacts | ReceiptFacts)
        each.visits.update(applied.visits)
        if applied.appointment_id is not None:
            each.visits.add(applied.appointment_id)
            payload = {"appointment": str(applied.appointment_id)}
            each.told.append(self._herald.note(db, "appointment.changed", payload, now))
        if tell_all:
            each.visits |= change.concerned(db, said, connection=connection, index=index, now=now)
        if isinstance(said, ReplyFacts):
            self._replied(db, each, said, applied.message_id, practice, tell_all=tell_all)
        elif isinstance(said, ReceiptFacts):
            each.told.append(self._status(db, connection, said, now))
            if said.code == LANDLINE:
                self._call_instead(db, connection, each, said, practice)

    def _replied(
        self,
        db: Session,
        each: _Read,
        said: ReplyFacts,
        new: UUID | None,
        practice: Practice,
        *,
        tell_all: bool,
    ) -> None:
        now = self._instance.clock()
        if new is not None:
            row = db.get_one(Message, new)
            kind = reply.take(db, said, row, practice, now)
            payload = {"message": str(row.id), "status": kind}
            each.told.append(self._herald.note(db, "message.received", payload, now))
        if new is not None or tell_all:
            each.replies.append(said.external_id)

    def _status(self, db: Session, connection: str, said: ReceiptFacts, now: datetime) -> Told:
        query = select(Message.id).where(
            col(Message.connection) == connection, col(Message.external_id) == said.external_id
        )
        payload = {"message": str(db.exec(query).one()), "status": said.status}
        return self._herald.note(db, "message.status", payload, now)

    def _call_instead(self, db: Session, connection: str, each: _Read, said: ReceiptFacts, practice: Practice) -> None:
        """Let the step be taken again, by a call, whose text went to a number that takes none."""
        query = select(Message.id).where(
            col(Message.connection) == connection, col(Message.external_id) == said.external_id
        )
        row = reminder.of_message(db, db.exec(query).one())
        if row is not None and may_call(row.step, practice):
            reminder.unreached(db, row.id)
            each.visits.add(row.appointment_id)

    async def _tell(self, connection: str, batch: Sequence[_Read]) -> None:
        """Tell the flows that a batch concerns; every one of them can bear to be told twice."""
        replies = [external_id for each in batch for external_id in each.replies]
        then = await self._instance.db.run(lambda db: self._consequences(db, connection, replies))
        visits = {visit for each in batch for visit in each.visits}
        visits |= {visit for each in then for visit in each.changed}
        turns = asyncio.Semaphore(TELLING)

        async def changed(visit: UUID) -> None:
            async with turns:
                await appointment_changed(self._client, str(visit))

        await asyncio.gather(*map(changed, sorted(visits)))
        for consequence in then:
            for visit, kind, starts_at in consequence.answered:
                await appointment_answered(self._client, str(visit), kind, starts_at)
            for start in consequence.texts:
                await send_text(self._client, start)
        for each in batch:
            for told in each.told:
                await self._herald.start(told)

    def _consequences(self, db: Session, connection: str, replies: Iterable[str]) -> list[Consequence]:
        rows = [reply.received(db, connection, external_id) for external_id in replies]
        return [reply.consequence_of(db, row, self._instance.clock()) for row in rows if row is not None]

    async def _release(self, connection: str, *, changed: bool) -> bool:
        """Let messages out that wait for something to match; return whether to read them at once.

        That is all of them once something new was told; otherwise those that came a moment ago, for the next look.
        """
        since = None if changed else self._instance.clock() - YOUNG
        waiting = await self._instance.inbox.run(lambda db: _unmatched(db, connection, since))
        if waiting:
            await self._instance.inbox.run(lambda db: inbox.release(db, connection, ids=waiting), write=True)
        return changed and bool(waiting)


def _understand(each: _Read, connector: AnyConnector, raw: bytes, practice: Practice) -> None:
    try:
        each.changes = read_row(
            connector, each.row, raw, timezone=practice.practice.zone, region=practice.practice.region
        )
    except RejectedError as error:
        each.code = error.reason
    except (ChartlineError, ConnectorError) as error:
        each.code = error.code
    except Exception as error:  # a connector's defect must not hold up what comes after
        log.error("message not read", connection=each.row.connection, row=str(each.row.id), **place_of(error))
        each.code = DEFECT


def _forget(each: _Read) -> None:
    """Nothing of this message was stored after all."""
    each.visits.clear()
    each.replies.clear()
    each.told.clear()
    each.changed = False


def _mark(db: Session, batch: Sequence[_Read]) -> None:
    inbox.mark(db, [each.row.id for each in batch if each.code is None], State.APPLIED)
    for code in sorted({each.code for each in batch if each.code is not None}):
        inbox.mark(db, [each.row.id for each in batch if each.code == code], State.QUARANTINED, code)


def _unmatched(db: Session, connection: str, since: datetime | None) -> list[UUID]:
    query = select(InboxMessage.id).where(
        col(InboxMessage.connection) == connection,
        text(f"state = '{State.QUARANTINED.value}'"),  # written out, for the partial index
        col(InboxMessage.code) == UNMATCHED,
    )
    if since is not None:
        query = query.where(col(InboxMessage.received_at) >= since)
    return list(db.exec(query.order_by(col(InboxMessage.seq).desc()).limit(RELEASED)))
