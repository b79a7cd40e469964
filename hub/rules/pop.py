"""What an agent's screen shows of a caller: a masked stage that identifies nobody, and a full one after verification.

Who calls is proven by what the caller says: the agent types name and date of birth, and the pop says only whether
they are right. The date of birth on file is never shown, and three misses lock the pop.
"""

import hashlib
import hmac
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal

from hub.rules.matching import Kind
from hub.settings.practice import Role

TRIES: Final = 3

_DESK: Final = frozenset({"name", "language", "appointments", "requests", "tasks", "contacts", "related", "links"})
_CLINICAL: Final = frozenset(
    {"allergies", "problems", "medications", "care-team", "encounters", "referrals", "consents", "messages"}
)

FIELDS: Final[Mapping[Role, frozenset[str]]] = {
    "front-desk": _DESK,
    "nurse": _DESK | _CLINICAL,
    "provider": _DESK | _CLINICAL | {"coverage"},
    "billing": frozenset({"name", "language", "coverage", "tasks", "contacts", "links"}),
    "privacy-officer": frozenset(),
    "admin": frozenset(),
}
"What each role needs of a verified caller (45 CFR 164.514(d)(2)); chart sections by their names in connectors.facts."

_WHY: Final[Mapping[Kind, str]] = {
    "none": "Nobody on file gave this number.",
    "one": "One patient gave this number. Anyone can call from it: verify name and date of birth.",
    "many": "Several patients gave this number: ask who is calling, and verify name and date of birth.",
    "restricted": "Access to this record is restricted.",
}

_PROXY: Final = "No patient gave this number, but somebody who may call for one: ask who is calling, and for whom."


@dataclass(frozen=True, slots=True)
class Ringing:
    """What is known of a call while it rings; nothing of it says who the caller is."""

    number: str
    "The caller's number, E.164, for those who may see numbers; empty where it is withheld."

    did: str
    queue: str | None
    waited_seconds: int
    match: Kind
    candidates: int = 0
    "How many patients gave this number."

    proxy: bool = False
    "Somebody of this number may call for a patient."

    language: str = ""
    calls_before: int = 0
    "Calls of this number in the last 72 hours."

    open_tasks: int = 0
    attestation: str | None = None
    "What the caller's carrier vouches for: A, B or C (RFC 8588); None where it says nothing that holds."


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is on record."""

    given: str
    family: str
    birth_date: date | None


@dataclass(frozen=True, slots=True)
class Typed:
    """What the agent typed of what the caller said."""

    name: str
    'Given and family name in any order: "Ana Ruiz", "Ruiz, Ana".'

    birth_date: date


def masked(call: Ringing) -> dict[str, Any]:
    """Return what the pop shows before verification: whether someone is known, never who.

    A restricted number shows what an unknown one shows, but for the word that tells the agent to verify.
    """
    known = call.match in {"one", "many"}
    return {
        "stage": "masked",
        "number": call.number,
        "attestation": call.attestation if call.number else None,
        "did": call.did,
        "queue": call.queue,
        "waited_seconds": call.waited_seconds,
        "match": call.match,
        "why": _PROXY if call.proxy and call.match == "none" else _WHY[call.match],
        "candidates": call.candidates if known else 0,
        "proxy": call.proxy and call.match == "none",
        "language": call.language if known else "",
        "repeat_caller": call.calls_before > 0,
        "open_tasks": call.open_tasks if known else 0,
    }


def fields_of(roles: Collection[Role]) -> frozenset[str]:
    """Return what someone with these roles may see; ask the record and the chart for nothing else."""
    return frozenset().union(*(FIELDS[role] for role in roles))


def full(roles: Collection[Role], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the pop shows after verification: of what is `known`, the fields that the roles allow."""
    allowed = fields_of(roles)
    return {"stage": "full", **{field: value for field, value in known.items() if field in allowed}}


def verify(stored: Identity, typed: Typed) -> bool:
    """Return whether what was typed is who is stored.

    Case, accents, punctuation and order of the names do not matter; second given names and second family names may be
    left out. Takes the same time wherever the difference is. A record without a date of birth verifies nobody.
    """
    given, family = _names(stored.given), _names(stored.family)
    said = _digest(_names(typed.name))
    same = False
    for first in (given, given[:1]):
        for last in (family, family[:1]):
            same |= hmac.compare_digest(said, _digest(first + last))
    same &= hmac.compare_digest(_digest([str(typed.birth_date)]), _digest([str(stored.birth_date)]))
    return same and bool(given and family)


def identify(stored: Sequence[Identity], typed: Typed) -> int | None:
    """Return the index of the one stored person who was typed; None for nobody, and for two who cannot be told apart.

    Every one is compared, so the time says nothing of which it was.
    """
    right = [index for index, same in enumerate([verify(person, typed) for person in stored]) if same]
    return right[0] if len(right) == 1 else None


def attempt(misses: int, *, right: bool) -> Literal["verified", "refused", "locked"]:
    """Return what follows an attempt after `misses` wrong ones; a locked pop stays locked, even for the right words."""
    if misses >= TRIES:
        return "locked"
    if right:
        return "verified"
    return "locked" if misses + 1 >= TRIES else "refused"


def _names(text: str) -> list[str]:
    split = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(char for char in split if not unicodedata.combining(char) and char not in "'’`")  # noqa: RUF001
    return "".join(char if char.isalnum() else " " for char in letters).split()


def _digest(words: Sequence[str]) -> bytes:
    return hashlib.sha256(" ".join(sorted(words)).encode()).digest()
