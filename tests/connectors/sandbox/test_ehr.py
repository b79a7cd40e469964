"""The sandbox's FHIR server from outside, over HTTP."""

import operator
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fhirclient.models.bundle import Bundle
from fhirclient.models.capabilitystatement import CapabilityStatement

from connectors.sandbox import ehr
from connectors.sandbox.people import FILLER_SYSTEM, MRN_SYSTEM, make
from connectors.sandbox.resource import resources
from connectors.sandbox.store import Store
from tests.connectors.stage import NOW, ZONE, Clock

BASE = "http://ehr.test/fhir"
PEOPLE = make(7, NOW, ZONE)


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW - timedelta(days=1))


@pytest.fixture
def store(clock: Clock) -> Store:
    return Store(clock, resources(PEOPLE))


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(ehr.app(store)), base_url=BASE) as made:
        yield made


async def found(client: httpx.AsyncClient, path: str, **params: Any) -> list[str]:
    answer = await client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return [entry["resource"]["id"] for entry in answer.json().get("entry", []) if entry["search"]["mode"] == "match"]


async def test_it_declares_r4_and_what_it_can_do(client: httpx.AsyncClient) -> None:
    statement = (await client.get("metadata")).json()
    statement["date"] = "2026-11-23"
    CapabilityStatement(statement, strict=True)
    assert statement["fhirVersion"] == "4.0.1"
    assert statement["patchFormat"] == ["application/json-patch+json"]


async def test_a_resource_is_read_with_its_version(client: httpx.AsyncClient) -> None:
    answer = await client.get("Patient/p01")
    assert answer.headers["etag"] == 'W/"1"'
    assert answer.headers["content-type"] == "application/fhir+json"
    assert answer.json()["meta"]["versionId"] == "1"
    assert (await client.get("Patient/nobody")).status_code == 404
    assert (await client.get("Organization/1")).json()["resourceType"] == "OperationOutcome"


@pytest.mark.parametrize(
    ("path", "params", "hits"),
    [
        ("Patient", {"phone": PEOPLE.persons[1].written}, {"p02"}),
        ("Patient", {"phone": PEOPLE.persons[1].phone}, {"p01"}),
        ("Patient", {"identifier": f"{MRN_SYSTEM}|{PEOPLE.persons[4].mrn}"}, {"p05"}),
        ("Patient", {"identifier": PEOPLE.persons[4].mrn}, {"p05"}),
        ("Patient", {"identifier": f"urn:other|{PEOPLE.persons[4].mrn}"}, set()),
        ("Patient", {"name": PEOPLE.persons[9].given.lower()[:6]}, {"p10"}),
        ("Patient", {"family": PEOPLE.persons[9].family}, {"p10"}),
        ("Patient", {"birthdate": PEOPLE.persons[9].birth_date.isoformat()}, {"p10"}),
        ("Patient", {"_id": "p03,p04"}, {"p03", "p04"}),
        ("Appointment", {"patient": "p01"}, {"a1"}),
        ("Appointment", {"patient": "Patient/p01", "status": "booked"}, {"a1"}),
        ("Appointment", {"patient": "p01", "status": "cancelled"}, set()),
        ("Appointment", {"identifier": f"{FILLER_SYSTEM}|{PEOPLE.visits[2].filler}"}, {"a3"}),
        ("Task", {"patient": PEOPLE.refills[0].person.id, "code": "refill-request"}, {"r1"}),
        ("Coverage", {"beneficiary": "Patient/p01"}, {"p01-v1"}),
        ("CareTeam", {"patient": "p01"}, {"p01-t1"}),
    ],
)
async def test_a_search_finds_what_it_should(
    client: httpx.AsyncClient, path: str, params: dict[str, str], hits: set[str]
) -> None:
    assert set(await found(client, path, **params)) == hits


async def test_dates_compare_by_their_prefix(client: httpx.AsyncClient) -> None:
    day = PEOPLE.visits[12].starts_at.date()
    for prefix, kept in (
        ("ge", operator.ge),
        ("le", operator.le),
        ("gt", operator.gt),
        ("lt", operator.lt),
        ("eq", operator.eq),
        ("ne", operator.ne),
        ("", operator.eq),
    ):
        hits = await found(client, "Appointment", date=f"{prefix}{day}", _count=100)
        assert set(hits) == {visit.id for visit in PEOPLE.visits if kept(visit.starts_at.date(), day)}, prefix
    year = await found(client, "Appointment", date=f"{day.year}", _count=100)
    assert set(year) == {visit.id for visit in PEOPLE.visits if visit.starts_at.year == day.year}
    month = await found(client, "Appointment", date=f"{day:%Y-%m}", _count=100)
    assert set(month) == {visit.id for visit in PEOPLE.visits if f"{visit.starts_at:%Y-%m}" == f"{day:%Y-%m}"}


async def test_what_changed_since_is_found(client: httpx.AsyncClient, store: Store, clock: Clock) -> None:
    clock.now = NOW
    changed = store.get("Appointment", "a2")
    assert changed is not None
    store.put(changed | {"status": "arrived"})
    since = (NOW - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert await found(client, "Appointment", _lastUpdated=f"ge{since}") == ["a2"]


async def test_pages_hold_together_while_things_change(client: httpx.AsyncClient, store: Store) -> None:
    seen: list[str] = []
    url = "Appointment?_count=4"
    while url:
        bundle = (await client.get(url)).json()
        seen += [entry["resource"]["id"] for entry in bundle["entry"]]
        changed = store.get("Appointment", seen[0])
        assert changed is not None
        store.put(changed | {"description": "touched"})
        if len(seen) > 200:
            break
        url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), "")
        if set(seen) == {visit.id for visit in PEOPLE.visits}:
            break
    assert set(seen) == {visit.id for visit in PEOPLE.visits}


async def test_the_self_link_says_what_was_looked_at(client: httpx.AsyncClient) -> None:
    bundle = (await client.get("Patient?phone=1&flavour=sweet&_count=3")).json()
    assert bundle["link"][0]["url"] == f"{BASE}/Patient?phone=1&_count=3"
    Bundle(bundle, strict=True)


async def test_strictness_is_the_clients_wish(client: httpx.AsyncClient) -> None:
    answer = await client.get("Patient?flavour=sweet", headers={"Prefer": "handling=strict"})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "query", ["_count=x", "birthdate=soon", "birthdate=zz2020-01-01", "_after=%25", "birthdate=2020-13"]
)
async def test_a_parameter_that_makes_no_sense_is_refused(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"Patient?{query}")
    assert answer.status_code == 400
    assert answer.json()["issue"][0]["code"] == "invalid"


async def test_a_search_by_post_keeps_the_number_out_of_the_address(client: httpx.AsyncClient) -> None:
    answer = await client.post("Patient/_search", data={"phone": PEOPLE.persons[1].written})
    assert [entry["resource"]["id"] for entry in answer.json()["entry"]] == ["p02"]


async def test_included_patients_come_once(client: httpx.AsyncClient) -> None:
    bundle = (await client.get("Appointment?_id=a1,a2&_include=Appointment:patient")).json()
    included = [entry["resource"]["id"] for entry in bundle["entry"] if entry["search"]["mode"] == "include"]
    assert included == ["p01", "p02"]


async def test_a_count_reads_nobody(client: httpx.AsyncClient) -> None:
    bundle = (await client.get("Patient?_summary=count")).json()
    assert bundle["total"] == 40
    assert "entry" not in bundle


async def test_an_update_needs_the_version_it_saw(client: httpx.AsyncClient) -> None:
    visit = (await client.get("Appointment/a1")).json()
    first = await client.put("Appointment/a1", json=visit | {"status": "arrived"}, headers={"If-Match": 'W/"1"'})
    assert (first.status_code, first.headers["etag"]) == (200, 'W/"2"')
    late = await client.put("Appointment/a1", json=visit | {"status": "noshow"}, headers={"If-Match": 'W/"1"'})
    assert late.status_code == 412
    assert (await client.get("Appointment/a1")).json()["status"] == "arrived"


async def test_a_patch_needs_the_version_it_saw_and_a_test_that_holds(client: httpx.AsyncClient) -> None:
    kind = {"Content-Type": "application/json-patch+json"}
    good = [
        {"op": "test", "path": "/participant/0/actor/reference", "value": "Patient/p01"},
        {"op": "replace", "path": "/participant/0/status", "value": "accepted"},
    ]
    stale = await client.patch("Appointment/a1", json=good, headers=kind | {"If-Match": 'W/"7"'})
    assert stale.status_code == 412
    fine = await client.patch("Appointment/a1", json=good, headers=kind | {"If-Match": 'W/"1"'})
    assert fine.json()["participant"][0]["status"] == "accepted"
    wrong = [{"op": "test", "path": "/status", "value": "cancelled"}]
    assert (await client.patch("Appointment/a1", json=wrong, headers=kind)).status_code == 409
    nowhere = [{"op": "remove", "path": "/nothing"}]
    assert (await client.patch("Appointment/a1", json=nowhere, headers=kind)).status_code == 422
    other = [{"op": "replace", "path": "/id", "value": "a2"}]
    assert (await client.patch("Appointment/a1", json=other, headers=kind)).status_code == 422
    assert (await client.patch("Appointment/a1", json=good)).status_code == 415
    assert (await client.get("Appointment/a1")).json()["meta"]["versionId"] == "2"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'{"resourceType": "Patient"}', 400),
        (b'{"resourceType": "Communication"}', 422),
        (b'{"resourceType": "Communication", "status": "done"}', 422),
    ],
)
async def test_what_is_no_resource_is_refused(client: httpx.AsyncClient, body: bytes, status: int) -> None:
    assert (await client.post("Communication", content=body)).status_code == status


async def test_a_conditional_create_makes_one(client: httpx.AsyncClient, store: Store) -> None:
    said = {"resourceType": "Communication", "status": "completed", "identifier": [{"system": "s", "value": "k"}]}
    headers = {"If-None-Exist": "identifier=s%7Ck"}
    first = await client.post("Communication", json=said, headers=headers)
    again = await client.post("Communication", json=said, headers=headers)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert first.headers["location"] == f"{BASE}/Communication/{first.json()['id']}/_history/1"
    store.put(said)
    several = await client.post("Communication", json=said, headers=headers)
    assert several.status_code == 412
    assert (await client.post("Communication", json=said, headers={"If-None-Exist": "_count=1"})).status_code == 412


async def test_an_update_of_an_unknown_id_creates_it(client: httpx.AsyncClient) -> None:
    visit = (await client.get("Appointment/a1")).json() | {"id": "new"}
    assert (await client.put("Appointment/new", json=visit)).status_code == 201
    assert (await client.put("Appointment/other", json=visit)).status_code == 400


async def test_what_is_deleted_is_gone(client: httpx.AsyncClient) -> None:
    assert (await client.delete("Appointment/a1")).status_code == 204
    assert (await client.get("Appointment/a1")).status_code == 404


async def test_only_who_bears_the_token_may_ask(store: Store) -> None:
    transport = httpx.ASGITransport(ehr.app(store, token="right"))
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
        assert (await client.get("metadata")).status_code == 200
        for said in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic right"}):
            assert (await client.get("Patient", headers=said)).status_code == 401
        assert (await client.get("Patient", headers={"Authorization": "Bearer right"})).status_code == 200
