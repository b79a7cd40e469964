"""The encrypted databases of an instance: SQLCipher files with one writer at a time.

Every writer of a file takes a file lock (the ticket) before BEGIN IMMEDIATE, so that writers of several processes
stand in line instead of starving each other; readers see a snapshot and wait for nobody.
"""

import asyncio
import fcntl
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import sqlcipher3.dbapi2 as sqlcipher
from sqlalchemy import DateTime, create_engine, event
from sqlalchemy.engine import Dialect, Engine
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool
from sqlalchemy.types import TypeDecorator
from sqlmodel import Session

T = TypeVar("T")
Clock = Callable[[], datetime]

KEY_BYTES = 32
"Raw SQLCipher key: a passphrase would cost 256 ms of key derivation for every connection."

THREADS = 4

LOOK_KIB = 16384
"Of pages in clear for look-ups: the upper pages of the indexes of a million patients stay there."


def now() -> datetime:
    """Return the present instant, UTC."""
    return datetime.now(UTC)


_ticks_lock = threading.Lock()
_last_ticks = 0


def uuid7() -> UUID:
    """Return a new id that sorts by time of making, strictly so within a process (RFC 9562 sections 5.7 and 6.2)."""
    global _last_ticks
    nanos = time.time_ns()
    ticks = nanos // 1_000_000 << 12 | nanos % 1_000_000 * 4096 // 1_000_000
    with _ticks_lock:
        _last_ticks = ticks = max(ticks, _last_ticks + 1)
    return UUID(int=ticks >> 12 << 80 | 0x7 << 76 | (ticks & 0xFFF) << 64 | 0x2 << 62 | secrets.randbits(62))


class Instant(TypeDecorator[datetime]):
    """An aware datetime, kept as UTC; a naive one is refused."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Return `value` as naive UTC, which is what the file holds."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant needs a time zone")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Return the kept value as aware UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


class Database:
    """One SQLCipher file: WAL, synchronous=FULL, one writer at a time across processes."""

    def __init__(self, path: Path, key: bytes, *, ticket: Path | None = None) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError("a database key has 32 bytes")
        self.path = path
        self._key = key.hex()
        self._ticket = ticket or path.with_name(path.name + ".ticket")
        self._turn = threading.Lock()
        self._watch_lock = threading.Lock()
        self._watch: Any = None
        self._look_lock = threading.Lock()
        self._look: Any = None
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix=path.stem)
        self.engine = self._engine()

    def _connect(self) -> Any:
        connection = sqlcipher.connect(str(self.path), isolation_level=None, check_same_thread=False, timeout=10)
        connection.execute("PRAGMA cipher_log_level=NONE")
        connection.execute(f"PRAGMA key=\"x'{self._key}'\"")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA secure_delete=ON")
        return connection

    def _engine(self) -> Engine:
        engine = create_engine(
            "sqlite://",
            creator=self._connect,
            module=sqlcipher,
            poolclass=QueuePool,
            pool_size=THREADS,
            max_overflow=THREADS,
            hide_parameters=True,
        )

        @event.listens_for(engine, "connect")
        def autocommit(connection: Any, _entry: ConnectionPoolEntry) -> None:
            connection.isolation_level = None  # BEGIN is ours: the driver would begin late and without IMMEDIATE

        return engine

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Yield a session on one snapshot of the file; what it changes is dropped, the rows it read can be kept."""
        with Session(self.engine, expire_on_commit=False) as session:
            session.connection().exec_driver_sql("BEGIN")
            try:
                yield session
            finally:
                session.expunge_all()  # a rollback would empty the rows that the caller goes on with
                session.rollback()

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Yield a session that holds the file's only write turn; commit at the end, roll back on an exception."""
        with self._writer_turn(), Session(self.engine, expire_on_commit=False) as session:
            session.connection().exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield session
                session.commit()
            except BaseException:
                session.rollback()
                raise

    @contextmanager
    def _writer_turn(self) -> Iterator[None]:
        with self._turn:
            ticket = os.open(self._ticket, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(ticket, fcntl.LOCK_EX)
                yield
            finally:
                os.close(ticket)

    async def run(self, fn: Callable[[Session], T], *, write: bool = False) -> T:
        """Run `fn` with a session in one of this file's threads and return what it returns."""

        def call() -> T:
            with self.write() if write else self.read() as session:
                return fn(session)

        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    async def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return what one query finds, past the ORM and by a connection of its own; costs tens of microseconds.

        The values are as the file holds them: a UUID is 32 hexadecimal digits, a truth value 0 or 1.
        """

        def found() -> list[tuple[Any, ...]]:
            with self._look_lock:
                if self._look is None:
                    self._look = self._connect()
                    self._look.execute(f"PRAGMA cache_size=-{LOOK_KIB}")
                return list(self._look.execute(query, parameters).fetchall())

        return await asyncio.get_running_loop().run_in_executor(self._pool, found)

    def version(self) -> int:
        """Return a number that changes whenever another connection has committed; costs microseconds."""
        return int(self.value("PRAGMA data_version"))

    def value(self, query: str) -> Any:
        """Return the one value of a query without parameters, past the ORM; costs microseconds."""
        with self._watch_lock:
            if self._watch is None:
                self._watch = self._connect()
            return self._watch.execute(query).fetchone()[0]

    def close(self) -> None:
        """Close every connection and thread."""
        self._pool.shutdown(wait=True)
        with self._watch_lock:
            if self._watch is not None:
                self._watch.close()
                self._watch = None
        with self._look_lock:
            if self._look is not None:
                self._look.close()
                self._look = None
        self.engine.dispose()
