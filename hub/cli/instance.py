"""How a command opens the instance it works on."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from hub.errors import UnavailableError, UsageError
from hub.instance import Instance
from hub.settings import Paths
from hub.vault.client import Access, Vault, VaultUnavailableError

DirOption = Annotated[Path, typer.Option("--dir", envvar="CHARTLINE_DIR", help="Instance directory.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

VAULT_PATIENCE_S = 10.0


class NoInstanceError(UsageError):
    """The directory holds no instance."""

    code = "no-instance"


class VaultStartError(UnavailableError):
    """No vault runs, and none can be started for this command."""

    code = "vault-start"
    retry = False


def paths_of(directory: Path) -> Paths:
    """Return the paths of an instance that exists.

    Raises:
        NoInstanceError: there is none.
    """
    paths = Paths(directory.resolve())
    if not paths.keys.is_dir():
        raise NoInstanceError(f"{directory} is no instance; make one with: chartline init {directory}")
    return paths


@contextmanager
def vault_of(paths: Paths) -> Iterator[None]:
    """Have the vault up: the running one, or one of our own for as long as the command takes.

    Raises:
        VaultStartError: it does not start.
    """
    if answers(paths):
        yield
        return
    paths.run.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter, no shell
            [sys.executable, "-m", "hub.vault", "--dir", str(paths.root)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
        )
        try:
            _await(paths, process, said)
            yield
        finally:
            process.terminate()
            process.wait()


def _await(paths: Paths, process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
    deadline = time.monotonic() + VAULT_PATIENCE_S
    while not answers(paths):
        if process.poll() is not None or time.monotonic() > deadline:
            said.seek(0)
            raise VaultStartError(f"the vault does not start: {_last_word(said.read())}")
        time.sleep(0.02)


def _last_word(said: bytes) -> str:
    """Return what the last line of a log says for people."""
    lines = said.decode(errors="replace").strip().splitlines()
    try:
        return str(json.loads(lines[-1])["said"])
    except (IndexError, ValueError, KeyError, TypeError):
        return "it says nothing; see chartline serve vault"


def answers(paths: Paths) -> bool:
    """Return whether the instance's vault answers."""
    vault = Vault(paths.vault_socket, timeout=0.5)
    try:
        vault.health()
    except VaultUnavailableError:
        return False
    else:
        return True
    finally:
        vault.close()


@contextmanager
def opened(directory: Path) -> Iterator[Instance]:
    """Open the instance in `directory` for one command."""
    paths = paths_of(directory)
    with vault_of(paths):
        instance = Instance.open(paths, "cli")
        try:
            yield instance
        finally:
            instance.close()


def operator() -> Access:
    """Return who runs this command: the operating system's user, who holds the keys anyway."""
    return Access(f"os:{os.getuid()}", "admin", "operations")


def show(value: Any, *, as_json: bool, text: str) -> None:
    """Print a result for a program or for a person."""
    print(json.dumps(value, default=str, indent=2) if as_json else text)
