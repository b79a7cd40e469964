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
from hub.vault.__main__ import RunningError
from hub.vault.client import Access, Vault, VaultUnavailableError

DirOption = Annotated[Path, typer.Option("--dir", envvar="CHARTLINE_DIR", help="Instance directory.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

VAULT_PATIENCE_S = 30.0


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
    """Wait until the vault answers: ours, or the one that ours made way for, and that was only slow to answer."""
    deadline = time.monotonic() + VAULT_PATIENCE_S
    while not answers(paths):
        late = time.monotonic() > deadline
        if late or process.poll() is not None:
            code, word = _last_word(said)
            if late or code != RunningError.code:
                raise VaultStartError(f"the vault does not start: {word}")
        time.sleep(0.02)


def _last_word(said: IO[bytes]) -> tuple[str, str]:
    """Return the code of the last line of a log, and what it says for people."""
    said.seek(0)
    lines = said.read().decode(errors="replace").strip().splitlines()
    try:
        last = json.loads(lines[-1])
        return str(last["code"]), str(last["said"])
    except (IndexError, ValueError, KeyError, TypeError):
        return "", "it says nothing; see chartline serve vault"


def answers(paths: Paths) -> bool:
    """Return whether the instance's vault answers."""
    vault = Vault(paths.vault_socket)
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
