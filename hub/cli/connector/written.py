"""The connections that practice.toml writes down: add one, take one away, and leave every other byte as it is.

The text is cut and joined by lines: comments, order and layout are the practice's own. What comes out is read again,
and has to say what the text before said and the one change.
"""

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import tomlkit

from hub.errors import UsageError
from hub.settings.position import Path, Positions

TABLE = "connection"


class NotEditableError(UsageError):
    """practice.toml writes its connections in a way that a program cannot edit without risk."""

    code = "policy-not-editable"


def block(connection: Mapping[str, Any]) -> str:
    """Return one `[[connection]]` as TOML, with its settings in a table of their own."""
    document = tomlkit.document()
    tables = tomlkit.aot()
    tables.append(tomlkit.item(connection))
    document[TABLE] = tables
    return tomlkit.dumps(document)


def with_connection(text: str, connection: Mapping[str, Any]) -> str:
    """Return `text` with one more connection at its end.

    Raises:
        NotEditableError: the text writes its connections in another way than as `[[connection]]`.
    """
    before = tomllib.loads(text)
    joined = f"{text.rstrip()}\n\n{block(connection)}"
    return _saying(joined, before | {TABLE: [*before.get(TABLE, []), dict(connection)]})


def without_connection(text: str, name: str) -> str:
    """Return `text` without the connection `name`; comments outside of its table stay.

    Raises:
        NotEditableError: its table does not stand in one piece.
    """
    before = tomllib.loads(text)
    tables = before[TABLE]
    at = next(index for index, table in enumerate(tables) if table["name"] == name)
    lines = [f"{line}\n" for line in text.split("\n")]
    first, last = _span(text, before, at)
    while last > first and _apart(lines[last - 1]):
        last -= 1  # what stands below the last key speaks of what follows
    above, below = "".join(lines[:first]), "".join(lines[last:])
    joined = f"{above}{below.lstrip()}".rstrip() + "\n"
    left = [table for index, table in enumerate(tables) if index != at]
    others = {key: value for key, value in before.items() if key != TABLE}
    return _saying(joined, others | ({TABLE: left} if left else {}))


def _span(text: str, document: Mapping[str, Any], at: int) -> tuple[int, int]:
    """Return the lines, from 0, at which the table begins and before which the next one does."""
    positions = Positions(text)
    own: Path = (TABLE, at)
    first = positions.line_of(own)
    others = [positions.line_of(path) for path in _paths(document) if path[:2] != own and path != (TABLE,)]
    return first - 1, min((line - 1 for line in others if line > first), default=text.count("\n") + 1)


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from _paths(each, (*path, key))


def _apart(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _saying(text: str, wanted: Mapping[str, Any]) -> str:
    try:
        said = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        said = {}
    if said != wanted:
        raise NotEditableError("practice.toml writes this connection in pieces: edit it by hand, then chartline apply")
    return text
