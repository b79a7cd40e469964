"""docs/connectors/api.md is held against connectors/api.py: every name, fact, field, scope and error stands there."""

import ast
import inspect
import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
from pydantic import BaseModel

from connectors import api
from connectors.api import ConnectorError, Fact, Scope, Section
from hub.cli.connector.installed import CAPABILITIES

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "connectors" / "api.md").read_text()
SECTIONS = dict(part.split("\n", 1) for part in re.split(r"\n#{2,3} ", PAGE)[1:])
FACTS = {name: kind for name in api.__all__ if inspect.isclass(kind := getattr(api, name)) and issubclass(kind, Fact)}


def rows(section: str) -> dict[str, list[str]]:
    """Return the rows of the table under a heading, each field with its other cells."""
    found: dict[str, list[str]] = {}
    for line in re.findall(r"^\|.*", SECTIONS[section], re.MULTILINE):
        first, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        for name in re.findall(r"`([^`]+)`", first):
            found[name] = cells
    return found


def test_every_public_name_is_explained() -> None:
    assert [name for name in api.__all__ if not re.search(rf"\b{name}\b", PAGE)] == []


@pytest.mark.parametrize("fact", sorted(set(FACTS) - {"Fact"}))
def test_every_field_of_a_fact_stands_there_with_its_scope(fact: str) -> None:
    told = rows(fact)
    assert told.keys() == FACTS[fact].model_fields.keys()
    for name, field in FACTS[fact].model_fields.items():
        extra = field.json_schema_extra
        scope = str(Scope(str(extra["scope"]))) if isinstance(extra, dict) and "scope" in extra else ""
        assert told[name][0] == scope, name


@pytest.mark.parametrize("lent", [api.Context, api.Callback])
def test_every_field_that_the_host_lends_stands_there(lent: type) -> None:
    assert is_dataclass(lent)
    assert rows(lent.__name__).keys() >= {field.name for field in fields(lent)}


def test_every_protocol_that_the_host_asks_for_is_a_capability() -> None:
    asked = {
        kind
        for name in api.__all__
        if inspect.isclass(kind := getattr(api, name)) and getattr(kind, "_is_runtime_protocol", False)
    }
    assert asked == set(CAPABILITIES.values())


def test_every_capability_has_its_protocol_signature_and_heading() -> None:
    told = rows("Capabilities")
    for method, protocol in CAPABILITIES.items():
        assert protocol.__name__ in told.keys() | {word.strip("`") for word in told[method]}
        (written,) = re.findall(r"```python\n((?:async )?def .*?)\n```", SECTIONS[method], re.DOTALL)[:1]
        function = ast.parse(written).body[0]
        assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        real = inspect.signature(getattr(protocol, method))
        named = [*function.args.args, *function.args.kwonlyargs]
        assert [argument.arg for argument in named] == list(real.parameters)
        assert isinstance(function, ast.AsyncFunctionDef) == inspect.iscoroutinefunction(getattr(protocol, method))
        assert inspect.getdoc(getattr(protocol, method))


def test_every_error_stands_there_with_its_code_and_whether_it_is_tried_again() -> None:
    told = {name.split("(")[0]: cells for name, cells in rows("Errors").items()}
    kinds = {
        name: kind
        for name in api.__all__
        if inspect.isclass(kind := getattr(api, name)) and issubclass(kind, ConnectorError)
    }
    for name, kind in kinds.items():
        assert told[name][:2] == [f"`{kind.code}`", "yes" if kind.retry else "no"], name


def test_every_scope_and_section_stands_there() -> None:
    assert rows("Scopes").keys() == {scope.value for scope in Scope}
    assert [section for section in Section if f"`{section.value}`" not in SECTIONS["chart"]] == []
    assert [status for status in api.AppointmentStatus if f"`{status.value}`" not in SECTIONS["AppointmentFacts"]] == []


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
def test_every_example_is_python_and_the_whole_ones_run(code: str) -> None:
    compile(code, "docs/connectors/api.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.startswith("from typing"):
        names: dict[str, type] = {}
        exec(code, names)
        assert issubclass(names["AcmeSettings"], BaseModel)
        assert isinstance(names["Acme"](names["AcmeSettings"](base_url="http://127.0.0.1:9", token="x")), api.Checks)
    if code.startswith("AppointmentFacts("):
        exec(f"from datetime import *\nfrom zoneinfo import *\nfrom connectors.api import *\n{code}", {})
