"""Where in a TOML text each key stands: Python's tomllib reads values but tells no lines (TOML v1.0.0).

It follows keys, headers, arrays and inline tables, skips the rest, and expects a text that tomllib already took.
"""

import re
from collections.abc import Iterator

Path = tuple[str | int, ...]
"Keys as in the parsed document; an element of an array of tables by its index."

_KEY = re.compile(r'(?P<bare>[A-Za-z0-9_-]+)|"(?P<basic>(?:[^"\\\n]|\\.)*)"|\'(?P<literal>[^\'\n]*)\'')
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_STRING = re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.DOTALL)
_ATOM = re.compile(r"[^\s,\]}#]+(?: [0-9:.Z+-]+)?")


class Positions:
    """The line of every key of a TOML text, counted from 1."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Path, int] = {}
        for path, line in _Scan(text).walk():
            self._lines.setdefault(path, line)

    def line_of(self, path: Path) -> int:
        """Return the line of `path`, or of the nearest table around it; 1 where there is none."""
        for length in range(len(path), 0, -1):
            line = self._lines.get(path[:length])
            if line is not None:
                return line
        return 1


class _Scan:
    """One pass over the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._counted = 0
        self._arrays: dict[Path, int] = {}

    def walk(self) -> Iterator[tuple[Path, int]]:
        """Yield each path with its line, in the order of the text."""
        table: Path = ()
        self._blank()
        while self._at < len(self._text):
            if self._peek() == "[":
                table = self._header()
                for length in range(1, len(table) + 1):
                    yield table[:length], self._here()
            else:
                yield from self._pair(table)
            self._blank()

    def _header(self) -> Path:
        array = self._text.startswith("[[", self._at)
        self._at += 2 if array else 1
        names = self._names()
        self._at = self._text.index("]", self._at) + (2 if array else 1)
        parent = self._resolve(names[:-1])
        path = (*parent, names[-1])
        if array:
            self._arrays[path] = self._arrays.get(path, -1) + 1
        return self._resolve_last(path)

    def _resolve(self, names: list[str]) -> Path:
        """Return the path that a header's names mean: the newest element of each array on the way."""
        path: Path = ()
        for name in names:
            path = self._resolve_last((*path, name))
        return path

    def _resolve_last(self, path: Path) -> Path:
        return (*path, self._arrays[path]) if path in self._arrays else path

    def _pair(self, table: Path) -> Iterator[tuple[Path, int]]:
        names = self._names()
        line = self._here()
        for length in range(1, len(names) + 1):
            yield (*table, *names[:length]), line
        self._at = self._text.index("=", self._at) + 1
        yield from self._value((*table, *names))

    def _value(self, path: Path) -> Iterator[tuple[Path, int]]:
        self._blank()
        mark = self._peek()
        if mark == "[":
            yield from self._array(path)
        elif mark == "{":
            yield from self._inline(path)
        else:
            found = (_STRING if mark in "\"'" else _ATOM).match(self._text, self._at)
            self._at = found.end() if found else len(self._text)

    def _array(self, path: Path) -> Iterator[tuple[Path, int]]:
        self._at += 1
        index = 0
        while not self._closes("]"):
            yield (*path, index), self._here()
            yield from self._value((*path, index))
            index += 1

    def _inline(self, path: Path) -> Iterator[tuple[Path, int]]:
        self._at += 1
        while not self._closes("}"):
            yield from self._pair(path)

    def _closes(self, bracket: str) -> bool:
        """Step over blanks and commas, and over `bracket` if it is next."""
        self._blank()
        while self._peek() == ",":
            self._at += 1
            self._blank()
        if self._peek() in {bracket, ""}:
            self._at += 1
            return True
        return False

    def _names(self) -> list[str]:
        names: list[str] = []
        while True:
            self._blank()
            found = _KEY.match(self._text, self._at)
            if found is None:
                return names
            self._at = found.end()
            names.append(found["bare"] or found["basic"] or found["literal"] or "")
            self._blank()
            if self._peek() != ".":
                return names
            self._at += 1

    def _blank(self) -> None:
        found = _BLANK.match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = max(self._counted, self._at)
        return self._line
