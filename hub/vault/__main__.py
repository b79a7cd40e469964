"""`python -m hub.vault --dir DIR`: the vault process of one instance."""

import argparse
import ctypes
import fcntl
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from hub import logs
from hub.errors import ChartlineError
from hub.settings.paths import Paths
from hub.vault import keys, server
from hub.vault.file import Error

log = structlog.get_logger()

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
"prctl(2)."


def harden() -> None:
    """Keep other processes of this user from reading this one's memory, and its memory out of core files."""
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def only_one(paths: Paths) -> int:
    """Take the lock that one vault of an instance holds for life; return its descriptor.

    Two would write two histories. A crash frees it.

    Raises:
        SystemExit: another one runs.
    """
    lock = os.open(paths.audit / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("another vault of this instance is running")
    return lock


class Couriers:
    """Starts the process that carries intents and pool keys between the databases and the vault."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: subprocess.Popen[bytes] | None = None

    def hire(self) -> socket.socket:
        """Start one and return the vault's end of its connection."""
        self.dismiss()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        argv = (sys.executable, "-m", "hub.vault.drain", "--dir", str(self._directory), "--fd", str(theirs.fileno()))
        environment = {name: value for name, value in os.environ.items() if name != keys.PASSPHRASE}
        with theirs:
            self._running = subprocess.Popen(argv, pass_fds=[theirs.fileno()], env=environment)  # noqa: S603 - our own module
        return ours

    def dismiss(self) -> None:
        """End the one that runs, if any."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            self._running = None


def allowed(given: Sequence[str]) -> dict[int, frozenset[str]]:
    """Parse `UID` and `UID:service,service`; the vault's own user may run every service.

    Raises:
        ValueError: not of that form, or there is no such service.
    """
    everyone = frozenset(keys.RIGHTS)
    users = {os.getuid(): everyone}
    for item in given:
        uid, colon, services = item.partition(":")
        named = frozenset(services.split(",")) if colon else everyone
        if unknown := named - everyone:
            raise ValueError(f"no such service: {', '.join(sorted(unknown))}")
        users[int(uid)] = named
    return users


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; return 0 then, 1 when the log or the keys cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m hub.vault", description="Keys and audit log of one instance.")
    parser.add_argument("--dir", type=Path, required=True, help="instance directory")
    parser.add_argument("--allow", action="append", default=[], metavar="UID[:SERVICE,...]", help="another user")
    given = parser.parse_args(argv)
    logs.configure("vault")
    harden()
    paths = Paths(given.dir.resolve())
    couriers = Couriers(paths.root)
    try:
        users = allowed(given.allow)
        root = keys.load(paths)
        os.environ.pop(keys.PASSPHRASE, None)
        only_one(paths)
        audit, ring = root.log(paths), root.ring(paths)
        listener = server.listen(paths.vault_socket)
        serving = server.Server(root, audit, ring, listener, allowed=users, hire=couriers.hire)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: serving.stop())
        serving.run()
    except (ChartlineError, Error, OSError, ValueError) as error:
        code = getattr(error, "code", type(error).__name__)
        log.error("the vault ends", code=code, said=str(error))
        return 1
    finally:
        couriers.dismiss()
    audit.close()
    ring.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
