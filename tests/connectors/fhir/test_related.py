"""Who may call for a patient: RelatedPerson and Patient.contact."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from connectors.api import Identifier, RelatedFacts
from connectors.fhir import FhirSettings
from connectors.fhir.mapping import Reader

READER = Reader(
    FhirSettings.model_validate({"base_url": "http://ehr.test/fhir"}),
    ZoneInfo("America/New_York"),
    "US",
    datetime(2026, 11, 23, 15, 0, tzinfo=UTC),
)

MOTHER: dict[str, Any] = {
    "resourceType": "RelatedPerson",
    "id": "r1",
    "meta": {"versionId": "2", "lastUpdated": "2026-11-20T08:00:00Z"},
    "patient": {"reference": "Patient/42"},
    "active": True,
    "relationship": [{"coding": [{"code": "MTH", "display": "mother"}]}],
    "name": [{"family": "Quillfeather", "given": ["Isolde"]}],
    "telecom": [{"system": "phone", "value": "(212) 555-0111", "use": "mobile"}],
    "identifier": [
        {"system": "http://hl7.org/fhir/sid/us-ssn", "value": "999-12-3456"},
        {"system": "urn:kin", "value": "K1"},
    ],
}


def test_a_related_person_is_read_with_whose_it_is() -> None:
    facts = READER.related(MOTHER)
    assert facts is not None
    assert facts.ids == (
        Identifier(system="fhir/RelatedPerson", value="r1"),
        Identifier(system="urn:kin", value="K1"),
    )
    assert facts.patient_ids == (Identifier(system="fhir/Patient", value="42"),)
    assert (facts.given, facts.family, facts.relationship) == ("Isolde", "Quillfeather", "mother")
    assert [(one.e164, one.use) for one in facts.phones] == [("+12125550111", "mobile")]
    assert (facts.active, facts.version.tag) == (True, "2")


@pytest.mark.parametrize(
    ("change", "active"),
    [
        ({"active": False}, False),
        ({"active": None}, None),
        ({"period": {"end": "2020-01-01"}}, False),
        ({"period": {"end": "2030-01-01"}}, True),
    ],
)
def test_a_relation_that_is_over_is_told_as_such(change: dict[str, Any], active: bool | None) -> None:
    facts = READER.related(MOTHER | change)
    assert facts is not None
    assert facts.active is active


@pytest.mark.parametrize(
    "change",
    [{"patient": None}, {"patient": {"reference": "Group/1"}}, {"id": None, "identifier": None}],
)
def test_a_relation_of_nobody_is_none(change: dict[str, Any]) -> None:
    assert READER.related(MOTHER | change) is None


def contacts(*said: Any) -> list[RelatedFacts]:
    return list(READER.contacts({"resourceType": "Patient", "id": "42", "contact": list(said)}))


def test_a_contact_is_named_by_its_place_and_the_list_ends_with_nobody() -> None:
    father = {
        "relationship": [{"coding": [{"code": "N"}], "text": "Father"}],
        "name": {"family": "Quillfeather", "given": ["Ansgar"]},
        "telecom": [{"system": "phone", "value": "212-555-0112"}],
    }
    first, last = contacts(father)
    assert first.ids == (Identifier(system="fhir/Patient.contact", value="42/1"),)
    assert (first.given, first.relationship, first.phones[0].e164) == ("Ansgar", "Father", "+12125550112")
    assert first.active
    assert last.ids == (Identifier(system="fhir/Patient.contact", value="42/2"),)
    assert (last.active, last.family, last.phones) == (False, None, ())


def test_a_contact_who_left_takes_no_place_of_another() -> None:
    before = contacts({"name": {"family": "A"}}, {"name": {"family": "B"}})
    after = contacts({"name": {"family": "B"}})
    stands = {fact.ids: fact for fact in before} | {fact.ids: fact for fact in after}
    assert [fact.family for fact in stands.values() if fact.active] == ["B"]


@pytest.mark.parametrize(
    "contact",
    [
        {"organization": {"display": "Acme"}},
        {"relationship": [{"coding": [{"code": "E"}]}], "name": {"text": "Acme"}},
        {"relationship": [{"coding": [{"code": "I"}]}], "name": {"text": "Payor"}},
        {"name": {"family": "A"}, "period": {"end": "2020"}},
    ],
)
def test_an_employer_an_insurer_and_who_is_no_longer_there_may_not_call(contact: dict[str, Any]) -> None:
    assert [fact.active for fact in contacts(contact)] == [False, False]


def test_a_spouse_who_is_the_employer_too_may_call() -> None:
    roles = [{"coding": [{"code": "E"}]}, {"coding": [{"code": "N"}]}]
    assert contacts({"relationship": roles, "name": {"family": "A"}})[0].active


def test_a_patient_without_contacts_says_nothing_of_them() -> None:
    assert contacts() == []
    assert list(READER.contacts({"resourceType": "Patient", "contact": [{"name": {"family": "A"}}]})) == []
