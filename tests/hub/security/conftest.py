"""A vault for every test of sealed rows, and for each a database of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.security.room import POOL, Room, stocked
from tests.hub.vault.house import Threaded, made, threaded


@pytest.fixture(scope="session")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Threaded]:
    with threaded(made(tmp_path_factory.mktemp("vault"))) as server:
        stocked(server, POOL)
        yield server


@pytest.fixture
def room(one: Threaded, tmp_path: Path) -> Iterator[Room]:
    room = Room(one, tmp_path / "chartline.db")
    yield room
    room.database.close()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Room]:
    """A room with a vault of its own, for what others would feel."""
    with threaded(made(tmp_path / "own")) as server:
        stocked(server, 2)
        room = Room(server, tmp_path / "chartline.db")
        yield room
        room.database.close()
