"""One vault for all tests; for each a clinic, a carrier, an EHR, and a Temporal server that skips time."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from connectors.sandbox import carrier as sms
from connectors.sandbox import ehr as fhir
from connectors.sandbox.store import Store
from hub.demo.ports import free_port
from hub.outside import Outside
from tests.workflows.clinic import SECRET, TOKEN, Clinic, House, house, serving
from tests.workflows.env import skipping
from tests.workflows.feeding import feeds_of
from tests.workflows.reminding import desk_of
from workflows.activities.appointment import Appointments
from workflows.activities.feed import Feeds
from workflows.activities.herald import Herald
from workflows.activities.voice import Voices


@pytest.fixture(scope="session")
def vault_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("house")) as made:
        yield made


@pytest.fixture
def clinic(vault_house: House, tmp_path: Path) -> Iterator[Clinic]:
    made = Clinic(vault_house, tmp_path / "clinic")
    yield made
    made.close()


@pytest.fixture
async def carrier(clinic: Clinic) -> AsyncIterator[sms.Carrier]:
    """The sandbox's SMS carrier, where the policy says it is."""
    made = sms.Carrier(TOKEN, SECRET, clinic.clock)
    async with serving(sms.app(made), clinic.ports["carrier"]):
        yield made


@pytest.fixture
async def ehr(clinic: Clinic) -> AsyncIterator[Store]:
    """The sandbox's FHIR server, empty, where the policy says it is."""
    store = Store(clinic.clock)
    async with serving(fhir.app(store), clinic.ports["ehr"]):
        yield store


@pytest.fixture
async def nobody() -> Client:
    """A client of a Temporal server that is not there: what is to be started is left to upkeep."""
    return await Client.connect(f"127.0.0.1:{free_port()}", lazy=True)


@pytest.fixture
async def env() -> AsyncIterator[WorkflowEnvironment]:
    async with skipping() as started:
        yield started


@pytest.fixture
def feeds(clinic: Clinic, env: WorkflowEnvironment) -> Feeds:
    return feeds_of(clinic, env.client)


@pytest.fixture
def desk(clinic: Clinic, nobody: Client) -> Appointments:
    return desk_of(clinic, nobody)


@pytest.fixture
def voices(clinic: Clinic, nobody: Client) -> Voices:
    """The activities that call, under a policy that has reminders called."""
    clinic.amend('offsets = ["-3d", "-1d", "-2h"]', 'offsets = ["-3d", "-1d", "-2h"]\nvoice = true')
    instance = clinic.instance
    return Voices(instance, Outside(instance, {}, actor="system:workflows"), Herald(instance, nobody))
