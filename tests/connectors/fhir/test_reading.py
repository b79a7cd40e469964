from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.api import AppointmentStatus, Identifier, MergeFacts
from connectors.fhir import FhirSettings
from connectors.fhir.mapping import Reader
from connectors.fhir.reading import (
    NEVER,
    day,
    e164,
    inner,
    instant,
    items,
    person_name,
    phones,
    reference,
    version_of,
    words,
)

NEW_YORK = ZoneInfo("America/New_York")
READ_AT = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)


def reader(**settings: Any) -> Reader:
    return Reader(FhirSettings.model_validate({"base_url": "http://ehr.test/fhir"} | settings), NEW_YORK, "US", READ_AT)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-11-23T10:00:00-05:00", datetime(2026, 11, 23, 15, 0, tzinfo=UTC)),
        ("2026-11-23T15:00:00Z", datetime(2026, 11, 23, 15, 0, tzinfo=UTC)),
        ("2026-11-23T15:00:00.123Z", datetime(2026, 11, 23, 15, 0, 0, 123000, tzinfo=UTC)),
        ("2026-11-23T10:00:00", datetime(2026, 11, 23, 15, 0, tzinfo=UTC)),
        ("2026-07-23T10:00:00", datetime(2026, 7, 23, 14, 0, tzinfo=UTC)),
        ("2026-11-23T10:00", datetime(2026, 11, 23, 15, 0, tzinfo=UTC)),
        ("2026-11-23", datetime(2026, 11, 23, 5, 0, tzinfo=UTC)),
        ("2026-11", None),
        ("2026", None),
        ("tomorrow at ten", None),
        ("2026-13-45T10:00:00Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        (None, None),
        ([], None),
        (20261123, None),
    ],
)
def test_an_instant_without_a_zone_is_the_connections(written: Any, meant: datetime | None) -> None:
    assert instant(written, NEW_YORK) == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [("1961-04-17", date(1961, 4, 17)), ("1961-04-17T00:00:00Z", date(1961, 4, 17)), ("1961-04", None), (None, None)],
)
def test_a_birth_date_that_names_no_day_is_none(written: Any, meant: date | None) -> None:
    assert day(written) == meant


@pytest.mark.parametrize(
    ("written", "kind", "meant"),
    [
        ("Patient/42", "Patient", "42"),
        ("http://ehr.test/fhir/Patient/42", "Patient", "42"),
        ("Patient/42/_history/3", "Patient", "42"),
        ("Practitioner/42", "Patient", None),
        ("urn:uuid:1234", "Patient", None),
        ("#p1", "Patient", None),
        ("Patient/", "Patient", None),
        ("", "Patient", None),
        (None, "Patient", None),
        ([], "Patient", None),
    ],
)
def test_a_reference_names_an_id_of_its_type(written: Any, kind: str, meant: str | None) -> None:
    assert reference({"reference": written}, kind) == meant


@pytest.mark.parametrize(
    "written",
    ["+1 212 555 0111", "2125550111", "212-555-0111", "(212) 555-0111", "212.555.0111 x5", "tel:+12125550111"],
)
def test_a_number_is_the_same_however_it_is_written(written: str) -> None:
    assert e164(written, "US") == "+12125550111"


@pytest.mark.parametrize("written", ["", "none", "12", "1" * 30, None, [], 5])
def test_what_is_no_number_is_none(written: Any) -> None:
    assert e164(written, "US") is None


def test_numbers_come_once_in_use_and_by_rank() -> None:
    telecom = [
        {"system": "phone", "value": "212-555-0111", "use": "home"},
        {"system": "sms", "value": "(212) 555-0111", "use": "mobile"},
        {"system": "phone", "value": "212-555-0112", "use": "work", "rank": 1},
        {"system": "phone", "value": "212-555-0113", "use": "old"},
        {"system": "phone", "value": "212-555-0114", "period": {"end": "2020-01-01"}},
        {"system": "phone", "value": "212-555-0115", "period": {"end": "2030-01-01"}},
        {"system": "email", "value": "a@example.org"},
        {"system": "phone", "value": None},
        None,
    ]
    found = [(one.e164, one.use, one.rank) for one in phones(telecom, "US", NEW_YORK, READ_AT)]
    assert found == [("+12125550111", "home", 2), ("+12125550112", "work", 1), ("+12125550115", "", 4)]


@pytest.mark.parametrize(
    ("names", "meant"),
    [
        ([{"family": "B", "given": ["X"]}, {"use": "official", "family": "A", "given": ["Y", "Z"]}], ("A", "Y Z")),
        ([{"use": "old", "family": "B"}, {"use": "nickname", "family": "A"}], ("A", None)),
        ([{"text": "Orlena Quill Feather"}], ("Feather", "Orlena Quill")),
        ([{"text": "Orlena"}], ("Orlena", None)),
        ([{"given": None, "family": None}], (None, None)),
        ({"family": "A", "given": "Y"}, ("A", "Y")),
        ([], (None, None)),
        (None, (None, None)),
    ],
)
def test_the_name_in_use_is_read_first(names: Any, meant: tuple[str | None, str | None]) -> None:
    assert person_name(names) == meant


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
    assert reader().merge(resource | {"active": True}) is None
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
    )
)


@given(st.dictionaries(FIELDS, JSON))
def test_no_json_makes_a_reader_raise(resource: dict[str, Any]) -> None:
    reading = reader()
    assert reading.patient(resource).version.at <= READ_AT + timedelta(days=365_000)
    reading.merge(resource)
    reading.appointment(resource | {"status": "booked"})
    reading.request(resource)


@given(JSON)
def test_primitives_take_anything(value: Any) -> None:
    list(items(value))
    inner(value, "coding", "code")
    words(value)
    version_of({"meta": value}, NEW_YORK, READ_AT)
