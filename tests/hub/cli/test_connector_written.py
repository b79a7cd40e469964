"""Editing practice.toml by a program: one connection comes or goes, and every other byte stays."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.cli.connector.written import NotEditableError, block, with_connection, without_connection

TEXT = """\
# The practice's own words.
[practice]
name = "Harbor"   # as patients say it
timezone = "America/New_York"

# The old carrier
[[connection]]
name = "sms"
connector = "sandbox-sms"  # until June
settings = { base_url = "http://127.0.0.1:9", note = '''
[[not a header]]
''' }
# about the queue below

[[queue]]
name = "front-desk"

[[connection]]
name = "adt"
connector = "hl7v2"

[connection.settings]
listen = "127.0.0.1:2575"

[connection.settings.statuses]
X = "booked"

# The last word
[[staff]]
email = "ana@harbor.example"
"""

EHR = {"name": "ehr", "connector": "fhir", "settings": {"base_url": "https://ehr.example.org", "page_size": 50}}


def comments(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.startswith("#")]


def test_a_connection_is_added_below_everything_that_stands_there() -> None:
    assert with_connection(TEXT, EHR) == TEXT + (
        '\n[[connection]]\nname = "ehr"\nconnector = "fhir"\n\n'
        '[connection.settings]\nbase_url = "https://ehr.example.org"\npage_size = 50\n'
    )


def test_what_was_added_is_taken_away_without_a_trace() -> None:
    assert without_connection(with_connection(TEXT, EHR), "ehr") == TEXT


def test_a_table_goes_with_its_settings_and_leaves_the_comments_around_it() -> None:
    left = without_connection(TEXT, "sms")
    assert left == TEXT[: TEXT.index("[[connection]]")] + TEXT[TEXT.index("# about the queue") :]
    left = without_connection(TEXT, "adt")
    assert left == TEXT[: TEXT.index('[[connection]]\nname = "adt"')] + TEXT[TEXT.index("# The last word") :]
    assert comments(left) == comments(TEXT)


def test_the_last_one_leaves_no_empty_array() -> None:
    left = without_connection(without_connection(TEXT, "adt"), "sms")
    assert "connection" not in tomllib.loads(left)
    assert comments(left) == comments(TEXT)


@pytest.mark.parametrize("ending", ["", "\n", "\n\n\n", "\n# the end", "\n# the end\n"])
def test_how_the_file_ends_does_not_matter(ending: str) -> None:
    added = with_connection(TEXT.rstrip() + ending, EHR)
    assert tomllib.loads(added)["connection"][-1] == EHR
    assert comments(without_connection(added, "ehr")) == comments(TEXT + ending)


def test_values_of_every_kind_are_written_as_toml() -> None:
    settings = {"text": 'a "quoted" \\ word\n', "on": True, "share": 0.5, "names": ["a", "b"], "inner": {"x y": 1}}
    assert tomllib.loads(block({"name": "x", "settings": settings})) == {
        "connection": [{"name": "x", "settings": settings}]
    }


@pytest.mark.parametrize(
    "text",
    [
        'connection = [{ name = "adt", connector = "hl7v2" }, { name = "b", connector = "b" }]\n',
        '[[connection]]\nname = "adt"\n[[queue]]\nname = "q"\n[connection.settings]\nlisten = "127.0.0.1:1"\n',
    ],
)
def test_what_stands_in_pieces_is_left_to_a_person(text: str) -> None:
    with pytest.raises(NotEditableError):
        without_connection(text, "adt")


def test_an_inline_array_gets_no_second_spelling() -> None:
    with pytest.raises(NotEditableError):
        with_connection('connection = [{ name = "adt", connector = "hl7v2" }]\n', EHR)


words = st.text("abc #\"'[]=\\\n\u2028é", max_size=12)
tables = st.sampled_from(["connection", "queue", "route"])


@given(
    st.lists(st.tuples(tables, words, st.sampled_from(["", "# [[connection]]\n", "\n# a word\n\n"])), max_size=6),
    st.dictionaries(st.sampled_from(["a", "b c", "é"]), words | st.lists(words, max_size=2), max_size=3),
)
def test_whatever_the_file_says_the_rest_of_it_stays(parts: list[tuple[str, str, str]], settings: Any) -> None:
    text = "# top\n"
    for at, (table, word, comment) in enumerate(parts):
        table_text = block({"name": f"n{at}", "settings": {"word": word}})
        text += table_text.replace("[connection", f"[{table}") + comment
    added = with_connection(text, {"name": "ehr", "connector": "fhir", "settings": settings})
    assert added.startswith(text.rstrip())
    assert without_connection(added, "ehr") == text.rstrip() + "\n"
    for at, (table, _, _) in enumerate(parts):
        if table == "connection":
            left = without_connection(added, f"n{at}")
            assert comments(left) == comments(added)
