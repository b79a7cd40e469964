"""Numbers that nobody on record gave are asked for elsewhere; links lead the agent to other systems."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
import pytest
from sqlmodel import col, select

from connectors import host
from connectors.api import PatientFacts
from connectors.sandbox import ehr
from connectors.sandbox.people import People, Person, make
from connectors.sandbox.resource import resources
from connectors.sandbox.store import Store
from hub import finder
from hub.feeds import read_row
from hub.record import inbox
from hub.record.inbox import Form, InboxMessage
from tests.connectors.stage import served
from tests.hub.api.office import POLICY, TEST, Office, number, phones

PEOPLE = make(11, datetime.now(UTC), ZoneInfo("America/New_York"))
CRM = """
from connectors.api import Connector, Identifier, PatientFacts, PatientRef, Scope, Settings, Version

class Where(Settings):
    base_url: str

class Acme(Connector[Where]):
    name = "acme"
    kind = "crm"
    scopes = frozenset({Scope.PATIENT_IDENTITY, Scope.PATIENT_CONTACT})
    Settings = Where

    async def find_patients(self, ctx, phone):
        ids = (Identifier(system="acme", value="c1"),)
        facts = PatientFacts(ids=ids, version=Version(at=ctx.clock(), tag=""))
        return [PatientRef(id="c1", facts=facts, url="https://crm.example.org/c1")]
"""


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that answers is late, however busy the machine is."""
    for limit in ("WITHIN_S", "LINKS_WITHIN_S"):
        monkeypatch.setattr(finder, limit, 60.0)


def callers(people: People) -> list[Person]:
    return [person for person in people.alone_at_their_number() if person.phone]


@asynccontextmanager
async def connected(office: Office) -> AsyncIterator[None]:
    """Connect the practice to an EHR that knows people whom the record does not know."""
    app = ehr.app(Store(lambda: datetime.now(UTC), resources(PEOPLE)))
    async with served(app) as address:
        settings = f'{{ base_url = "{address}/fhir" }}'
        office.publish(f'{POLICY}\n[[connection]]\nname = "ehr"\nconnector = "fhir"\nsettings = {settings}\n')
        try:
            yield
        finally:
            office.publish(POLICY)


def told(office: Office) -> list[InboxMessage]:
    with office.instance.inbox.read() as db:
        of_the_ehr = select(InboxMessage).where(col(InboxMessage.connection) == "ehr")
        return list(db.exec(of_the_ehr.order_by(col(InboxMessage.seq))))


async def opened(http: httpx.AsyncClient, office: Office, token: str) -> dict[str, object]:
    """Open a pop, and return what it shows once the look-up is over."""
    shown = (await http.get(f"/v1/pops/{token}")).json()
    await office.app.state.finder.looked(UUID(shown["call"]))
    return dict(shown)


async def test_an_unknown_number_is_asked_for_once_and_what_is_told_goes_into_the_inbox(office: Office) -> None:
    person, agent, before = callers(PEOPLE)[0], office.worker("front-desk"), len(told(office))
    async with connected(office):
        token = office.pop(agent, str(person.phone))
        async with office.http(agent) as http:
            assert (await opened(http, office, token))["match"] == "none"
            await opened(http, office, token)
    (row,) = told(office)[before:]
    assert row.form is Form.FACT
    with office.instance.inbox.read() as db:
        (fields,) = office.instance.opener.open(db, TEST, [inbox.sealed_of(row)])
    connector = office.app.state.outside.connectors().get("sms")
    (said,) = read_row(connector, row, fields["raw"], timezone=ZoneInfo("UTC"), region="US")
    assert isinstance(said, PatientFacts)
    assert said.family == person.family
    noted = [
        record for record in office.audit() if record["act"] == "patient.find" and record["actor"] == str(agent.id)
    ]
    assert len(noted) == 1


async def test_a_number_that_is_on_record_is_asked_for_nowhere(office: Office) -> None:
    agent, calls_from, before = office.worker("front-desk"), number(), len(told(office))
    office.patient(**phones(calls_from))
    async with connected(office):
        token = office.pop(agent, calls_from)
        async with office.http(agent) as http:
            assert (await opened(http, office, token))["match"] == "one"
    assert len(told(office)) == before


async def test_an_ehr_that_is_down_leaves_the_pop_as_it_is(office: Office) -> None:
    agent, before = office.worker("front-desk"), len(told(office))
    settings = '{ base_url = "http://127.0.0.1:9/fhir" }'
    office.publish(f'{POLICY}\n[[connection]]\nname = "ehr"\nconnector = "fhir"\nsettings = {settings}\n')
    try:
        token = office.pop(agent, number())
        async with office.http(agent) as http:
            assert (await opened(http, office, token))["match"] == "none"
    finally:
        office.publish(POLICY)
    assert len(told(office)) == before


def install(root: Path, monkeypatch: pytest.MonkeyPatch, module: str, source: str, name: str) -> None:
    """Install a connector called acme for this test."""
    about = root / f"{module}-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
    (about / "entry_points.txt").write_text(f"[{host.GROUP}]\nacme = {module}:{name}\n")
    (root / f"{module}.py").write_text(source)
    monkeypatch.syspath_prepend(root)


@pytest.fixture
def crm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Install a CRM's connector, and return the policy's table for it."""
    install(tmp_path, monkeypatch, "acme_crm", CRM, "Acme")
    return '\n[[connection]]\nname = "crm"\nconnector = "acme"\nsettings = { base_url = "http://127.0.0.1:9" }\n'


EHR = """
from connectors.api import Connector, Settings

class Plain(Settings):
    broken: bool = False

class Chart(Connector[Plain]):
    name = "acme"
    scopes = frozenset()
    Settings = Plain

    def page(self, patient_ids):
        if self.settings.broken:
            raise KeyError(patient_ids[0].value)
        return "https://ehr.example.org/" + patient_ids[0].value
"""


@pytest.mark.parametrize(("broken", "count"), [("false", 1), ("true", 0)])
async def test_an_ehr_that_knows_its_pages_gives_one_without_being_asked(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, count: int
) -> None:
    install(tmp_path, monkeypatch, f"acme_ehr_{broken}", EHR, "Chart")
    agent, calls_from = office.worker("front-desk"), number()
    settings = f"settings = {{ broken = {broken} }}"
    office.publish(f'{POLICY}\n[[connection]]\nname = "chart"\nconnector = "acme"\n{settings}\n')
    try:
        office.patient(**phones(calls_from))
        token = office.pop(agent, calls_from)
        async with office.http(agent) as http:
            said = {"name": "Ana Rivera", "birth_date": "1980-02-03"}
            shown = (await http.post(f"/v1/pops/{token}/verify", json=said)).json()
    finally:
        office.publish(POLICY)
    assert shown["name"] == "Ana Rivera"
    assert len(shown["links"]) == count


AGREED = """
[[agreement]]
counterparty = "crm"
basis = "treatment"
data = ["phone-number"]
fields = ["patient.phone"]
"""


@pytest.mark.parametrize(
    ("agreement", "links"),
    [(AGREED, [{"connection": "crm", "url": "https://crm.example.org/c1"}]), ("", [])],
)
async def test_a_crm_gives_a_link_where_its_agreement_lets_it_have_the_number(
    office: Office, crm: str, agreement: str, links: list[dict[str, str]]
) -> None:
    agent, calls_from = office.worker("front-desk"), number()
    office.publish(POLICY + crm + agreement)
    try:
        office.patient(**phones(calls_from))
        token = office.pop(agent, calls_from)
        async with office.http(agent) as http:
            said = {"name": "Ana Rivera", "birth_date": "1980-02-03"}
            shown = (await http.post(f"/v1/pops/{token}/verify", json=said)).json()
    finally:
        office.publish(POLICY)
    assert shown["name"] == "Ana Rivera"
    assert shown["links"] == links
