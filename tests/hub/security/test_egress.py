import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import uvicorn
from sqlmodel import SQLModel, select
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from connectors import host
from connectors.api import TransientError
from connectors.fhir import Fhir, FhirSettings
from hub.db import Database
from hub.security.address import Reach
from hub.security.egress import (
    AddressDeniedError,
    Destination,
    DestinationDeniedError,
    Egress,
    EgressDeniedError,
    PinnedTransport,
)
from hub.security.intent import Intent
from hub.settings import Practice
from hub.vault import wire
from tests.connectors.stage import Clock, served, serving
from tests.hub.security.certificate import certificate

NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)


def practice(port: int = 1, **changes: Any) -> Practice:
    """Return a policy with an EHR beyond this machine, a sandbox on it, a trunk, and two webhooks."""
    return Practice.model_validate(
        {
            "practice": {"name": "Harbor", "timezone": "America/New_York"},
            "trunk": [{"name": "carrier", "hosts": ["203.0.113.5"]}, {"name": "lab", "hosts": ["127.0.0.1"]}],
            "connection": [
                {"name": "ehr", "connector": "fhir", "settings": {"base_url": "https://ehr.example.org/fhir"}},
                {"name": "clear", "connector": "fhir", "settings": {"base_url": "http://ehr.example.org/fhir"}},
                {"name": "sandbox", "connector": "fhir", "settings": {"base_url": f"http://127.0.0.1:{port}/fhir"}},
                {"name": "adt", "connector": "hl7v2", "settings": {"listen": "127.0.0.1:2575"}},
            ],
            "webhook": [
                {"url": "https://crm.example.org/pops", "events": ["call.*"], "secret": "env:S"},
                {"url": f"http://127.0.0.1:{port}/pops", "events": ["call.*"], "secret": "env:S"},
                {"url": "http://crm.example.org/pops", "events": ["call.*"], "secret": "env:S"},
                {"url": "https://crm.example.org:22/pops", "events": ["call.*"], "secret": "env:S"},
                {"url": "https://u:p@crm.example.org/pops", "events": ["call.*"], "secret": "env:S"},
            ],
            "agreement": [
                {"counterparty": "ehr", "basis": "treatment", "data": ["chart", "appointments"]},
                {"counterparty": "clear", "basis": "treatment", "data": ["chart"]},
                {"counterparty": "carrier", "data": ["call-audio"], "expires": date(2026, 11, 23), "document": "c.pdf"},
            ],
        }
        | changes
    )


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "chartline.db", os.urandom(32))
    SQLModel.metadata.create_all(made.engine, tables=[SQLModel.metadata.tables["intent"]])
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


class Resolver:
    """Answers in turn, the last answer for ever, and remembers who was asked for."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, _: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def notes(database: Database) -> list[wire.Intent]:
    with database.read() as db:
        rows = db.exec(select(Intent).order_by("id"))
        return [msgspec.msgpack.decode(row.body, type=wire.Intent) for row in rows]


def said(database: Database) -> list[tuple[Any, ...]]:
    return [(one.act, *(one.detail[name] for name in ("counterparty", "data", "basis"))) for one in notes(database)]


@pytest.mark.parametrize(
    ("counterparty", "data_class"),
    [
        ("ehr", "message-body"),
        ("ehr", "call-audio"),
        ("ehr", "everything"),
        ("carrier", "phone-number"),
        ("stranger", "chart"),
        ("adt", "appointments"),
        ("", ""),
    ],
)
async def test_without_an_agreement_nothing_goes_out(
    database: Database, clock: Clock, counterparty: str, data_class: str
) -> None:
    egress = Egress(practice(), database, clock)
    with pytest.raises(EgressDeniedError) as caught:
        await egress.open(counterparty, data_class, "treatment")
    assert (caught.value.code, caught.value.status, caught.value.retry) == ("no-agreement", 403, False)
    (note,) = said(database)
    assert note[0] == "egress.refused"


async def test_an_agreement_lets_its_classes_out_until_its_last_day_is_over(database: Database, clock: Clock) -> None:
    egress = Egress(practice(), database, clock, actor="system:media")
    await egress.permit("ehr", "chart", "treatment")
    await egress.permit("carrier", "call-audio", "operations")
    clock.now = datetime(2026, 11, 24, 4, 59, tzinfo=UTC)  # still the 23rd in New York
    await egress.permit("carrier", "call-audio", "operations")
    clock.now += timedelta(minutes=1)
    with pytest.raises(EgressDeniedError):
        await egress.permit("carrier", "call-audio", "operations")
    assert said(database) == [
        ("egress.open", "ehr", "chart", "treatment"),
        ("egress.open", "carrier", "call-audio", "agreement"),
        ("egress.open", "carrier", "call-audio", "agreement"),
        ("egress.refused", "carrier", "call-audio", "none"),
    ]
    assert {(one.actor, one.role) for one in notes(database)} == {("system:media", "system")}
    assert [one.purpose for one in notes(database)] == ["treatment", "operations", "operations", "operations"]


async def test_this_machine_needs_no_agreement(database: Database, clock: Clock) -> None:
    egress = Egress(practice(), database, clock)
    await (await egress.open("sandbox", "message-body", "treatment")).aclose()
    await egress.permit("lab", "call-audio", "operations")
    assert [note[3] for note in said(database)] == ["loopback", "loopback"]


async def test_a_check_of_address_and_credentials_carries_nothing(database: Database, clock: Clock) -> None:
    egress = Egress(practice(agreement=[]), database, clock)
    await (await egress.open("ehr", "none", "operations")).aclose()
    assert said(database) == [("egress.open", "ehr", "none", "no-phi")]


async def test_beyond_this_machine_nothing_goes_in_clear(database: Database, clock: Clock) -> None:
    egress = Egress(practice(), database, clock)
    with pytest.raises(DestinationDeniedError):
        await egress.open("clear", "chart", "treatment")


async def test_the_same_opening_is_noted_once_a_minute(database: Database, clock: Clock) -> None:
    egress = Egress(practice(), database, clock)
    for _ in range(5):
        await egress.permit("ehr", "chart", "treatment")
    assert len(notes(database)) == 1
    await egress.permit("ehr", "chart", "operations")
    await egress.permit("ehr", "appointments", "treatment")
    assert len(notes(database)) == 3
    clock.now += timedelta(minutes=1)
    await egress.permit("ehr", "chart", "treatment")
    assert len(notes(database)) == 4


async def test_what_cannot_be_noted_does_not_go_out(tmp_path: Path, clock: Clock) -> None:
    database = Database(tmp_path / "bare.db", os.urandom(32))
    try:
        with pytest.raises(Exception, match="no such table"):
            await Egress(practice(), database, clock).open("ehr", "chart", "treatment")
    finally:
        database.close()


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope, receive)
    if request.url.path == "/fhir/away":
        await RedirectResponse("https://elsewhere.example.org")(scope, receive, send)
        return
    said = {"host": request.headers["host"], "path": request.url.path, "query": request.url.query}
    await JSONResponse(said | {"body": (await request.body()).decode()})(scope, receive, send)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with served(echo) as base:
        yield int(base.rpartition(":")[2])


async def test_an_opened_client_reaches_its_host_and_no_other(database: Database, clock: Clock, port: int) -> None:
    egress = Egress(practice(port), database, clock)
    async with await egress.open("sandbox", "chart", "treatment") as client:
        answer = await client.post(f"http://127.0.0.1:{port}/fhir/x?a=1", content=b"hello")
        assert answer.json() == {"host": f"127.0.0.1:{port}", "path": "/fhir/x", "query": "a=1", "body": "hello"}
        assert (await client.get(f"http://127.0.0.1:{port}/fhir/away")).status_code == 307
        for elsewhere in (f"http://localhost:{port}/", "http://127.0.0.1:1/", "https://ehr.example.org/fhir"):
            with pytest.raises(DestinationDeniedError):
                await client.get(elsewhere)


async def test_a_connector_over_the_gate_maps_its_faults(database: Database, clock: Clock) -> None:
    resolver = Resolver([])
    egress = Egress(practice(), database, clock, resolve=resolver)
    connector = Fhir(FhirSettings.model_validate({"base_url": "https://ehr.example.org/fhir"}))
    async with await egress.open("ehr", "chart", "treatment") as http:
        ctx = host.context(connector, "ehr", http=http, clock=clock, timezone=practice().practice.zone, region="US")
        with pytest.raises(TransientError):
            await connector.check(ctx)
    assert set(resolver.asked) == {"ehr.example.org"}


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["169.254.169.254"], ["::1"], ["64:ff9b::7f00:1"], ["10.0.0.1", "127.0.0.1"]]
)
async def test_a_name_that_leads_to_this_machine_or_to_nobody_is_not_reached(
    database: Database, clock: Clock, addresses: list[str]
) -> None:
    egress = Egress(practice(), database, clock, resolve=Resolver(addresses))
    async with await egress.open("ehr", "chart", "treatment") as client:
        with pytest.raises(AddressDeniedError):
            await client.get("https://ehr.example.org/fhir/metadata")


async def test_a_webhook_goes_to_the_world_and_not_to_the_practices_network(database: Database, clock: Clock) -> None:
    for address in ("10.0.0.1", "192.168.1.1", "127.0.0.1", "100.64.0.1", "169.254.169.254"):
        egress = Egress(practice(), database, clock, resolve=Resolver([address]))
        async with await egress.webhook("https://crm.example.org/pops", "operations") as client:
            with pytest.raises(AddressDeniedError):
                await client.post("https://crm.example.org/pops")


async def test_a_webhook_on_this_machine_is_one_that_the_policy_writes_so(
    database: Database, clock: Clock, port: int
) -> None:
    egress = Egress(practice(port), database, clock)
    async with await egress.webhook(f"http://127.0.0.1:{port}/pops", "operations") as client:
        assert (await client.post(f"http://127.0.0.1:{port}/pops")).status_code == 200
        with pytest.raises(DestinationDeniedError):
            await client.post("http://127.0.0.1:1/pops")


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://evil.example.org/", EgressDeniedError),
        ("http://127.0.0.1:1/other", EgressDeniedError),
        ("http://crm.example.org/pops", DestinationDeniedError),
        ("https://crm.example.org:22/pops", DestinationDeniedError),
        ("https://u:p@crm.example.org/pops", DestinationDeniedError),
    ],
)
async def test_a_webhook_that_is_not_the_policys_or_not_safe_is_refused(
    database: Database, clock: Clock, url: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        await Egress(practice(), database, clock).webhook(url, "operations")


async def test_a_webhooks_answer_is_read_to_a_megabyte_at_most(database: Database, clock: Clock) -> None:
    async def flood(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(b"x" * (1024 * 1024 + 1))(scope, receive, send)

    async with served(flood) as base:
        port = int(base.rpartition(":")[2])
        async with await Egress(practice(port), database, clock).webhook(f"{base}/pops", "operations") as client:
            with pytest.raises(httpx.ReadError):
                await client.post(f"{base}/pops")


async def test_a_name_is_resolved_once_in_a_clients_life(port: int) -> None:
    resolver = Resolver(["127.0.0.1"], ["169.254.169.254"])
    destination = Destination(frozenset({("http", "ehr.test", port)}), Reach.LOOPBACK)
    async with httpx.AsyncClient(transport=PinnedTransport(destination, resolver)) as client:
        for _ in range(3):
            answer = await client.get(f"http://ehr.test:{port}/x")
            assert answer.json()["host"] == f"ehr.test:{port}"
    assert resolver.asked == ["ehr.test"]


async def test_requests_at_once_go_over_one_transport_to_the_first_address_known(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[httpx.AsyncHTTPTransport] = []

    class Counted(httpx.AsyncHTTPTransport):
        def __init__(self, **how: Any) -> None:
            super().__init__(**how)
            made.append(self)

    async def resolve(_: str, __: int) -> Sequence[str]:
        await asyncio.sleep(0)
        return ["127.0.0.1"]

    destination = Destination(frozenset({("http", "ehr.test", port)}), Reach.LOOPBACK)
    monkeypatch.setattr(httpx, "AsyncHTTPTransport", Counted)
    async with httpx.AsyncClient(transport=PinnedTransport(destination, resolve)) as client:
        answers = await asyncio.gather(*(client.get(f"http://ehr.test:{port}/x") for _ in range(4)))
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len(made) == 1  # one that is forgotten for the next would never be closed


async def test_the_next_address_is_tried_where_nothing_listens(port: int) -> None:
    destination = Destination(frozenset({("http", "ehr.test", port)}), Reach.LOOPBACK)
    resolver = Resolver(["127.0.0.77", "127.0.0.1"])
    async with httpx.AsyncClient(transport=PinnedTransport(destination, resolver)) as client:
        assert (await client.post(f"http://ehr.test:{port}/x", content=b"once")).json()["body"] == "once"


@pytest.mark.parametrize(("name", "fits"), [("ehr.test", True), ("other.test", False)])
async def test_the_certificate_is_checked_against_the_name_and_not_the_address(
    tmp_path: Path, name: str, fits: bool
) -> None:
    pem, key = certificate(name, tmp_path)
    trust = ssl.create_default_context(cafile=str(pem))
    config = uvicorn.Config(
        echo, log_level="critical", access_log=False, ssl_certfile=pem, ssl_keyfile=key, timeout_graceful_shutdown=1
    )
    async with serving(config) as port:
        destination = Destination(frozenset({("https", "ehr.test", port)}), Reach.LOOPBACK)
        transport = PinnedTransport(destination, Resolver(["127.0.0.1"]), tls=trust)
        async with httpx.AsyncClient(transport=transport) as client:
            if fits:
                assert (await client.get(f"https://ehr.test:{port}/x")).json()["host"] == f"ehr.test:{port}"
            else:
                with pytest.raises(httpx.ConnectError):
                    await client.get(f"https://ehr.test:{port}/x")
