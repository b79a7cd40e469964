"""One instance, made by the command itself, with its vault; and how a test runs commands on it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hub.cli.app import run_command
from hub.instance import Instance
from hub.settings import Paths
from hub.vault.home import Home
from tests.hub.vault.house import PATIENCE_S, Process, logged, running


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)


class Shell:
    """Runs commands on one instance, in this process."""

    def __init__(self, root: Path, vault: Process, capsys: pytest.CaptureFixture[str]) -> None:
        self.paths = Paths(root)
        self.vault = vault
        self._capsys = capsys

    def __call__(self, *words: str) -> Ran:
        """Run a command on the instance."""
        return self.bare(*words, "--dir", str(self.paths.root))

    def bare(self, *words: str) -> Ran:
        """Run a command as it stands."""
        self._capsys.readouterr()
        code = run_command(words)
        told = self._capsys.readouterr()
        return Ran(code, told.out, told.err)

    @contextmanager
    def opened(self) -> Iterator[Instance]:
        instance = Instance.open(self.paths, "cli")
        try:
            yield instance
        finally:
            instance.close()

    def acts(self) -> list[dict[str, Any]]:
        """Return the audit log, once everything that was written is in it."""
        self.vault.vault.settle(timeout=PATIENCE_S)
        return logged(Home(self.paths.root))


@pytest.fixture(scope="session")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Process]]:
    root = tmp_path_factory.mktemp("cli") / "practice"
    assert run_command(["init", str(root)]) == 0
    with running(Home(root)) as vault:
        yield root, vault


@pytest.fixture
def shell(living: tuple[Path, Process], capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """The instance; its practice.toml is again what it was when the test is over."""
    shell = Shell(*living, capsys)
    written = shell.paths.practice_toml.read_bytes()
    yield shell
    shell.paths.practice_toml.write_bytes(written)
