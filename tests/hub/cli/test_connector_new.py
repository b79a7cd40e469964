"""A new connector's package passes the kit as it is made, is small, and takes nobody's place."""

import ast
import json
import runpy
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.api import AppointmentFacts, Context, Feeds, UnreadFacts
from hub.cli.app import run_command
from hub.cli.connector.new import NAME, TEMPLATE, Names

LINES = 80
"Of code, at most, in a whole vendor's connector."


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def code_lines(module: Path) -> int:
    """Count the lines that are neither blank nor a comment nor a docstring."""
    text = module.read_text()
    said: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            said |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(1 for at, line in lines if line.strip() and not line.lstrip().startswith("#") and at not in said)


def test_it_is_made_under_its_own_name_and_nowhere_else(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["connector", "new", "dart-ehr", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    root = here / "chartline-dart-ehr"
    assert said["directory"] == str(root)
    assert said["package"] == "chartline-dart-ehr"
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    assert sorted(said["files"]) == files
    assert {"README.md", "pyproject.toml", "tests/test_kit.py", "chartline_dart_ehr/kit/kit.toml"} <= set(files)
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert project["name"] == "chartline-dart-ehr"
    assert project["entry-points"]["chartline.connectors"] == {"dart-ehr": "chartline_dart_ehr:DartEhr"}
    assert [name for name in files if "acme" in (root / name).read_text().lower()] == []


def test_a_connector_is_at_most_eighty_lines_and_imports_nothing_else_of_ours() -> None:
    module = TEMPLATE / "chartline_acme" / "__init__.py"
    assert code_lines(module) <= LINES
    imported = {
        name
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names])
        if name.split(".")[0] in {"connectors", "hub", "workflows", "media"}
    }
    assert imported == {"connectors"}
    assert "from connectors import api\n" in module.read_text()


async def test_a_record_that_cannot_be_read_is_kept_and_holds_up_no_other() -> None:
    acme = runpy.run_path(str(TEMPLATE / "chartline_acme" / "__init__.py"))
    settings = {"base_url": "http://acme.test", "token": "t"}
    connector: Feeds = acme["Acme"](acme["AcmeSettings"].model_validate(settings))
    good: dict[str, Any] = {
        "id": "1",
        "version": "1",
        "changed_at": "2026-11-20T15:00:00Z",
        "starts_at": None,
        "patient": None,
    }
    good |= {"status": "booked", "minutes": 20, "practitioner": None, "confirmed": None}
    odd = {"id": "2", "status": "penciled-in"}

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"data": [odd, good], "next": 0})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        ctx = Context("acme", http, lambda: datetime.now(UTC), ZoneInfo("UTC"), "US")
        unread, visit, _ = [said async for said in connector.changes(ctx, None)]
    assert isinstance(unread, UnreadFacts)
    assert json.loads(unread.raw) == odd
    assert isinstance(visit, AppointmentFacts)


@pytest.mark.parametrize(
    "name", ["Acme", "9lives", "a_b", "-a", "a-", "a--b", "", "é", "x" * 41, "connector", "settings"]
)
def test_what_is_no_name_is_wrong_usage_and_makes_nothing(here: Path, name: str) -> None:
    assert run_command(["connector", "new", "--", name]) == 2
    assert list(here.iterdir()) == []


def test_the_name_of_an_installed_one_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["connector", "new", "fhir"]) == 1
    assert capsys.readouterr().err == "a connector fhir is installed already\n"
    assert list(here.iterdir()) == []


def test_nothing_is_overwritten(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mine").mkdir()
    assert run_command(["connector", "new", "dart", "mine"]) == 0
    module = here / "mine" / "chartline_dart" / "__init__.py"
    module.write_text("# a day's work\n")
    capsys.readouterr()
    for directory in ("mine", str(module)):
        assert run_command(["connector", "new", "dart", directory]) == 1
        assert capsys.readouterr().err == f"{directory} is not empty\n"
    assert module.read_text() == "# a day's work\n"


@given(st.from_regex(NAME, fullmatch=True))
def test_whatever_its_name_the_module_and_the_class_are_python(name: str) -> None:
    names = Names(name)
    module = names.within((TEMPLATE / "chartline_acme" / "__init__.py").read_text())
    classes = [node.name for node in ast.parse(module).body if isinstance(node, ast.ClassDef)]
    assert classes == [f"{names.connector}Settings", names.connector]
    assert names.module.isidentifier()
    assert (
        names.within("chartline_acme Acme acme acme/visit") == f"{names.module} {names.connector} {name} {name}/visit"
    )
