import pytest

from tests.connectors.fhir.world import World
from tests.connectors.fhir.world import world as made


@pytest.fixture
def world() -> World:
    return made()
