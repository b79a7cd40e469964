"""Read FHIR R4 JSON as servers really send it: null and [] for absent, times without a zone, half a name.

A reader returns None or nothing for what is not there or makes no sense; it raises for nothing that a server may send.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, tzinfo
from typing import Any

import phonenumbers

from connectors.api import Identifier, Phone, Version

Resource = dict[str, Any]

PATIENT_ID = "fhir/Patient"
"""Identifier.system of a Patient's logical id. It is no URI: a logical id means something at its own server only, and
what has a URI for a system is taken for the same thing wherever it is told."""

APPOINTMENT_ID = "fhir/Appointment"
"Identifier.system of an Appointment's logical id."

TASK_ID = "fhir/Task"
"Identifier.system of a Task's logical id."

NEVER = datetime(1970, 1, 1, tzinfo=UTC)
"The time of a statement that may never win over another."

_RANK_BY_USE = {"mobile": 1, "home": 2, "work": 3}

_NOT_FOR_US = {
    "http://hl7.org/fhir/sid/us-ssn",
    "urn:oid:2.16.840.1.113883.4.1",
}
"Social security numbers, by system."

_NOT_FOR_US_TYPES = {"SS", "SB", "DL", "PPN", "TAX", "MB", "SN", "AN"}
"""HL7 table 0203: numbers of the state's, which nobody here needs (45 CFR 164.502(b)); and member, subscriber and
account numbers, which a family may share."""


def items(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects of what should be a list of objects; a lone object counts as a list of one."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            yield item


def inner(value: Any, *path: str) -> Any:
    """Return what stands at `path` inside of objects, or None; of a list on the way, its first element."""
    for name in path:
        if isinstance(value, list):
            value = value[0] if value else None
        value = value.get(name) if isinstance(value, dict) else None
    return value


def text(value: Any) -> str | None:
    """Return a string that says something."""
    return value.strip() or None if isinstance(value, str) else None


def codes(concept: Any) -> set[str]:
    """Return the codes of a CodeableConcept, in lower case."""
    return {code.lower() for coding in items(inner(concept, "coding")) if (code := text(coding.get("code")))}


def words(concept: Any) -> str | None:
    """Return what a CodeableConcept is called: its text, or a display, or a code."""
    if said := text(inner(concept, "text")):
        return said
    codings = list(items(inner(concept, "coding")))
    named = (text(coding.get(key)) for key in ("display", "code") for coding in codings)
    return next((name for name in named if name), None)


def first_words(concepts: Any) -> str | None:
    """Return the name of the first CodeableConcept that has one."""
    return next((name for concept in items(concepts) if (name := words(concept))), None)


def instant(value: Any, zone: tzinfo) -> datetime | None:
    """Return a FHIR dateTime or instant; one without a zone is taken as of `zone`, one without a day is none."""
    said = text(value)
    if said is None or len(said) < 10:
        return None
    try:
        at = datetime.fromisoformat(said)
    except ValueError:
        return None
    try:
        return (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)
    except OverflowError:
        return None


def day(value: Any) -> date | None:
    """Return a FHIR date that names a day."""
    said = text(value)
    try:
        return date.fromisoformat(said[:10]) if said and len(said) >= 10 else None
    except ValueError:
        return None


def version_of(resource: Resource, zone: tzinfo, read_at: datetime) -> Version:
    """Return meta as a version; where the server keeps none, what was read just now is the newest."""
    meta = resource.get("meta")
    return Version(at=instant(inner(meta, "lastUpdated"), zone) or read_at, tag=str(inner(meta, "versionId") or ""))


def identifiers(value: Any) -> Iterator[Identifier]:
    """Yield the business identifiers that have a value."""
    for said in items(value):
        if number := text(said.get("value")):
            kind = next((code for coding in items(inner(said, "type", "coding")) if (code := coding.get("code"))), "")
            yield Identifier(system=text(said.get("system")) or "", value=number, type=str(kind))


def fit_for_us(identifier: Identifier, systems: tuple[str, ...]) -> bool:
    """Whether an identifier may name a patient here."""
    if systems:
        return identifier.system in systems
    return identifier.system not in _NOT_FOR_US and identifier.type not in _NOT_FOR_US_TYPES


def reference(value: Any, kind: str) -> str | None:
    """Return the id in a reference to a `kind`: relative, absolute, or versioned (FHIR R4 references.html)."""
    said = text(inner(value, "reference"))
    if said is None:
        return None
    parts = said.split("/_history/")[0].split("/")
    return parts[-1] if len(parts) >= 2 and parts[-2] == kind and parts[-1] else None


def contained(resource: Resource, value: Any) -> Resource | None:
    """Return the contained resource that a reference such as #p1 means."""
    said = text(inner(value, "reference"))
    if said is None or not said.startswith("#"):
        return None
    return next((found for found in items(resource.get("contained")) if found.get("id") == said[1:]), None)


def e164(number: Any, region: str) -> str | None:
    """Return a possible number in E.164, read as of `region` where it has no country code."""
    said = text(number)
    if said is None:
        return None
    try:
        parsed = phonenumbers.parse(said, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(parsed):
        return None
    return str(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))


def phones(telecom: Any, region: str, zone: tzinfo, at: datetime) -> Iterator[Phone]:
    """Yield the numbers in use, each once, the preferred one with the lowest rank.

    Numbers marked old or whose period is over are somebody else's by now.
    """
    seen: set[str] = set()
    for point in items(telecom):
        use = text(point.get("use")) or ""
        ended = instant(inner(point.get("period"), "end"), zone)
        if text(point.get("system")) not in {"phone", "sms"} or use == "old" or (ended is not None and ended < at):
            continue
        number = e164(point.get("value"), region)
        if number is None or number in seen:
            continue
        seen.add(number)
        rank = point.get("rank")
        chosen = rank if isinstance(rank, int) and rank > 0 else _RANK_BY_USE.get(use, 4)
        yield Phone(e164=number, use=use, rank=chosen)


def person_name(names: Any) -> tuple[str | None, str | None]:
    """Return (family, given) of the name in use: official before usual before any other."""
    order = {"official": 0, "usual": 1}
    found = sorted(items(names), key=lambda name: order.get(str(name.get("use")), 2 if name.get("use") != "old" else 3))
    for name in found:
        given = name.get("given")
        given_text = " ".join(part for one in (given if isinstance(given, list) else [given]) if (part := text(one)))
        family = text(name.get("family"))
        if family or given_text:
            return family, given_text or None
        if whole := text(name.get("text")):
            before, _, last = whole.rpartition(" ")
            return last, before or None
    return None, None
