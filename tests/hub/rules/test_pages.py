"""The pages on routing and reminders say what the rules do."""

import re
from pathlib import Path
from typing import get_args

import pytest

from hub.rules.expression import FUNCTIONS, MACROS, VOCABULARY, compile_expression
from hub.rules.menu import URGENT
from hub.rules.pop import FIELDS
from hub.rules.queueing import PATIENCE, PAUSE
from hub.rules.reminding import DAY_CAP, WEEK_CAP
from hub.rules.routing import Plan
from hub.rules.template import FIELDS as TEXT_FIELDS
from hub.settings import Role

DOCS = Path(__file__).resolve().parents[3] / "docs" / "reference"
ROUTING = (DOCS / "routing.md").read_text()
REMINDERS = (DOCS / "reminders.md").read_text()
WORDS = (DOCS / "words.md").read_text()


def test_every_name_that_a_condition_may_use_is_documented() -> None:
    for root, fields in VOCABULARY.items():
        assert isinstance(fields, dict)
        for field, shape in fields.items():
            assert f"`{root}.{field}`" in ROUTING
            for inner in shape[0] if isinstance(shape, list) else ():
                assert f"`....{inner}`" in ROUTING
    assert all(f"`{name}`" in ROUTING for name in FUNCTIONS | MACROS)


@pytest.mark.parametrize("source", re.findall(r'^when = "(.*)"$', ROUTING, flags=re.MULTILINE))
def test_every_condition_on_the_page_holds_up(source: str) -> None:
    assert compile_expression(source).source == source


def test_every_field_of_a_plan_is_documented() -> None:
    assert all(f"`{name}`" in ROUTING for name in Plan.model_fields)


def test_numbers_on_the_pages_are_the_rules_numbers() -> None:
    assert f"priority {URGENT}" in ROUTING
    assert f"{PATIENCE.total_seconds() / 60:.0f} minutes" in ROUTING
    assert f"within {PAUSE.total_seconds():.0f} seconds" in ROUTING
    assert (DAY_CAP, WEEK_CAP) == (1, 3)
    assert "one reminder went to this number today, or three in the last seven days" in REMINDERS


def test_every_field_of_a_text_is_documented() -> None:
    assert all(f"`{{{name}}}`" in REMINDERS for name in TEXT_FIELDS)


def test_every_role_is_documented_with_what_it_sees() -> None:
    for role in get_args(Role):
        (line,) = re.findall(rf"^\| `{role}` \|.*", WORDS, flags=re.MULTILINE)
        assert bool(FIELDS[role]) == ("no pop" not in line)
