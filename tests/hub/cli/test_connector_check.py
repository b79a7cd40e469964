"""`connector check`: the kit by the command, as a table, as JSON and as JUnit, with its exit code."""

import json
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4
from xml.etree import ElementTree

import pytest

from hub.cli.app import run_command


@dataclass(frozen=True, slots=True)
class Package:
    """A package of this directory that is not installed."""

    root: Path
    module: str

    @property
    def target(self) -> str:
        return f"{self.module}:{self.module.removeprefix('chartline_').capitalize()}"

    @property
    def code(self) -> Path:
        return self.root / self.module / "__init__.py"

    def break_it(self, what: str, instead: str) -> None:
        text = self.code.read_text()
        assert what in text
        self.code.write_text(text.replace(what, instead))


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Package]:
    name = f"v{uuid4().hex[:8]}"  # a module is imported once in the life of a process
    monkeypatch.chdir(tmp_path)
    assert run_command(["connector", "new", name, "."]) == 0
    capsys.readouterr()
    yield Package(tmp_path, f"chartline_{name}")
    for module in [module for module in sys.modules if module.startswith(f"chartline_{name}")]:
        del sys.modules[module]


def test_a_new_package_passes_at_once(made: Package, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.process_time()
    assert run_command(["connector", "check", made.target]) == 0
    assert time.process_time() - began < 10
    said = capsys.readouterr()
    assert said.err == ""
    assert " 0 failed" in said.out.splitlines()[-1]
    assert str(made.root) not in sys.path


def test_it_is_told_as_json_and_as_junit(made: Package, capsys: pytest.CaptureFixture[str]) -> None:
    file = made.root / "junit.xml"
    assert run_command(["connector", "check", made.target, "--json", "--junit", str(file)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["passed"]
    assert {result["verdict"] for result in said["results"]} == {"passed", "skipped"}
    skipped = {result["check"]: result["reason"] for result in said["results"] if result["verdict"] == "skipped"}
    assert all(reason.startswith(("no-", "needs-")) for reason in skipped.values()), skipped
    suite = ElementTree.parse(file).getroot()
    assert [case.get("name") for case in suite] == [result["check"] for result in said["results"]]
    assert suite.get("failures") == "0"


def test_a_failed_check_fails_the_command_and_is_named(made: Package, capsys: pytest.CaptureFixture[str]) -> None:
    made.break_it("if phone in {n.e164 for n in one.phones}]", "]")
    assert run_command(["connector", "check", made.target, "--junit", "out.xml", "--json"]) == 1
    told = capsys.readouterr()
    said = json.loads(told.out)
    assert not said["passed"]
    failed = [result["check"] for result in said["results"] if result["verdict"] == "failed"]
    assert failed == ["ignored-parameter"]
    assert told.err == f"1 of {len(said['results'])} checks failed: ignored-parameter\n"
    assert ElementTree.parse(made.root / "out.xml").getroot().get("failures") == "1"


def test_one_check_alone(made: Package, capsys: pytest.CaptureFixture[str]) -> None:
    made.break_it("if phone in {n.e164 for n in one.phones}]", "]")
    assert run_command(["connector", "check", made.target, "--only", "find", "--only", "bad-key", "--json"]) == 0
    checks = {result["check"]: result["verdict"] for result in json.loads(capsys.readouterr().out)["results"]}
    assert checks == {"find": "passed", "bad-key": "passed"}
    assert run_command(["connector", "check", made.target, "--only", "fnid"]) == 2
    assert "no check is called fnid" in capsys.readouterr().err


def test_a_case_from_elsewhere(made: Package, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = made.root / "elsewhere"
    shutil.move(made.code.parent / "kit", elsewhere)
    assert run_command(["connector", "check", made.target]) == 1
    assert capsys.readouterr().err.startswith("there is no case: ")
    assert run_command(["connector", "check", made.target, "--replay", str(elsewhere), "--only", "find"]) == 0
    toml = elsewhere / "kit.toml"
    toml.write_text(toml.read_text().replace("[settings]", "[setings]"))
    capsys.readouterr()
    assert run_command(["connector", "check", made.target, "--replay", str(elsewhere)]) == 1
    told = capsys.readouterr().err
    assert "kit.toml: " in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("nothing_of_that_name:Acme", "nothing_of_that_name:Acme does not import: ModuleNotFoundError"),
        ("json:Acme", "json:Acme does not import: AttributeError"),
        ("json:JSONDecoder", "json:JSONDecoder is not a subclass of Connector"),
        ("a b:c", "a b:c does not import: ValueError"),
        ("sandbox-smz", 'no connector "sandbox-smz" is installed; did you mean "sandbox-sms"?'),
    ],
)
def test_what_is_no_connector_is_refused_in_a_line(
    capsys: pytest.CaptureFixture[str], target: str, reason: str
) -> None:
    assert run_command(["connector", "check", target]) == 1
    assert capsys.readouterr().err == f"{reason}\n"


def test_one_of_another_version_is_refused(made: Package, capsys: pytest.CaptureFixture[str]) -> None:
    made.code.write_text(f"{made.code.read_text()}\n\n{made.target.partition(':')[2]}.api = 2\n")
    assert run_command(["connector", "check", made.target]) == 1
    assert capsys.readouterr().err == f"{made.target} speaks version 2 of the interface, not 1\n"
