"""Where rows are sealed in tests: a copy of a database with keys in its pool, a writer and a reader."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

from sqlmodel import func, select

from hub.db import Database
from hub.security.lane import Lane, PoolKey
from hub.security.sealed import Opener, Sealed, Sealer, Table
from tests.hub.vault.house import NURSE, Threaded, database

NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
FIELDS = {"family": "Example", "given": "Robin", "phones": ["+12125550123"]}
POOL = 120


def stocked(one: Threaded, count: int) -> None:
    """Make the database of the instance, with `count` keys in its pool."""
    opened = database(one.home)
    with opened.write() as db:
        db.add_all(PoolKey(kid=kid, public=public, signature=sign) for kid, public, sign in one.ring.mint(count))
    opened.close()


class Room:
    """A database of its own, a writer and a reader."""

    def __init__(self, one: Threaded, path: Path) -> None:
        shutil.copy(one.home.db, path)
        self.keys = one.root.service_keys("hub")
        self.vault = one.vault
        self.database = Database(path, self.keys.database)
        self.sealer = self.new_sealer()
        self.opener = Opener(one.vault, self.keys)

    def new_sealer(self) -> Sealer:
        return Sealer(self.keys, "test", lambda: NOW)

    def subject(self) -> UUID:
        subject = uuid4()
        with self.database.write() as db:
            self.sealer.new_subject(db, subject)
        return subject

    def sealed(self, subject: UUID, table: Table = Table.PATIENT, fields: dict[str, object] | None = None) -> Sealed:
        row = uuid4()
        with self.database.write() as db:
            blob = self.sealer.seal(db, subject, table, row, FIELDS if fields is None else fields)
        return Sealed(table, row, blob)

    def opened(self, *rows: Sealed) -> list[dict[str, object]]:
        with self.database.read() as db:
            return self.opener.open(db, NURSE, rows)

    def lanes(self) -> int:
        with self.database.read() as db:
            return int(db.exec(select(func.count()).select_from(Lane)).one())
