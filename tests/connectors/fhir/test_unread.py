"""What a FHIR feed cannot read is kept as it came, told once, and read again on request."""

from typing import Any

import orjson
import pytest

from connectors.api import AppointmentFacts, RejectedError, RelatedFacts, UnreadFacts
from connectors.fhir import Fhir, FhirSettings
from tests.connectors.fhir.world import BASE, World, told
from tests.connectors.stage import ZONE

ODD: dict[str, Any] = {
    "resourceType": "Appointment",
    "id": "odd",
    "status": "penciled-in",
    "start": "2026-11-24T09:00:00-05:00",
    "participant": [{"actor": {"reference": "Patient/p1"}, "status": "accepted"}],
}


def read(resource: dict[str, Any]) -> list[Any]:
    connector = Fhir(FhirSettings.model_validate({"base_url": BASE}))
    return list(connector.read(orjson.dumps(resource), timezone=ZONE, region="US"))


async def test_an_appointment_of_an_unknown_status_is_kept_as_it_came_and_told_once(world: World) -> None:
    connector = world.connector()
    kept = world.store.put(ODD)
    facts, cursor = await told(connector, world.context(connector))
    (unread,) = [fact for fact in facts if isinstance(fact, UnreadFacts)]
    assert orjson.loads(unread.raw) == kept
    again, _ = await told(connector, world.context(connector), cursor)
    assert not any(isinstance(fact, UnreadFacts) for fact in again)
    with pytest.raises(RejectedError, match="appointment-status-unknown") as caught:
        connector.read(unread.raw, timezone=ZONE, region="US")
    assert caught.value.field == "Appointment.status"


def test_what_could_not_be_read_is_read_once_it_makes_sense() -> None:
    (visit,) = read(ODD | {"status": "booked", "meta": {"versionId": "2", "lastUpdated": "2026-11-20T10:00:00Z"}})
    assert isinstance(visit, AppointmentFacts)
    assert (visit.ids[0].value, visit.version.tag) == ("odd", "2")
    (mother,) = read(
        {"resourceType": "RelatedPerson", "id": "r1", "patient": {"reference": "Patient/p1"}, "name": [{"text": "M R"}]}
    )
    assert isinstance(mother, RelatedFacts)


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        (ODD, "appointment-status-unknown"),
        ({"resourceType": "Appointment", "status": "booked"}, "appointment-id-missing"),
        ({"resourceType": "RelatedPerson", "id": "r1"}, "patient-missing"),
        ({"resourceType": "Observation", "id": "o1"}, "not-understood"),
        ({}, "not-understood"),
    ],
)
def test_what_still_cannot_be_read_says_why(resource: dict[str, Any], reason: str) -> None:
    with pytest.raises(RejectedError, match=reason) as caught:
        read(resource)
    assert "penciled" not in str(caught.value)


def test_a_request_that_is_for_nobody_says_nothing() -> None:
    assert read({"resourceType": "Task", "id": "t1", "status": "requested"}) == []
