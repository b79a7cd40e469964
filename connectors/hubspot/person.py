"""A contact as name and numbers, with the page that shows it."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from connectors.api import Context, Identifier, PatientFacts, PatientRef, Phone, Version, e164, ways_of_writing

SYSTEM = "hubspot/contact"
"Identifier.system of a contact: a CRM's record is nobody's chart."

CONTACT_TYPE = "0-1"
"HubSpot's object type id of contacts."

PROPERTIES = ("firstname", "lastname", "phone", "mobilephone")

SEARCHED = ("hs_searchable_calculated_phone_number", "hs_searchable_calculated_mobile_number")
"What HubSpot makes of `phone` and `mobilephone`, however they were typed in: the digits."

_USES = {"mobilephone": "mobile", "phone": ""}
"The preferred one first; FHIR R4 ContactPoint.use."


def sought(phone: str) -> Mapping[str, Sequence[str]]:
    """Return what finds everyone with `phone` (E.164); with the country code, too, where HubSpot did not know it."""
    _, digits, *_ = ways_of_writing(phone)
    if digits == phone:
        return {}  # it is no number
    return dict.fromkeys(SEARCHED, (digits, phone.removeprefix("+")))


def ref_of(record: dict[str, Any], app: str, portal: int, ctx: Context) -> PatientRef | None:
    """Return a found contact; None for what is none, or is archived."""
    own, said = record.get("id"), record.get("properties")
    if not is_id(own) or not isinstance(said, dict) or record.get("archived") is True:
        return None
    changed_at = _instant(record.get("updatedAt"))
    facts = PatientFacts(
        ids=(Identifier(system=SYSTEM, value=str(own)),),
        version=Version(at=changed_at or ctx.clock(), tag=str(record.get("updatedAt") or "")),
        family=_text(said.get("lastname")),
        given=_text(said.get("firstname")),
        phones=_phones(said, ctx.region),
    )
    return PatientRef(id=str(own), facts=facts, url=f"{app}/contacts/{portal}/record/{CONTACT_TYPE}/{own}")


def is_id(text: Any) -> bool:
    """Whether it is an object id."""
    return isinstance(text, str) and re.fullmatch(r"[0-9]{1,20}", text) is not None


def _phones(said: dict[str, Any], region: str) -> tuple[Phone, ...]:
    found: dict[str, Phone] = {}
    for name, use in _USES.items():
        number = e164(_text(said.get(name)) or "", region)
        if number is not None and number not in found:
            found[number] = Phone(e164=number, use=use, rank=len(found) + 1)
    return tuple(found.values())


def _text(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _instant(value: Any) -> datetime | None:
    """Return a date-time such as 2026-11-20T14:03:00.000Z."""
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return at if at is not None and at.tzinfo is not None else None
