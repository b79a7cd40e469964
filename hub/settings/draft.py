"""practice.toml on its way to being a `Practice`: what is wrong with each table by itself, and what can still be read.

A table with a fault does not hide the faults of the others, so every table is read alone and the readable ones are
kept for the checks across tables.
"""

import tomllib
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from hub.settings.position import Path, Positions
from hub.settings.practice import Practice
from hub.settings.table import Table
from hub.settings.value import near

T = TypeVar("T", bound=Table)


def _tables() -> dict[str, tuple[type[Table], bool]]:
    found: dict[str, tuple[type[Table], bool]] = {}
    for name, field in Practice.model_fields.items():
        elements = get_args(field.annotation)
        model: Any = elements[0] if elements else field.annotation
        found[field.alias or name] = (model, bool(elements))
    return found


TABLES = _tables()
"Each table's model, and whether it may stand many times."


class Draft:
    """A TOML text that parses, and the faults found in it so far."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.document: dict[str, Any] = tomllib.loads(text)
        self._positions = Positions(text)
        self._problems: set[tuple[int, str]] = set()
        self._read: dict[str, list[tuple[int, Table]]] = {}
        for name, value in self.document.items():
            self._table(name, value)
        for name, field in Practice.model_fields.items():
            if field.is_required() and name not in self.document:
                self.fault((), f"there is no [{name}]")

    @property
    def problems(self) -> list[str]:
        """Every fault, a line each, in the order of the text."""
        return [f"{self.file}:{line}: {text}" for line, text in sorted(self._problems)]

    def fault(self, path: Path, text: str) -> None:
        """Note that what stands at `path` is wrong."""
        self._problems.add((self._positions.line_of(path), text))

    def fault_all(self, faults: Iterable[tuple[Path, str]]) -> None:
        """Note every fault of a check."""
        for path, text in faults:
            self.fault(path, text)

    def each(self, name: str, model: type[T]) -> Iterator[tuple[int, T]]:
        """Yield the readable tables of that name, each with its index in the text."""
        for index, table in self._read.get(name, []):
            if isinstance(table, model):
                yield index, table

    def names(self, table: str, key: str = "name") -> set[str]:
        """Return what the tables are called, also those that have a fault elsewhere."""
        elements = self.document.get(table, [])
        found = (
            [element.get(key) for element in elements if isinstance(element, dict)]
            if isinstance(elements, list)
            else []
        )
        return {name for name in found if isinstance(name, str)}

    def _table(self, name: str, value: Any) -> None:
        if name not in TABLES:
            self.fault((name,), f'unknown table "{name}"{near(name, TABLES)}')
            return
        model, repeated = TABLES[name]
        if repeated != isinstance(value, list) or not (repeated or isinstance(value, dict)):
            self.fault((name,), f"write {_label(name)}")
            return
        for index, element in enumerate(value if repeated else [value]):
            read = self._one(model, (name, index) if repeated else (name,), element)
            if read is not None:
                self._read.setdefault(name, []).append((index, read))

    def _one(self, model: type[Table], path: Path, element: Any) -> Table | None:
        try:
            return model.model_validate(element)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=False, include_input=False)
        for fault in faults:
            where = tuple(part for part in fault["loc"] if part != "[key]")
            self.fault((*path, *where), _sentence(model, path, where, fault["type"], fault["msg"]))
        if any(fault["type"] != "extra_forbidden" for fault in faults):
            return None
        try:
            return model.model_validate(_without(element, [fault["loc"] for fault in faults]))
        except ValidationError:
            return None


def _label(name: str) -> str:
    return f"[[{name}]]" if TABLES[name][1] else f"[{name}]"


def _sentence(model: type[BaseModel], path: Path, where: Path, kind: str, message: str) -> str:
    label = _label(str(path[0]))
    if kind == "extra_forbidden":
        return f'unknown key "{where[-1]}" in {label}{near(str(where[-1]), _keys(model, where[:-1]))}'
    key = ".".join(part for part in where if isinstance(part, str))
    if kind == "missing":
        return f'{label} needs "{key}"'
    if kind == "too_short":
        message = "needs at least one"
    message = message.removeprefix("Value error, ").replace("Input should", "should")
    return f'"{key}" in {label}: {message}' if key else f"{label}: {message}"


def _keys(model: type[BaseModel], where: Path) -> set[str]:
    """Return the keys that the table at `where` inside `model` knows."""
    inner: Any = model
    for part in where:
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            field = inner.model_fields.get(str(part))
            inner = field.annotation if field else None
        else:
            inner = next((kind for kind in reversed(get_args(inner)) if kind is not Ellipsis), None)
    return set(inner.model_fields) if isinstance(inner, type) and issubclass(inner, BaseModel) else set()


def _without(element: Any, places: list[tuple[str | int, ...]]) -> Any:
    """Return a copy of `element` that lacks the keys at `places`."""
    if isinstance(element, dict):
        return {
            key: _without(value, [place[1:] for place in places if place[0] == key and len(place) > 1])
            for key, value in element.items()
            if (key,) not in places
        }
    if isinstance(element, list):
        return [
            _without(value, [place[1:] for place in places if place[0] == index]) for index, value in enumerate(element)
        ]
    return element
