"""A record of its own for each test: real encrypted files, a real vault that answers in a thread of this process."""

import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from sqlmodel import Session, col, select

from hub.db import Database
from hub.record import schema
from hub.security.index import BlindIndex
from hub.security.intent import Intent
from hub.security.lane import PoolKey
from hub.security.sealed import Opener, Sealed, Sealer, Table
from hub.settings.paths import Paths
from hub.vault import keys, server, wire
from hub.vault.client import Access, ServiceKeys, Vault

NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
POOL = 1500
AUDITED = Access("system:test", "system", "operations")


@dataclass(frozen=True, slots=True)
class House:
    """A vault that runs, and a new chartline.db to copy."""

    keys: ServiceKeys
    vault: Vault
    empty: Path


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    paths = Paths(tmp_path_factory.mktemp("house"))
    paths.run.mkdir()
    keys.init(paths, uuid4())
    root = keys.load(paths)
    audit, ring = root.log(paths), root.ring(paths)
    listener = server.listen(paths.vault_socket)
    serving = server.Server(root, audit, ring, listener, allowed={os.getuid(): frozenset({"hub"})})
    thread = threading.Thread(target=serving.run)
    thread.start()
    vault = Vault(paths.vault_socket, timeout=10)
    try:
        service = vault.boot("hub")
        database = Database(paths.db, service.database)
        schema.create(database)
        with database.write() as db:
            db.add_all(PoolKey(kid=kid, public=public, signature=sign) for kid, public, sign in ring.mint(POOL))
        database.close()
        yield House(service, vault, paths.db)
    finally:
        serving.stop()
        thread.join()
        listener.close()
        vault.close()
        audit.close()
        ring.close()


@dataclass(frozen=True, slots=True)
class Noted:
    """One audit intent."""

    actor: str
    act: str
    objects: dict[UUID, set[tuple[Table, UUID]]]
    "By subject."


class Record:
    """A record with what functions need, and shortcuts to read what is sealed in it."""

    def __init__(self, house: House, path: Path) -> None:
        shutil.copy(house.empty, path)
        self.database = Database(path, house.keys.database)
        self.now = NOW
        self.seal = Sealer(house.keys, "test", lambda: self.now)
        self.opener = Opener(house.vault, house.keys)
        self.index = BlindIndex(house.keys.index)
        self.pop_key = house.keys.pop
        self.audited = AUDITED

    def later(self, **by: float) -> datetime:
        """Let time pass."""
        self.now += timedelta(**by)
        return self.now

    def open(self, db: Session, row: Sealed) -> dict[str, Any]:
        """Return the fields of one row, by way of the vault."""
        return self.opener.open(db, AUDITED, [row])[0]

    def noted(self, db: Session) -> list[Noted]:
        """Return the audit intents that are committed, oldest first."""
        bodies = [
            msgspec.msgpack.decode(row.body, type=wire.Intent)
            for row in db.exec(select(Intent).order_by(col(Intent.id)))
        ]
        return [
            Noted(
                body.actor,
                body.act,
                {
                    UUID(bytes=subject): {(Table(int.from_bytes(item[:2])), UUID(bytes=item[2:])) for item in items}
                    for _, subject, items in body.subjects
                },
            )
            for body in bodies
        ]


@pytest.fixture
def record(house: House, tmp_path: Path) -> Iterator[Record]:
    record = Record(house, tmp_path / "chartline.db")
    yield record
    record.database.close()


@pytest.fixture
def db(record: Record) -> Iterator[Session]:
    """A write transaction."""
    with record.database.write() as session:
        yield session
