"""`python -m hub.vault --dir DIR`: the vault process of one instance."""

import argparse
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hub import pace
from hub.errors import ChartlineError
from hub.vault import file, guard, keys, server
from hub.vault.home import Home
from hub.vault.journal import Journal
from hub.vault.log import LogFailedError, LogFullError

log = Journal("vault")

GRACE_S = 2.0
"For the courier to end what it has begun."


class RunningError(ChartlineError):
    """Another vault of this instance runs; two would write two histories."""

    code = "vault-running"
    status = 409


def only_one(home: Home) -> int:
    """Take the lock that one vault of an instance holds for life, and return its descriptor; a crash frees it.

    Raises:
        RunningError: another one has it.
    """
    lock = os.open(home.audit / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise RunningError("another vault of this instance is running") from None
    return lock


class Couriers:
    """Starts the process that carries intents and pool keys between the databases and the vault."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._running: subprocess.Popen[bytes] | None = None

    def hire(self) -> socket.socket:
        """Start one, in place of one that is gone, and return the vault's end of its connection."""
        self.dismiss(0)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        argv = [sys.executable, "-m", "hub.vault.drain", "--dir", str(self._home.root)]
        argv += ["--fd", str(theirs.fileno()), "--vault", str(os.getpid())]
        with theirs:
            self._running = subprocess.Popen(argv, pass_fds=[theirs.fileno()])  # noqa: S603 - our own module
        return ours

    def dismiss(self, grace_s: float) -> None:
        """End the one that runs, if any; its connection is closed, so it goes by itself when it is given time."""
        if self._running is None:
            return
        try:
            self._running.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._running.kill()
            self._running.wait()
        self._running = None


def allowed(given: Sequence[str]) -> dict[int, frozenset[str]]:
    """Parse `UID` and `UID:service,service`; the vault's own user may run every service.

    Raises:
        ValueError: not of that form, or there is no such service.
    """
    everything = frozenset(keys.RIGHTS)
    users = {os.getuid(): everything}
    for item in given:
        uid, colon, services = item.partition(":")
        named = frozenset(services.split(",")) if colon else everything
        if unknown := named - everything:
            raise ValueError(f"no such service: {', '.join(sorted(unknown))}")
        users[int(uid)] = named
    return users


def serve(home: Home, users: dict[int, frozenset[str]]) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        RootKeyError: the keys cannot be opened.
        RunningError: another vault of this instance runs.
        LogBrokenError: the audit log does not hold together at its end.
        file.Error: a file cannot be used.
    """
    root = keys.load(home)
    os.environ.pop(keys.PASSPHRASE, None)
    lock = only_one(home)
    audit, ring = root.log(home), root.ring(home)
    couriers = Couriers(home)
    serving = server.Server(root, audit, ring, server.listen(home.vault_socket), allowed=users, hire=couriers.hire)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: serving.stop())
    try:
        audit.append([{"act": "start", "actor": "system:vault", "role": "system", "purpose": "operations"}])
    except LogFullError:
        log.error("the audit log is full: nothing is served until there is room")
    pace.collect_rarely()  # requests make no cycles
    serving.run()
    couriers.dismiss(GRACE_S)
    audit.close()
    ring.close()
    os.close(lock)


def main(argv: Sequence[str] | None = None) -> int:
    """Run; return 0 when told to end, 1 when the log or the keys cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m hub.vault", description="Keys and audit log of one instance.")
    parser.add_argument("--dir", type=Path, required=True, help="instance directory")
    parser.add_argument("--allow", action="append", default=[], metavar="UID[:SERVICE,...]", help="another user")
    given = parser.parse_args(argv)
    guard.harden()
    try:
        users = allowed(given.allow)
    except ValueError as error:
        parser.error(str(error))
    try:
        serve(Home(given.dir.resolve()), users)
    except LogFailedError as error:
        log.error("the vault ends", code=error.code, said=str(error))
        os._exit(1)  # after a failed write nothing more may be written, not even what closing a file would
    except ChartlineError as error:
        log.error("the vault does not start", code=error.code, said=str(error))
        return 1
    except (file.Error, OSError) as error:
        log.error("the vault ends", code=getattr(error, "sqlite_errorname", type(error).__name__))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
