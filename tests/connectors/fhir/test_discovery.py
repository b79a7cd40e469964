"""What a server publishes of its authorization, and scopes: whatever stands there, nothing but a connector error."""

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.api import RejectedError, Scope
from connectors.fhir import FhirSettings
from connectors.fhir.auth import token_of
from connectors.fhir.discovery import OAUTH_URIS, Endpoints, declared, published, token_endpoint
from connectors.fhir.launch import patient_of
from connectors.fhir.scope import asked, needs, style
from tests.connectors.fhir.world import BASE
from tests.connectors.stage import NOW

LEAF = (
    st.none()
    | st.booleans()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["http://[", "http://a:b@c/d", "http:\udbac"])
)
JSON: st.SearchStrategy[Any] = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)

KEYS = ("token_endpoint", "authorization_endpoint", "scopes_supported", "capabilities")
TOKEN = ("access_token", "token_type", "expires_in", "patient")


def settings(**written: Any) -> FhirSettings:
    return FhirSettings.model_validate({"base_url": BASE} | written)


@given(JSON | st.dictionaries(st.sampled_from(KEYS), JSON))
def test_any_document_is_read_or_says_nothing(document: Any) -> None:
    found = published(document)
    try:
        url = token_endpoint(settings(), found)
    except RejectedError as error:
        assert error.field == "token_url"  # noqa: PT017 - most documents raise
    else:
        assert settings().at_base(url)


@given(st.lists(JSON, max_size=3) | JSON)
def test_any_capability_statement_is_read_or_says_nothing(extension: Any) -> None:
    uris = {"url": OAUTH_URIS, "extension": extension}
    statement = {"rest": [{"mode": "server", "security": {"extension": [extension, uris]}}]}
    assert isinstance(declared(statement), Endpoints)
    assert declared(extension) == Endpoints() or isinstance(extension, dict)


@given(st.dictionaries(st.sampled_from(TOKEN), JSON))
def test_any_token_answer_is_a_token_or_refused(answer: dict[str, Any]) -> None:
    try:
        token = token_of(answer, NOW)
    except RejectedError:
        pass
    else:
        assert NOW <= token.ends_at <= NOW + timedelta(days=1)
    try:
        assert patient_of(answer)
    except RejectedError as error:
        assert error.reason == "launch-without-patient"  # noqa: PT017 - most answers raise


@pytest.mark.parametrize("seconds", [True, [300], {"s": 1}, "1e3", math.inf, -math.inf, "٣٠٠"])
def test_odd_lives_of_a_token_are_no_longer_than_a_day(seconds: Any) -> None:
    token = token_of({"access_token": "a", "token_type": "bearer", "expires_in": seconds}, NOW)
    assert NOW <= token.ends_at <= NOW + timedelta(days=1)


NEEDS = st.dictionaries(
    st.sampled_from(["Patient", "Appointment", "Task"]), st.sampled_from(["rs", "rus", "crs"]), min_size=1
)
SUPPORTED = st.lists(
    st.builds(
        "{}/{}.{}".format,
        st.sampled_from(["system", "patient", "user"]),
        st.sampled_from(["Patient", "Appointment", "Task", "*", "Device"]),
        st.sampled_from(["r", "rs", "cruds", "read", "write", "*", "s?x=y"]),
    )
    | st.sampled_from(["openid", "system/", "system/.", "fhirUser"])
)


@given(NEEDS, SUPPORTED)
def test_no_more_is_ever_asked_for_than_is_needed(needed: dict[str, str], supported: list[str]) -> None:
    how = style(settings(), supported, ["permission-v2"])
    words = asked(needed, how, supported).split()
    assert words == sorted(set(words))
    assert words
    for word in words:
        kind, _, said = word.removeprefix("system/").partition(".")
        assert kind in needed
        if how == "v2":
            assert set(said) <= set(needed[kind])
        else:
            assert said in {"read", "write"}
            assert said == "read" or set("cud") & set(needed[kind])


@pytest.mark.parametrize(
    ("supported", "capabilities", "wanted"),
    [
        ([], [], "v1"),
        ([], ["permission-v2"], "v2"),
        (["openid", "patient/*.rs"], ["permission-v1"], "v1"),
        (["system/*.read"], ["permission-v1", "permission-v2"], "v1"),
        (["system/*.read", "system/*.rs"], [], "v2"),
        (["system/*.*"], ["permission-v2"], "v1"),
    ],
)
def test_what_is_listed_says_more_than_what_is_claimed(
    supported: list[str], capabilities: list[str], wanted: str
) -> None:
    assert style(settings(), supported, capabilities) == wanted
    assert style(settings(override={"scopes": "v2"}), supported, capabilities) == "v2"


EPIC = ["epic.scanning.dmsusername", "fhirUser", "launch", "openid", "profile"]
ORACLE = [
    "fhirUser",
    "patient/Appointment.crus",
    "system/Appointment.crus",
    "system/Appointment.read",
    "system/Patient.rs",
]
MEDPLUM = ["patient/*.rs", "user/*.cruds", "openid", "fhirUser", "launch", "launch/patient", "offline_access"]
BOTH = ["launch-ehr", "client-confidential-asymmetric", "permission-v1", "permission-v2"]


@pytest.mark.parametrize(
    ("vendor", "supported", "scope"),
    [
        ("epic", EPIC, "system/Appointment.rs system/Patient.rs"),
        ("oracle-health", ORACLE, "system/Appointment.rus system/Patient.rs"),
        ("athenahealth", [], "system/Appointment.rs system/Patient.rs"),
        ("medplum", MEDPLUM, "system/Appointment.rus system/Patient.rs"),
    ],
)
def test_the_vendors_documents_lead_to_scopes_that_they_know(vendor: str, supported: list[str], scope: str) -> None:
    own = settings(profile=vendor, search_parameters={"ah-practice": "Organization/1"})
    needed = needs(own, [Scope.PATIENT_IDENTITY, Scope.APPOINTMENTS, Scope.APPOINTMENT_STATUS_WRITE])
    told = asked(needed, style(own, supported, BOTH), supported).split()
    assert [one for one in told if one.startswith(("system/Appointment.", "system/Patient."))] == scope.split()


def test_needs_follow_the_scopes_of_the_connector() -> None:
    assert needs(settings(), [Scope.PATIENT_IDENTITY]) == {"Patient": "rs"}
    visits = needs(settings(), [Scope.APPOINTMENTS])
    assert visits["Appointment"] == "rs"
    assert "Subscription" not in visits
    hinted = settings(callback_url="https://hub.test/carriers/ehr/hint", callback_secret="s" * 32)
    assert needs(hinted, [Scope.APPOINTMENTS])["Subscription"] == "crus"
    assert needs(settings(feed=["patients"]), [Scope.APPOINTMENTS]) == {}
    writing = needs(settings(override={"write_back": "response"}), [Scope.APPOINTMENT_STATUS_WRITE])
    assert writing == {"Appointment": "rs", "AppointmentResponse": "crs"}
