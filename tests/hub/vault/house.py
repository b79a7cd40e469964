"""Vaults for tests: a whole one in a process of its own, or its server alone in a thread of this one."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from sqlalchemy import MetaData

from hub.db import Database
from hub.security import intent, lane
from hub.vault import file, keys, server, verify
from hub.vault.client import Access, Group, Vault, VaultUnavailableError
from hub.vault.home import Home
from hub.vault.layout import SECRET_BYTES, SUITE, lane_info
from hub.vault.ring import Ring

NURSE = Access("staff-7", "nurse", "treatment", session="call-1")
PATIENT = 1
PATIENCE_S = 60.0


def made(root: Path) -> Home:
    """Make the keys of an instance in `root`."""
    home = Home(root)
    keys.init(home, uuid4())
    return home


def lane_for(root: keys.Root, ring: Ring, rows: Sequence[UUID] = ()) -> tuple[Group, bytes]:
    """Make a subject with one lane; return what to ask the vault for, and the lane's secret."""
    ((kid, public, _),) = ring.mint(1)
    subject, secret = uuid4(), os.urandom(SECRET_BYTES)
    info = lane_info(root.tenant.bytes, kid, subject.bytes)
    blob = SUITE.encrypt(secret, X25519PublicKey.from_public_bytes(public), info=info)
    return Group(kid, subject, blob, tuple((PATIENT, row) for row in rows or [uuid4()])), secret


def group_in(home: Home, rows: Sequence[UUID] = ()) -> Group:
    """Make a subject with one lane in an instance whose vault may be running."""
    root = keys.load(home)
    ring = root.ring(home)
    try:
        return lane_for(root, ring, rows)[0]
    finally:
        ring.close()


def database(home: Home, name: str = "db") -> Database:
    """Make chartline.db (or inbox.db) with the tables that the vault's courier knows."""
    granted = keys.load(home).service_keys("hub")
    opened = Database(home.db, granted.database) if name == "db" else Database(home.inbox, granted.inbox)
    metadata = MetaData()
    lane.declare(metadata)
    intent.declare(metadata)
    metadata.create_all(opened.engine)
    return opened


def logged(home: Home) -> list[dict[str, Any]]:
    """Return every record of the audit log, once all of it is found good."""
    path, key, public = verify.instance(home.root)
    rows = list(verify.read(path, key))
    verdict = verify.verify(rows, public)
    assert verdict.good, verdict.reason
    return [orjson.loads(record) for row in rows for record in verify.records_of(row[1])]


def acts(home: Home) -> list[str]:
    return [record["act"] for record in logged(home)]


class Process:
    """A vault in a process of its own, with its courier."""

    def __init__(self, home: Home, *, environment: dict[str, str] | None = None, allow: Sequence[str] = ()) -> None:
        self._argv = [sys.executable, "-m", "hub.vault", "--dir", str(home.root)]
        for user in allow:
            self._argv += ["--allow", user]
        self._environment = {**os.environ, **(environment or {})}
        self.vault = Vault(home.vault_socket, timeout=PATIENCE_S)
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.popen = subprocess.Popen(self._argv, env=self._environment, stderr=subprocess.DEVNULL)
        try:
            until(self.answers)
        except BaseException:
            self.kill()
            raise

    def answers(self) -> bool:
        assert self.popen.poll() is None, "the vault ended"
        try:
            return bool(self.vault.health()["drain"] == "up")
        except VaultUnavailableError:
            return False

    def courier(self) -> int:
        """Return the process id of its courier."""
        pid = self.popen.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def kill(self) -> None:
        """End it as a crash would."""
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()

    def close(self) -> int:
        """Tell it to end and return its exit code."""
        self.vault.close()
        self.popen.send_signal(signal.SIGCONT)
        self.popen.terminate()
        return self.popen.wait()


@contextmanager
def running(home: Home, **given: Any) -> Iterator[Process]:
    process = Process(home, **given)
    try:
        yield process
    finally:
        process.close()


class Threaded:
    """The server alone, in a thread, without a courier."""

    def __init__(
        self, home: Home, *, allowed: dict[int, frozenset[str]] | None = None, waiting: int = server.WAITING
    ) -> None:
        self.home = home
        self.root = keys.load(home)
        self.log = self.root.log(home)
        self.ring = self.root.ring(home)
        self._listener = server.listen(home.vault_socket)
        everyone = {os.getuid(): frozenset(keys.RIGHTS)}
        users = everyone if allowed is None else allowed
        self._server = server.Server(self.root, self.log, self.ring, self._listener, allowed=users, waiting=waiting)
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.vault = Vault(home.vault_socket, timeout=PATIENCE_S)

    def _run(self) -> None:
        try:
            self._server.run()
        except BaseException as error:
            self.error = error

    def joined(self) -> BaseException | None:
        """Wait until the server ended by itself; return why."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self.error

    def close(self) -> None:
        self.vault.close()
        self._server.stop()
        self._thread.join()
        self._listener.close()
        self.log.close()
        self.ring.close()


@contextmanager
def threaded(home: Home, **given: Any) -> Iterator[Threaded]:
    one = Threaded(home, **given)
    try:
        yield one
    finally:
        one.close()


def until(holds: Any) -> None:
    """Wait until `holds()`; fail after `PATIENCE_S`."""
    deadline, wait = time.monotonic() + PATIENCE_S, threading.Event()
    while not holds():
        assert time.monotonic() < deadline, "it never came to be"
        wait.wait(0.005)


def raw(home: Home, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Run one statement on audit.db, past the log, as whoever has its key could."""
    connection = file.connect(home.audit / "audit.db", keys.load(home).derive("audit"))
    try:
        rows: list[tuple[Any, ...]] = connection.execute(statement, parameters).fetchall()
        return rows
    finally:
        connection.close()
