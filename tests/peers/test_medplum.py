"""The FHIR connector against a server that is not ours: Medplum's router and repository (tests/peers/medplum)."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors import host
from connectors.api import (
    AppointmentFacts,
    AppointmentStatus,
    Change,
    Checkpoint,
    CommunicationFacts,
    ConflictError,
    Context,
    Identifier,
    PatientFacts,
    Section,
)
from connectors.fhir import Fhir, FhirSettings
from connectors.fhir.cursor import Cursor
from connectors.sandbox.people import MRN_SYSTEM, People, make
from connectors.sandbox.resource import Resource, resources
from tests.connectors.stage import ZONE

PEER = Path(__file__).with_name("medplum")
INSTALLED = Path(__file__).resolve().parents[2] / "build" / "peers" / "medplum"

pytestmark = [pytest.mark.peer("node"), pytest.mark.xdist_group("medplum")]

KINDS = ("Patient", "Appointment", "Task", "AllergyIntolerance", "Condition", "MedicationRequest", "Coverage")


def installed() -> bool:
    """Return whether the packages of the lock file are there (tests/peers/npm.sh medplum)."""
    lock = INSTALLED / "installed.json"
    return lock.exists() and lock.read_bytes() == (PEER / "package-lock.json").read_bytes()


@asynccontextmanager
async def medplum() -> AsyncIterator[str]:
    """Run the peer; yield its base URL."""
    shutil.copy(PEER / "server.mjs", INSTALLED / "server.mjs")
    server = await asyncio.create_subprocess_exec(
        "node", str(INSTALLED / "server.mjs"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    assert server.stdin is not None
    try:
        async with asyncio.timeout(60):
            yield (await server.stdout.readline()).decode().strip()
    finally:
        server.stdin.close()
        await server.wait()


class Peer:
    """The server, and people who are known there."""

    def __init__(self, base: str, people: People, http: httpx.AsyncClient) -> None:
        self.people = people
        self.http = http
        self.base = base

    def connector(self, **settings: Any) -> Fhir:
        written = {"base_url": self.base, "profile": "medplum", "feed": ("patients", "appointments", "requests")}
        return Fhir(FhirSettings.model_validate(written | settings))

    def context(self, connector: Fhir) -> Context:
        return host.context(
            connector,
            "ehr",
            http=self.http,
            clock=lambda: datetime.now(UTC),
            timezone=ZONE,
            region="US",
            deadline=20.0,
        )

    async def resource(self, name: str) -> Resource:
        answer = await self.http.get(f"{self.base}/{name}")
        assert answer.status_code == 200
        found: Resource = answer.json()
        return found


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    if not installed():
        reason = "needs the npm packages of tests/peers/medplum (sh tests/peers/npm.sh medplum)"
        if os.environ.get("CHARTLINE_REQUIRE_PEERS") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    people = make(7, datetime.now(UTC), ZONE)
    async with medplum() as base, httpx.AsyncClient(trust_env=False, timeout=20) as http:
        for resource in resources(people):
            if resource["resourceType"] in KINDS:
                answer = await http.post(f"{base}/{resource['resourceType']}", json=resource)
                assert answer.status_code == 201, answer.text
        yield Peer(base, people, http)


async def told(connector: Fhir, ctx: Context, cursor: bytes | None = None) -> tuple[list[Change], bytes]:
    facts: list[Change] = []
    async for said in connector.changes(ctx, cursor):
        if isinstance(said, Checkpoint):
            cursor = said.cursor
        else:
            facts.append(said)
    assert cursor is not None
    return facts, cursor


async def test_it_is_checked_searched_and_read(peer: Peer) -> None:
    connector = peer.connector()
    ctx = peer.context(connector)
    await connector.check(ctx)
    for person in peer.people.persons[:8]:
        found = await connector.find_patients(ctx, str(person.phone))
        assert {ref.id for ref in found} == {one.id for one in peer.people.at(str(person.phone))}
    assert await connector.find_patients(ctx, "+12125550199") == []
    for person in peer.people.persons[:4]:
        wanted = frozenset({Section.ALLERGIES, Section.PROBLEMS, Section.COVERAGE})
        chart = await connector.chart(ctx, [Identifier(system=MRN_SYSTEM, value=person.mrn)], wanted)
        assert set(chart.sections[Section.PROBLEMS]) == {name for _, name in person.problems}
        assert chart.sections[Section.COVERAGE] == (person.payor,)
        assert len(chart.sections[Section.ALLERGIES]) == len(person.allergies)


async def test_changes_are_told_from_nothing_and_since(peer: Peer) -> None:
    # The repository compares instants as texts, and 10:00:00.5Z sorts before 10:00:00Z: an overlap is needed.
    connector = peer.connector(page_size=7, overlap_seconds=1)
    ctx = peer.context(connector)
    facts, cursor = await told(connector, ctx)
    patients = {fact.ids[0].value for fact in facts if isinstance(fact, PatientFacts)}
    visits = {fact.ids[0].value: fact for fact in facts if isinstance(fact, AppointmentFacts)}
    assert patients == {person.id for person in peer.people.persons}
    coming = {visit.id: visit for visit in peer.people.visits if visit.starts_at > peer.people.now}
    assert visits.keys() >= coming.keys()
    for own, visit in coming.items():
        assert (visits[own].starts_at, visits[own].minutes) == (visit.starts_at, visit.minutes)
    changed = await peer.resource("Appointment/a3") | {"status": "cancelled"}
    assert (await peer.http.put(f"{peer.base}/Appointment/a3", json=changed)).status_code == 200
    again, cursor = await told(connector, ctx, cursor)
    changes = {fact.ids[0].value: fact.status for fact in again if isinstance(fact, AppointmentFacts)}
    assert {own: status for own, status in changes.items() if own in coming} == {"a3": AppointmentStatus.CANCELLED}
    assert Cursor.parse(cursor).compared == {}
    assert (await told(connector, ctx, cursor))[0] == []


async def test_a_status_is_written_with_the_version_that_was_seen(peer: Peer) -> None:
    connector = peer.connector()
    ctx = peer.context(connector)
    ids = [Identifier(system="fhir/Appointment", value="a1")]
    before = (await peer.resource("Appointment/a1"))["meta"]["versionId"]
    done = await connector.set_status(ctx, ids, "confirmed", if_version=before, key="k1")
    now = await peer.resource("Appointment/a1")
    assert now["participant"][0]["status"] == "accepted"
    assert done.version == now["meta"]["versionId"] != before
    assert await connector.set_status(ctx, ids, "confirmed", if_version=before, key="k1") == done
    with pytest.raises(ConflictError):
        await connector.set_status(ctx, ids, AppointmentStatus.CANCELLED, if_version=before, key="k2")
    assert (await peer.resource("Appointment/a1"))["status"] == "booked"


async def test_a_contact_is_noted_once_however_often_it_is_said(peer: Peer) -> None:
    connector = peer.connector()
    ctx = peer.context(connector)
    said = CommunicationFacts(
        patient_ids=(Identifier(system="fhir/Patient", value="p01"),),
        medium="PHONE",
        inbound=True,
        sent_at=datetime.now(UTC) - timedelta(minutes=5),
        topic="Phone call",
    )
    first = await connector.log(ctx, said, key="call-1")
    assert await connector.log(ctx, said, key="call-1") == first
    assert (await connector.log(ctx, said, key="call-2")).external_id != first.external_id
    noted = (await peer.http.get(f"{peer.base}/Communication?_count=50")).json()
    assert noted["total"] == 2
