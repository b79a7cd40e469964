"""Sections of a chart as short lines: only what is in force, and only the sections that were asked for.

A line says what a person at the front desk needs and no more (45 CFR 164.502(b)). A resource whose label closes it, or
names it as sensitive, is left out as if it were not there.
"""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from connectors.api import ConnectorError, RejectedError, Section
from connectors.fhir.client import Client, Page, Params
from connectors.fhir.mapping import Find, Reader, nobody
from connectors.fhir.reading import (
    Resource,
    codes,
    first_words,
    inner,
    items,
    over,
    person_name,
    resolved,
    target,
    text,
    withheld,
    words,
)
from connectors.fhir.visit import name_of

LINES = 50
"Of one section; a pop is read in seconds."

AT_ONCE = 4
"Sections that are read at the same time: nobody waits for eleven answers in a row, and no server for us."

_PAGES = 5

_UNKNOWN_TYPE = ("http-404", "http-405", "http-501")
"A search of a resource type that the server does not have (FHIR R4 http.html#search: 404 Not Found)."

_NOT_SUPPORTED = ("operation-outcome", "not-supported")
"The same, by OperationOutcome.issue.code."

Say = Callable[[Resource, Reader, Find], str | None]
"Returns the line of one resource; None where it is not in force."


@dataclass(frozen=True, slots=True)
class Source:
    """Where the lines of a section come from."""

    kind: str
    say: Say
    params: Params = ()
    named_by: str = ""
    "The element whose reference is read where nothing else names the resource."

    dated: tuple[str, ...] = ()
    "Path of the date by which the newest comes first; empty where the order is the server's."


async def sections_of(
    client: Client, reader: Reader, patient: str, wanted: Collection[Section]
) -> dict[Section, tuple[str, ...]]:
    """Return the lines of each section that is wanted, of the chart of the Patient with that id.

    Raises:
        ConnectorError: a section cannot be read; what goes on for the others ends.
    """
    turn = asyncio.Semaphore(AT_ONCE)

    async def read(section: Section) -> tuple[str, ...]:
        async with turn:
            return tuple(await lines(client, reader, patient, section))

    failed: BaseException | None = None
    said: dict[Section, asyncio.Task[tuple[str, ...]]] = {}
    try:
        async with asyncio.TaskGroup() as group:
            said = {section: group.create_task(read(section)) for section in sorted(wanted)}
    except* ConnectorError as errors:
        failed = errors.exceptions[0]
    if failed is not None:
        raise failed
    return {section: task.result() for section, task in said.items()}


async def lines(client: Client, reader: Reader, patient: str, section: Section) -> list[str]:
    """Return the lines of one section; none for a resource type that the server does not have."""
    found: dict[str, str] = {}
    for source in SOURCES[section]:
        params = (("patient", patient), ("_count", str(client.settings.page)), *source.params)
        try:
            async for page in client.pages(source.kind, params, most=_PAGES, explained=True):
                await _fetch(client, source, page, patient)
                for resource in page.matches:
                    if line := line_of(source, resource, reader, patient, page.beside.get):
                        date = inner(resource, *source.dated) if source.dated else None
                        found[line] = max(found.get(line, ""), str(date or ""))
        except RejectedError as error:
            if error.reason not in _UNKNOWN_TYPE and (error.reason, error.field) != _NOT_SUPPORTED:
                raise
    # Texts of ISO 8601 sort by time as far as their zones are the same: near enough for what is read by its date.
    newest = sorted(found, key=found.__getitem__, reverse=True) if SOURCES[section][0].dated else list(found)
    return newest[:LINES]


async def _fetch(client: Client, source: Source, page: Page, patient: str) -> None:
    """Read what matches name by reference alone, where their lines would have no words without it."""
    unnamed: dict[tuple[str, str], None] = {}
    for resource in page.matches if source.named_by else ():
        meant = resource.get(source.named_by)
        kind, own = target(meant)
        if not own or f"{kind}/{own}" in page.beside or text(inner(meant, "display")):
            continue
        if _is_of(resource, patient) and resource.get("status") in _OPEN:
            unnamed[kind, own] = None
    for kind, own in list(unnamed)[:LINES]:
        read = await client.read(kind, own)
        if read is not None:
            page.beside[f"{kind}/{own}"] = read.resource


_OPEN = ("draft", "active", "on-hold")
"FHIR R4 request-status of what is in force or may come into force."


def line_of(source: Source, resource: Resource, reader: Reader, patient: str, find: Find = nobody) -> str | None:
    """Return the line of a resource, if it is this patient's, in force, and for the front desk to know."""
    if not _is_of(resource, patient) or withheld(resource):
        return None
    return source.say(resource, reader, find)


def _is_of(resource: Resource, patient: str) -> bool:
    """Whether it is this patient's: a server that ignores a parameter returns everyone's."""
    for name in ("subject", "patient", "beneficiary", "for"):
        whose = resource.get(name)
        if whose:
            said = inner(whose, "reference")
            return said in (f"Patient/{patient}", patient) or target(whose) == ("Patient", patient)
    return False


def _in_force(resource: Resource) -> bool:
    """FHIR R4 condition-clinical, allergyintolerance-clinical, and their verification statuses; absent counts."""
    clinical, verified = resource.get("clinicalStatus"), resource.get("verificationStatus")
    if verified and not codes(verified).isdisjoint(_UNTRUE):
        return False
    said = codes(clinical) if clinical else None
    return not said or not said.isdisjoint(_ACTIVE)


_ACTIVE = frozenset({"active", "recurrence", "relapse"})
_UNTRUE = frozenset({"entered-in-error", "refuted"})


def _line(head: str | None, *more: str | None) -> str | None:
    """Return "head (more, more)"."""
    if not head:
        return None
    rest = ", ".join([part for part in more if part])
    return f"{head} ({rest})" if rest else head


def _date(value: object, reader: Reader) -> str | None:
    """Return the day of a dateTime where the practice is; of one without a day or a zone, what is written."""
    if not isinstance(value, str):
        return None
    if len(value) > 19:
        with suppress(ValueError, OverflowError):
            at = datetime.fromisoformat(value)
            return (at if at.tzinfo is None else at.astimezone(reader.zone)).date().isoformat()
    return text(value[:10])


def _allergy(resource: Resource, reader: Reader, find: Find) -> str | None:  # noqa: ARG001 - the shape of Say
    if not _in_force(resource):
        return None
    signs = [first_words(reaction.get("manifestation")) for reaction in items(resource.get("reaction"))]
    risk = {"high": "high risk", "low": "low risk"}.get(str(resource.get("criticality")))
    unsure = "unconfirmed" if "unconfirmed" in codes(resource.get("verificationStatus")) else None
    return _line(words(resource.get("code")), risk, *signs, unsure)


def _problem(resource: Resource, reader: Reader, find: Find) -> str | None:  # noqa: ARG001 - the shape of Say
    return words(resource.get("code")) if _in_force(resource) else None


def _drug(resource: Resource, find: Find) -> str | None:
    """Return the name of MedicationRequest.medication[x]."""
    if said := words(resource.get("medicationCodeableConcept")):
        return said
    meant = resource.get("medicationReference")
    if not meant:
        return None
    return text(inner(meant, "display")) or words((resolved(resource, meant, find) or {}).get("code"))


def _medication(resource: Resource, reader: Reader, find: Find) -> str | None:  # noqa: ARG001 - the shape of Say
    if resource.get("status") != "active" or resource.get("intent") == "proposal" or resource.get("doNotPerform"):
        return None
    dosage = resource.get("dosageInstruction")
    said = text(inner(dosage, "text")) or text(inner(dosage, "patientInstruction")) if dosage else None
    return _line(_drug(resource, find), said)


def _proposal(resource: Resource, reader: Reader, find: Find) -> str | None:  # noqa: ARG001 - the shape of Say
    if resource.get("intent") != "proposal" or text(resource.get("status")) not in _OPEN:
        return None
    return _line("refill", _drug(resource, find))


def _task(resource: Resource, reader: Reader, find: Find) -> str | None:  # noqa: ARG001 - the shape of Say
    if text(resource.get("status")) in {"completed", "cancelled", "rejected", "failed", "entered-in-error"}:
        return None
    return _line(reader.request_kind(resource), text(resource.get("description")), text(resource.get("status")))


def _coverage(resource: Resource, reader: Reader, find: Find) -> str | None:
    if text(resource.get("status")) not in {"active", None} or over(resource.get("period"), reader.today):
        return None
    payor = next((name for one in items(resource.get("payor")) if (name := name_of(resource, one, find))), None)
    plan = next((name for one in items(resource.get("class")) if (name := text(one.get("name")))), None)
    kind = words(resource.get("type"))
    return _line(payor, plan, kind) if payor else _line(plan or kind, kind if plan else None)


def _team(resource: Resource, reader: Reader, find: Find) -> str | None:
    if text(resource.get("status")) not in {"active", "proposed", None}:
        return None
    people = []
    for one in items(resource.get("participant")):
        member = one.get("member")
        if target(member)[0] != "Patient" and not over(one.get("period"), reader.today):
            people.append(_line(name_of(resource, member, find), first_words(one.get("role"))))
    return "; ".join([line for line in people if line]) or None


def _encounter(resource: Resource, reader: Reader, find: Find) -> str | None:
    status = text(resource.get("status"))
    if status in {"cancelled", "entered-in-error", "planned"}:
        return None
    kind = first_words(resource.get("type")) or text(inner(resource, "class", "display")) or "encounter"
    who = None
    for one in items(resource.get("participant")):
        person = one.get("individual")
        if (
            person
            and target(person)[0] not in ("Patient", "RelatedPerson")
            and (who := name_of(resource, person, find))
        ):
            break
    place, period = resource.get("location"), resource.get("period")
    where = name_of(resource, inner(place, "location"), find) if place else None
    began = _date(period.get("start"), reader) if isinstance(period, dict) else None
    return _line(kind, began, who, where, _GOING_ON.get(status or ""))


_NO_STAFF = ("Patient", "RelatedPerson")

_GOING_ON = {"arrived": "arrived", "triaged": "triaged", "in-progress": "in progress", "onleave": "on leave"}
"Encounter.status of a visit that is not over."

_NO_REFERRAL = frozenset({"108252007", "363679005", "laboratory", "lab", "imaging", "radiology"})
"ServiceRequest.category: laboratory and imaging (SNOMED CT, as US Core has them), and words for them."


def _referral(resource: Resource, reader: Reader, find: Find) -> str | None:
    if text(resource.get("status")) not in _OPEN or resource.get("doNotPerform"):
        return None
    if any(not codes(one).isdisjoint(_NO_REFERRAL) for one in items(resource.get("category"))):
        return None
    what = words(resource.get("code")) or first_words(resource.get("category"))
    to = next((name for one in items(resource.get("performer")) if (name := name_of(resource, one, find))), None)
    to = to or words(resource.get("performerType"))
    return _line(what, to and f"to {to}", text(resource.get("status")), _date(resource.get("authoredOn"), reader))


def _consent(resource: Resource, reader: Reader, find: Find) -> str | None:  # noqa: ARG001 - the shape of Say
    if text(resource.get("status")) != "active" or over(inner(resource, "provision", "period"), reader.today):
        return None
    head = first_words(resource.get("category")) or words(resource.get("scope"))
    return _line(head, text(inner(resource, "provision", "type")), _date(resource.get("dateTime"), reader))


def _message(resource: Resource, reader: Reader, find: Find) -> str | None:  # noqa: ARG001 - the shape of Say
    if text(resource.get("status")) in {"entered-in-error", "not-done"}:
        return None
    head = words(resource.get("topic")) or first_words(resource.get("category")) or "message"
    side = "from the patient" if target(resource.get("sender"))[0] == "Patient" else None
    return _line(head, _date(resource.get("sent") or resource.get("received"), reader), side)


def _related(resource: Resource, reader: Reader, find: Find) -> str | None:  # noqa: ARG001 - the shape of Say
    if resource.get("active") is False or over(resource.get("period"), reader.today):
        return None
    family, given = person_name(resource.get("name"), reader.today)
    return _line(" ".join([part for part in (given, family) if part]), first_words(resource.get("relationship")))


SOURCES: dict[Section, tuple[Source, ...]] = {
    Section.ALLERGIES: (Source("AllergyIntolerance", _allergy),),
    Section.PROBLEMS: (Source("Condition", _problem),),
    Section.MEDICATIONS: (
        Source("MedicationRequest", _medication, (("status", "active"),), named_by="medicationReference"),
    ),
    Section.REQUESTS: (
        Source("Task", _task),
        Source("MedicationRequest", _proposal, (("intent", "proposal"),), named_by="medicationReference"),
    ),
    Section.COVERAGE: (Source("Coverage", _coverage),),
    Section.CARE_TEAM: (Source("CareTeam", _team),),
    Section.ENCOUNTERS: (Source("Encounter", _encounter, dated=("period", "start")),),
    Section.REFERRALS: (Source("ServiceRequest", _referral, dated=("authoredOn",)),),
    Section.CONSENTS: (Source("Consent", _consent),),
    Section.RELATED: (Source("RelatedPerson", _related),),
    Section.MESSAGES: (Source("Communication", _message, dated=("sent",)),),
}
"FHIR R4 resource types and search parameters, one row for each section."
