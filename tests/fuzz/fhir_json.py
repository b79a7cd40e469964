"""FHIR JSON: whatever a server answers, it is read or refused with a reason, and every fact could be stored."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import httpx

from connectors.api import Change, RejectedError, TransientError
from connectors.fhir import FhirSettings
from connectors.fhir.bundle import divided
from connectors.fhir.capability import Capabilities
from connectors.fhir.chart import SOURCES, line_of
from connectors.fhir.client import resource_in
from connectors.fhir.mapping import Reader
from connectors.fhir.reading import Find, Resource, inner, items, target

READ_AT = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)

READERS = [
    Reader(FhirSettings.model_validate({"base_url": "http://ehr.test/fhir"} | more), ZoneInfo(zone), region, READ_AT)
    for zone, region, more in (
        ("America/New_York", "US", {}),
        ("Pacific/Kiritimati", "GB", {"override": {"accepted_confirms": True}, "patient_identifier_systems": ["s"]}),
    )
]

FED = ("Patient", "RelatedPerson", "Appointment", "Task")

MOST = 30
"Resources of one input that are read in every way; a page holds as many as a server likes."


def one(data: bytes) -> None:
    """Read `data` as the answer to every search, and as a resource."""
    try:
        answer = resource_in(httpx.Response(200, content=data))
    except (RejectedError, TransientError):
        return
    Capabilities.of(answer)
    for kind in FED:
        matches, beside = divided(answer, kind)
        for resource in [*matches[:MOST], answer]:
            _facts(resource | {"resourceType": kind}, beside.get)
    entries = [entry.get("resource") for entry in items(answer.get("entry"))]
    for resource in [*items(entries[:MOST]), answer]:
        _lines(resource, divided(answer, "")[1].get)


def _facts(resource: Resource, find: Find) -> None:
    for reader in READERS:
        for fact in reader.changes(resource, find):
            _stored(fact)
        reader.appointment(resource | {"id": "1", "status": "booked"}, find)


def _stored(fact: Change) -> None:
    kind = type(fact)
    assert kind.model_validate(fact.model_dump()) == fact
    assert kind.model_validate_json(fact.model_dump_json()) == fact


def _lines(resource: Resource, find: Find) -> None:
    whose = resource.get("subject") or resource.get("patient") or resource.get("beneficiary") or resource.get("for")
    patient = target(whose)[1] or str(inner(whose, "reference"))
    for sources in SOURCES.values():
        for source in sources:
            line = line_of(source, resource, READERS[0], patient, find)
            assert line is None or line.strip()
