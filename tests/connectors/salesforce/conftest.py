import pytest

from tests.connectors.salesforce.world import World
from tests.connectors.salesforce.world import world as made


@pytest.fixture
def world() -> World:
    return made()
