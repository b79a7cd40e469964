"""Whether what was told is what the case expects; differences are named by field, never by value."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from connectors.api import Fact, Identifier, Phone
from connectors.kit.case import Told
from connectors.kit.ledger import Ledger, ids_of, name_of, written


def difference(expected: Any, actual: Any, path: str = "") -> str | None:
    """Return the path of the first field that is not as expected, or None; a Mapping describes a part of a fact."""
    if isinstance(expected, Mapping):
        for name, inner in expected.items():
            below = f"{path}.{name}" if path else name
            held = actual.get(name) if isinstance(actual, Mapping) else getattr(actual, name, None)
            if (found := difference(inner, held, below)) is not None:
                return found
        return None
    if isinstance(actual, frozenset):
        return None if isinstance(expected, list | tuple) and set(expected) == actual else path
    if isinstance(actual, tuple | list):
        if not isinstance(expected, list | tuple) or len(expected) != len(actual):
            return path
        found_in = (difference(one, other, path) for one, other in zip(expected, actual, strict=True))
        return next((found for found in found_in if found is not None), None)
    if isinstance(actual, Phone):
        actual = actual.e164
    if isinstance(actual, Identifier):
        return None if expected in {actual.value, written(actual)} else path
    return None if expected == actual else path


def goes_by(id_: str, ids: Iterable[str]) -> bool:
    """Whether an identifier of a case, system|value or the value alone, is one of `ids`."""
    return not id_ or any(one == id_ or one.partition("|")[2] == id_ for one in ids)


def unmet(expected: Sequence[Told], record: Ledger) -> str | None:
    """Return the first expectation that the record does not meet, and in what."""
    for one in expected:
        entries = [entry for entry in record if entry.name == one.fact and goes_by(one.id, entry.ids)]
        if not entries:
            return f"{one.fact} {one.id}: not there"
        found = [difference(one.fields, entry.values) for entry in entries]
        if None not in found:
            return f"{one.fact} {one.id}: {found[0]}"
    return None


def unsaid(expected: Sequence[Told], facts: Sequence[Fact]) -> str | None:
    """Return the first expectation that the facts of a message do not meet; they are to be as many."""
    for one in expected:
        named = [fact for fact in facts if name_of(fact) == one.fact and goes_by(one.id, ids_of(fact))]
        if not named:
            return f"{one.fact} {one.id}: not told"
        found = [difference(one.fields, fact) for fact in named]
        if None not in found:
            return f"{one.fact} {one.id}: {found[0]}"
    return None if len(expected) == len(facts) else f"{len(facts)} facts, not {len(expected)}"
