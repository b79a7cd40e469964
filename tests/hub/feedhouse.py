"""An instance for tests of the feeds: real encrypted files, a real vault in a thread, real sealing."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlmodel import col, delete, select

from hub.db import Database
from hub.feeds import Writer
from hub.instance import Instance
from hub.record import inbox, policy, schema
from hub.record.appointment import Appointment, AppointmentIdentifier
from hub.record.inbox import FeedCursor, FeedHint, InboxMessage
from hub.record.patient import Patient, PatientIdentifier, PatientPhone
from hub.security.index import BlindIndex
from hub.security.intent import Intent
from hub.security.lane import PoolKey
from hub.security.sealed import Opener, Sealer
from hub.settings import Paths
from hub.vault.client import Access
from tests.hub.vault.house import made, threaded

NOON = datetime(2026, 3, 2, 17, 0, tzinfo=UTC)
READER = Access("system:test", "system", "operations")
POOL = 50

PRACTICE = """
[practice]
name = "Harbor"
timezone = "America/New_York"
"""


@dataclass
class Postbox:
    """An open instance, and shortcuts to what is in its inbox."""

    instance: Instance
    now: datetime = NOON

    def later(self, **by: float) -> None:
        self.now += timedelta(**by)

    def empty(self) -> None:
        """Let the next test begin with nothing."""
        self.now = NOON
        with self.instance.inbox.write() as db:
            for table in (InboxMessage, FeedCursor, FeedHint, Intent):
                db.exec(delete(table))
        with self.instance.db.write() as db:
            for told in (AppointmentIdentifier, Appointment, PatientIdentifier, PatientPhone, Patient):
                db.exec(delete(told))

    def publish(self, text: str) -> None:
        """Put a policy in force."""
        with self.instance.db.write() as db:
            version = policy.current(db)[0]
            policy.publish(db, PRACTICE + text, version, by="test", now=self.now)

    def rows(self) -> list[InboxMessage]:
        with self.instance.inbox.read() as db:
            return list(db.exec(select(InboxMessage).order_by(col(InboxMessage.seq))))

    def raws(self) -> list[bytes]:
        """Return what every row holds, by way of the vault, in order."""
        with self.instance.inbox.read() as db:
            found = list(db.exec(select(InboxMessage).order_by(col(InboxMessage.seq))))
            opened = self.instance.opener.open(db, READER, [inbox.sealed_of(row) for row in found])
        return [fields["raw"] for fields in opened]

    def intents(self) -> list[Intent]:
        with self.instance.inbox.read() as db:
            return list(db.exec(select(Intent).order_by(col(Intent.id))))

    def store(self, *arrivals: inbox.Arrival) -> list[bool]:
        instance = self.instance
        with instance.inbox.write() as db:
            return inbox.store(
                db, arrivals, seal=instance.sealer, index=instance.index, now=self.now, by="system:feeds"
            )

    def read(self, fn: Any, *arguments: Any, **named: Any) -> Any:
        with self.instance.inbox.read() as db:
            return fn(db, *arguments, **named)

    def write(self, fn: Any, *arguments: Any, **named: Any) -> Any:
        with self.instance.inbox.write() as db:
            return fn(db, *arguments, **named)


@contextmanager
def postbox(root: Path) -> Iterator[Postbox]:
    """Make an instance in `root` with an empty policy, and open it."""
    home = made(root)
    paths = Paths(root)
    with threaded(home) as vault:
        keys = vault.vault.boot("feeds")
        db, messages = Database(paths.db, keys.database), Database(paths.inbox, keys.inbox)
        schema.create(db)
        schema.create(messages)
        for database in (db, messages):
            with database.write() as session:
                minted = vault.ring.mint(POOL)
                session.add_all(PoolKey(kid=kid, public=public, signature=signed) for kid, public, signed in minted)
        box: Postbox
        instance = Instance(
            paths=paths,
            keys=keys,
            db=db,
            inbox=messages,
            vault=vault.vault,
            sealer=Sealer(keys, "feeds", lambda: box.now),
            opener=Opener(vault.vault, keys),
            index=BlindIndex(keys.index),
            clock=lambda: box.now,
        )
        box = Postbox(instance)
        with db.write() as session:
            policy.publish(session, PRACTICE, None, by="test", now=NOON)
        try:
            yield box
        finally:
            db.close()
            messages.close()


@asynccontextmanager
async def writing(box: Postbox, stored: Callable[[set[str]], None] = lambda _: None) -> AsyncIterator[Writer]:
    instance = box.instance
    writer = Writer(instance.inbox, seal=instance.sealer, index=instance.index, clock=instance.clock, stored=stored)
    try:
        yield writer
    finally:
        await writer.close()
