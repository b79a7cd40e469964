"""How the sandbox can be difficult, and what it does for AppointmentResponse, includes and Subscriptions."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest
from fhirclient.models.bundle import Bundle
from fhirclient.models.capabilitystatement import CapabilityStatement
from fhirclient.models.consent import Consent
from fhirclient.models.encounter import Encounter
from fhirclient.models.relatedperson import RelatedPerson
from fhirclient.models.schedule import Schedule
from fhirclient.models.servicerequest import ServiceRequest
from fhirclient.models.slot import Slot
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from connectors.sandbox import ehr
from connectors.sandbox.manners import USUAL, Manners
from connectors.sandbox.people import make
from connectors.sandbox.record import CONFIDENTIALITY
from connectors.sandbox.relation import relations
from connectors.sandbox.resource import resources
from connectors.sandbox.store import Store
from connectors.sandbox.topic import TOPIC, Topics
from tests.connectors.stage import NOW, ZONE, Clock

BASE = "http://ehr.test/fhir"
PEOPLE = make(7, NOW, ZONE)


@pytest.fixture
def store() -> Store:
    return Store(Clock(), resources(PEOPLE))


def asking(store: Store, manners: Manners = USUAL) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(ehr.app(store, manners=manners)), base_url=BASE)


async def test_a_parameter_that_it_ignores_is_missing_from_the_self_link_and_filters_nothing(store: Store) -> None:
    async with asking(store, Manners(ignored=frozenset({"_lastUpdated"}))) as client:
        bundle = (await client.get("Patient?_lastUpdated=ge2040-01-01&_count=3")).json()
    assert bundle["total"] == 40
    assert bundle["link"][0]["url"] == f"{BASE}/Patient?_count=3"


@pytest.mark.parametrize(("query", "status"), [("date=ge2026-01-01", 400), ("location=l1", 200), ("", 400)])
async def test_it_may_insist_on_whose_appointments(store: Store, query: str, status: int) -> None:
    async with asking(store, Manners(needs=("location", "practitioner"))) as client:
        assert (await client.get(f"Appointment?{query}")).status_code == status
        assert (await client.get("Patient")).status_code == 200


async def test_without_patch_it_declares_none_and_takes_none(store: Store) -> None:
    async with asking(store, Manners(patches=False)) as client:
        statement = (await client.get("metadata")).json()
        assert statement["patchFormat"] == []
        kind = {"Content-Type": "application/json-patch+json"}
        assert (await client.patch("Appointment/a1", json=[], headers=kind)).status_code == 405
        visit = (await client.get("Appointment/a1")).json()
        assert (await client.put("Appointment/a1", json=visit)).status_code == 200


async def test_without_conditional_create_everything_is_created(store: Store) -> None:
    async with asking(store, Manners(conditional=False)) as client:
        said = {"resourceType": "Communication", "status": "completed", "identifier": [{"system": "s", "value": "k"}]}
        for _ in range(2):
            answer = await client.post("Communication", json=said, headers={"If-None-Exist": "identifier=s%7Ck"})
            assert answer.status_code == 201
    assert len(list(store.all("Communication"))) == 2


def response(actor: str = "Patient/p01", appointment: str = "Appointment/a1", **more: Any) -> dict[str, Any]:
    said = {"resourceType": "AppointmentResponse", "participantStatus": "accepted"}
    return said | {"appointment": {"reference": appointment}, "actor": {"reference": actor}} | more


@pytest.mark.parametrize("manners", [USUAL, Manners(answers_only=True)])
async def test_an_answer_gives_the_participant_its_status(store: Store, manners: Manners) -> None:
    async with asking(store, manners) as client:
        assert (await client.post("AppointmentResponse", json=response())).status_code == 201
        visit = (await client.get("Appointment/a1")).json()
        assert [one["status"] for one in visit["participant"]] == ["accepted"] * 3
        assert visit["meta"]["versionId"] == "2"
        declined = response(participantStatus="declined")
        assert (await client.post("AppointmentResponse", json=declined)).status_code == 201
        found = (await client.get("AppointmentResponse?appointment=Appointment/a1")).json()
        assert found["total"] == 2
        put = await client.put("Appointment/a1", json=(await client.get("Appointment/a1")).json())
        assert put.status_code == (405 if manners.answers_only else 200)
    assert store.get("Appointment", "a1")["participant"][0]["status"] == "declined"  # type: ignore[index]


@pytest.mark.parametrize(
    "said",
    [
        response(actor="Patient/p02"),
        response(appointment="Appointment/nothing"),
        response(appointment=""),
        response(participantStatus=""),
    ],
)
async def test_an_answer_to_nothing_is_refused(store: Store, said: dict[str, Any]) -> None:
    async with asking(store) as client:
        assert (await client.post("AppointmentResponse", json=said)).status_code == 422


async def test_who_where_and_when_come_along(store: Store) -> None:
    names = ("_include=Appointment:actor", "_include=Appointment:slot", "_include:iterate=Slot:schedule")
    async with asking(store) as client:
        bundle = (await client.get("Appointment?_id=a1&" + "&".join(names))).json()
        Bundle(bundle, strict=True)
        without = (await client.get("Appointment?_id=a1&" + "&".join(names[1:2]))).json()
    visit = PEOPLE.visits[0]
    came = [
        f"{one['resource']['resourceType']}/{one['resource']['id']}"
        for one in bundle["entry"]
        if one["search"]["mode"] == "include"
    ]
    assert came == sorted(
        [
            f"Patient/{visit.person.id}",
            f"Practitioner/{visit.practitioner.id}",
            f"Location/{visit.place.id}",
            "Slot/a1-t",
            f"Schedule/{visit.practitioner.id}-s",
        ]
    )
    assert [one["resource"]["resourceType"] for one in without["entry"]] == ["Appointment", "Slot"]


async def test_what_it_declares_is_what_it_does(store: Store) -> None:
    async with asking(store) as client:
        usual = (await client.get("metadata")).json()
    CapabilityStatement(usual | {"date": "2026-11-23"}, strict=True)
    declared = {one["type"]: one for one in usual["rest"][0]["resource"]}
    assert "Slot:schedule" in declared["Slot"]["searchInclude"]
    assert declared["Subscription"]["extension"][0]["valueCanonical"] == TOPIC
    difficult = ehr.capability(BASE, Manners(includes=False, topics=False, answers_only=True))["rest"][0]["resource"]
    shy = {one["type"]: one for one in difficult}
    assert "searchInclude" not in shy["Appointment"]
    assert "extension" not in shy["Subscription"]
    assert {"code": "update"} not in shy["Appointment"]["interaction"]


def test_what_hangs_on_people_and_visits_is_good_r4(store: Store) -> None:
    counts = {}
    models = (RelatedPerson, Slot, Schedule, Encounter, ServiceRequest, Consent)
    for model in models:
        found = [resource for _, resource in store.all(model.resource_type)]
        for resource in found:
            model(resource, strict=True)
        counts[model.resource_type] = len(found)
    assert counts["RelatedPerson"] == len(relations(PEOPLE)) == 10
    assert (counts["Slot"], counts["Schedule"], counts["Consent"]) == (len(PEOPLE.visits), 3, 40)
    assert counts["Encounter"] > 0
    assert counts["ServiceRequest"] > 0
    labelled = [one for _, one in store.all("Patient") if "security" in one["meta"]]
    assert [one["meta"]["security"][0]["system"] for one in labelled] == [CONFIDENTIALITY]
    assert "telecom" not in labelled[0]


def test_a_relative_has_a_number_that_is_nobody_elses() -> None:
    found = relations(PEOPLE)
    numbers = [one.phone for one in found]
    assert len(set(numbers)) == len(numbers)
    assert not set(numbers) & {person.phone for person in PEOPLE.persons}
    assert all(number.startswith("+12125550") for number in numbers)
    assert found[0].given in set(found[0].marks())


class Hook:
    """What is told of."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.told: list[tuple[str, str, dict[str, Any]]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        said = await request.json()
        parameters = {one["name"]: one for one in said["entry"][0]["resource"]["parameter"]}
        self.told.append((request.headers.get("x-secret", ""), parameters["type"]["valueCode"], said))
        await Response(status_code=self.statuses.pop(0) if self.statuses else 200)(scope, receive, send)


async def told_of(store: Store, hook: Hook, do: Callable[[Topics], Awaitable[None]]) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(hook)) as http:
        topics = Topics(store, Clock(), http, rest=0)
        running = asyncio.create_task(topics.run())
        try:
            await do(topics)
            await topics.waiting.join()
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


def subscription(**more: Any) -> dict[str, Any]:
    channel = {"type": "rest-hook", "endpoint": "http://hook.test/", "header": ["X-Secret: s"]}
    said = {"resourceType": "Subscription", "id": "s1", "status": "requested", "criteria": TOPIC, "reason": "r"}
    return said | {"channel": channel} | more


def touch(store: Store, own: str = "a1") -> None:
    visit = store.get("Appointment", own)
    assert visit is not None
    store.put(visit | {"status": "arrived"})


async def test_a_subscriber_is_greeted_then_told_of_each_appointment_without_its_content(store: Store) -> None:
    hook = Hook()

    async def do(topics: Topics) -> None:
        store.put(subscription())
        await topics.waiting.join()
        touch(store)
        touch(store, "a2")

    await told_of(store, hook, do)
    assert [(secret, kind) for secret, kind, _ in hook.told] == [
        ("s", "handshake"),
        ("s", "event-notification"),
        ("s", "event-notification"),
    ]
    assert store.get("Subscription", "s1")["status"] == "active"  # type: ignore[index]
    for _, _, said in hook.told:
        Bundle(said, strict=True)
        assert [entry["resource"]["resourceType"] for entry in said["entry"]] == ["Parameters"]
        assert "Appointment" not in str(said)
    events = [one for one in hook.told[-1][2]["entry"][0]["resource"]["parameter"] if one["name"].startswith("events")]
    assert events[0]["valueString"] == "2"


@pytest.mark.parametrize(
    ("statuses", "tries", "status"),
    [([500], 2, "active"), ([500, 500], 3, "active"), ([500, 500, 500], 3, "error")],
)
async def test_a_subscriber_who_does_not_answer_is_tried_again_and_then_left(
    store: Store, statuses: list[int], tries: int, status: str
) -> None:
    hook = Hook(*statuses)

    async def do(topics: Topics) -> None:  # noqa: ARG001 - nothing more happens
        store.put(subscription())

    await told_of(store, hook, do)
    assert len(hook.told) == tries
    assert store.get("Subscription", "s1")["status"] == status  # type: ignore[index]


@pytest.mark.parametrize("more", [{"status": "off"}, {"end": "2026-01-01T00:00:00Z"}, {"criteria": "http://other"}])
async def test_who_did_not_ask_for_it_is_not_told(store: Store, more: dict[str, Any]) -> None:
    hook = Hook()

    async def do(topics: Topics) -> None:  # noqa: ARG001 - nothing more happens
        store.put(subscription(status="active") | more)
        touch(store)

    await told_of(store, hook, do)
    assert hook.told == []
