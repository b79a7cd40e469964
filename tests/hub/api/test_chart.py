"""The chart's part of a pop: what the role may see, from the EHR, or why there is nothing."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import cast
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from connectors import host
from connectors.api import FindsPatients, Section
from connectors.sandbox import ehr
from connectors.sandbox.people import People, Person, make
from connectors.sandbox.resource import resources
from connectors.sandbox.store import Store
from hub.chart import Charts
from hub.outside import Outside
from hub.security.access import fields_for
from hub.settings.practice import Role
from tests.connectors.stage import served
from tests.hub.api.office import POLICY, Office, number, phones, subjects_of

CLINICAL = {"allergies", "problems", "medications", "care-team", "encounters", "referrals", "consents", "messages"}
PATIENCE_S = 60.0
PEOPLE = make(7, datetime.now(UTC), ZoneInfo("America/New_York"))


def sick(people: People) -> Person:
    """Return somebody with an allergy and a problem, and a number of their own."""
    return next(person for person in people.alone_at_their_number() if person.allergies and person.problems)


@pytest.fixture
def outside(office: Office) -> Iterator[Outside]:
    """The office's way out, on which nothing is late; under the usual policy again afterwards."""
    outside, usual = office.app.state.outside, office.app.state.charts
    office.app.state.charts = Charts(office.instance, outside, within_s=PATIENCE_S)
    yield outside
    office.app.state.charts = usual
    office.publish(POLICY)


@asynccontextmanager
async def connected(office: Office, app: ASGIApp) -> AsyncIterator[None]:
    """Connect the practice to an EHR."""
    async with served(app) as address:
        settings = f'{{ base_url = "{address}/fhir" }}'
        office.publish(f'{POLICY}\n[[connection]]\nname = "ehr"\nconnector = "fhir"\nsettings = {settings}\n')
        yield


def sandbox() -> ASGIApp:
    return ehr.app(Store(lambda: datetime.now(UTC), resources(PEOPLE)))


async def registered(office: Office, outside: Outside) -> tuple[Person, str]:
    """Store what the EHR says of somebody who is ill; return them and their number."""
    person = sick(PEOPLE)
    assert person.phone is not None
    async with outside.open("ehr", "chart", "treatment") as line:
        finder = cast("FindsPatients", line.connector)
        (ref,) = await finder.find_patients(line.ctx, person.phone)
    office.tell(ref.facts, connection="ehr")
    return person, person.phone


def said_of(person: Person) -> dict[str, str]:
    return {"name": f"{person.given} {person.family}", "birth_date": person.birth_date.isoformat()}


@pytest.mark.parametrize("role", ["front-desk", "nurse", "provider", "billing"])
async def test_a_role_gets_its_sections_of_the_chart(office: Office, outside: Outside, role: Role) -> None:
    agent = office.worker(role)
    async with connected(office, sandbox()):
        person, calls_from = await registered(office, outside)
        token = office.pop(agent, calls_from)
        async with office.http(agent) as http:
            answer = await http.post(f"/v1/pops/{token}/verify", json=said_of(person))
    shown = answer.json()
    allowed = fields_for(role, "full")
    assert shown.keys() - {"stage", "call", "patient", "verified", "chart"} == allowed
    if allowed & CLINICAL:
        assert shown["allergies"]
        assert shown["problems"]
        assert shown["chart"]["missing"] is None
        assert shown["chart"]["read_at"]
    asked = [record for record in office.audited(answer) if record["act"] == "chart.read"]
    sections = allowed & {section.value for section in Section} - {"requests"}
    assert [record["detail"]["sections"] for record in asked] == ([",".join(sorted(sections))] if sections else [])
    for record in asked:
        assert (record["actor"], subjects_of(record)) == (str(agent.id), {UUID(shown["patient"])})


async def test_an_ehr_that_is_down_leaves_the_rest_of_the_pop(office: Office, outside: Outside) -> None:
    agent = office.worker("nurse")
    async with connected(office, sandbox()):
        person, calls_from = await registered(office, outside)
    token = office.pop(agent, calls_from)
    async with office.http(agent) as http:
        shown = (await http.post(f"/v1/pops/{token}/verify", json=said_of(person))).json()
    assert shown["name"] == f"{person.given} {person.family}"
    assert shown["chart"] == {"read_at": None, "missing": "transient"}
    assert not CLINICAL & shown.keys()


async def test_an_ehr_that_hangs_is_not_waited_for(office: Office, outside: Outside) -> None:
    agent, whole = office.worker("nurse"), sandbox()
    hangs = False

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if hangs and scope["type"] == "http":
            await asyncio.Event().wait()
        await whole(scope, receive, send)

    usual = office.app.state.charts
    office.app.state.charts = Charts(office.instance, outside, within_s=0.05)
    try:
        async with connected(office, app):
            person, calls_from = await registered(office, outside)
            hangs = True
            token = office.pop(agent, calls_from)
            async with office.http(agent) as http:
                shown = (await http.post(f"/v1/pops/{token}/verify", json=said_of(person))).json()
    finally:
        office.app.state.charts = usual
    assert shown["chart"] == {"read_at": None, "missing": "late"}


BROKEN = """
from connectors.api import Connector, Scope, Settings

class Where(Settings):
    base_url: str

class Acme(Connector[Where]):
    name = "acme"
    scopes = frozenset({Scope.CHART_SUMMARY})
    Settings = Where

    async def chart(self, ctx, patient_ids, sections):
        raise KeyError("Ana Rivera")
"""


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Install a connector with a fault in it, and return the policy's table for it."""
    about = tmp_path / "acme_chart-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-chart\nVersion: 1\n")
    (about / "entry_points.txt").write_text(f"[{host.GROUP}]\nacme = acme_chart:Acme\n")
    (tmp_path / "acme_chart.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    return '\n[[connection]]\nname = "ehr"\nconnector = "acme"\nsettings = { base_url = "ADDRESS" }\n'


@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize(
    ("address", "code"), [("http://127.0.0.1:9", "connector-failed"), ("https://ehr.example.org", "no-agreement")]
)
async def test_whatever_stands_in_the_way_leaves_the_rest_of_the_pop(
    office: Office, acme: str, address: str, code: str
) -> None:
    agent, calls_from = office.worker("nurse"), number()
    office.publish(POLICY + acme.replace("ADDRESS", address))
    office.patient(**phones(calls_from))
    token = office.pop(agent, calls_from)
    async with office.http(agent) as http:
        answer = await http.post(f"/v1/pops/{token}/verify", json={"name": "Ana Rivera", "birth_date": "1980-02-03"})
    assert answer.json()["name"] == "Ana Rivera"
    assert answer.json()["chart"] == {"read_at": None, "missing": code}
