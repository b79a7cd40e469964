"""Asking: check, phone search, chart."""

from typing import Any

import orjson
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from connectors import host
from connectors.api import (
    AuthExpiredError,
    Checks,
    ConnectorError,
    Feeds,
    FindsPatients,
    Identifier,
    Logs,
    RejectedError,
    Section,
    Sends,
    SetsStatus,
    TransientError,
)
from connectors.fhir import Fhir
from connectors.sandbox.people import MRN_SYSTEM
from tests.connectors.fhir.world import BASE, World, without_parameter
from tests.connectors.fhir.world import world as made
from tests.connectors.stage import online, served


def json(body: Any, status: int = 200) -> ASGIApp:
    """Return a server that answers everything with one body."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(content, status, media_type="application/fhir+json")(scope, receive, send)

    return app


def test_the_methods_are_the_capabilities(world: World) -> None:
    connector = world.connector()
    for capability in (Checks, FindsPatients, Feeds, SetsStatus, Logs):
        assert isinstance(connector, capability)
    assert not isinstance(connector, Sends)


async def test_check_proves_address_and_credentials_without_reading_anybody(world: World) -> None:
    connector = world.connector()
    await connector.check(world.context(connector))
    assert [(one.path, one.query) for one in world.asked] == [
        ("/fhir/metadata", ""),
        ("/fhir/Patient", "_summary=count"),
    ]


async def test_check_over_a_real_socket_with_a_real_token() -> None:
    guarded = made(token="right")
    async with served(guarded.app) as base:
        written = {"base_url": f"{base}/fhir", "token": "env:EHR_TOKEN"}
        right = host.build("fhir", written, {"env:EHR_TOKEN": "right"}.__getitem__)
        wrong = host.build("fhir", written, {"env:EHR_TOKEN": "wrong"}.__getitem__)
        assert isinstance(right, Fhir)
        assert isinstance(wrong, Fhir)
        async with online(right) as ctx:
            await right.check(ctx)
        async with online(wrong) as ctx:
            with pytest.raises(AuthExpiredError):
                await wrong.check(ctx)


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ({"resourceType": "Patient"}, "no-capability-statement"),
        ({"resourceType": "CapabilityStatement", "fhirVersion": "3.0.2"}, "not-fhir-r4"),
        ({"resourceType": "CapabilityStatement"}, "not-fhir-r4"),
    ],
)
async def test_what_is_no_r4_server_is_refused(world: World, statement: Any, reason: str) -> None:
    connector = world.connector()
    with pytest.raises(RejectedError, match=reason):
        await connector.check(world.context(connector, json(statement)))


async def test_basic_authentication_and_bearer_tokens_are_sent(world: World) -> None:
    resolve = {"env:P": "pass", "env:T": "tick"}.__getitem__
    for written, wanted in (
        ({"username": "u", "password": "env:P"}, "Basic dTpwYXNz"),
        ({"token": "env:T"}, "Bearer tick"),
        ({}, None),
    ):
        connector = host.build("fhir", {"base_url": BASE} | written, resolve)
        assert isinstance(connector, Fhir)
        await connector.check(world.context(connector))
        assert world.asked[-1].headers.get("authorization") == wanted


@pytest.mark.parametrize(
    "written",
    [
        {"username": "u"},
        {"password": "env:P"},
        {"username": "u", "password": "env:P", "token": "env:P"},
        {"client_id": "c"},
        {"timezone": "America/Nowhere"},
        {"base_url": "ftp://ehr.test"},
        {"page_size": 0},
    ],
)
def test_settings_that_do_not_hold_together_are_refused(written: dict[str, Any]) -> None:
    with pytest.raises(host.ConnectionSettingsError):
        host.build("fhir", {"base_url": BASE} | written, lambda _: "secret")


async def test_everyone_is_found_however_the_number_was_typed_in(world: World) -> None:
    connector = world.connector()
    ctx = world.context(connector)
    for person in world.people.persons:
        if person.phone:
            found = await connector.find_patients(ctx, person.phone)
            assert {ref.id for ref in found} == {one.id for one in world.people.at(person.phone)}


async def test_a_family_on_one_number_is_found_whole(world: World) -> None:
    family = world.people.persons[4:7]
    assert len({person.written for person in family}) == 3
    connector = world.connector()
    found = await connector.find_patients(world.context(connector), str(family[0].phone))
    assert sorted(ref.id for ref in found) == [person.id for person in family]
    assert {ref.facts.given for ref in found} == {person.given for person in family}


async def test_a_server_that_ignores_the_number_finds_nobody_else(world: World) -> None:
    connector = world.connector()
    ctx = world.context(connector, without_parameter(world.app, "phone"))
    person = world.people.alone_at_their_number()[0]
    assert [ref.id for ref in await connector.find_patients(ctx, str(person.phone))] == [person.id]
    assert await connector.find_patients(ctx, "+12125550199") == []


ALL = frozenset(Section)


async def test_a_chart_has_the_sections_that_were_asked_for_and_no_other_request_is_made(world: World) -> None:
    connector = world.connector()
    ids = [Identifier(system="fhir/Patient", value="p01")]
    chart = await connector.chart(world.context(connector), ids, frozenset({Section.ALLERGIES}))
    assert set(chart.sections) == {Section.ALLERGIES}
    assert set(world.paths()) == {"AllergyIntolerance"}


async def test_every_section_says_what_is_in_force(world: World) -> None:
    connector = world.connector()
    ctx = world.context(connector)
    for person in world.people.persons:
        ids = [Identifier(system=MRN_SYSTEM, value=person.mrn)]
        chart = await connector.chart(ctx, ids, ALL)
        assert set(chart.sections[Section.PROBLEMS]) == {name for _, name in person.problems}
        assert set(chart.sections[Section.ALLERGIES]) == {
            f"{what} ({risk} risk, {sign})" for what, sign, risk in person.allergies
        }
        assert set(chart.sections[Section.MEDICATIONS]) == {f"{drug} (once daily)" for drug in person.drugs}
        assert chart.sections[Section.COVERAGE] == (person.payor,)
        assert chart.sections[Section.CARE_TEAM] == ("Adelheid Thornquist MD (Primary care physician)",)
        asked_for = [one.drug for one in world.people.refills if one.person == person]
        assert list(chart.sections[Section.REQUESTS]) == [f"refill ({drug}, requested)" for drug in asked_for]


async def test_what_is_over_or_wrong_or_someone_elses_is_not_in_the_chart(world: World) -> None:
    who, other = {"reference": "Patient/p10"}, {"reference": "Patient/p11"}
    gone = {"coding": [{"code": "resolved"}]}
    wrong = {"coding": [{"code": "entered-in-error"}]}
    for resource in (
        {"resourceType": "Condition", "id": "x1", "code": {"text": "Old"}, "subject": who, "clinicalStatus": gone},
        {"resourceType": "Condition", "id": "x2", "code": {"text": "Err"}, "subject": who, "verificationStatus": wrong},
        {"resourceType": "Condition", "id": "x3", "code": {"text": "Theirs"}, "subject": other},
        {"resourceType": "Condition", "id": "x4", "code": {"text": "Now"}, "subject": who},
        {"resourceType": "Condition", "id": "x5", "code": None, "subject": who},
        {
            "resourceType": "Coverage",
            "id": "x6",
            "status": "cancelled",
            "beneficiary": who,
            "payor": [{"display": "N"}],
        },
    ):
        world.store.put(resource)
    connector = world.connector()
    ctx = world.context(connector, without_parameter(world.app, "patient"))
    chart = await connector.chart(
        ctx, [Identifier(system="fhir/Patient", value="p10")], frozenset({Section.PROBLEMS, Section.COVERAGE})
    )
    own = {name for _, name in world.people.persons[9].problems}
    assert set(chart.sections[Section.PROBLEMS]) == own | {"Now"}
    assert "N" not in chart.sections[Section.COVERAGE]


async def test_a_patient_that_the_server_does_not_know_has_no_chart(world: World) -> None:
    connector = world.connector()
    with pytest.raises(RejectedError, match="patient-unknown"):
        await connector.chart(world.context(connector), [Identifier(system="urn:other", value="1")], ALL)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b'{"resourceType": "Bundle", "entry": [{"resou', TransientError),
        (b"<html>503</html>", TransientError),
        (b"", TransientError),
        (b"[]", TransientError),
        ({"resourceType": "Patient"}, RejectedError),
        (
            {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "login", "diagnostics": "x"}]},
            RejectedError,
        ),
    ],
)
async def test_an_answer_that_is_no_answer_is_an_error_and_not_an_empty_chart(
    world: World, answer: Any, kind: type[ConnectorError]
) -> None:
    connector = world.connector()
    with pytest.raises(kind):
        await connector.find_patients(world.context(connector, json(answer)), "+12125550110")


async def test_an_outcome_is_named_by_its_code_and_never_by_its_words(world: World) -> None:
    outcome = {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": "value", "diagnostics": "Quillfeather is no date"}],
    }
    connector = world.connector()
    with pytest.raises(RejectedError) as caught:
        await connector.find_patients(world.context(connector, json(outcome)), "+12125550110")
    assert (caught.value.reason, caught.value.field) == ("operation-outcome", "value")


async def test_a_warning_beside_the_hits_does_no_harm(world: World) -> None:
    bundle = {
        "resourceType": "Bundle",
        "entry": [
            {"resource": {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "value"}]}},
            {"resource": {"resourceType": "Patient", "id": "1", "telecom": {"system": "phone", "value": "2125550110"}}},
            {"fullUrl": "urn:uuid:1"},
            None,
        ],
    }
    connector = world.connector()
    found = await connector.find_patients(
        world.context(connector, json(b"\xef\xbb\xbf" + orjson.dumps(bundle))), "+12125550110"
    )
    assert [ref.id for ref in found] == ["1"]


async def test_pages_that_lead_in_a_circle_or_elsewhere_end_with_an_error(world: World) -> None:
    for target, reason in (
        (f"{BASE}/Patient?page=2", "paging-in-a-circle"),
        ("http://evil.test/x", "host-not-in-settings"),
        ("http://[", "no-address"),
        ("http://ehr.test:99999999/", "host-not-in-settings"),
    ):

        async def app(scope: Scope, receive: Receive, send: Send, target: str = target) -> None:
            assert Request(scope).url.hostname == "ehr.test"
            bundle = {"resourceType": "Bundle", "link": [{"relation": "next", "url": target}]}
            await json(bundle)(scope, receive, send)

        connector = world.connector()
        with pytest.raises(RejectedError, match=reason):
            await connector.find_patients(world.context(connector, app), "+12125550110")
