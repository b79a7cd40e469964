"""Who has this number: how many searches are under way, and what becomes of one that fails."""

import asyncio

import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from connectors.api import RateLimitedError
from tests.connectors.fhir.world import World


async def test_the_first_search_is_alone_and_the_others_are_at_once(world: World) -> None:
    inner, under_way, most = world.app, 0, []

    async def counting(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal under_way
        under_way += 1
        for _ in range(5):
            await asyncio.sleep(0)  # let the others come as far
        most.append(under_way)
        await inner(scope, receive, send)
        under_way -= 1

    world.app = counting
    person = world.people.alone_at_their_number()[0]
    connector = world.connector()
    found = await connector.find_patients(world.context(connector), str(person.phone))
    assert [ref.id for ref in found] == [person.id]
    assert (most[0], max(most), len(most)) == (1, 3, 4)


@pytest.mark.parametrize("failing", [1, 2, 4])
async def test_one_search_that_fails_is_the_end_of_all(world: World, failing: int) -> None:
    inner, count = world.app, 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal count
        count += 1
        if count >= failing:
            await Response(status_code=429, headers={"Retry-After": "7"})(scope, receive, send)
        else:
            await inner(scope, receive, send)

    world.app = app
    connector = world.connector()
    with pytest.raises(RateLimitedError) as caught:
        await connector.find_patients(world.context(connector), str(world.people.persons[0].phone))
    assert caught.value.retry_after == 7.0
    assert (count == 1) is (failing == 1)


@pytest.mark.parametrize("override", [{"phone_formats": []}, {"phone_parameter": ""}])
async def test_a_server_that_finds_nobody_by_number_is_not_asked(world: World, override: dict[str, object]) -> None:
    connector = world.connector(override=override)
    assert await connector.find_patients(world.context(connector), str(world.people.persons[0].phone)) == []
    assert world.asked == []
