"""Primitives of FHIR JSON: times, references, names, identifiers, labels, telephone numbers."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.fhir.bundle import divided
from connectors.fhir.reading import (
    closed,
    day,
    first_words,
    identifiers,
    inner,
    instant,
    items,
    over,
    person_name,
    reference,
    resolved,
    version_of,
    withheld,
    words,
)
from connectors.fhir.telecom import phones

NEW_YORK = ZoneInfo("America/New_York")
READ_AT = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
TODAY = "2026-11-23"
CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"


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
        ("9999-12-31T23:59:59-14:00", None),
        ("9999-12-31T23:59:59", None),
        ("2026-11-23T10:00:00.1234567-05:00", datetime(2026, 11, 23, 15, 0, 0, 123456, tzinfo=UTC)),
        ("2026-11-01T01:30:00", datetime(2026, 11, 1, 5, 30, tzinfo=UTC)),
        ("2026-03-08T02:30:00", datetime(2026, 3, 8, 7, 30, tzinfo=UTC)),
        (" 2026-11-23T15:00:00Z ", datetime(2026, 11, 23, 15, 0, tzinfo=UTC)),
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
        ("/Patient", "Patient", None),
        ("Patient/42/", "Patient", None),
        ("42/_history/3", "Patient", None),
        (" Patient/42 ", "Patient", "42"),
        ("", "Patient", None),
        (None, "Patient", None),
        ([], "Patient", None),
    ],
)
def test_a_reference_names_an_id_of_its_type(written: Any, kind: str, meant: str | None) -> None:
    assert reference({"reference": written}, kind) == meant


def test_numbers_come_once_in_use_and_by_rank() -> None:
    telecom = [
        {"system": "phone", "value": "212-555-0111", "use": "home"},
        {"system": "sms", "value": "(212) 555-0111", "use": "mobile"},
        {"system": "phone", "value": "212-555-0112", "use": "work", "rank": 1},
        {"system": "phone", "value": "212-555-0113", "use": "old"},
        {"system": "phone", "value": "212-555-0114", "period": {"end": "2020-01-01"}},
        {"system": "phone", "value": "212-555-0115", "period": {"end": "2030-01-01"}},
        {"system": "email", "value": "a@example.org"},
        {"system": "phone", "value": "212-555-0116", "rank": True, "use": ["home"]},
        {"system": "phone", "value": "212-555-0117", "rank": 2**31},
        {"system": "phone", "value": None},
        {"system": ["phone"], "value": "212-555-0118"},
        None,
    ]
    found = [(one["e164"], one["use"], one["rank"]) for one in phones(telecom, "US", TODAY)]
    assert found == [
        ("+12125550111", "home", 2),
        ("+12125550112", "work", 1),
        ("+12125550115", "", 4),
        ("+12125550116", "", 4),
        ("+12125550117", "", 4),
    ]


@pytest.mark.parametrize(
    ("names", "meant"),
    [
        ([{"family": "B", "given": ["X"]}, {"use": "official", "family": "A", "given": ["Y", "Z"]}], ("A", "Y Z")),
        ([{"use": "old", "family": "B"}, {"use": "nickname", "family": "A"}], ("A", None)),
        ([{"text": "Orlena Quill Feather"}], ("Feather", "Orlena Quill")),
        ([{"text": "Orlena"}], ("Orlena", None)),
        ([{"given": None, "family": None}], (None, None)),
        ([{"family": "B", "period": {"end": "2020"}}, {"family": "A"}], ("A", None)),
        ([{"family": "B", "period": {"end": "2020"}}], ("B", None)),
        ([{"use": "maiden"}, {"text": " Orlena   Quill "}], ("Quill", "Orlena")),
        (["Orlena"], (None, None)),
        ({"family": "A", "given": "Y"}, ("A", "Y")),
        ([], (None, None)),
        (None, (None, None)),
    ],
)
def test_the_name_in_use_is_read_first(names: Any, meant: tuple[str | None, str | None]) -> None:
    assert person_name(names, TODAY) == meant


@given(
    st.datetimes(timezones=st.just(UTC)).filter(lambda at: 1900 < at.year < 2100),
    st.sampled_from(["America/New_York", "Europe/London", "Asia/Kathmandu", "Pacific/Apia"]),
)
def test_a_local_time_means_what_its_zone_says(at: datetime, zone: str) -> None:
    written = at.replace(tzinfo=None).isoformat()
    assert instant(written, ZoneInfo(zone)) == at.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


@pytest.mark.parametrize(
    ("end", "is_over"),
    [
        ("2026-11-22", True),
        ("2026-11-23", False),
        ("2026-11-22T23:59:59-05:00", True),
        ("2026-11", False),
        ("2026-10", True),
        ("2026", False),
        ("2025", True),
        ("", False),
        (None, False),
        (2020, False),
    ],
)
def test_a_period_is_over_after_its_last_day(end: Any, is_over: bool) -> None:
    assert over({"end": end}, TODAY) is is_over
    assert not over(end, TODAY)


@pytest.mark.parametrize(
    ("labels", "is_closed", "is_withheld"),
    [
        ([{"system": CONFIDENTIALITY, "code": "R"}], True, True),
        ([{"system": CONFIDENTIALITY, "code": "V"}], True, True),
        ([{"system": "http://hl7.org/fhir/v3/Confidentiality", "code": "R"}], True, True),
        ([{"code": "R"}], True, True),
        ([{"system": CONFIDENTIALITY, "code": "N"}], False, False),
        ([{"system": CONFIDENTIALITY, "code": "N"}, {"system": CONFIDENTIALITY, "code": "V"}], True, True),
        ([{"system": "urn:local", "code": "R"}], None, False),
        ([{"system": ACT_CODE, "code": "PSY"}], None, True),
        ([{"system": ACT_CODE, "code": "TBOO"}], None, True),
        ({"system": CONFIDENTIALITY, "code": "R"}, True, True),
        ([], None, False),
        ([None, {"code": None}, "R"], None, False),
        (None, None, False),
    ],
)
def test_a_label_closes_a_chart_or_withholds_a_line(labels: Any, is_closed: bool | None, is_withheld: bool) -> None:
    resource = {"meta": {"security": labels}}
    assert (closed(resource), withheld(resource)) == (is_closed, is_withheld)


@pytest.mark.parametrize("meta", [None, {}, [], "R"])
def test_what_nobody_labelled_is_not_said_to_be_open(meta: Any) -> None:
    assert closed({"meta": meta}) is None
    assert not withheld({"meta": meta})


def test_a_clock_that_is_wrong_by_years_wins_over_nothing_to_come() -> None:
    told = {"meta": {"lastUpdated": "2999-01-01T00:00:00Z", "versionId": 3}}
    assert (version_of(told, NEW_YORK, READ_AT).at, version_of(told, NEW_YORK, READ_AT).tag) == (READ_AT, "3")
    ahead = {"meta": {"lastUpdated": "2026-11-23T15:05:00Z"}}
    assert version_of(ahead, NEW_YORK, READ_AT).at == READ_AT + timedelta(minutes=5)


def test_an_identifier_needs_a_value_and_nothing_else() -> None:
    said = [
        {"value": " 1 ", "system": "urn:a", "type": {"coding": [{"code": None}, {"code": "MR"}]}},
        {"value": "2", "type": {"text": "Chart number"}},
        {"value": None},
        {"system": "urn:a"},
        None,
    ]
    assert identifiers(said) == [
        {"system": "urn:a", "value": "1", "type": "MR"},
        {"system": "", "value": "2", "type": ""},
    ]
    assert identifiers({"value": "3"}) == [{"system": "", "value": "3", "type": ""}]


def test_a_page_is_divided_into_what_was_asked_for_and_what_came_along() -> None:
    visit, person = {"resourceType": "Appointment", "id": "7"}, {"resourceType": "Patient", "id": "42"}
    other = {"resourceType": "Appointment", "id": "8"}
    entries = [
        {"resource": visit, "search": {"mode": "match"}},
        {"fullUrl": "urn:uuid:1", "resource": person, "search": None},
        {"resource": other, "search": {"mode": "include"}},
        {"resource": None},
        {"search": {}},
        None,
    ]
    matches, beside = divided({"entry": entries}, "Appointment")
    assert matches == [visit]
    assert beside == {"Patient/42": person, "urn:uuid:1": person, "Appointment/8": other}
    assert divided({"entry": {}}, "Appointment") == ([], {})


def test_a_reference_leads_to_what_is_contained_or_came_along() -> None:
    inside, came = {"id": "a", "name": "A"}, {"id": "b", "name": "B"}
    resource = {"contained": [inside, None]}
    beside = {"Location/b": came, "urn:uuid:1": came}
    for said, meant in (
        ("#a", inside),
        ("#b", None),
        ("Location/b", came),
        ("http://ehr.test/fhir/Location/b/_history/2", came),
        ("urn:uuid:1", came),
        ("urn:uuid:2", None),
        ("b", None),
        (None, None),
    ):
        assert resolved(resource, {"reference": said}, beside.get) is meant


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.dictionaries(
            st.sampled_from(["reference", "coding", "code", "text", "system", "value", "family", "given", "security"])
            | st.text(max_size=5),
            inside,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(JSON)
def test_primitives_take_anything(value: Any) -> None:
    list(items(value))
    inner(value, "coding", "code")
    words(value)
    first_words(value)
    identifiers(value)
    person_name(value, TODAY)
    list(phones(value, "US", TODAY))
    version_of({"meta": value}, NEW_YORK, READ_AT)
    withheld({"meta": value})
    divided({"entry": value}, "Patient")
    resolved({"contained": value}, value, lambda _: None)
