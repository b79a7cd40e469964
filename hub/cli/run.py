"""Running an instance: `up` (everything, supervised) and `serve` (one process in the foreground)."""

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hub import embedded
from hub.cli.instance import DirOption, answers, paths_of
from hub.errors import ConflictError
from hub.logs import configure
from hub.settings import Paths
from hub.supervisor import GRACE_S, Program, Supervisor, write_pid
from hub.temporal import outside

LOOK_S = 0.02


class Part(StrEnum):
    """A process of an instance."""

    VAULT = "vault"
    HUB = "hub"
    FEEDS = "feeds"
    WORKER = "worker"
    MEDIA = "media"
    TEMPORAL = "temporal"


MODULES = {
    Part.VAULT: "hub.vault",
    Part.HUB: "hub.api",
    Part.FEEDS: "hub.feeds",
    Part.WORKER: "workflows",
    Part.MEDIA: "media",
    Part.TEMPORAL: "hub.embedded",
}


FOUNDATIONS = frozenset({Part.TEMPORAL, Part.VAULT})


class RunningError(ConflictError):
    """It runs already; two of it would spoil each other's work."""

    code = "running-already"


def command(part: Part, paths: Paths) -> tuple[str, ...]:
    """Return the command line of one process."""
    return (sys.executable, "-m", MODULES[part], "--dir", str(paths.root))


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command()(up)
    app.command()(serve)


def serve(
    part: Annotated[Part, typer.Argument(help="Which process.")],
    directory: DirOption,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="UID[:SERVICE,...]", help="Of the vault: another user who may ask it, and as what."),
    ] = None,
) -> None:
    """Run one process in the foreground, for a user of its own under systemd."""
    if allow and part is not Part.VAULT:
        raise typer.BadParameter("only the vault looks at who asks", param_hint="--allow")
    paths = paths_of(directory)
    if pid := alive(part, paths):
        raise RunningError(f"{part} runs already, as process {pid}")
    for made in (paths.run, paths.log):
        made.mkdir(mode=0o700, exist_ok=True)
    write_pid(paths.run / f"{part}.pid", os.getpid())  # exec keeps the process id
    arguments = (*command(part, paths), *(word for user in allow or () for word in ("--allow", user)))
    os.execv(arguments[0], arguments)  # noqa: S606 - our own interpreter, no shell


def up(directory: DirOption) -> None:
    """Run every process of the instance and restart what dies, until Ctrl-C or SIGTERM."""
    paths = paths_of(directory)
    with only_one(paths):
        configure("up")
        print(f"Chartline {paths.root}")
        print("All processes run as one user, so the vault is a wall against mistakes, not against that user;")
        print("docs/howto/deploy.md gives it a user of its own.", flush=True)
        end_orphans(paths)
        asyncio.run(_up(paths))


async def _up(paths: Paths) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    await supervisor(paths).run(stop, started=lambda: print("up", flush=True))


@contextmanager
def only_one(paths: Paths) -> Iterator[None]:
    """Hold the lock of `up` for the block; a crash frees it.

    Raises:
        RunningError: another one has it.
    """
    paths.run.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(paths.run / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.pread(lock, 16, 0).decode().strip()
            raise RunningError(f"the instance is up already, by process {other}") from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)


def end_orphans(paths: Paths, *, patience_s: float = GRACE_S) -> None:
    """End what an `up` that was killed has left behind, and return when it is gone: it would go on beside ours.

    The embedded Temporal server ends its predecessor by itself.
    """
    left = [pid for part in Part if part is not Part.TEMPORAL and (pid := alive(part, paths))]
    for order in (signal.SIGTERM, signal.SIGKILL):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, order)
        deadline = time.monotonic() + patience_s
        while (left := [pid for pid in left if _exists(pid)]) and time.monotonic() < deadline:
            time.sleep(LOOK_S)


def alive(part: Part, paths: Paths) -> int | None:
    """Return the process id of a part that runs, None where its pid file is stale: the number may be another's now."""
    try:
        pid = int((paths.run / f"{part}.pid").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    ours = os.fsencode(paths.root)
    if part is Part.TEMPORAL and os.fsencode(paths.temporal) in words:  # it has become the server itself
        return pid
    return pid if MODULES[part].encode() in words and ours in words else None


def _exists(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def supervisor(paths: Paths) -> Supervisor:
    """Return the supervisor of all processes of an instance; Temporal is among them unless it is the operator's own."""
    for directory in (paths.run, paths.log):
        directory.mkdir(mode=0o700, exist_ok=True)
    parts = [] if outside(os.environ) else [Part.TEMPORAL]
    parts += [Part.VAULT, Part.HUB, Part.FEEDS, Part.WORKER, Part.MEDIA]
    programs = [Program(part, command(part, paths), Ready(part, paths), part in FOUNDATIONS) for part in parts]
    return Supervisor(paths, programs, os.environ)


class Ready:
    """Whether a process answers; most say so by a file in run/ that names their process id."""

    def __init__(self, part: Part, paths: Paths) -> None:
        self._part = part
        self._paths = paths

    async def __call__(self) -> bool:
        """Return whether it answers now."""
        if self._part is Part.TEMPORAL:
            return await embedded.ready(self._paths)
        if self._part is Part.VAULT:
            return await asyncio.to_thread(answers, self._paths)
        return self._says_ready()

    def _says_ready(self) -> bool:
        try:
            pid = (self._paths.run / f"{self._part}.pid").read_text()
            return (self._paths.run / f"{self._part}.ready").read_text() == pid
        except FileNotFoundError:
            return False
