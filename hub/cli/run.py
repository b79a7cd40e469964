"""Running an instance: `up` (everything, supervised) and `serve` (one process in the foreground)."""

import asyncio
import os
import signal
import sys
from enum import StrEnum
from typing import Annotated

import typer

from hub import embedded
from hub.cli.instance import DirOption, paths_of
from hub.logs import configure
from hub.settings import Paths
from hub.supervisor import Program, Supervisor
from hub.temporal import outside
from hub.vault.client import Vault, VaultUnavailableError


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


def command(part: Part, paths: Paths) -> tuple[str, ...]:
    """Return the command line of one process."""
    return (sys.executable, "-m", MODULES[part], "--dir", str(paths.root))


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command()(up)
    app.command()(serve)


def serve(part: Annotated[Part, typer.Argument(help="Which process.")], directory: DirOption) -> None:
    """Run one process in the foreground, for a host of its own or under systemd."""
    arguments = command(part, paths_of(directory))
    os.execv(arguments[0], arguments)  # noqa: S606 - our own interpreter, no shell


def up(directory: DirOption) -> None:
    """Run every process of the instance and restart what dies, until Ctrl-C or SIGTERM."""
    paths = paths_of(directory)
    configure("up")
    print(f"Chartline {paths.root}")
    print("All processes run as one user, so the vault is a wall against mistakes, not against that user;")
    print("docs/howto/deploy.md gives it a user of its own.")
    asyncio.run(_up(paths))


async def _up(paths: Paths) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    await supervisor(paths).run(stop, started=lambda: print("up", flush=True))


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
            return await asyncio.to_thread(self._vault)
        return self._says_ready()

    def _vault(self) -> bool:
        vault = Vault(self._paths.vault_socket, timeout=0.5)
        try:
            vault.health()
        except VaultUnavailableError:
            return False
        else:
            return True
        finally:
            vault.close()

    def _says_ready(self) -> bool:
        try:
            pid = (self._paths.run / f"{self._part}.pid").read_text()
            return (self._paths.run / f"{self._part}.ready").read_text() == pid
        except FileNotFoundError:
            return False
