"""Sections of a chart as short lines: only what is in force, and only the sections that were asked for."""

from collections.abc import Callable
from dataclasses import dataclass

from connectors.api import Section
from connectors.fhir.client import Client, Params
from connectors.fhir.mapping import Reader
from connectors.fhir.reading import Resource, codes, first_words, inner, instant, items, person_name, text, words

LINES = 50
"Of one section; a pop is read in seconds."

_PAGES = 5


@dataclass(frozen=True, slots=True)
class Source:
    """Where the lines of a section come from."""

    kind: str
    say: Callable[[Resource, Reader], str | None]
    "Returns the line of one resource; None where it is not in force."

    params: Params = ()


async def lines(client: Client, reader: Reader, patient: str, section: Section) -> list[str]:
    """Return the lines of one section of the chart of the Patient with that id."""
    found: dict[str, None] = {}
    for source in SOURCES[section]:
        params = (("patient", patient), ("_count", str(reader.settings.page_size)), *source.params)
        async for page in client.pages(source.kind, params, most=_PAGES):
            for resource in page.matches:
                if _is_of(resource, patient) and (line := source.say(resource, reader)):
                    found[line] = None
    return list(found)[:LINES]


def _is_of(resource: Resource, patient: str) -> bool:
    """Whether it is this patient's: a server that ignores a parameter returns everyone's."""
    for name in ("patient", "subject", "beneficiary", "for"):
        said = text(inner(resource, name, "reference"))
        if said is not None:
            return said.split("/_history/")[0].split("/")[-2:] in (["Patient", patient], [patient])
    return False


def _in_force(resource: Resource) -> bool:
    """FHIR R4 condition-clinical, allergyintolerance-clinical, and their verification statuses; absent counts."""
    clinical, verified = codes(resource.get("clinicalStatus")), codes(resource.get("verificationStatus"))
    return (not clinical or bool(clinical & {"active", "recurrence", "relapse"})) and not (
        verified & {"entered-in-error", "refuted"}
    )


def _line(head: str | None, *more: str | None) -> str | None:
    """Return "head (more, more)"."""
    if not head:
        return None
    rest = ", ".join(part for part in more if part)
    return f"{head} ({rest})" if rest else head


def _allergy(resource: Resource, reader: Reader) -> str | None:  # noqa: ARG001 - the shape of Source.say
    if not _in_force(resource):
        return None
    signs = [first_words(reaction.get("manifestation")) for reaction in items(resource.get("reaction"))]
    risk = {"high": "high risk", "low": "low risk"}.get(str(resource.get("criticality")))
    return _line(words(resource.get("code")), risk, *signs)


def _problem(resource: Resource, reader: Reader) -> str | None:  # noqa: ARG001 - the shape of Source.say
    return words(resource.get("code")) if _in_force(resource) else None


def _drug(resource: Resource) -> str | None:
    return words(resource.get("medicationCodeableConcept")) or text(inner(resource, "medicationReference", "display"))


def _medication(resource: Resource, reader: Reader) -> str | None:  # noqa: ARG001 - the shape of Source.say
    if resource.get("status") != "active" or resource.get("intent") == "proposal":
        return None
    return _line(_drug(resource), text(inner(resource.get("dosageInstruction"), "text")))


def _proposal(resource: Resource, reader: Reader) -> str | None:  # noqa: ARG001 - the shape of Source.say
    if resource.get("intent") != "proposal" or text(resource.get("status")) not in {"draft", "active", "on-hold"}:
        return None
    return _line("refill", _drug(resource))


def _task(resource: Resource, reader: Reader) -> str | None:
    if text(resource.get("status")) in {"completed", "cancelled", "rejected", "failed", "entered-in-error"}:
        return None
    return _line(reader.request_kind(resource), text(resource.get("description")), text(resource.get("status")))


def _coverage(resource: Resource, reader: Reader) -> str | None:  # noqa: ARG001 - the shape of Source.say
    if text(resource.get("status")) not in {"active", None}:
        return None
    payor = next((name for one in items(resource.get("payor")) if (name := text(one.get("display")))), None)
    return _line(payor or words(resource.get("type")), words(resource.get("type")) if payor else None)


def _team(resource: Resource, reader: Reader) -> str | None:  # noqa: ARG001 - the shape of Source.say
    if text(resource.get("status")) not in {"active", "proposed", None}:
        return None
    people = [
        _line(text(inner(one, "member", "display")), first_words(one.get("role")))
        for one in items(resource.get("participant"))
        if not str(inner(one, "member", "reference") or "").startswith("Patient/")
    ]
    return "; ".join(line for line in people if line) or None


def _encounter(resource: Resource, reader: Reader) -> str | None:
    if text(resource.get("status")) in {"cancelled", "entered-in-error", "planned"}:
        return None
    began = instant(inner(resource, "period", "start"), reader.zone)
    kind = first_words(resource.get("type")) or text(inner(resource, "class", "display")) or "encounter"
    return _line(kind, began.date().isoformat() if began else None)


def _referral(resource: Resource, reader: Reader) -> str | None:  # noqa: ARG001 - the shape of Source.say
    if text(resource.get("status")) not in {"draft", "active", "on-hold"}:
        return None
    return _line(words(resource.get("code")), text(resource.get("status")))


def _consent(resource: Resource, reader: Reader) -> str | None:  # noqa: ARG001 - the shape of Source.say
    if text(resource.get("status")) != "active":
        return None
    said = text(inner(resource, "provision", "type"))
    return _line(first_words(resource.get("category")) or words(resource.get("scope")), said)


def _message(resource: Resource, reader: Reader) -> str | None:
    if text(resource.get("status")) == "entered-in-error":
        return None
    at = instant(resource.get("sent") or resource.get("received"), reader.zone)
    return _line(words(resource.get("topic")) or "message", at.date().isoformat() if at else None)


def _related(resource: Resource, reader: Reader) -> str | None:  # noqa: ARG001 - the shape of Source.say
    if resource.get("active") is False:
        return None
    family, given = person_name(resource.get("name"))
    return _line(" ".join(part for part in (given, family) if part), first_words(resource.get("relationship")))


SOURCES: dict[Section, tuple[Source, ...]] = {
    Section.ALLERGIES: (Source("AllergyIntolerance", _allergy),),
    Section.PROBLEMS: (Source("Condition", _problem),),
    Section.MEDICATIONS: (Source("MedicationRequest", _medication, (("status", "active"),)),),
    Section.REQUESTS: (Source("Task", _task), Source("MedicationRequest", _proposal, (("intent", "proposal"),))),
    Section.COVERAGE: (Source("Coverage", _coverage),),
    Section.CARE_TEAM: (Source("CareTeam", _team),),
    Section.ENCOUNTERS: (Source("Encounter", _encounter),),
    Section.REFERRALS: (Source("ServiceRequest", _referral),),
    Section.CONSENTS: (Source("Consent", _consent),),
    Section.RELATED: (Source("RelatedPerson", _related),),
    Section.MESSAGES: (Source("Communication", _message),),
}
"FHIR R4 resource types and search parameters, one row for each section."
