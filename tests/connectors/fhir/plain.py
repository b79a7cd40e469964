"""A second reader of the key fields, written from the specification alone: the standard library and phonenumbers.

It shares no line with the connector, so that where the two agree on the public data, neither is the other's mistake.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import phonenumbers

ZONE = ZoneInfo("America/New_York")
READ_AT = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)

Resource = dict[str, Any]
Find = Callable[[str], Resource | None]


def documents(path: Path) -> Iterator[Any]:
    """Yield the JSON documents of a file as it is stored: one, or one a line."""
    raw = path.read_text(encoding="utf-8-sig")
    try:
        yield json.loads(raw)
    except json.JSONDecodeError:
        for line in raw.splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return  # one file of the set is no JSON at all


def listed(value: Any) -> list[Resource]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def at(written: str | None) -> datetime | None:
    """FHIR R4 datatypes.html#instant, #dateTime; a time without a zone is the practice's; 12:011:30 is none."""
    try:
        said = datetime.fromisoformat((written or "").replace("Z", "+00:00"))
    except ValueError:
        return None
    return said.replace(tzinfo=ZONE) if said.tzinfo is None else said


def codings(concept: Any) -> list[Resource]:
    return listed((concept or {}).get("coding"))


# Patient (FHIR R4 patient.html).


def identifiers(resource: Resource, own: str) -> set[tuple[str, str]]:
    """Resource.id and Identifier.system and .value (FHIR R4 resource.html#id, datatypes.html#Identifier)."""
    found = {(own, resource["id"])} if resource.get("id") else set()
    return found | {
        (one.get("system", ""), one["value"].strip()) for one in listed(resource.get("identifier")) if one.get("value")
    }


def state_numbers(resource: Resource) -> set[tuple[str, str]]:
    """Identifier.type (HL7 table 0203) and systems that are the state's or shared, which nobody asks for."""
    types = {"SS", "SB", "DL", "PPN", "TAX", "MB", "SN", "AN"}
    return {
        (one.get("system", ""), one.get("value", ""))
        for one in listed(resource.get("identifier"))
        if one.get("system") == "http://hl7.org/fhir/sid/us-ssn"
        or types & {coding.get("code") for coding in codings(one.get("type"))}
    }


def name(resource: Resource) -> tuple[str | None, str | None]:
    """HumanName.family and .given of the name in use (FHIR R4 datatypes.html#HumanName)."""
    for use in ("official", "usual", None):
        for one in listed(resource.get("name")):
            if one.get("use") in {"old", "official", "usual"} - {use} and use is None:
                continue
            if use is not None and one.get("use") != use:
                continue
            if one.get("family") or one.get("given"):
                return one.get("family"), " ".join(part.strip() for part in one.get("given") or [] if part) or None
            if one.get("text"):
                *given, family = one["text"].split(" ")
                return family, " ".join(given) or None
    return None, None


def birth_date(resource: Resource) -> str | None:
    """Patient.birthDate, where it names a day."""
    said = resource.get("birthDate") or ""
    return said if len(said) == 10 else None


def numbers(resource: Resource) -> list[str]:
    """Patient.telecom (FHIR R4 datatypes.html#ContactPoint): system phone or sms, in use."""
    found: list[str] = []
    for one in listed(resource.get("telecom")):
        ended = at((one.get("period") or {}).get("end"))
        if one.get("system") not in {"phone", "sms"} or one.get("use") == "old" or (ended and ended < READ_AT):
            continue
        try:
            parsed = phonenumbers.parse(one.get("value") or "", "US")
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_possible_number_with_reason(parsed) == phonenumbers.ValidationResult.IS_POSSIBLE:
            found.append(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))
    return list(dict.fromkeys(found))


def language(resource: Resource) -> str | None:
    """Patient.communication.language, the preferred one first."""
    said = listed(resource.get("communication"))
    for one in [one for one in said if one.get("preferred")] + said:
        for coding in codings(one.get("language")):
            return str(coding["code"])
    return None


def deceased(resource: Resource) -> bool | None:
    """Patient.deceased[x]."""
    said: bool | None = resource.get("deceasedBoolean")
    return True if resource.get("deceasedDateTime") else said


# Appointment (FHIR R4 appointment.html).


def begins(resource: Resource) -> datetime | None:
    """Appointment.start."""
    return at(resource.get("start"))


def minutes(resource: Resource) -> int | None:
    """Appointment.minutesDuration, else Appointment.end less Appointment.start."""
    if resource.get("minutesDuration"):
        return int(resource["minutesDuration"])
    start, end = at(resource.get("start")), at(resource.get("end"))
    return int((end - start).total_seconds()) // 60 if start and end else None


def actors(resource: Resource, kind: str, find: Find) -> Iterator[tuple[Resource, Resource]]:
    """Appointment.participant.actor of a type, each with what it refers to, as far as that is at hand."""
    contained = {f"#{one.get('id')}": one for one in listed(resource.get("contained"))}
    for participant in listed(resource.get("participant")):
        actor = participant.get("actor") or {}
        said = actor.get("reference") or ""
        meant = contained.get(said) or find(said) or {}
        if said.split("/")[0] == kind or meant.get("resourceType") == kind:
            yield actor, meant


def visitor(resource: Resource, find: Find) -> str | None:
    """The logical id of the patient in Appointment.participant.actor (FHIR R4 references.html)."""
    for actor, meant in actors(resource, "Patient", find):
        return str(meant.get("id") or actor["reference"].split("/")[1])
    return None


def shown(resource: Resource, kind: str, find: Find) -> str | None:
    """Reference.display of the first actor of a type (FHIR R4 references.html#Reference)."""
    return next((actor["display"] for actor, _ in actors(resource, kind, find) if actor.get("display")), None)


def version(resource: Resource) -> tuple[datetime, str]:
    """Meta.lastUpdated and Meta.versionId (FHIR R4 resource.html#Meta)."""
    meta = resource.get("meta") or {}
    return at(meta.get("lastUpdated")) or READ_AT, meta.get("versionId") or ""
