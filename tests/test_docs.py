"""The docs say what the code has: every error code, setting, command and flow stands in docs/reference."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.api import ConnectorError
from hub.errors import ChartlineError

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


def descendants(of: type[Exception]) -> Iterator[type[Exception]]:
    for child in of.__subclasses__():
        yield child
        yield from descendants(child)


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def test_every_error_code_is_documented() -> None:
    import hub.cli.app  # noqa: F401 - brings every module with errors of its own
    import media.gateway  # noqa: F401
    import workflows.worker  # noqa: F401

    page = (DOCS / "reference" / "errors.md").read_text()
    codes = {
        kind.code  # type: ignore[attr-defined]
        for root in (ChartlineError, ConnectorError)
        for kind in [root, *descendants(root)]
        if kind.__module__.split(".")[0] in {"hub", "connectors", "media", "workflows"}
    }
    assert sorted(code for code in codes if f"`{code}`" not in page) == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_decision_records_are_numbered_without_gaps_and_short() -> None:
    records = sorted((DOCS / "why" / "decisions").glob("*.md"))
    assert [int(record.name[:4]) for record in records] == list(range(1, len(records) + 1))
    assert [record.name for record in records if len(record.read_text().splitlines()) > 60] == []


def test_readme_names_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme
    assert "make test" in readme


BASE = """
[practice]
name = "Harbor Family Medicine"
timezone = "America/New_York"
[[queue]]
name = "desk"
[[staff]]
email = "ana@harbor.example"
roles = ["front-desk"]
queues = ["desk"]
extension = "101"
[[number]]
did = "+12125550100"
queue = "desk"
"""


@pytest.mark.parametrize("page", ["phones.md", "carrier.md"])
def test_the_policies_of_the_howto_pages_hold(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from hub.settings import load

    monkeypatch.setenv("CARRIER_PASSWORD", "a secret of the test")
    blocks = re.findall(r"```toml\n(.*?)```", (DOCS / "howto" / page).read_text(), re.DOTALL)
    assert blocks
    load("\n".join([BASE, *blocks]), file="practice.toml")
