"""Patient, Appointment and Task as facts."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.api import (
    AppointmentFacts,
    AppointmentStatus,
    Identifier,
    MergeFacts,
    PatientFacts,
    RelatedFacts,
    RequestFacts,
)
from connectors.fhir import FhirSettings
from connectors.fhir.mapping import Find, Reader, nobody
from connectors.fhir.reading import NEVER

NEW_YORK = ZoneInfo("America/New_York")
READ_AT = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
CLOSED = {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}]}


def reader(**settings: Any) -> Reader:
    return Reader(FhirSettings.model_validate({"base_url": "http://ehr.test/fhir"} | settings), NEW_YORK, "US", READ_AT)


def visit(resource: dict[str, Any], find: Find = nobody, **settings: Any) -> AppointmentFacts:
    found = reader(**settings).appointment(resource, find)
    assert found is not None
    return found


def test_a_patient_is_read_as_the_server_tells() -> None:
    facts = reader().patient(
        {
            "resourceType": "Patient",
            "id": "42",
            "meta": {"versionId": "3", "lastUpdated": "2026-11-20T08:00:00Z"},
            "identifier": [
                {"system": "urn:mrn", "value": "M1", "type": {"coding": [{"code": "MR"}]}},
                {"system": "http://hl7.org/fhir/sid/us-ssn", "value": "999-12-3456"},
                {"system": "urn:state", "value": "D1", "type": {"coding": [{"code": "DL"}]}},
            ],
            "name": [{"use": "official", "family": "Quillfeather", "given": ["Orlena"]}],
            "birthDate": "1961-04-17",
            "gender": "female",
            "telecom": [{"system": "phone", "value": "212-555-0111"}],
            "communication": [
                {"language": {"coding": [{"code": "en"}]}},
                {"language": {"coding": [{"code": "es"}]}, "preferred": True},
            ],
            "address": [{"postalCode": "10001", "state": "NY"}],
            "deceasedDateTime": "2026-01-01",
            "active": True,
        }
    )
    assert facts.ids == (
        Identifier(system="fhir/Patient", value="42"),
        Identifier(system="urn:mrn", value="M1", type="MR"),
    )
    assert (facts.family, facts.given, facts.birth_date, facts.sex) == (
        "Quillfeather",
        "Orlena",
        date(1961, 4, 17),
        "female",
    )
    assert (facts.language, facts.postal_code, facts.state) == ("es", "10001", "NY")
    assert (facts.deceased, facts.active) == (True, True)
    assert (facts.version.tag, facts.version.at) == ("3", datetime(2026, 11, 20, 8, 0, tzinfo=UTC))


def test_only_the_named_systems_count_where_the_operator_names_them() -> None:
    resource = {"id": "1", "identifier": [{"system": "a", "value": "1"}, {"system": "b", "value": "2"}]}
    facts = reader(patient_identifier_systems=["b"]).patient(resource)
    assert [one.system for one in facts.ids] == ["fhir/Patient", "b"]


def test_a_patient_of_whom_nothing_is_said_is_a_patient() -> None:
    facts = reader().patient({"resourceType": "Patient", "id": "1", "name": None, "telecom": [], "meta": None})
    assert facts.family is None
    assert facts.phones == ()
    assert facts.version.at == READ_AT


def test_a_replaced_patient_is_merged_into_the_other() -> None:
    resource = {"id": "1", "active": False, "link": [{"type": "replaced-by", "other": {"reference": "Patient/2"}}]}
    merge = reader().merge(resource)
    assert isinstance(merge, MergeFacts)
    assert merge.survivor.ids == (Identifier(system="fhir/Patient", value="2"),)
    assert merge.merged == (Identifier(system="fhir/Patient", value="1"),)
    assert reader().merge(resource | {"active": None}) == merge
    assert reader().merge(resource | {"active": True}) is None
    assert reader().merge(resource | {"id": "2"}) is None
    assert reader().merge(resource | {"link": [{"type": "seealso", "other": {"reference": "Patient/2"}}]}) is None


VISIT: dict[str, Any] = {
    "resourceType": "Appointment",
    "id": "7",
    "status": "booked",
    "start": "2026-11-24T09:00:00",
    "end": "2026-11-24T09:30:00",
    "participant": [
        {"actor": {"reference": "Patient/42", "display": "Orlena Quillfeather"}},
        {"actor": {"reference": "Practitioner/1"}},
        {"actor": {"reference": "Location/9", "display": "Main Office"}},
    ],
}


def test_an_appointment_is_read_with_who_came_along() -> None:
    beside = {
        "Patient/42": {"resourceType": "Patient", "id": "42", "name": [{"family": "Quillfeather"}]},
        "Practitioner/1": {"resourceType": "Practitioner", "name": [{"family": "Thornquist", "given": ["Adelheid"]}]},
    }
    facts = reader().appointment(VISIT, beside.get)
    assert facts is not None
    assert facts.patient is not None
    assert facts.patient.family == "Quillfeather"
    assert (facts.practitioner, facts.location) == ("Adelheid Thornquist", "Main Office")
    assert (facts.starts_at, facts.minutes) == (datetime(2026, 11, 24, 14, 0, tzinfo=UTC), 30)


def test_a_patient_who_did_not_come_along_can_change_nothing() -> None:
    facts = reader().appointment(VISIT)
    assert facts is not None
    assert facts.patient is not None
    assert facts.patient.ids == (Identifier(system="fhir/Patient", value="42"),)
    assert facts.patient.version.at == NEVER
    assert facts.patient.family is None


def test_a_contained_patient_is_named_by_identifiers_only() -> None:
    visit = VISIT | {
        "contained": [
            {"resourceType": "Patient", "id": "p1", "identifier": [{"system": "urn:nhs", "value": "9"}]},
            {"resourceType": "Location", "id": "l1", "name": "Annex"},
        ],
        "participant": [{"actor": {"reference": "#p1"}}, {"actor": {"reference": "#l1"}}],
    }
    facts = reader().appointment(visit)
    assert facts is not None
    assert facts.patient is not None
    assert facts.patient.ids == (Identifier(system="urn:nhs", value="9"),)
    assert facts.location == "Annex"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("booked", AppointmentStatus.BOOKED),
        ("canceled", AppointmentStatus.CANCELLED),
        ("no-show", AppointmentStatus.NOSHOW),
        ("Checked_In", AppointmentStatus.CHECKED_IN),
        ("entered-in-error", AppointmentStatus.ENTERED_IN_ERROR),
    ],
)
def test_a_status_is_read_however_it_is_spelled(written: str, meant: AppointmentStatus) -> None:
    facts = reader().appointment(VISIT | {"status": written})
    assert facts is not None
    assert facts.status is meant


@pytest.mark.parametrize("status", ["maybe", "", None, [], {}])
def test_a_status_that_is_none_is_not_guessed(status: Any) -> None:
    assert reader().appointment(VISIT | {"status": status}) is None


def test_a_slot_says_when_where_the_visit_does_not() -> None:
    beside: dict[str, Any] = {
        "Slot/1": {
            "resourceType": "Slot",
            "schedule": {"reference": "Schedule/s"},
            "start": "2026-11-24T09:00:00",
            "end": "2026-11-24T09:20:00",
        },
        "Slot/2": {"resourceType": "Slot", "start": "2026-11-24T09:20:00", "end": "2026-11-24T09:40:00"},
        "Schedule/s": {
            "resourceType": "Schedule",
            "actor": [
                {"reference": "PractitionerRole/r"},
                {"reference": "Location/9", "display": "Annex"},
            ],
        },
        "PractitionerRole/r": {"resourceType": "PractitionerRole", "practitioner": {"reference": "Practitioner/1"}},
        "Practitioner/1": {"resourceType": "Practitioner", "name": [{"family": "Thornquist", "given": ["Adelheid"]}]},
    }
    bare = {
        "resourceType": "Appointment",
        "id": "7",
        "status": "booked",
        "slot": [{"reference": "Slot/1"}, {"reference": "2"}, {"reference": "Slot/3"}],
        "participant": [{"actor": {"reference": "Patient/42"}}],
    }
    facts = visit(bare, beside.get)
    assert (facts.starts_at, facts.minutes) == (datetime(2026, 11, 24, 14, 0, tzinfo=UTC), 40)
    assert (facts.practitioner, facts.location) == ("Adelheid Thornquist", "Annex")
    own = visit(bare | {"start": "2026-11-24T10:00:00", "minutesDuration": 15}, beside.get)
    assert (own.starts_at, own.minutes) == (datetime(2026, 11, 24, 15, 0, tzinfo=UTC), 15)
    assert visit(bare).starts_at is None


@pytest.mark.parametrize(
    ("minutes", "end", "meant"),
    [
        (20, "2026-11-24T09:30:00", 20),
        (None, "2026-11-24T09:30:00", 30),
        (True, "2026-11-24T09:30:00", 30),
        (-1, "2026-11-24T09:30:00", 30),
        (1e308, "2026-11-24T09:30:00", 30),
        (10**9, "9999-12-31T00:00:00", None),
        ("20", "2026-11-24T08:30:00", None),
        (None, None, None),
    ],
)
def test_a_visit_is_as_long_as_it_says_or_as_its_end_says(minutes: Any, end: Any, meant: int | None) -> None:
    assert visit(VISIT | {"minutesDuration": minutes, "end": end}).minutes == meant


def test_who_takes_part_is_known_by_type_where_the_reference_does_not_say() -> None:
    beside = {"urn:uuid:1": {"resourceType": "Patient", "id": "42", "name": [{"family": "Quillfeather"}]}}
    said = VISIT | {
        "participant": [
            None,
            {"actor": None},
            {"actor": {"reference": "urn:uuid:1"}},
            {"actor": {"type": "Practitioner", "display": "Adelheid Thornquist"}},
            {"actor": {"display": "Phone call"}},
        ]
    }
    facts = visit(said, beside.get)
    assert facts.patient is not None
    assert (facts.patient.ids[0].value, facts.patient.family) == ("42", "Quillfeather")
    assert (facts.practitioner, facts.location) == ("Adelheid Thornquist", None)
    assert visit(said).patient is None


def test_a_patient_may_be_named_by_an_identifier_alone() -> None:
    actor = {"type": "Patient", "identifier": {"system": "urn:mrn", "value": "M1"}}
    facts = visit(VISIT | {"participant": [{"actor": actor}]})
    assert facts.patient is not None
    assert facts.patient.ids == (Identifier(system="urn:mrn", value="M1"),)
    assert facts.patient.version.at == NEVER
    secret = actor | {"identifier": {"system": "http://hl7.org/fhir/sid/us-ssn", "value": "999-12-3456"}}
    assert visit(VISIT | {"participant": [{"actor": secret}]}).patient is None


@pytest.mark.parametrize(
    ("status", "believed", "doubted"),
    [
        ("accepted", True, None),
        ("declined", False, False),
        ("tentative", False, False),
        ("needs-action", False, False),
        ("maybe", None, None),
        (None, None, None),
        ([], None, None),
    ],
)
def test_a_patient_has_confirmed_only_where_the_server_means_it(
    status: Any, believed: bool | None, doubted: bool | None
) -> None:
    said = VISIT | {
        "participant": [
            {"actor": {"reference": "Location/9"}, "status": "accepted"},
            {"actor": {"reference": "Patient/42"}, "status": status},
        ]
    }
    assert visit(said, override={"accepted_confirms": True}).confirmed is believed
    assert visit(said).confirmed is doubted


def test_what_a_labelled_visit_is_about_stays_with_its_owner() -> None:
    said = VISIT | {"appointmentType": {"text": "Detox"}, "reasonCode": [{"text": "Relapse"}]}
    assert (visit(said).type, visit(said).reason) == ("Detox", "Relapse")
    closed = visit(said | {"meta": CLOSED})
    assert (closed.type, closed.reason) == (None, None)
    assert closed.starts_at is not None


def test_a_chart_is_closed_by_its_label_and_not_opened_by_silence() -> None:
    assert reader().patient({"id": "1", "meta": CLOSED}).restricted is True
    assert reader().patient({"id": "1"}).restricted is None


def test_the_address_in_use_is_read() -> None:
    said = [
        {"use": "old", "postalCode": "1"},
        {"use": "home", "postalCode": "2", "period": {"end": "2020"}},
        {"use": "work", "postalCode": "3"},
        {"use": "home", "postalCode": "4", "state": "NY"},
    ]
    assert reader().patient({"id": "1", "address": said}).postal_code == "4"
    assert reader().patient({"id": "1", "address": said[:3]}).postal_code == "3"
    assert reader().patient({"id": "1", "address": said[:2]}).postal_code is None


def test_a_feed_resource_says_all_that_it_holds() -> None:
    person = {
        "resourceType": "Patient",
        "id": "1",
        "contact": [{"name": {"family": "Quillfeather"}}],
        "link": [{"type": "replaces", "other": {"reference": "Patient/0"}}],
    }
    said = reader().changes(person)
    assert [type(fact) for fact in said] == [PatientFacts, RelatedFacts, RelatedFacts, MergeFacts]
    merge = said[-1]
    assert isinstance(merge, MergeFacts)
    assert (merge.survivor, merge.merged) == (said[0], (Identifier(system="fhir/Patient", value="0"),))
    gone = person | {"link": [{"type": "replaced-by", "other": {"reference": "Patient/2"}}]}
    assert [type(fact) for fact in reader().changes(gone)] == [MergeFacts]
    assert [type(fact) for fact in reader().changes(VISIT)] == [AppointmentFacts]
    assert reader().changes(VISIT | {"status": "maybe"}) == []
    task = {"resourceType": "Task", "id": "t", "for": {"reference": "Patient/42"}}
    assert [type(fact) for fact in reader().changes(task)] == [RequestFacts]
    relation = {"resourceType": "RelatedPerson", "id": "r", "patient": {"reference": "Patient/42"}}
    assert [type(fact) for fact in reader().changes(relation)] == [RelatedFacts]


@pytest.mark.parametrize("kind", ["Slot", "Schedule", "Practitioner", "OperationOutcome", None, [], 5])
def test_what_only_comes_along_says_nothing(kind: Any) -> None:
    assert reader().changes({"resourceType": kind, "id": "1"}) == []


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ({"coding": [{"code": "refill-request"}]}, "refill"),
        ({"text": "Prescription renewal for the patient"}, "refill"),
        ({"coding": [{"code": "referral"}]}, "referral"),
        ({"text": "Call back"}, "other"),
        (None, "other"),
    ],
)
@pytest.mark.parametrize(("status", "state"), [("requested", "open"), ("completed", "done"), (None, "open")])
def test_a_task_is_a_request_of_its_kind(code: Any, kind: str, status: Any, state: str) -> None:
    facts = reader().request({"id": "t", "code": code, "status": status, "for": {"reference": "Patient/42"}})
    assert facts is not None
    assert (facts.kind, facts.status) == (kind, state)


def test_a_task_for_nobody_is_no_request() -> None:
    assert reader().request({"id": "t", "status": "requested"}) is None
    assert reader().request({"id": "t", "for": {"reference": "Group/1"}}) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["reference", "coding", "code", "text", "system", "value", "family", "given", "actor", "language"]
            )
            | st.text(max_size=5),
            inside,
            max_size=4,
        )
    ),
    max_leaves=10,
)
FIELDS = st.sampled_from(
    (
        *("id", "meta", "identifier", "name", "telecom", "birthDate", "gender", "communication", "address", "active"),
        *("status", "start", "end", "minutesDuration", "participant", "contained", "appointmentType", "serviceType"),
        *("reasonCode", "for", "code", "deceasedBoolean", "deceasedDateTime", "link"),
        *("contact", "slot", "patient", "relationship", "period"),
    )
)


@given(st.dictionaries(FIELDS, JSON))
def test_no_json_makes_a_reader_raise(resource: dict[str, Any]) -> None:
    reading = reader()
    assert reading.patient(resource).version.at <= READ_AT + timedelta(days=365_000)
    for kind in ("Patient", "RelatedPerson", "Appointment", "Task"):
        reading.changes(resource | {"resourceType": kind})
    reading.appointment(resource | {"status": "booked", "id": "1"})
