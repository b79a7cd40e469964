"""Who may be calling: a match is none, one, many or restricted, and never a guess."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

Kind = Literal["none", "one", "many", "restricted"]


@dataclass(frozen=True, slots=True)
class Hit:
    """One patient who gave the number that calls."""

    patient: UUID
    active: bool = True
    deceased: bool = False
    restricted: bool = False
    "Only named people may see that this is a patient at all."

    use: str = ""
    "FHIR R4 ContactPoint.use; an `old` number says nothing of who calls now."


@dataclass(frozen=True, slots=True)
class Match:
    """What may be said of who calls; caller id can be forged, so even `one` is only probable."""

    kind: Kind
    patients: tuple[UUID, ...] = ()
    "In order of id; empty for none and restricted."

    proxy_for: tuple[UUID, ...] = ()
    "Where it is none: patients for whom somebody of this number may call; the caller is not one of them."


def match(hits: Sequence[Hit]) -> Match:
    """Return the match for everyone who gave a number.

    One restricted patient makes the whole number restricted: naming the rest of a family would name them.
    """
    current = [hit for hit in hits if hit.active and not hit.deceased and hit.use != "old"]
    if any(hit.restricted for hit in current):
        return Match("restricted")
    patients = tuple(sorted({hit.patient for hit in current}))
    if not patients:
        return Match("none")
    return Match("one" if len(patients) == 1 else "many", patients)
