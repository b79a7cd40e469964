"""Who has a number: the SOSL statement that asks, and the records that come back as facts (SOQL and SOSL Reference)."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from connectors.api import Context, Identifier, PatientFacts, PatientRef, Phone, Version, e164, ways_of_writing
from connectors.salesforce.settings import SearchedObject

SYSTEM = "salesforce/"
"Identifier.system of a record is this with its object's name: a CRM's record is nobody's chart."

LIMIT = 200
"Rows of one object; more people than that do not share a number."

PHONES: dict[str, dict[str, str]] = {
    "Contact": {"MobilePhone": "mobile", "Phone": "work", "HomePhone": "home", "OtherPhone": ""},
    "Lead": {"MobilePhone": "mobile", "Phone": "work"},
    "Account": {"PersonMobilePhone": "mobile", "Phone": "", "PersonHomePhone": "home", "PersonOtherPhone": ""},
}
"Fields of a number, the preferred one first, and their FHIR R4 ContactPoint.use (Object Reference)."

_WHERE = {"Lead": " WHERE IsConverted = false", "Account": " WHERE IsPersonAccount = true"}

_RESERVED = re.compile(r"""[?&|!{}\[\]()^~*:\\"'+-]""")
"SOQL and SOSL Reference, FIND {SearchQuery}: reserved also between double quotes."


def sobject_of(searched: SearchedObject) -> str:
    """Return the object that holds the records: a person account is an Account."""
    return "Account" if searched == "PersonAccount" else searched


def fields_of(sobject: str) -> tuple[str, ...]:
    """Return what is asked of a record: its name and its numbers."""
    return ("Id", "FirstName", "LastName", *PHONES[sobject], "LastModifiedDate")


def escaped(text: str) -> str:
    """Return `text` as a literal part of a SOSL search query."""
    return _RESERVED.sub(r"\\\g<0>", text)


def statement(phone: str, objects: Sequence[SearchedObject]) -> str:
    """Return the SOSL statement that finds everyone with `phone` (E.164), however it was typed in."""
    asked = " OR ".join(f'"{escaped(written)}"' for written in dict.fromkeys(ways_of_writing(phone)))
    names = [sobject_of(searched) for searched in objects]
    returning = ", ".join(f"{name}({', '.join(fields_of(name))}{_WHERE.get(name, '')} LIMIT {LIMIT})" for name in names)
    return f"FIND {{{asked}}} IN PHONE FIELDS RETURNING {returning}"


def ref_of(record: dict[str, Any], instance: str, ctx: Context) -> PatientRef | None:
    """Return a found record as name and numbers, with the page that shows it; None for one that is not a person's."""
    attributes = record.get("attributes")
    sobject = attributes.get("type") if isinstance(attributes, dict) else None
    own = record.get("Id")
    if not isinstance(sobject, str) or sobject not in PHONES or not is_id(own):
        return None
    changed_at = _instant(record.get("LastModifiedDate"))
    facts = PatientFacts(
        ids=(Identifier(system=SYSTEM + sobject, value=own),),
        version=Version(at=changed_at or ctx.clock(), tag=_text(record.get("LastModifiedDate")) or ""),
        family=_text(record.get("LastName")),
        given=_text(record.get("FirstName")),
        phones=_phones(record, sobject, ctx.region),
    )
    return PatientRef(id=own, facts=facts, url=f"{instance}/lightning/r/{sobject}/{own}/view")


def is_id(text: Any) -> bool:
    """Whether it is a record id: 15 letters and digits, or 18 with the check of their case."""
    return isinstance(text, str) and re.fullmatch(r"[A-Za-z0-9]{15}(?:[A-Z0-5]{3})?", text) is not None


def _phones(record: dict[str, Any], sobject: str, region: str) -> tuple[Phone, ...]:
    found: dict[str, Phone] = {}
    for field, use in PHONES[sobject].items():
        number = e164(_text(record.get(field)) or "", region)
        if number is not None and number not in found:
            found[number] = Phone(e164=number, use=use, rank=len(found) + 1)
    return tuple(found.values())


def _text(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _instant(value: Any) -> datetime | None:
    """Return a dateTime such as 2026-11-20T14:03:00.000+0000."""
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return at if at is not None and at.tzinfo is not None else None
