"""One of the instance's databases as the vault's courier sees it: its intents and its pool, nothing else."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hub.vault import file

BATCH = 200
"Intents taken at once, under the server's cap of requests for one insert."

COUNT_S = 1.0
"Between two looks at how many keys are left."

WAIT_S = 10.0
"For a writer that does not know of the ticket."


class Store:
    """A database that may not exist yet."""

    def __init__(self, path: Path, key: bytes, *, pool: int) -> None:
        self._path = path
        self._key = key
        self._pool = pool
        self._db: Any = None
        self._seen: int | None = None
        self._stepped_over: set[str] = set()
        self._count_at = 0.0
        self._have = 0

    def changed(self) -> bool:
        """Whether another connection committed since the last look; False while there is no such database.

        Raises:
            file.Error: it cannot be read now.
        """
        if self._db is None and not self._open():
            return False
        seen = int(self._db.execute("PRAGMA data_version").fetchone()[0])
        changed, self._seen = seen != self._seen, seen
        return changed

    def _open(self) -> bool:
        if not self._path.exists() or not self._path.stat().st_size:  # an empty file is somebody's who is making it
            return False
        db = file.connect(self._path, self._key, wait_s=WAIT_S)
        names = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {"intent", "keypool"} <= names:
            db.close()
            return False
        self._db = db
        return True

    def intents(self) -> list[tuple[str, bytes]]:
        """Return the next intents, the oldest first: id in hexadecimal, body."""
        if self._db is None:
            return []
        limit = BATCH + len(self._stepped_over)
        rows = self._db.execute("SELECT id, body FROM intent ORDER BY id LIMIT ?", (limit,)).fetchall()
        return [(row, body) for row, body in rows if row not in self._stepped_over]

    def step_over(self, row: str) -> None:
        """Leave an intent that the vault refuses where it is, and go on with the next."""
        self._stepped_over.add(row)

    def forget(self, rows: Sequence[str]) -> None:
        """Delete intents whose records are durable."""
        with self._turn():
            self._db.executemany("DELETE FROM intent WHERE id = ?", [(row,) for row in rows])

    def lacks(self, least: int | None = None) -> bool:
        """Whether the pool has fewer keys than `least`, or than it should; counts once in `COUNT_S`."""
        now = time.monotonic()
        if self._db is None:
            return False
        if now >= self._count_at:
            self._count_at = now + COUNT_S
            self._have = int(self._db.execute("SELECT count(*) FROM keypool").fetchone()[0])
        return self._have < (self._pool if least is None else min(least, self._pool))

    def stock(self, made: Sequence[Sequence[bytes]]) -> None:
        """Add key id, public key and signature of each key to the pool."""
        with self._turn():
            self._db.executemany("INSERT OR IGNORE INTO keypool (kid, public, signature) VALUES (?, ?, ?)", made)
        self._have += len(made)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Hold the file's write turn, as `hub.db.Database.write` does, for one transaction."""
        name = self._path.with_name(self._path.name + ".ticket")
        ticket = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(ticket, fcntl.LOCK_EX)
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        finally:
            os.close(ticket)

    def close(self) -> None:
        """Close the file; the next look opens it again."""
        if self._db is not None:
            self._db.close()
        self._db = self._seen = None
