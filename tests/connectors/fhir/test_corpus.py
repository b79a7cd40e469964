"""The public FHIR data beside the repository: every Patient and Appointment of it is read."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest

from connectors.fhir import FhirSettings
from connectors.fhir.chart import SOURCES
from connectors.fhir.mapping import Reader, nobody
from connectors.scoping import within
from tests.corpus import corpus_path

pytestmark = pytest.mark.corpus

READER = Reader(
    FhirSettings.model_validate({"base_url": "http://ehr.test/fhir"}),
    ZoneInfo("America/New_York"),
    "US",
    datetime(2026, 11, 23, tzinfo=UTC),
)


def documents(path: Path) -> Iterator[Any]:
    raw = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        yield orjson.loads(raw)
    except orjson.JSONDecodeError:
        for line in raw.splitlines():
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError:
                return  # one file of the set is no JSON at all


def inside(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if isinstance(value.get("resourceType"), str):
            yield value
        for inner in value.values():
            yield from inside(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from inside(inner)


@cache
def everything() -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return every resource of the set, by its source and type."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    root = corpus_path() / "fhir"
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        for document in documents(path):
            for one in inside(document):
                found[path.relative_to(root).parts[0], one["resourceType"]].append(one)
    return found


def resources(kind: str, source: str | None = None) -> list[dict[str, Any]]:
    return [
        one for (where, what), held in everything().items() if what == kind and source in {None, where} for one in held
    ]


def test_every_appointment_of_a_real_peer_is_read_whole() -> None:
    path = corpus_path() / "fhir" / "fhirtogether" / "appointments.ndjson"
    appointments = list(documents(path))
    assert len(appointments) >= 500
    for appointment in appointments:
        fact = READER.appointment(appointment)
        assert fact is not None
        assert fact.starts_at is not None
        assert fact.minutes is not None
        assert fact.patient is not None
        assert bool(fact.practitioner) == (len(appointment["participant"]) > 1)


def test_every_appointment_is_read() -> None:
    appointments = resources("Appointment")
    facts = [READER.appointment(one) for one in appointments]
    assert len(appointments) > 1000
    named = [one for one in appointments if one.get("id") or one.get("identifier")]
    assert sum(fact is not None for fact in facts) == len(named)


def test_every_patient_is_read_and_most_have_a_name_and_a_birth_date() -> None:
    patients = resources("Patient")
    facts = [READER.patient(one) for one in patients]
    assert len(facts) > 90
    named = [one for one in patients if one.get("name")]
    assert sum(fact.family is not None or fact.given is not None for fact in facts) >= len(named) - 1
    assert all(within(fact, frozenset()) is None for fact in facts)
    assert not any("us-ssn" in one.system or one.type in {"SS", "DL", "PPN"} for fact in facts for one in fact.ids)


def test_every_number_of_synthea_is_read() -> None:
    patients = resources("Patient", "synthea")
    assert len(patients) >= 39
    assert all(READER.patient(one).phones for one in patients)


def test_every_chart_resource_says_its_line_or_nothing() -> None:
    said = 0
    for sources in SOURCES.values():
        for source in sources:
            for resource in resources(source.kind):
                line = source.say(resource, READER, nobody)
                assert line is None or line.strip()
                said += line is not None
    assert said > 150
