"""Lines of keys: against tomllib, which says what the keys are."""

import string
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.settings.position import Path, Positions
from tests.hub.example import EXAMPLE


def paths(value: Any, path: Path = ()) -> list[Path]:
    found: list[Path] = [path] if path else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += paths(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += paths(inner, (*path, index))
    return found


def test_every_key_of_the_example_stands_where_it_is_said_to() -> None:
    positions, lines = Positions(EXAMPLE), EXAMPLE.splitlines()
    for path in paths(tomllib.loads(EXAMPLE)):
        key = next(part for part in reversed(path) if isinstance(part, str))
        assert key in lines[positions.line_of(path) - 1], path


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("a = 1\nb = 2", ("b",), 2),
        ("[t]\n\n# a = 1\na = 2", ("t", "a"), 4),
        ('s = """\na = 1\n"""\na = 2', ("a",), 4),
        ("s = '''\n'a' = 1\n''''\na = 2", ("a",), 4),
        ('s = "\\" # ="\na = 2', ("a",), 2),
        ("l = [\n  1, # ]\n  2,\n]\na = 2", ("a",), 5),
        ("l = [\n  1,\n  2,\n]", ("l", 1), 3),
        ("[[t]]\n[[t]]\na = 1", ("t", 1, "a"), 3),
        ("[[t]]\n[t.u]\na = 1\n[[t]]\n[t.u]\na = 1", ("t", 1, "u", "a"), 6),
        ("[[t]]\n[[t.u]]\n[[t.u]]\na = 1", ("t", 0, "u", 1, "a"), 4),
        ("[a.b]\nc.d = 1", ("a", "b", "c", "d"), 2),
        ("t = { a = 1, b = { c = [ { d = 1 } ] } }", ("t", "b", "c", 0, "d"), 1),
        ("l = [\n { a = 1 },\n { a = 2 },\n]", ("l", 1, "a"), 3),
        ('["quoted key"]\n"other.key" = 1', ("quoted key", "other.key"), 2),
        ("d = 2027-12-31 07:32:00\na = 1", ("a",), 2),
        ("a = 1\r\nb = 2\r\n", ("b",), 2),
        ("[t]\na = 1", ("t", "missing"), 1),
        ("\n[t]\na = 1", ("t", "missing", 3), 2),
        ("", ("anything",), 1),
    ],
)
def test_keys_are_found_behind_what_looks_like_keys(text: str, path: Path, line: int) -> None:
    tomllib.loads(text)
    assert Positions(text).line_of(path) == line


keys = st.text(string.ascii_lowercase, min_size=1, max_size=3)
scalars = st.one_of(
    st.integers(-99, 99).map(str),
    st.sampled_from(
        [
            '"x"',
            '"= # ] }"',
            "'[a]'",
            '"""\nq = 1\n"""',
            "'''\n[q]\n'''",
            "true",
            "1.5",
            "2027-12-31",
            "07:32:00",
            '"\\""',
        ]
    ),
)
inline = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: "[ # ]\n  " + ",\n  ".join(parts) + ",\n]"),
        st.dictionaries(keys, inner, max_size=3).map(
            lambda table: "{ " + ", ".join(f"{key} = {value}" for key, value in table.items()) + " }"
        ),
    ),
    max_leaves=6,
)
pairs = st.dictionaries(keys, inline, max_size=4).map(
    lambda table: "".join(f"{key} = {value} # note\n" for key, value in table.items())
)
headers = st.tuples(st.booleans(), st.lists(keys, min_size=1, max_size=3)).map(
    lambda made: ("[[{}]]" if made[0] else "[{}]").format(" . ".join(made[1])) + "\n"
)


@given(pairs, st.lists(st.tuples(headers, pairs), max_size=5))
def test_lines_agree_with_tomllib_for_any_text(top: str, tables: list[tuple[str, str]]) -> None:
    text = top + "".join(header + body for header, body in tables)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    positions, lines = Positions(text), text.splitlines()
    for path in paths(document):
        line = lines[positions.line_of(path) - 1]
        if isinstance(path[-1], str):
            assert path[-1] in line, (text, path)


@given(st.integers(0, len(EXAMPLE)), st.integers(0, 20))
def test_no_text_that_tomllib_takes_stops_it(start: int, length: int) -> None:
    text = EXAMPLE[:start] + EXAMPLE[start + length :]
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    positions = Positions(text)
    assert all(1 <= positions.line_of(path) <= text.count("\n") + 1 for path in paths(document))
