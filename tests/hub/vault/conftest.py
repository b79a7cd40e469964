"""An instance's keys, and a vault for the tests that need no own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.vault.home import Home
from tests.hub.vault.house import Threaded, made, threaded


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return made(tmp_path)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Threaded]:
    """A server that the tests of a module share."""
    with threaded(made(tmp_path_factory.mktemp("vault"))) as server:
        yield server
