import pytest

from tests.connectors.hubspot.world import World


@pytest.fixture
def world() -> World:
    return World()
