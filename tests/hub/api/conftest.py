"""One office for all tests of a run; each test brings people and numbers of its own."""

from collections.abc import Iterator

import pytest

from tests.hub.api.office import NOW, Office, opened


@pytest.fixture(scope="session")
def building(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with opened(tmp_path_factory.mktemp("office")) as office:
        yield office


@pytest.fixture
def office(building: Office) -> Office:
    building.now = max(building.now, NOW)
    return building
