"""The public FHIR data beside the repository: every resource is read, and 14 key fields as a second reader has them.

| field | FHIR R4 |
|---|---|
| ids | Resource.id, Patient.identifier, Appointment.identifier |
| version | Meta.lastUpdated, Meta.versionId |
| name, birth date, sex | Patient.name, Patient.birthDate, Patient.gender |
| phones, language, deceased | Patient.telecom, Patient.communication.language, Patient.deceased[x] |
| status, start, minutes | Appointment.status, Appointment.start, Appointment.minutesDuration or Appointment.end |
| patient, practitioner, location | Appointment.participant.actor |
"""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from connectors.api import AppointmentFacts, Checkpoint, Identifier, PatientFacts, RelatedFacts, Section
from connectors.fhir import Fhir, FhirSettings
from connectors.fhir.bundle import divided
from connectors.fhir.mapping import Reader
from connectors.scoping import within
from tests.bench.fhir import stored
from tests.connectors.fhir import plain
from tests.connectors.stage import Clock, context
from tests.corpus import corpus_path

pytestmark = pytest.mark.corpus

SETTINGS = FhirSettings.model_validate(
    {"base_url": "http://ehr.test/fhir", "timezone": "America/New_York", "feed_by": "updated"}
)
READER = Reader(SETTINGS, plain.ZONE, "US", plain.READ_AT)

Found = list[tuple[str, dict[str, Any], plain.Find]]
"Source, resource, and what lies beside it in the same document."


def inside(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every resource in a document that is an entry or stands by itself; a contained one is its container's."""
    if isinstance(value, dict):
        if isinstance(value.get("resourceType"), str):
            yield value
        for name, inner in value.items():
            if name != "contained":
                yield from inside(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from inside(inner)


@cache
def everything() -> Found:
    found: Found = []
    root = corpus_path() / "fhir"
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        for document in plain.documents(path):
            entries = document if isinstance(document, dict) else {}
            _, beside = divided(entries, "")
            found += [(path.relative_to(root).parts[0], one, beside.get) for one in inside(document)]
    return found


def resources(kind: str, source: str | None = None) -> Found:
    return [one for one in everything() if one[1]["resourceType"] == kind and source in {None, one[0]}]


def patients() -> Iterator[tuple[dict[str, Any], PatientFacts]]:
    for _, resource, _ in resources("Patient"):
        yield resource, READER.patient(resource)


def visits() -> Iterator[tuple[dict[str, Any], plain.Find, AppointmentFacts]]:
    for _, resource, find in resources("Appointment"):
        if resource.get("id") or resource.get("identifier"):
            fact = READER.appointment(resource, find)
            assert fact is not None
            yield resource, find, fact


def test_the_set_is_the_one_that_is_described() -> None:
    kinds = Counter(resource["resourceType"] for _, resource, _ in everything())
    assert kinds["Appointment"] > 1200
    assert kinds["Patient"] >= 90
    assert kinds["Encounter"] > 1000
    assert len(kinds) > 40


def test_patients_agree_on_who_they_are() -> None:
    for resource, fact in patients():
        assert {(one.system, one.value) for one in fact.ids} == (
            plain.identifiers(resource, "fhir/Patient") - plain.state_numbers(resource)
        )
        assert (fact.family, fact.given) == plain.name(resource)
        assert (fact.birth_date.isoformat() if fact.birth_date else None) == plain.birth_date(resource)
        assert fact.sex == resource.get("gender")


def test_patients_agree_on_how_they_are_reached() -> None:
    for resource, fact in patients():
        assert [one.e164 for one in fact.phones] == plain.numbers(resource)
        assert fact.language == plain.language(resource)
        assert fact.deceased == plain.deceased(resource)
    assert sum(bool(fact.phones) for _, fact in patients()) > 50
    assert sum(fact.language is not None for _, fact in patients()) > 35


def test_appointments_agree_on_when_they_are() -> None:
    for resource, _, fact in visits():
        assert {(one.system, one.value) for one in fact.ids} == plain.identifiers(resource, "fhir/Appointment")
        assert fact.status.value == resource["status"]
        if resource.get("start") or not resource.get("slot"):
            assert fact.starts_at == plain.begins(resource)
            assert fact.minutes == plain.minutes(resource)


def test_appointments_agree_on_who_comes_and_where() -> None:
    named = 0
    for resource, find, fact in visits():
        said = fact.patient.ids[0].value if fact.patient else None
        assert said == plain.visitor(resource, find)
        for kind, read in (("Practitioner", fact.practitioner), ("Location", fact.location)):
            shown = plain.shown(resource, kind, find)
            assert shown is None or read == shown
            named += shown is not None
    assert named > 2000


def test_versions_agree() -> None:
    for resource, fact in patients():
        assert (fact.version.at, fact.version.tag) == plain.version(resource)
    for resource, _, visit in visits():
        assert (visit.version.at, visit.version.tag) == plain.version(resource)


def test_every_appointment_of_a_real_peer_is_read_whole() -> None:
    path = corpus_path() / "fhir" / "fhirtogether" / "appointments.ndjson"
    appointments = list(plain.documents(path))
    assert len(appointments) >= 500
    for appointment in appointments:
        fact = READER.appointment(appointment)
        assert fact is not None
        assert fact.starts_at is not None
        assert fact.minutes is not None
        assert fact.patient is not None
        assert bool(fact.practitioner) == (len(appointment["participant"]) > 1)


def test_a_slot_that_came_along_says_when_and_its_schedule_with_whom() -> None:
    read = 0
    for _, resource, find in resources("Appointment", "nhs_bars"):
        slot = find(resource["slot"][0]["reference"]) if resource.get("slot") else None
        if slot is None:
            continue
        fact = READER.appointment({"id": "1", "status": "booked", "slot": resource["slot"]}, find)
        assert fact is not None
        assert fact.starts_at == plain.begins(slot)
        assert fact.minutes == plain.minutes(slot)
        for actor in (find(slot["schedule"]["reference"]) or {})["actor"] if slot.get("schedule") else ():
            if (person := find(actor["reference"]) or {}).get("resourceType") == "Practitioner":
                family, given = plain.name(person)
                assert fact.practitioner == f"{given} {family}"
                read += 1
    assert read >= 5


def test_nothing_is_said_without_a_scope_and_no_number_of_the_states() -> None:
    for _, resource, find in everything():
        for fact in READER.changes(resource, find):
            assert within(fact, frozenset()) is None
            if isinstance(fact, PatientFacts | RelatedFacts):
                assert not any("us-ssn" in one.system or one.type in {"SS", "DL", "PPN"} for one in fact.ids)


class Server:
    """Answers searches with the resources of one source, and brings all others along.

    Local references read as a server rewrites them when it takes a transaction (FHIR R4 http.html#trules).
    """

    def __init__(self, source: str) -> None:
        paths = sorted(path for path in (corpus_path() / "fhir" / source).rglob("*") if path.is_file())
        taken = [one for path in paths for document in plain.documents(path) for one in inside(stored(document))]
        self.held = [resource for resource in taken if "id" in resource]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["path"].removeprefix("/fhir/")
        query = parse_qs(scope["query_string"].decode())
        matches = [one for one in self.held if one["resourceType"] == kind]
        if "patient" in query:
            matches = [one for one in matches if query["patient"][0] in orjson.dumps(one).decode()]
            along = []
        else:
            along = [one for one in self.held if one["resourceType"] != kind]
        link = f"http://ehr.test/fhir/{kind}?{scope['query_string'].decode()}"
        entries = [{"resource": one, "search": {"mode": "match"}} for one in matches]
        entries += [{"resource": one, "search": {"mode": "include"}} for one in along]
        body: dict[str, Any] = {
            "resourceType": "Bundle",
            "link": [{"relation": "self", "url": link}],
            "entry": entries,
        }
        if kind == "metadata":
            body = {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1"}
        await Response(orjson.dumps(body), media_type="application/fhir+json")(scope, receive, send)


SOURCES = ("fhirtogether", "hl7_r4_examples", "ms_fhir_server", "nhs_bars", "synthea", "us_core")


@pytest.mark.parametrize("source", SOURCES)
async def test_a_server_that_holds_a_source_is_followed_without_an_exception(source: str) -> None:
    connector, server = Fhir(SETTINGS), Server(source)
    ctx = context(connector, server, clock=Clock(plain.READ_AT))
    told: list[Any] = []
    async for change in connector.changes(ctx, None):
        told += [] if isinstance(change, Checkpoint) else [change]
    for kind, told_as in (("Patient", "fhir/Patient"), ("Appointment", "fhir/Appointment")):
        said = {one.value for fact in told for one in getattr(fact, "ids", ()) if one.system == told_as}
        assert {one["id"] for one in server.held if one["resourceType"] == kind} <= said


@pytest.mark.parametrize("source", SOURCES)
async def test_every_chart_is_read_without_an_exception(source: str) -> None:
    connector, server = Fhir(SETTINGS), Server(source)
    ctx = context(connector, server, clock=Clock(plain.READ_AT))
    said = 0
    for person in {one["id"] for one in server.held if one["resourceType"] == "Patient"}:
        chart = await connector.chart(ctx, [Identifier(system="fhir/Patient", value=person)], frozenset(Section))
        assert set(chart.sections) == set(Section)
        said += sum(map(len, chart.sections.values()))
    assert said or source in {"fhirtogether", "nhs_bars"}
