"""One open instance for the tests of a module, with an empty inbox for each."""

from collections.abc import Iterator

import pytest

from tests.hub.feedhouse import Postbox, postbox


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postbox]:
    with postbox(tmp_path_factory.mktemp("feeds")) as opened:
        yield opened


@pytest.fixture
def box(shared: Postbox) -> Postbox:
    shared.empty()
    return shared
