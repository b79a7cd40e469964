"""What changes from one policy to the next, in lines that a person reads before publishing."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from hub.settings.practice import Practice

_KEYS = {"number": "did", "staff": "email", "webhook": "url", "agreement": "counterparty"}
"What a table is known by where that is not its name."

_RESTART = frozenset(
    {
        *("[http] bind", "[sip] udp", "[sip] tcp", "[sip] tls", "[sip] rtp_ports"),
        *("[sip] certificate", "[sip] key", "[sip] authorities"),
    }
)


def diff(old: Practice, new: Practice) -> list[str]:
    """Return a line for each difference: `+` for a new table, `-` for one that goes, `~` for a changed key.

    Empty where the two say the same. A listener's change needs a restart, and its line says so.
    """
    before, after = _document(old), _document(new)
    lines: list[str] = []
    for table in after:
        if isinstance(after[table], list):
            lines += _lists(table, before[table], after[table])
        else:
            lines += _keys(f"[{table}]", before[table], after[table])
    return lines


def _document(practice: Practice) -> dict[str, Any]:
    return practice.model_dump(mode="json", by_alias=True)


def _lists(table: str, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> Iterator[str]:
    old, new = dict(_labelled(table, before)), dict(_labelled(table, after))
    yield from (f"- {label}" for label in old if label not in new)
    for label, element in new.items():
        if label in old:
            yield from _keys(label, old[label], element)
        else:
            yield f"+ {label}"
    kept = [label for label in old if label in new]
    if kept != [label for label in new if label in old]:
        yield f"~ [[{table}]] stand in another order"


def _labelled(table: str, elements: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each element with what it is called; the second of a name gets a number."""
    seen: Counter[str] = Counter()
    for element in elements:
        name = element.get(_KEYS.get(table, "name")) or element.get("when")
        label = f'[[{table}]] "{name}"'
        seen[label] += 1
        yield (label if seen[label] == 1 else f"{label} ({seen[label]})"), element


def _keys(label: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    old, new = dict(_flat(before)), dict(_flat(after))
    for key in [*old, *(key for key in new if key not in old)]:
        if old.get(key) != new.get(key):
            needs = " (needs a restart)" if f"{label} {key}" in _RESTART else ""
            yield f"~ {label} {key}: {_written(old.get(key))} -> {_written(new.get(key))}{needs}"


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _written(value: Any) -> str:
    return "nothing" if value in (None, {}, []) else json.dumps(value, ensure_ascii=False)
