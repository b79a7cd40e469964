"""Signing in, and who has a number: however it was typed in, everybody who shares it, and nobody else."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import host
from connectors.api import AuthExpiredError, ConnectorError, RejectedError
from connectors.hubspot import Hubspot
from tests.connectors.hubspot.server import PORTAL, Account, Fault
from tests.connectors.hubspot.world import World
from tests.connectors.stage import online, served

PHONE = "+12125550111"
WRITTEN = ["(212) 555-0111", "212-555-0111", "212.555.0111", "2125550111", "+1 212-555-0111", "+12125550111"]


async def test_check_asks_whose_the_token_is_and_for_the_key_s_property(world: World) -> None:
    connector = world.connector()
    await connector.check(world.context(connector))
    assert world.account.asked == [
        "GET /account-info/2026-03/details",
        "GET /crm/properties/2026-03/calls/chartline_key",
        "GET /crm/properties/2026-03/communications/chartline_key",
    ]


async def test_check_over_a_real_socket(world: World) -> None:
    async with served(world.account.app) as base:
        right, wrong = world.connector(base_url=base), world.connector(base_url=base, token="env:OTHER")
        async with online(right) as ctx:
            await right.check(ctx)
        async with online(wrong) as ctx:
            with pytest.raises(AuthExpiredError):
                await wrong.check(ctx)


async def test_check_finds_what_the_administrator_left_out(world: World) -> None:
    async def reason(**changed: Any) -> tuple[str, str]:
        connector = world.connector(**changed)
        with pytest.raises(RejectedError) as caught:
            await connector.check(world.context(connector))
        return caught.value.reason, caught.value.field

    assert await reason(portal=PORTAL + 1) == ("token-for-another-account", "portal")
    assert await reason(key_property="other_key") == ("no-unique-property", "calls.other_key")
    world.account.unique["communications"] = False
    assert await reason() == ("no-unique-property", "communications.chartline_key")
    assert await reason(api_version="2025-09") == ("resource-not-found", "")


@pytest.mark.parametrize("version", ["2025-09", "2026-03", "2026-09"])
async def test_the_version_of_the_settings_stands_in_every_path(version: str) -> None:
    world = World(Account(version))
    connector = world.connector(api_version=version)
    ctx = world.context(connector)
    await connector.check(ctx)
    await connector.find_patients(ctx, PHONE)
    assert all(version in one for one in world.account.asked)


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("name", ["phone", "mobilephone"])
@pytest.mark.parametrize("country", [False, True])
async def test_a_contact_is_found_however_the_number_was_typed_in(
    world: World, written: str, name: str, country: bool
) -> None:
    world.account.country = country
    own = world.account.add(firstname="Ada", **{name: written})
    connector = world.connector()
    (found,) = await connector.find_patients(world.context(connector), PHONE)
    assert found.id == own
    assert found.url == f"https://app.hubspot.com/contacts/{PORTAL}/record/0-1/{own}"
    assert [(one.system, one.value) for one in found.facts.ids] == [("hubspot/contact", own)]
    assert [one.e164 for one in found.facts.phones] == [PHONE]
    assert found.facts.model_dump(exclude_defaults=True).keys() == {"ids", "version", "family", "given", "phones"}


async def test_a_shared_number_gives_everyone_who_has_it_over_all_pages(world: World) -> None:
    for at in range(7):
        world.account.add(firstname=f"P{at}", phone=WRITTEN[at % 6], mobilephone="212-555-0112")
    world.account.add(firstname="Eve", phone="212-555-0113")
    world.account.page = 3
    connector = world.connector()
    found = await connector.find_patients(world.context(connector), PHONE)
    assert sorted(str(ref.facts.given) for ref in found) == [f"P{at}" for at in range(7)]
    assert [one.use for one in found[0].facts.phones] == ["mobile", ""]
    assert world.account.count("POST .*/search") == 3


async def test_a_search_ends_before_the_cap(world: World) -> None:
    for _ in range(40):
        world.account.add(phone=PHONE)
    world.account.page = 2  # more pages than people who share a number
    connector = world.connector()
    found = await connector.find_patients(world.context(connector), PHONE)
    assert (len(found), world.account.count("POST .*/search")) == (10, 5)


async def test_what_only_looks_like_the_number_is_nobody(world: World) -> None:
    world.account.add(phone="+442125550111"[3:], lastname="Wrong")
    world.account.contacts["501"]["phone"] = "+44 2125550111"
    connector = world.connector()
    ctx = world.context(connector)
    assert await connector.find_patients(ctx, PHONE) == []
    assert await connector.find_patients(ctx, "anonymous") == []


async def test_without_an_agreement_no_number_is_looked_up(world: World) -> None:
    connector = world.connector(agreed=())
    with pytest.raises(RejectedError, match="field-not-agreed"):
        await connector.find_patients(world.context(connector), PHONE)
    assert world.account.asked == []


async def test_pages_that_lead_around_are_refused(world: World) -> None:
    page = {"total": 9, "results": [], "paging": {"next": {"after": "100"}}}
    world.account.faults.extend([Fault(200, page)] * 2)
    connector = world.connector()
    with pytest.raises(RejectedError, match="paging-in-a-circle"):
        await connector.find_patients(world.context(connector), PHONE)


@pytest.mark.parametrize("body", [{}, {"results": None}, {"status": "error", "category": "VALIDATION_ERROR"}])
async def test_an_answer_without_what_was_asked_for_is_not_nobody(world: World, body: Any) -> None:
    connector = world.connector()
    world.account.faults.append(Fault(200, body))
    with pytest.raises(RejectedError, match="not-understood"):
        await connector.find_patients(world.context(connector), PHONE)


async def test_more_searches_than_a_second_takes_wait_for_their_turn(world: World) -> None:
    world.account.add(phone=PHONE)
    world.account.now = asyncio.get_running_loop().time
    connector = world.connector(searches_per_second=5)
    ctx = world.context(connector)
    found = await asyncio.gather(*(connector.find_patients(ctx, PHONE) for _ in range(7)))
    assert [len(one) for one in found] == [1] * 7


@pytest.mark.parametrize(
    "changed",
    [
        {"token": None},
        {"portal": None},
        {"portal": 0},
        {"api_version": "v3"},
        {"api_version": "2026-03/../x"},
        {"key_property": "a/b"},
        {"searches_per_second": 0},
        {"base_url": "ftp://api.hubapi.test"},
    ],
)
def test_settings_that_do_not_hold_together_are_refused(world: World, changed: dict[str, Any]) -> None:
    with pytest.raises(host.ConnectionSettingsError):
        world.connector(**changed)


def test_it_is_a_crm_and_says_so() -> None:
    assert host.load("hubspot") is Hubspot
    assert Hubspot.kind == "crm"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["results", "paging", "next", "after", "id", "errors", "category"]), inner)
    ),
    max_leaves=12,
)


@given(body=_JSON, status=st.sampled_from([200, 207, 400, 403, 404, 409, 423, 429, 477]))
async def test_whatever_comes_back_ends_in_people_or_in_one_of_our_errors(body: Any, status: int) -> None:
    world = World()
    connector = world.connector()
    world.account.faults.append(Fault(status, body))
    try:
        assert await connector.find_patients(world.context(connector), PHONE) == []
    except ConnectorError:
        return
