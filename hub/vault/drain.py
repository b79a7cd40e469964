"""The vault's courier: carries audit intents from the databases to the log, and public keys to the pools.

A process of its own, started by the vault at the other end of a socket pair: waiting for a busy database's write turn
must not keep the vault from its callers. It ends with the vault, and a new one starts where the rows stand. A row is
deleted only after its record is durable; a crash between the two writes the record again, with the same intent id.
"""

import argparse
import contextlib
import ctypes
import fcntl
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog

from hub import logs
from hub.settings.paths import Paths
from hub.vault import file, wire
from hub.vault.client import ServiceKeys
from hub.vault.keys import DRAIN, Root
from hub.vault.ring import Ring
from hub.vault.server import MINT
from hub.vault.wire import Op, Reply, Status

log = structlog.get_logger()

POLL_S = 0.1
BATCH = 200
"Intents of one append, under the server's cap of requests for one insert."

POOL = {"db": 10_000, "inbox": 256}
"Keys kept ready: one a new patient in chartline.db, one a line and day in inbox.db."

TOP_UP_S = 0.02
"Between two mintings, so that start-up's many leave the vault to its callers."

COUNT_S = 1.0
"Between two looks at how many keys are left."

ANSWER_S = 10.0

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
"prctl(2)."


class GoneError(Exception):
    """The vault closed the connection: this process has nothing left to do."""


class Line:
    """The privileged connection to the vault."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(ANSWER_S)
        self._socket = connection
        self._buffer = bytearray()
        self._number = 0
        self.wish = 0
        "Up to which wish somebody waits for the intents to be in the log."

    def request(self, op: Op, who: Sequence[Any], groups: Sequence[Any] = (), rest: Sequence[Any] = ()) -> bytes:
        """Return the next request as it goes over the socket; `who` is actor, role, purpose, session, reason."""
        self._number += 1
        deadline = int((time.monotonic() + ANSWER_S) * 1e6)
        return wire.frame((wire.VERSION, self._number, op, deadline, *who, groups, *rest))

    def ask(self, requests: Sequence[bytes]) -> list[Reply]:
        """Send `requests` together and return their replies, in order.

        Raises:
            GoneError: the vault closed the connection, or does not answer.
        """
        last = self._number
        numbers = range(last - len(requests) + 1, last + 1)
        self.send(b"".join(requests))
        replies: dict[int, Reply] = {}
        while len(replies) < len(requests):
            for reply in self._read():
                replies[reply.id] = reply
        return [replies[number] for number in numbers]

    def send(self, message: bytes) -> None:
        """Send what gets no reply.

        Raises:
            GoneError: the vault closed the connection.
        """
        try:
            self._socket.sendall(message)
        except OSError:
            raise GoneError from None

    def rest(self, seconds: float) -> None:
        """Wait, at most so long, for the vault to say that somebody wants the intents now."""
        if not self.wish and select.select([self._socket], [], [], seconds)[0]:
            for reply in self._read():
                log.warning("answer to nothing", id=reply.id)

    def _read(self) -> Iterator[Reply]:
        try:
            data = self._socket.recv(1 << 18)
        except OSError:
            raise GoneError from None
        if not data:
            raise GoneError
        self._buffer += data
        for body in wire.frames(self._buffer):
            reply = wire.reply_of(body)
            if reply.id == wire.NUDGE:
                self.wish = max(self.wish, reply.seq)
            else:
                yield reply


class Store:
    """One database as the courier sees it: its intents and its pool; the rest is not its business."""

    def __init__(self, path: Path, key: bytes, want: int) -> None:
        self._path = path
        self._key = key
        self._want = want
        self._db: Any = None
        self._seen: int | None = None
        self._stepped_over: set[str] = set()
        self._count_at = 0.0
        self._missing = 0

    def changed(self) -> bool:
        """Whether another connection committed since the last look; False while there is no such database yet."""
        if self._db is None and not self._open():
            return False
        seen = int(self._db.execute("PRAGMA data_version").fetchone()[0])
        changed, self._seen = seen != self._seen, seen
        return changed

    def _open(self) -> bool:
        if not self._path.exists():
            return False
        db = file.connect(self._path, self._key, wait_s=ANSWER_S)
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
        rows = self._db.execute("SELECT id, body FROM intent ORDER BY id LIMIT ?", (BATCH + len(self._stepped_over),))
        return [(row, bytes(body)) for row, body in rows.fetchall() if row not in self._stepped_over]

    def step_over(self, row: str) -> None:
        """Leave an intent that the vault refuses where it is, and go on with the next."""
        self._stepped_over.add(row)

    def forget(self, rows: Sequence[str]) -> None:
        """Delete intents whose records are durable."""
        with self._turn():
            self._db.executemany("DELETE FROM intent WHERE id = ?", [(row,) for row in rows])

    def missing(self) -> int:
        """Return how many keys the pool lacks; counts once in `COUNT_S`."""
        now = time.monotonic()
        if self._db is not None and now >= self._count_at and self._missing <= 0:
            self._count_at = now + COUNT_S
            self._missing = self._want - int(self._db.execute("SELECT count(*) FROM keypool").fetchone()[0])
        return self._missing

    def stock(self, made: Sequence[Sequence[bytes]]) -> None:
        """Add key id, public key and signature of each key to the pool."""
        with self._turn():
            self._db.executemany("INSERT OR IGNORE INTO keypool (kid, public, signature) VALUES (?, ?, ?)", made)
        self._missing -= len(made)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Hold the file's write turn, as `hub.db.Database.write` does, for one transaction."""
        ticket = os.open(
            self._path.with_name(self._path.name + ".ticket"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
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


class Courier:
    """Does the rounds."""

    def __init__(self, line: Line, stores: Sequence[Store]) -> None:
        self._line = line
        self._stores = stores

    def run(self) -> None:
        """Go round until the vault is gone.

        Raises:
            GoneError: always, in the end.
        """
        while True:
            wish = self._line.wish
            visited = [self._visit(store) for store in self._stores]
            well = all(visited)
            if wish and well:
                self._line.wish = self._line.wish if self._line.wish > wish else 0
                self._line.send(self._line.request(Op.SETTLE, ("", "", "", "", None), (), ("", {}, b"", wish)))
            short = [store for store in self._stores if well and store.missing() > 0]
            for store in short:
                self._top_up(store)
            self._line.rest(TOP_UP_S if short else POLL_S)

    def _visit(self, store: Store) -> bool:
        try:
            while store.changed() or self._line.wish or store.intents():
                rows = store.intents()
                if not rows:
                    break
                if not self._carry(store, rows):
                    return False
        except file.Error as error:
            log.warning("database not read", code=getattr(error, "sqlite_errorname", "unknown"))
            store.close()
            return False
        return True

    def _carry(self, store: Store, rows: Sequence[tuple[str, bytes]]) -> bool:
        """Write one batch of intents to the log, then delete them; return False when the log took none."""
        requests, asked = [], []
        for row, body in rows:
            try:
                said = msgspec.msgpack.decode(body, type=wire.Intent)
            except msgspec.DecodeError:
                store.step_over(row)
                log.error("intent cannot be read", intent=row)
                continue
            who = (said.actor, said.role, said.purpose, said.session, said.reason)
            groups = [(kid, subject, b"", objects) for kid, subject, objects in said.subjects]
            rest = (said.act, said.detail, bytes.fromhex(row), said.at)
            requests.append(self._line.request(Op.APPEND, who, groups, rest))
            asked.append(row)
        done = []
        for row, reply in zip(asked, self._line.ask(requests), strict=True):
            if reply.status is Status.OK:
                done.append(row)
            elif reply.status in (Status.DENIED, Status.MALFORMED):
                store.step_over(row)
                log.error("intent refused", intent=row)
        store.forget(done)
        return bool(done)

    def _top_up(self, store: Store) -> None:
        who = ("system:drain", "system", "operations", "", None)
        (reply,) = self._line.ask([self._line.request(Op.POOL, who)])
        if reply.status is Status.OK:
            with contextlib.suppress(file.Error):
                store.stock(reply.keys)


def stock(paths: Paths, root: Root, ring: Ring, *, count: int = 5 * MINT) -> None:
    """Put `count` keys into the pool of chartline.db, and fewer into that of inbox.db, while no vault runs.

    `chartline init` calls it once both databases have their tables, so that the first patients need not wait.
    """
    granted = root.service_keys(DRAIN)
    for path, key, want in ((paths.db, granted.database, count), (paths.inbox, granted.inbox, MINT)):
        store = Store(path, key, want)
        if store.changed() and store.missing() > 0:
            store.stock(ring.mint(store.missing()))
        store.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Run until the vault is gone; return 0 then."""
    parser = argparse.ArgumentParser(prog="python -m hub.vault.drain")
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--fd", type=int, required=True, help="the connection that the vault made for it")
    given = parser.parse_args(argv)
    logs.configure("vault-drain")
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    paths = Paths(given.dir)
    line = Line(socket.socket(fileno=given.fd))
    try:
        who = ("system:drain", "system", "operations", "", None)
        (reply,) = line.ask([line.request(Op.BOOT, who, (), ("", {"service": DRAIN}))])
        if reply.status is not Status.OK:
            return 1
        granted = msgspec.convert(reply.detail, ServiceKeys)
        stores = (
            Store(paths.db, granted.database, POOL["db"]),
            Store(paths.inbox, granted.inbox, POOL["inbox"]),
        )
        Courier(line, stores).run()
    except GoneError:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
