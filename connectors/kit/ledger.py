"""The record as the host would keep it, in memory: what stands there after facts were told, in whatever order.

A field is as its newest statement has it; an equal or older one changes nothing, and what a statement does not mention
stays. So the same facts end in the same record, however often and in whatever order they come.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from connectors.api import (
    AppointmentFacts,
    Change,
    Fact,
    Identifier,
    MergeFacts,
    PatientFacts,
    ReceiptFacts,
    RelatedFacts,
    ReplyFacts,
    RequestFacts,
    UnreadFacts,
)

KINDS: dict[str, type[Fact]] = {
    "patient": PatientFacts,
    "related": RelatedFacts,
    "appointment": AppointmentFacts,
    "merge": MergeFacts,
    "request": RequestFacts,
    "reply": ReplyFacts,
    "receipt": ReceiptFacts,
}
"What a case calls the facts."

_NAMES = {kind: name for name, kind in KINDS.items()}

Key = tuple[str, frozenset[str]]
"What kind of thing, and the identifiers it goes by."


def name_of(fact: Fact) -> str:
    """Return what a case calls a fact of this kind."""
    return _NAMES.get(type(fact), type(fact).__name__)


def written(one: Identifier) -> str:
    """Return an identifier as a case writes it: system|value."""
    return f"{one.system}|{one.value}"


def ids_of(fact: Fact) -> frozenset[str]:
    """Return the identifiers that a fact goes by, each as system|value."""
    if isinstance(fact, MergeFacts):
        return frozenset(map(written, (*fact.survivor.ids, *fact.merged)))
    if isinstance(fact, ReplyFacts):
        return frozenset({f"|{fact.external_id}"})
    if isinstance(fact, ReceiptFacts):
        return frozenset({f"{fact.status}|{fact.external_id}"})
    return frozenset(map(written, getattr(fact, "ids", ())))


def _at(fact: Fact) -> datetime:
    version = getattr(fact, "version", None)
    return version.at if version is not None else fact.at  # type: ignore[attr-defined, no-any-return]


@dataclass(slots=True)
class Entry:
    """One thing in the record."""

    name: str
    ids: set[str]
    values: dict[str, Any] = field(default_factory=dict)
    told_at: dict[str, datetime] = field(default_factory=dict)
    "For each field, the version of the statement that it is from."

    def take(self, fact: Fact) -> None:
        """Let what is newer stand."""
        at = _at(fact)
        for name in type(fact).model_fields:
            value = getattr(fact, name)
            if name in {"ids", "version", "creates"} or value is None or value in ((), frozenset()):
                continue
            if name not in self.told_at or at > self.told_at[name]:
                self.values[name], self.told_at[name] = value, at

    @property
    def key(self) -> Key:
        """Return what it goes by."""
        return self.name, frozenset(self.ids)


class Ledger:
    """Everything that was told, as the host would have it."""

    def __init__(self, told: Iterable[Change] = ()) -> None:
        self._entries: list[Entry] = []
        self._by_id: dict[tuple[str, str], Entry] = {}
        for fact in told:
            self.tell(fact)

    def tell(self, fact: Fact) -> None:
        """Take one fact, and the patient that came within it; what could not be read says nothing yet."""
        if isinstance(fact, UnreadFacts):
            return
        name, ids = name_of(fact), ids_of(fact)
        known = [entry for one in ids if (entry := self._by_id.get((name, one))) is not None]
        if not known and isinstance(fact, AppointmentFacts) and not fact.creates:
            return
        if known:
            entry = known[0]
        else:
            entry = Entry(name, set())
            self._entries.append(entry)
        entry.ids |= ids
        for one in ids:
            self._by_id[name, one] = entry
        entry.take(fact)
        inner = getattr(fact, "patient", None) or getattr(fact, "survivor", None)
        if isinstance(inner, PatientFacts) and inner.ids:
            self.tell(inner)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def state(self) -> dict[Key, dict[str, Any]]:
        """Return what stands there; two records are the same if this is."""
        return {entry.key: {name: _plain(value) for name, value in entry.values.items()} for entry in self._entries}

    def versions(self) -> dict[Key, dict[str, datetime]]:
        """Return how new each field is."""
        return {entry.key: dict(entry.told_at) for entry in self._entries}

    def counts(self) -> Counter[str]:
        """Return how many there are of each kind."""
        return Counter(entry.name for entry in self._entries)


def _plain(value: Any) -> Any:
    """Return `value` without the versions within it, so that records compare by what they say."""
    if isinstance(value, Fact):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields if name != "version"}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value


def differing(one: Ledger, other: Ledger) -> list[Key]:
    """Return what is not the same in two records, or stands in one only."""
    here, there = one.state(), other.state()
    return [key for key in here.keys() | there.keys() if here.get(key) != there.get(key)]


def named(keys: Iterable[Key]) -> str:
    """Return how many of which kind, for a report."""
    counts = Counter(name for name, _ in keys)
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
