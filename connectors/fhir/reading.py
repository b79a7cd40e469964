"""Read FHIR R4 JSON as servers really send it: null and [] for absent, times without a zone, half a name.

A reader returns None or nothing for what is not there or makes no sense; it raises for nothing that a server may send.
Every resource of every page passes here, so the readers look at the usual shape first and walk no list twice.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any

from connectors.api import Version

Resource = dict[str, Any]

Fields = dict[str, Any]
"What a fact will be made of: the fact's own validation builds the inner facts, at half the price of one by one."

Find = Callable[[str], Resource | None]
"Returns the resource that a reference such as Patient/42 or urn:uuid:... names, if it came along."

PATIENT_ID = "fhir/Patient"
"""Identifier.system of a Patient's logical id. It is no URI: a logical id means something at its own server only, and
what has a URI for a system is taken for the same thing wherever it is told."""

APPOINTMENT_ID = "fhir/Appointment"
"Identifier.system of an Appointment's logical id."

TASK_ID = "fhir/Task"
"Identifier.system of a Task's logical id."

NEVER = datetime(1970, 1, 1, tzinfo=UTC)
"The time of a statement that may never win over another."

AHEAD = timedelta(days=1)
"A meta.lastUpdated further ahead than this is a wrong clock's, and would win over everything to come."

CONFIDENTIALITY = (
    "http://terminology.hl7.org/CodeSystem/v3-Confidentiality",
    "http://hl7.org/fhir/v3/Confidentiality",
    "urn:oid:2.16.840.1.113883.5.25",
)
"Names of v3-Confidentiality; FHIR R4 has the first."

CLOSED = frozenset({"R", "V"})
"v3-Confidentiality: restricted and very restricted."

SENSITIVE = frozenset({"ETH", "HIV", "PSY", "PSYTHPN", "SDV", "SEX", "STD", "SUD", "TBOO"})
"""v3-ActCode information sensitivity policies: addiction, psychiatry, violence and the like, and what only the
physician may bring up (TBOO)."""

_NOT_FOR_US = {
    "http://hl7.org/fhir/sid/us-ssn",
    "urn:oid:2.16.840.1.113883.4.1",
}
"Social security numbers, by system."

_NOT_FOR_US_TYPES = {"SS", "SB", "DL", "PPN", "TAX", "MB", "SN", "AN"}
"""HL7 table 0203: numbers of the state's, which nobody here needs (45 CFR 164.502(b)); and member, subscriber and
account numbers, which a family may share."""


def items(value: Any) -> list[Resource]:
    """Return the objects of what should be a list of objects; a lone object counts as a list of one."""
    if isinstance(value, list):
        return [item for item in value if isinstance(item, dict)]
    return [value] if isinstance(value, dict) else []


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
    if isinstance(concept, list):
        concept = concept[0] if concept else None
    if not isinstance(concept, dict):
        return None
    if said := text(concept.get("text")):
        return said
    codings = concept.get("coding")
    for key in ("display", "code"):
        for coding in codings if isinstance(codings, list) else (codings,):
            if isinstance(coding, dict) and (said := text(coding.get(key))):
                return said
    return None


def first_words(concepts: Any) -> str | None:
    """Return the name of the first CodeableConcept that has one."""
    for concept in concepts if isinstance(concepts, list) else (concepts,):
        if said := words(concept):
            return said
    return None


def instant(value: Any, zone: tzinfo) -> datetime | None:
    """Return a FHIR dateTime or instant; one without a zone is taken as of `zone`, one without a day is none."""
    if not isinstance(value, str):
        return None
    said = value.strip()
    if len(said) < 10:
        return None
    try:
        at = datetime.fromisoformat(said)
        if at.tzinfo is None:  # read twice: a fifth of what replace and astimezone cost
            behind = zone.utcoffset(at)
            at = datetime.fromisoformat(f"{said}+00:00" if len(said) > 10 else f"{said}T00:00:00+00:00")
            return at if behind is None else at - behind
        return at if at.tzinfo is UTC else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def day(value: Any) -> date | None:
    """Return a FHIR date that names a day."""
    said = text(value)
    try:
        return date.fromisoformat(said[:10]) if said and len(said) >= 10 else None
    except ValueError:
        return None


def over(period: Any, today: str) -> bool:
    """Whether a Period ended before `today`, an ISO date; an end that names a month or a year only is its last day."""
    end = period.get("end") if isinstance(period, dict) else None
    if not isinstance(end, str):
        return False
    last = end.strip()[:10]
    return bool(last) and last < today[: len(last)]


def version_of(resource: Resource, zone: tzinfo, read_at: datetime) -> Version:
    """Return meta as a version; where the server keeps none, what was read just now is the newest."""
    return Version.model_validate(version_fields(resource, zone, read_at))


def version_fields(resource: Resource, zone: tzinfo, read_at: datetime) -> Fields:
    """Return the fields of `version_of`."""
    meta = resource.get("meta")
    if not isinstance(meta, dict):
        return {"at": read_at, "tag": ""}
    at, tag = instant(meta.get("lastUpdated"), zone), meta.get("versionId")
    if at is None or (at > read_at and at - read_at > AHEAD):
        at = read_at
    return {"at": at, "tag": tag if isinstance(tag, str) else str(tag) if isinstance(tag, int) else ""}


def labels(resource: Resource) -> Iterator[tuple[str, str]]:
    """Yield the security labels (FHIR R4 Resource.meta.security): system and code."""
    for label in items(inner(resource.get("meta"), "security")):
        if code := text(label.get("code")):
            yield text(label.get("system")) or "", code


def closed(resource: Resource) -> bool | None:
    """Return whether a label closes the resource to all but named people; None where no label says how open it is.

    A code without a system is taken for what it looks like.
    """
    meta = resource.get("meta")
    if not isinstance(meta, dict) or "security" not in meta:
        return None
    said = [code for system, code in labels(resource) if system in CONFIDENTIALITY or not system]
    return any(code in CLOSED for code in said) if said else None


def withheld(resource: Resource) -> bool:
    """Whether a label says that it is nothing for the front desk."""
    meta = resource.get("meta")
    if not isinstance(meta, dict) or "security" not in meta:
        return False
    return any(
        code in SENSITIVE or (code in CLOSED and (system in CONFIDENTIALITY or not system))
        for system, code in labels(resource)
    )


def identifiers(value: Any) -> list[Fields]:
    """Return the fields of each business `Identifier` that has a value."""
    found = []
    for said in value if isinstance(value, list) else (value,):
        if isinstance(said, dict) and (number := text(said.get("value"))):
            kind = said.get("type")
            found.append(
                {
                    "system": text(said.get("system")) or "",
                    "value": number,
                    "type": _code_of(kind) if kind is not None else "",
                }
            )
    return found


def _code_of(concept: Any) -> str:
    for coding in items(inner(concept, "coding")):
        if code := text(coding.get("code")):
            return code
    return ""


def fit_for_us(identifier: Fields, systems: tuple[str, ...]) -> bool:
    """Whether an identifier may name a patient here."""
    if systems:
        return identifier["system"] in systems
    return identifier["system"] not in _NOT_FOR_US and identifier["type"] not in _NOT_FOR_US_TYPES


def reference(value: Any, kind: str) -> str | None:
    """Return the id in a reference to a `kind`: relative, absolute, or versioned (FHIR R4 references.html)."""
    named, own = target(value)
    return own if named == kind and own else None


def target(value: Any) -> tuple[str, str]:
    """Return type and id that a reference names, both empty where it names none that way."""
    if not isinstance(value, dict):
        value = value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else {}
    said = value.get("reference")
    if not isinstance(said, str):
        return "", ""
    kind, _, own = said.strip().partition("/")
    if "/" in own:  # absolute, or versioned
        *_, kind, own = ["", *said.strip().partition("/_history/")[0].split("/")]
    return (kind, own) if kind and own else ("", "")


def resolved(resource: Resource, value: Any, find: Find) -> Resource | None:
    """Return what a reference means, if it is contained in `resource` or came along."""
    said = text(inner(value, "reference"))
    if said is None:
        return None
    if said.startswith("#"):
        return next((found for found in items(resource.get("contained")) if found.get("id") == said[1:]), None)
    if said.startswith("urn:"):
        return find(said)
    kind, own = target(value)
    return find(f"{kind}/{own}") if own else None


_ORDER = {"official": 0, "usual": 1, "old": 3}
"HumanName.use; any other stands between."


def person_name(names: Any, today: str = "") -> tuple[str | None, str | None]:
    """Return (family, given) of the name in use: official before usual before any other.

    One that is marked old, or whose period ended before `today` (an ISO date), comes last.
    """
    if isinstance(names, list) and len(names) == 1:
        return _name(names[0])
    found = sorted(
        items(names), key=lambda name: 3 if over(name.get("period"), today) else _ORDER.get(str(name.get("use")), 2)
    )
    for name in found:
        family, given = _name(name)
        if family or given:
            return family, given
    return None, None


def _name(name: Any) -> tuple[str | None, str | None]:
    if not isinstance(name, dict):
        return None, None
    given = name.get("given")
    if isinstance(given, list):
        given = given[0] if len(given) == 1 else " ".join(part for one in given if (part := text(one)))
    family, first = text(name.get("family")), text(given)
    if family or first or not (whole := text(name.get("text"))):
        return family, first
    before, _, last = whole.rpartition(" ")
    return last, before.strip() or None


def called(resource: Resource | None) -> str | None:
    """Return the name of a person or a place."""
    name = (resource or {}).get("name")
    if isinstance(name, str):
        return text(name)
    family, given = person_name(name)
    return " ".join(part for part in (given, family) if part) or None
