"""To whom a text goes: the least of a patient's record that writing one needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from hub.record.zone import zones_of
from hub.settings import Practice


@dataclass(frozen=True, slots=True)
class Recipient:
    """A person who can be written to, from the opened fields of a patient."""

    phone: str | None = field(repr=False)
    "E.164; None where the patient gave none that may be used."

    language: str
    zone: ZoneInfo
    "Of the patient's home as far as the address tells it (docs/reference/reminders.md), otherwise the practice's."

    given: str | None = field(repr=False)


def recipient_of(fields: Mapping[str, Any], practice: Practice) -> Recipient:
    """Return to whom a text for this patient goes."""
    return Recipient(
        phone=_number(fields.get("phones") or ()),
        language=str(fields.get("language") or practice.practice.languages[0]).partition("-")[0].casefold(),
        zone=_zone(fields, practice.practice.zone),
        given=fields.get("given"),
    )


def _zone(fields: Mapping[str, Any], practice: ZoneInfo) -> ZoneInfo:
    """Return the patient's clock; in a state with two it is the practice's where that is one of them."""
    zones = zones_of(fields.get("state"), fields.get("postal_code"))
    return practice if not zones or practice.key in zones else ZoneInfo(zones[0])


def _number(phones: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the number for texts: a mobile before others, then as the patient ranked them; never an old one."""
    usable = [phone for phone in phones if phone.get("use") != "old"]
    ranked = sorted(usable, key=lambda phone: (phone.get("use") != "mobile", phone.get("rank", 1)))
    return str(ranked[0]["e164"]) if ranked else None
