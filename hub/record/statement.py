"""What one statement of an outside system says about one row, and what that changes of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from connectors.api import Identifier, Version
from hub.record.identity import ANYWHERE, Key, key_of
from hub.record.version import Told, fingerprint_of, rank_of
from hub.security.index import BlindIndex


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement about one row, ready to be merged."""

    fields: Mapping[str, Any]
    "Every field that it mentions; None where the owner deleted the value."

    rank: str
    ids: tuple[tuple[Key, Identifier], ...]

    @classmethod
    def of(
        cls,
        fields: Mapping[str, Any],
        *,
        ids: Collection[Identifier],
        version: Version,
        connection: str,
        index: BlindIndex,
        final: bool = False,
    ) -> "Statement":
        """Return what tells `fields` (None for a deleted one) of the row that `ids` name."""
        content = {"fields": fields, "ids": [identifier.model_dump() for identifier in ids]}
        rank = rank_of(version, fingerprint_of(content, index), final=final)
        named = {key_of(identifier, connection, index): identifier for identifier in ids}
        return cls(fields, rank, tuple(named.items()))

    @property
    def keys(self) -> frozenset[Key]:
        """The blind indexes of its identifiers."""
        return frozenset(key for key, _ in self.ids)

    def effect(self, told: Told, stored: Collection[Key], sealed: frozenset[str], *, reseal: bool = False) -> "Effect":
        """Return what it changes of a row that keeps `told` and is known by `stored`, whose fields `sealed` are sealed.

        `reseal` says that the blob must be written anew whatever it holds.
        """
        won = told.won(self.fields, self.rank)
        news = told.news(won, self.rank)
        fresh = self.keys - set(stored)
        rewrites = reseal or bool(fresh) or not news.isdisjoint(sealed)
        keeps = bool((told.ranks.keys() & sealed) - won) or not set(stored) <= self.keys
        return Effect(won, news, fresh, rewrites, rewrites and keeps)

    def merged(self, stored: Mapping[str, Any], won: frozenset[str]) -> dict[str, Any]:
        """Return the fields of a blob after this statement: those `won`, the others as stored, and all identifiers."""
        fields = {name: value for name, value in stored.items() if name not in won and name != "ids"}
        fields |= {name: self.fields[name] for name in won if self.fields[name] is not None}
        return fields | {"ids": _joined(stored.get("ids", ()), self.ids)}


@dataclass(frozen=True, slots=True)
class Effect:
    """What a statement changes of one row."""

    won: frozenset[str]
    "Fields that it tells anew."

    news: frozenset[str]
    "Those of them that may have another value now."

    fresh: frozenset[Key]
    "Identifiers that the row did not have."

    rewrites: bool
    "The blob must be written."

    merges: bool
    "... and what it holds must be known for that."


def _joined(stored: Collection[Mapping[str, str]], ids: Collection[tuple[Key, Identifier]]) -> list[dict[str, str]]:
    told = [
        {"connection": scope, "system": identifier.system, "type": identifier.type, "value": identifier.value}
        for (scope, _), identifier in ids
    ]
    joined: dict[tuple[str, ...], dict[str, str]] = {}
    for kept in sorted([*map(dict, stored), *told], key=lambda kept: kept["type"]):
        kind = "" if kept["connection"] == ANYWHERE else kept["type"]
        joined[kept["connection"], kept["system"], kept["value"], kind] = kept
    return [joined[key] for key in sorted(joined)]


def identifiers_of(fields: Mapping[str, Any], connection: str) -> tuple[Identifier, ...]:
    """Return the identifiers by which `connection` knows a row, from its opened fields."""
    return tuple(
        Identifier(system=kept["system"], type=kept["type"], value=kept["value"])
        for kept in fields.get("ids", ())
        if kept["connection"] in (ANYWHERE, connection)
    )
