"""Conditions of routes in CEL (Common Expression Language): compiled once, with the chart fields that each one reads.

The fields are found in the text, not by running it: what an expression may read is known before any call, is shown
with every plan, and anything outside of `VOCABULARY` is refused. https://github.com/google/cel-spec (langdef.md)
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final

import cel

from hub.errors import SettingsError

Shape = Mapping[str, "Shape"] | list["Shape"] | None
"A structure by its fields, a list by its element, or None for a plain value."

VOCABULARY: Final[Mapping[str, Shape]] = {
    "patient": {
        "language": None,
        "appointments": [{"hours_until": None, "status": None, "confirmed": None, "type": None}],
        "requests": [{"kind": None, "status": None}],
    },
    "call": {"did": None, "match": None, "weekday": None, "hour": None},
}
"Everything a condition can name (docs/reference/routing.md)."

FUNCTIONS: Final = frozenset(
    {"contains", "double", "endsWith", "has", "int", "matches", "size", "startsWith", "string"}
)
MACROS: Final = frozenset({"all", "exists", "exists_one", "filter", "map"})

_SAMPLE: Final[Mapping[str, Any]] = {
    "patient": {
        "language": "en",
        "appointments": [{"hours_until": 20.0, "status": "booked", "confirmed": False, "type": "visit"}],
        "requests": [{"kind": "refill", "status": "open"}],
    },
    "call": {"did": "+12125550100", "match": "one", "weekday": "monday", "hour": 9.5},
}
"A caller as they come, to see that a condition gives true or false."

_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*)
      | (?P<raw>[bB]?[rR](?:\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"\n]*"|'[^'\n]*'))
      | (?P<text>[bB]?(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
      | (?P<number>0x[0-9a-fA-F]+u?|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?u?)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<mark>&&|\|\||[<>=!]=|.)""",
    re.DOTALL | re.VERBOSE,
)
_INFIX = frozenset({"+", "-", "*", "/", "%", "<", "<=", ">", ">=", "==", "!=", "&&", "||", "in", "?", ":"})
_PLAIN = frozenset({"true", "false", "null"})
_COMPILE_ERROR = re.compile(r"ERROR: <input>:(?P<line>\d+):(?P<column>\d+): (?:Syntax error: )?(?P<what>[^\n]*)")


@dataclass(frozen=True, slots=True)
class Expression:
    """A condition, ready to be asked."""

    source: str
    program: cel.Program
    reads: tuple[str, ...]
    'Chart fields, sorted: "patient.appointments.hours_until".'

    @property
    def needs_patient(self) -> bool:
        """Whether it makes no sense for a caller whom nobody knows."""
        return bool(self.reads)

    def holds(self, known: cel.Context) -> bool | None:
        """Return whether it is true of what is `known` (see `context_of`); None where that cannot be told.

        What the library raises is dropped: its text can quote the chart.
        """
        try:
            answer = self.program.execute(known)
        except Exception:
            return None
        return answer if isinstance(answer, bool) else None


def context_of(known: Mapping[str, Any]) -> cel.Context:
    """Return what is known of a caller, converted once for all conditions; it has every name of `VOCABULARY`."""
    return cel.Context(dict(known))


@lru_cache(maxsize=1024)
def compile_expression(source: str) -> Expression:
    """Return the condition that `source` writes in CEL.

    Raises:
        SettingsError: not CEL, names something outside of `VOCABULARY`, or gives something else than true or false.
    """
    try:
        program = cel.compile(source)
    except ValueError as error:
        found = _COMPILE_ERROR.search(str(error))
        what = f"column {found['column']}: {found['what']}" if found else "cannot be read"
        raise SettingsError([f"not CEL: {what}"]) from None
    reading = _Reading(source)
    if reading.problems:
        raise SettingsError(reading.problems)
    if reading.names != set(program.variables()):
        raise SettingsError(["is written so that nobody can say for sure what it reads; write it more simply"])
    problem = _tried(program)
    if problem:
        raise SettingsError([problem])
    return Expression(source, program, reading.reads)


def _tried(program: cel.Program) -> str | None:
    try:
        answer = program.execute(dict(_SAMPLE))
    except TypeError:
        return "compares values of different kinds"
    except (LookupError, ArithmeticError):
        return None  # an index past the end or a division by zero depends on the caller
    except Exception:
        return "fails for an ordinary caller"
    return None if isinstance(answer, bool) else "gives neither true nor false"


@dataclass(frozen=True, slots=True)
class _Place:
    """A part of what is known: its path and what it consists of."""

    path: tuple[str, ...]
    shape: Shape


class _Reading:
    """One walk over the tokens of an expression that the CEL compiler has accepted."""

    def __init__(self, source: str) -> None:
        self.problems: list[str] = []
        self.names: set[str] = set()
        "Every name that stands for a value; the compiler's own list has to be the same."
        self._fields: set[tuple[str, ...]] = set()
        self._bound: list[tuple[str, _Place | None]] = []
        self._tokens = [
            (found.lastgroup or "", found.group()) for found in _TOKEN.finditer(source) if found.lastgroup != "skip"
        ]
        self._at = 0
        self._use(self._expression())

    @property
    def reads(self) -> tuple[str, ...]:
        """The chart fields; a list itself only where none of its elements' fields is read."""
        paths = {path for path in self._fields if path[0] == "patient"}
        lists = {path[:-1] for path in paths}
        return tuple(sorted(".".join(path) for path in paths - lists))

    def _expression(self) -> _Place | None:
        """Walk operands and what joins them; only a lone operand keeps its place."""
        place = self._operand()
        while self._peek() in _INFIX:
            self._use(place)
            self._at += 1
            self._use(self._operand())
            place = None
        return place

    def _operand(self) -> _Place | None:
        while self._peek() in {"!", "-"}:
            self._at += 1
        kind, word = self._next()
        place: _Place | None = None
        if word == "(":
            place = self._expression()
            self._at += 1
        elif word == "[":
            self._arguments("]")
        elif word == "{":
            self._arguments("}")
        elif kind == "name" and self._peek() == "(":
            self._call(word, None)
        elif kind == "name" and word not in _PLAIN:
            place = self._root(word)
        return self._suffixes(place)

    def _suffixes(self, place: _Place | None) -> _Place | None:
        while True:
            if self._peek() == ".":
                self._at += 1
                _, word = self._next()
                place = self._call(word, place) if self._peek() == "(" else self._field(place, word)
            elif self._peek() == "[":
                self._at += 1
                self._use(self._expression())
                self._at += 1
                place = self._element(place)
            else:
                return place

    def _root(self, word: str) -> _Place | None:
        self.names.add(word)
        for name, place in reversed(self._bound):
            if name == word:
                return place
        if word not in VOCABULARY:
            self._problem(f'unknown name "{word}"{_near(word, VOCABULARY)}')
            return None
        return _Place((word,), VOCABULARY[word])

    def _field(self, place: _Place | None, word: str) -> _Place | None:
        if place is None:
            return None
        if isinstance(place.shape, Mapping) and word in place.shape:
            return _Place((*place.path, word), place.shape[word])
        known = place.shape if isinstance(place.shape, Mapping) else ()
        self._problem(f'unknown field "{word}" of {".".join(place.path)}{_near(word, known)}')
        return None

    def _element(self, place: _Place | None) -> _Place | None:
        if place is not None and isinstance(place.shape, list):
            return _Place(place.path, place.shape[0])
        self._use(place)
        return None

    def _call(self, word: str, receiver: _Place | None) -> _Place | None:
        if word in MACROS and self._tokens[self._at + 1 : self._at + 3][-1] == ("mark", ","):
            return self._macro(word, receiver)
        if word not in FUNCTIONS:
            self._problem(f'unknown function "{word}"{_near(word, FUNCTIONS | MACROS)}')
        use = self._count if word == "size" else self._use
        use(receiver)
        self._at += 1
        self._arguments(")", use)
        return None

    def _macro(self, word: str, receiver: _Place | None) -> _Place | None:
        """Walk `list.exists(name, condition)` and its kin with the name bound to the list's element."""
        if receiver is not None and not isinstance(receiver.shape, list):
            self._problem(f"{'.'.join(receiver.path)} is not a list")
            receiver = None
        if receiver is not None:
            self._fields.add(receiver.path)
        self._at += 1
        _, name = self._next()
        self._at += 1
        self._bound.append((name, self._element(receiver)))
        self._arguments(")")
        self._bound.pop()
        return receiver if word == "filter" else None

    def _arguments(self, closing: str, use: Callable[[_Place | None], None] | None = None) -> None:
        while self._peek() not in {closing, ""}:
            (use or self._use)(self._expression())
            if self._peek() == ",":
                self._at += 1
        self._at += 1

    def _use(self, place: _Place | None) -> None:
        """Note that the value at `place` goes into the result; only single fields may, so that reads are exact."""
        if place is not None and place.shape is not None:
            self._problem(f"takes {'.'.join(place.path)} as a whole; name the field")
        self._count(place)

    def _count(self, place: _Place | None) -> None:
        if place is not None:
            self._fields.add(place.path)

    def _problem(self, text: str) -> None:
        if text not in self.problems:
            self.problems.append(text)

    def _peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _next(self) -> tuple[str, str]:
        token = self._tokens[self._at] if self._at < len(self._tokens) else ("", "")
        self._at += 1
        return token


def _near(word: str, known: Mapping[str, Any] | frozenset[str] | tuple[()]) -> str:
    close = get_close_matches(word, list(known), n=1)
    return f'; did you mean "{close[0]}"?' if close else ""
