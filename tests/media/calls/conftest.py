"""A gateway for tests of calls, and a carrier that calls it; each module says what its instance is."""

from collections.abc import AsyncIterator

import pytest

from hub.instance import Instance
from media.sip.endpoint import Endpoint
from media.sip.hop import Hop
from tests.media.office import Office, opened_office


@pytest.fixture
async def office(instance: Instance) -> AsyncIterator[Office]:
    async with opened_office(instance) as office:
        yield office


@pytest.fixture
async def carrier() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint([Hop("127.0.0.9", 0)], credentials=lambda _: None, trunks=lambda _: None)
    await endpoint.start()
    yield endpoint
    await endpoint.close(0.5)
