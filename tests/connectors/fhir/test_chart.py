"""Sections of a chart: what their lines say, who is left out, and what a server may not know."""

import asyncio
from typing import Any

import orjson
import pytest
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from connectors.api import AuthExpiredError, Identifier, RejectedError, Section
from connectors.fhir.chart import AT_ONCE, SOURCES, line_of
from connectors.fhir.mapping import Find, nobody
from tests.connectors.fhir.test_mapping import CLOSED, reader
from tests.connectors.fhir.world import World

WHO = {"reference": "Patient/p01"}
IDS = [Identifier(system="fhir/Patient", value="p01")]
ALL = frozenset(Section)


def said(section: Section, resource: dict[str, Any], find: Find = nobody) -> str | None:
    """Return the line of a resource of the patient p01."""
    for source in SOURCES[section]:
        if source.kind == resource["resourceType"]:
            owned = {"patient": WHO, "subject": WHO, "beneficiary": WHO, "for": WHO} | resource
            return line_of(source, owned, reader(), "p01", find)
    raise AssertionError(resource["resourceType"])


def drug(**more: Any) -> dict[str, Any]:
    return {"resourceType": "MedicationRequest", "status": "active", "intent": "order"} | more


def visit(**more: Any) -> dict[str, Any]:
    return {"resourceType": "Encounter", "status": "finished", "type": [{"text": "Check-up"}]} | more


@pytest.mark.parametrize(
    ("section", "resource", "line"),
    [
        (
            Section.ENCOUNTERS,
            visit(
                period={"start": "2026-11-03T03:00:00Z"},
                participant=[{"individual": WHO}, {"individual": {"display": "A. Thornquist"}}],
                location=[{"location": {"display": "Main Office"}}],
            ),
            "Check-up (2026-11-02, A. Thornquist, Main Office)",
        ),
        (Section.ENCOUNTERS, visit(status="in-progress", period={"start": "2026"}), "Check-up (2026, in progress)"),
        (Section.ENCOUNTERS, visit(type=None, **{"class": {"display": "ambulatory"}}), "ambulatory"),
        (Section.ENCOUNTERS, visit(status="planned"), None),
        (
            Section.REFERRALS,
            {
                "resourceType": "ServiceRequest",
                "status": "active",
                "code": {"text": "Cardiology referral"},
                "performer": [{"reference": "Practitioner/9", "display": "B. Hart"}],
                "authoredOn": "2026-11-01",
            },
            "Cardiology referral (to B. Hart, active, 2026-11-01)",
        ),
        (
            Section.REFERRALS,
            {
                "resourceType": "ServiceRequest",
                "status": "active",
                "code": {"text": "Lipid panel"},
                "category": [{"coding": [{"system": "http://snomed.info/sct", "code": "108252007"}]}],
            },
            None,
        ),
        (Section.MEDICATIONS, drug(medicationCodeableConcept={"text": "X"}), "X"),
        (Section.MEDICATIONS, drug(medicationCodeableConcept={"text": "X"}, doNotPerform=True), None),
        (
            Section.MEDICATIONS,
            drug(
                medicationReference={"reference": "#m"},
                contained=[{"resourceType": "Medication", "id": "m", "code": {"text": "Y"}}],
                dosageInstruction=[{"patientInstruction": "at night"}],
            ),
            "Y (at night)",
        ),
        (Section.REQUESTS, drug(intent="proposal", medicationCodeableConcept={"text": "X"}), "refill (X)"),
        (
            Section.COVERAGE,
            {
                "resourceType": "Coverage",
                "status": "active",
                "payor": [{"reference": "#o"}],
                "class": [{"type": {"text": "plan"}, "name": "Gold"}],
                "contained": [{"resourceType": "Organization", "id": "o", "name": "Payor Inc"}],
                "type": {"text": "HMO"},
            },
            "Payor Inc (Gold, HMO)",
        ),
        (
            Section.COVERAGE,
            {"resourceType": "Coverage", "payor": [{"display": "P"}], "period": {"end": "2020"}},
            None,
        ),
        (
            Section.CARE_TEAM,
            {
                "resourceType": "CareTeam",
                "participant": [
                    {"member": WHO},
                    {"member": {"display": "A"}, "role": [{"text": "Nurse"}]},
                    {"member": {"display": "Gone"}, "period": {"end": "2020"}},
                    {"member": {"display": "B"}},
                ],
            },
            "A (Nurse); B",
        ),
        (
            Section.CONSENTS,
            {
                "resourceType": "Consent",
                "status": "active",
                "scope": {"text": "Privacy"},
                "provision": {"type": "deny"},
                "dateTime": "2026-01-02",
            },
            "Privacy (deny, 2026-01-02)",
        ),
        (
            Section.CONSENTS,
            {"resourceType": "Consent", "status": "active", "provision": {"period": {"end": "2020"}}},
            None,
        ),
        (
            Section.MESSAGES,
            {
                "resourceType": "Communication",
                "status": "completed",
                "category": [{"text": "Portal"}],
                "sender": WHO,
                "received": "2026-11-02T20:00:00-05:00",
                "payload": [{"contentString": "It hurts."}],
            },
            "Portal (2026-11-02, from the patient)",
        ),
        (
            Section.RELATED,
            {"resourceType": "RelatedPerson", "name": [{"text": "Isolde Quill"}], "relationship": [{"text": "mother"}]},
            "Isolde Quill (mother)",
        ),
        (
            Section.ALLERGIES,
            {
                "resourceType": "AllergyIntolerance",
                "code": {"text": "Latex"},
                "verificationStatus": {"coding": [{"code": "unconfirmed"}]},
            },
            "Latex (unconfirmed)",
        ),
    ],
)
def test_a_line_says_what_the_desk_needs(section: Section, resource: dict[str, Any], line: str | None) -> None:
    assert said(section, resource) == line


@pytest.mark.parametrize(
    ("meta", "shown"),
    [
        (CLOSED, False),
        ({"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "TBOO"}]}, False),
        ({"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST"}]}, True),
        (None, True),
    ],
)
def test_what_a_label_withholds_is_not_there(meta: Any, shown: bool) -> None:
    line = said(Section.PROBLEMS, {"resourceType": "Condition", "code": {"text": "Depression"}, "meta": meta})
    assert line == ("Depression" if shown else None)


@pytest.mark.parametrize("whose", [None, {"reference": "Patient/p011"}, {"reference": "Group/p01"}, {}, []])
def test_what_is_somebody_elses_is_not_there(whose: Any) -> None:
    resource = {"resourceType": "Condition", "code": {"text": "X"}, "subject": whose, "patient": None}
    assert said(Section.PROBLEMS, resource | {"beneficiary": None, "for": None}) is None


async def test_the_last_visits_come_first(world: World) -> None:
    for day in ("2026-03-01", "2026-10-01", "2025-12-31", "2026-07-01"):
        world.store.put({"id": f"e{day}", "subject": WHO, "period": {"start": day}} | visit())
    connector = world.connector()
    chart = await connector.chart(world.context(connector), IDS, frozenset({Section.ENCOUNTERS}))
    days = [line[-11:-1] for line in chart.sections[Section.ENCOUNTERS] if line.startswith("Check-up")]
    assert days == ["2026-10-01", "2026-07-01", "2026-03-01", "2025-12-31"]


def answering(app: ASGIApp, kind: str, status: int, body: Any) -> ASGIApp:
    """Return a server that answers every search of one type in its own way."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == f"/fhir/{kind}":
            await Response(content, status, media_type="application/fhir+json")(scope, receive, send)
        else:
            await app(scope, receive, send)

    return answered


def outcome(code: str) -> dict[str, Any]:
    return {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": code}]}


async def test_a_drug_that_is_named_by_reference_alone_is_read(world: World) -> None:
    for own, status in (("d", "active"), ("e", "stopped")):
        meant = {"medicationReference": {"reference": f"Medication/{own}"}, "subject": WHO}
        world.store.put(drug(id=own, **meant | {"status": status}))
    connector = world.connector()
    warfarin = {"resourceType": "Medication", "id": "d", "code": {"text": "Warfarin"}}
    ctx = world.context(connector, answering(world.watched, "Medication/d", 200, warfarin))
    chart = await connector.chart(ctx, IDS, frozenset({Section.MEDICATIONS}))
    assert "Warfarin" in chart.sections[Section.MEDICATIONS]
    assert world.paths() == ["MedicationRequest"]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, outcome("not-found")),
        (404, b"<html>no such path</html>"),
        (501, b""),
        (400, outcome("not-supported")),
        (422, outcome("not-supported")),
        (200, outcome("not-supported")),
    ],
)
async def test_a_type_that_the_server_lacks_is_an_empty_section(world: World, status: int, body: Any) -> None:
    connector = world.connector()
    ctx = world.context(connector, answering(world.app, "Consent", status, body))
    chart = await connector.chart(ctx, IDS, ALL)
    assert set(chart.sections) == ALL
    assert chart.sections[Section.CONSENTS] == ()
    assert chart.sections[Section.COVERAGE]


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, outcome("invalid"), r"operation-outcome \(invalid\)"),
        (400, b"<html>bad request</html>", "http-400"),
        (400, {"resourceType": "Bundle"}, "http-400"),
        (403, outcome("forbidden"), "forbidden"),
    ],
)
async def test_a_refused_section_is_not_an_empty_one(world: World, status: int, body: Any, reason: str) -> None:
    connector = world.connector()
    ctx = world.context(connector, answering(world.app, "AllergyIntolerance", status, body))
    with pytest.raises(RejectedError, match=reason):
        await connector.chart(ctx, IDS, ALL)


async def test_credentials_that_end_within_a_chart_are_said_to_have(world: World) -> None:
    connector = world.connector()
    ctx = world.context(connector, answering(world.app, "Condition", 401, b""))
    with pytest.raises(AuthExpiredError):
        await connector.chart(ctx, IDS, ALL)


async def test_sections_are_read_at_the_same_time_but_not_all(world: World) -> None:
    under_way, most = 0, 0
    full = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if most >= AT_ONCE:
            full.set()
        await full.wait()
        await world.app(scope, receive, send)
        under_way -= 1

    connector = world.connector()
    chart = await connector.chart(world.context(connector, app), IDS, ALL)
    assert set(chart.sections) == ALL
    assert most == AT_ONCE
