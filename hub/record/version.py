"""How new a statement is, and which statement told each field of a row last.

Outside systems resend, reorder and repeat. A row is therefore a set of registers, one a field, and each register keeps
the value of the highest-ranked statement that mentioned the field. The rank is a total order, so the row is the same
whatever the order and the number of deliveries:

1. the statement's instant (`Version.at`): later wins;
2. at the same instant, a final status beats any other (`connectors.api.FINAL`), so that a final status yields only to
   a strictly newer statement;
3. then the tag (MSH-10 counters and FHIR versionIds compare as numbers where both are numbers);
4. then the statement's fingerprint. Two different statements under one control id do occur (97 in the public data).

The fingerprint stands for the content alone, so a newer statement that says the same is seen to say nothing new.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import orjson

from connectors.api import Version
from hub.security.index import BlindIndex

TAG_LETTERS = 80
"Longest tag that is kept and compared; a longer one is no version, and could be anything."


def fingerprint_of(content: Mapping[str, Any], index: BlindIndex) -> bytes:
    """Return 16 bytes that stand for what a statement says, whenever it says it; keyed, since that can be guessed."""
    return index.digest(orjson.dumps(content, option=orjson.OPT_SORT_KEYS))


def tag_of(version: Version) -> str:
    """Return the tag as it may be kept in the clear; empty where it is too long for one."""
    return version.tag if len(version.tag) <= TAG_LETTERS else ""


def rank_of(version: Version, fingerprint: bytes, *, final: bool = False) -> str:
    """Return the statement's rank: compare as text; equal only for the same statement."""
    kept = tag_of(version)
    tag = kept.zfill(TAG_LETTERS) if kept.isdigit() else kept
    at = version.at.astimezone(UTC).isoformat(timespec="microseconds")
    return f"{at}|{int(final)}|{tag}|{fingerprint.hex()}"


@dataclass(frozen=True, slots=True)
class Told:
    """For each field of a row, the rank of the statement that told it."""

    ranks: Mapping[str, str]

    @classmethod
    def load(cls, kept: Mapping[str, list[str]]) -> "Told":
        """Return what a row keeps: rank to fields, since one statement mostly told them all."""
        return cls({field: rank for rank, fields in kept.items() for field in fields})

    def dump(self) -> dict[str, list[str]]:
        """Return the inverse of `load`."""
        kept: dict[str, list[str]] = {}
        for field in sorted(self.ranks):
            kept.setdefault(self.ranks[field], []).append(field)
        return kept

    def won(self, fields: Iterable[str], rank: str) -> frozenset[str]:
        """Return those of `fields` that a statement of `rank` tells anew."""
        return frozenset(field for field in fields if rank > self.ranks.get(field, ""))

    def news(self, won: Iterable[str], rank: str) -> frozenset[str]:
        """Return those of the fields `won` that the statement of `rank` may give another value: its content differs."""
        content = _content(rank)
        return frozenset(field for field in won if _content(self.ranks.get(field, "")) != content)

    def told(self, fields: Iterable[str], rank: str) -> "Told":
        """Return this, with `fields` told by the statement of `rank`."""
        return Told({**self.ranks, **dict.fromkeys(fields, rank)})


def _content(rank: str) -> str:
    return rank.rpartition("|")[2]
