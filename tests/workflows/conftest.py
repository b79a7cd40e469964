"""Fixtures: one vault for all tests, a clinic and its outside world for each."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from tests.workflows.clinic import POLICY, Clinic, House, free_port, house
from tests.workflows.env import skipping


@pytest.fixture(scope="session")
def vault_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("house")) as made:
        yield made


@pytest.fixture
def clinic(vault_house: House, tmp_path: Path) -> Iterator[Clinic]:
    ports = {"ehr": free_port(), "carrier": free_port(), "crm": free_port()}
    made = Clinic(vault_house, tmp_path / "clinic", POLICY.format(**ports))
    yield made
    made.close()


@pytest.fixture
async def env() -> AsyncIterator[WorkflowEnvironment]:
    async with skipping() as started:
        yield started
