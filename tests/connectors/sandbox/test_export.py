"""The sandbox's $export from outside."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import httpx
import orjson
import pytest

from connectors.sandbox import ehr
from connectors.sandbox.export import Exports
from connectors.sandbox.people import make
from connectors.sandbox.resource import resources
from connectors.sandbox.store import Store
from tests.connectors.stage import NOW, ZONE, Clock

BASE = "http://ehr.test/fhir"
ASYNC = {"Prefer": "respond-async"}


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def store(clock: Clock) -> Store:
    return Store(clock, resources(make(7, NOW, ZONE)))


@pytest.fixture
def exports(store: Store, clock: Clock) -> Exports:
    return Exports(store, clock, waits=2)


@pytest.fixture
async def client(store: Store, exports: Exports) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(ehr.app(store, exports=exports))
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as made:
        yield made


async def test_it_is_declared_only_where_it_is(client: httpx.AsyncClient, store: Store) -> None:
    assert (await client.get("metadata")).json()["rest"][0]["operation"][0]["name"] == "export"
    assert "operation" not in ehr.capability(BASE)["rest"][0]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(ehr.app(store)), base_url=BASE) as without:
        assert (await without.get("$export", headers=ASYNC)).status_code == 404


@pytest.mark.parametrize("door", ["$export", "Patient/$export", "Group/all/$export"])
async def test_it_is_asked_for_waited_for_read_and_forgotten(
    client: httpx.AsyncClient, store: Store, exports: Exports, door: str
) -> None:
    begun = await client.get(f"{door}?_type=Patient,Slot", headers=ASYNC)
    where = begun.headers["content-location"]
    assert (begun.status_code, begun.content) == (202, b"")
    assert where.startswith(f"{BASE}/$export-state/")
    waits = [await client.get(where) for _ in range(2)]
    assert [(one.status_code, one.headers["retry-after"]) for one in waits] == [(202, "5")] * 2
    manifest = (await client.get(where)).json()
    assert [file["type"] for file in manifest["output"]] == ["Patient", "Slot"]
    assert manifest["deleted"] == []
    assert datetime.fromisoformat(manifest["transactionTime"]) == NOW
    for file in manifest["output"]:
        answer = await client.get(file["url"])
        assert answer.headers["content-type"].startswith("application/fhir+ndjson")
        told = [orjson.loads(line) for line in answer.content.splitlines()]
        assert len(told) == file["count"]
        assert told == [resource for _, resource in store.all(file["type"])]
    assert (await client.delete(where)).status_code == 202
    assert exports.waiting() == 0
    assert (await client.get(where)).status_code == 404
    assert (await client.delete(where)).status_code == 404
    assert (await client.get(manifest["output"][0]["url"])).status_code == 404


async def test_what_changed_and_what_was_deleted_since_is_in_it(
    client: httpx.AsyncClient, store: Store, clock: Clock
) -> None:
    clock.now += timedelta(hours=1)
    changed = store.get("Patient", "p03")
    assert changed is not None
    store.put(changed | {"active": False})
    store.delete("Appointment", "a1")
    store.delete("Coverage", "p01-v1")
    since = (NOW + timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    begun = await client.get(f"$export?_type=Patient,Appointment&_since={since}", headers=ASYNC)
    for _ in range(3):
        answer = await client.get(begun.headers["content-location"])
    manifest = answer.json()
    assert [(file["type"], file["count"]) for file in manifest["output"]] == [("Patient", 1)]
    (deleted,) = manifest["deleted"]
    bundles = [orjson.loads(line) for line in (await client.get(deleted["url"])).content.splitlines()]
    requests = [entry["request"] for bundle in bundles for entry in bundle["entry"]]
    assert requests == [{"method": "DELETE", "url": "Appointment/a1"}]


async def test_without_types_everything_is_in_it(client: httpx.AsyncClient, store: Store, exports: Exports) -> None:
    exports.waits = 0
    begun = await client.get("$export", headers=ASYNC)
    manifest = (await client.get(begun.headers["content-location"])).json()
    assert {file["type"] for file in manifest["output"]} == set(store.kinds())


@pytest.mark.parametrize(("query", "headers"), [("", {}), ("?_since=soon", ASYNC)])
async def test_what_makes_no_sense_is_refused(client: httpx.AsyncClient, query: str, headers: dict[str, str]) -> None:
    answer = await client.get(f"$export{query}", headers=headers)
    assert (answer.status_code, answer.json()["resourceType"]) == (400, "OperationOutcome")
