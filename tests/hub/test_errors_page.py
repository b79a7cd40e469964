"""docs/reference/errors.md says of every error what the code says: that it exists, its status, whether to retry."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import connectors
import hub
import media
import workflows
from connectors.api import ConnectorError
from hub.api.problem import _HTTP
from hub.errors import ChartlineError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "errors.md"
ROW = re.compile(r"\| `([a-z-]+)` \| (\d{3}|4xx) \| (yes|no) \| (.+?) \| (.*?) ?\|")

ONLY_HTTP = {*_HTTP.values(), "http-error", "defect"}
"Codes without a class: what the framework refuses, and our own faults."

RUNS = {"hub.cli.__main__", "media.prompts.make"}
"Modules that do something when they are imported."


def kinds() -> Iterator[type[Exception]]:
    """Yield every error class of the product."""
    for package in (connectors, hub, media, workflows):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name not in RUNS and ".migrations" not in found.name:
                importlib.import_module(found.name)
    waiting: list[type[Exception]] = [ChartlineError, ConnectorError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.split(".")[0] in {"connectors", "hub", "media", "workflows"}:
            yield kind


def rows() -> dict[str, tuple[str, str]]:
    """Return status and retry of each code of the page."""
    found = [(match[1], match[2], match[3]) for line in PAGE.read_text().splitlines() if (match := ROW.match(line))]
    assert len({code for code, _, _ in found}) == len(found), "a code stands twice"
    return {code: (status, retry) for code, status, retry in found}


def test_the_page_and_the_code_say_the_same() -> None:
    told = rows()
    known = {(kind.code, kind.status, kind.retry) for kind in kinds()}  # type: ignore[attr-defined]
    assert {code for code, _, _ in known} | ONLY_HTTP == told.keys()
    for code, status, retry in known:
        assert told[code] == (str(status), "yes" if retry else "no"), code


def test_every_error_has_a_name_and_a_sentence() -> None:
    for kind in kinds():
        assert kind.__name__.endswith("Error"), kind
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.code), kind  # type: ignore[attr-defined]
        assert (kind.__doc__ or "").strip(), kind
