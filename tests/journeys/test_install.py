"""A vendor's package comes, works in a practice, gets newer, and goes; the practice is told at every step."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from hub.cli.app import run_command
from hub.cli.connector.new import TEMPLATE
from hub.vault.home import Home
from tests.hub.cli.acme import serving
from tests.hub.cli.vendor import ROOT, Machine
from tests.hub.vault.house import running

NAME = "dart-ehr"
PACKAGE = "chartline-dart-ehr"
MODULE = "chartline_dart_ehr"
TOKEN = "tick-tock-3141"


class Operator:
    """Runs verbs on a practice of this machine, each as if in a process of its own."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self._capsys = capsys

    def __call__(self, *words: str) -> Any:
        """Return what a verb says in JSON."""
        code, out, err = self.ended(*words, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)

    def ended(self, *words: str) -> tuple[int, str, str]:
        """Return how a verb ends."""
        for module in [module for module in sys.modules if module.split(".")[0] == MODULE]:
            del sys.modules[module]
        importlib.invalidate_caches()
        self._capsys.readouterr()
        code = run_command(words)
        told = self._capsys.readouterr()
        return code, told.out, told.err

    def listed(self) -> dict[str, Any] | None:
        """Return what `connector list` says of the vendor's connector."""
        items = {item["name"]: item for item in self("connector", "list")["items"]}
        assert {"fhir", "hl7v2", "sandbox-sms"} <= items.keys()
        return items.get(NAME)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine.make(tmp_path / "env")
    monkeypatch.syspath_prepend(str(made.packages))
    return made


@pytest.fixture
def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Operator]:
    monkeypatch.setenv("DART_TOKEN", TOKEN)
    root = tmp_path / "practice"
    monkeypatch.setenv("CHARTLINE_DIR", str(root))
    assert run_command(["init", str(root)]) == 0
    with running(Home(root)):
        yield Operator(root, capsys)


def test_a_vendors_package_is_installed_upgraded_and_uninstalled(
    machine: Machine, operator: Operator, tmp_path: Path
) -> None:
    source = tmp_path / "elsewhere" / PACKAGE
    operator("connector", "new", NAME, str(source))
    assert operator.listed() is None

    machine.install(source)
    found = machine.said("chartline", "connector", "list")["items"]
    assert [(one["package"], one["version"], one["fit"]) for one in found if one["name"] == NAME] == [
        (PACKAGE, "0.1.0", True)
    ]
    assert operator.listed() in found
    assert operator("connector", "check", NAME)["passed"]
    with serving(source / MODULE / "kit" / "exchanges", TOKEN) as server:
        settings = ["--set", f"base_url={server.base_url}", "--set", "token=env:DART_TOKEN"]
        added = operator("connector", "add", "ehr", "--connector", NAME, *settings)
        assert (added["published"], added["changes"]) == (True, ['+ [[connection]] "ehr"'])
        assert operator("apply")["version"] == added["version"]
        assert operator("connector", "test", "ehr", "--phone", "+15554364287")["passed"]

    upgraded(source)
    machine.install(source)
    newer = operator.listed()
    assert newer is not None
    assert (newer["version"], newer["settings"]["site"]) == ("0.2.0", {"required": True, "secret": False})
    left = sorted(path.name for path in machine.packages.glob(f"{MODULE}*"))
    assert left == [MODULE, f"{MODULE}-0.2.0.dist-info"]
    code, out, err = operator.ended("apply")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.endswith('"site" in [[connection]] "ehr": Field required\n')

    machine.done("pip", "uninstall", "-q", "-y", PACKAGE)
    assert list(machine.packages.glob(f"{MODULE}*")) == []
    assert operator.listed() is None
    code, out, err = operator.ended("apply")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert f'no connector "{NAME}" is installed; there are ' in err
    assert operator.ended("connector", "check", NAME)[0] == 1

    removed = operator("connector", "remove", "ehr")
    assert (removed["version"], removed["changes"]) == (added["version"] + 1, ['- [[connection]] "ehr"'])
    assert operator("apply")["version"] == removed["version"]


def test_chartlines_own_wheel_brings_what_new_packages_are_made_of(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as packed:
        names = set(packed.namelist())
    needed = [path for path in TEMPLATE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert len(needed) > 5
    assert {path.relative_to(ROOT).as_posix() for path in needed} <= names


def upgraded(source: Path) -> None:
    """Make version 0.2.0 of a package, which asks for one setting more."""
    project = source / "pyproject.toml"
    project.write_text(project.read_text().replace('version = "0.1.0"', 'version = "0.2.0"'))
    module = source / MODULE / "__init__.py"
    module.write_text(module.read_text().replace("    token: SecretStr\n", "    token: SecretStr\n    site: str\n"))
