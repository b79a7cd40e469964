"""Signing in: both flows, one token for everybody, and what becomes of a refusal."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from connectors import host
from connectors.api import AuthExpiredError, ConnectorError, RejectedError, TransientError
from connectors.salesforce import Salesforce
from connectors.salesforce.auth import HELD
from tests.connectors.salesforce.server import CANARY, INSTANCE, Fault
from tests.connectors.salesforce.world import World
from tests.connectors.salesforce.world import world as made
from tests.connectors.stage import Clock, online, served

TOKEN = "POST /services/oauth2/token"
PHONE = "+12125550111"


async def test_check_signs_in_by_assertion_and_reads_nobody(world: World) -> None:
    connector = world.connector()
    await connector.check(world.context(connector))
    assert [one.rpartition("/")[0].rpartition("/")[2] for one in world.org.asked[1:]] == [
        "Contact",
        "Lead",
        "Account",
        "Task",
    ]
    assert world.org.count(TOKEN) == 1


async def test_client_credentials_are_taken_to_the_instance(world: World) -> None:
    changed: dict[str, Any] = {"username": None, "private_key": None, "client_secret": "env:SECRET"}
    connector = world.connector(**changed)
    await connector.check(world.context(connector))
    wrong = world.connector(**changed | {"client_secret": "env:OTHER"})
    with pytest.raises(AuthExpiredError):
        await wrong.check(world.context(wrong))


async def test_check_over_a_real_socket() -> None:
    there = made(instance="http://placeholder.test")
    async with served(there.org.app) as base:
        there.org.instance = there.org.login = base
        connector = there.connector()
        async with online(connector) as ctx:
            await connector.check(ctx)


@pytest.mark.parametrize(
    "changed",
    [
        {"private_key": "env:OTHER"},
        {"client_id": "3MVG9other"},
        {"username": "somebody@harbor.test"},
        {"login_url": INSTANCE},  # another audience than the one that reads the assertion
    ],
)
async def test_a_wrong_assertion_needs_the_operator(world: World, changed: dict[str, Any]) -> None:
    connector = world.connector(**changed)
    with pytest.raises(AuthExpiredError) as caught:
        await connector.check(world.context(connector))
    assert CANARY not in repr(caught.value)


@pytest.mark.parametrize("skew", [timedelta(minutes=-2), timedelta(minutes=2)])
async def test_an_assertion_is_for_two_minutes_of_our_clock(world: World, skew: timedelta) -> None:
    connector = world.connector()
    ctx = world.context(connector)
    world.org.clock = Clock(world.clock.now - skew)
    with pytest.raises(AuthExpiredError):
        await connector.check(ctx)
    world.org.clock = Clock(world.clock.now - skew * 0.5)
    again = world.connector()
    await again.check(world.context(again))


async def test_a_key_that_does_not_sign_is_not_repeated(world: World) -> None:
    connector = world.connector(private_key="env:NONE")
    with pytest.raises(AuthExpiredError, match="does not sign") as caught:
        await connector.check(world.context(connector))
    assert world.org.asked == []
    assert caught.value.__context__ is None


async def test_a_token_for_another_org_is_not_used(world: World) -> None:
    world.org.token_instance = "https://other.my.salesforce.test"
    connector = world.connector()
    with pytest.raises(RejectedError, match="token-for-another-instance"):
        await connector.find_patients(world.context(connector), PHONE)
    assert world.org.count("GET") == 0


async def test_a_token_serves_until_it_is_refused_and_is_then_asked_for_once_more(world: World) -> None:
    connector = world.connector()
    ctx = world.context(connector)
    await connector.find_patients(ctx, PHONE)
    await connector.find_patients(ctx, PHONE)
    assert world.org.count(TOKEN) == 1
    world.org.sessions.clear()
    await connector.find_patients(ctx, PHONE)
    assert world.org.count(TOKEN) == 2


@pytest.mark.parametrize("status", [401, 403])
async def test_a_token_that_is_refused_when_new_needs_the_operator(world: World, status: int) -> None:
    connector = world.connector()
    body = [{"message": CANARY, "errorCode": "INVALID_SESSION_ID"}]
    world.org.faults.extend([Fault(status, body, on="GET")] * 2)
    with pytest.raises(AuthExpiredError):
        await connector.find_patients(world.context(connector), PHONE)
    assert world.org.count(TOKEN) == 2


async def test_many_at_once_share_one_token_and_one_renewal(world: World) -> None:
    connector = world.connector()
    ctx = world.context(connector)
    await asyncio.gather(*(connector.find_patients(ctx, PHONE) for _ in range(20)))
    assert world.org.count(TOKEN) == 1
    world.org.sessions.clear()
    await asyncio.gather(*(connector.find_patients(ctx, PHONE) for _ in range(20)))
    assert world.org.count(TOKEN) == 2


async def test_many_at_once_do_not_try_wrong_credentials_one_after_the_other(world: World) -> None:
    connector = world.connector(client_id="3MVG9other")
    ctx = world.context(connector)
    told = await asyncio.gather(*(connector.find_patients(ctx, PHONE) for _ in range(20)), return_exceptions=True)
    assert {type(one) for one in told} == {AuthExpiredError}
    assert world.org.count(TOKEN) == 1
    world.clock.now += HELD
    with pytest.raises(AuthExpiredError):
        await connector.find_patients(ctx, PHONE)
    assert world.org.count(TOKEN) == 2


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(0), TransientError),
        (Fault(503, {"error": "server_error"}), TransientError),
        (Fault(400, {"error": "unknown_error", "error_description": CANARY}), TransientError),
        (Fault(400, {"error": CANARY}), RejectedError),
        (Fault(400, b"<html>"), RejectedError),
        (Fault(200, {"instance_url": INSTANCE}), TransientError),
        (Fault(200, b'{"access_token": "00D'), TransientError),
        (Fault(302, {}), RejectedError),
    ],
)
async def test_what_the_token_endpoint_does_instead(world: World, fault: Fault, kind: type[ConnectorError]) -> None:
    connector = world.connector()
    ctx = world.context(connector)
    world.org.faults.append(fault)
    with pytest.raises(ConnectorError) as caught:
        await connector.find_patients(ctx, PHONE)
    assert type(caught.value) is kind
    assert CANARY not in repr(caught.value)
    assert await connector.find_patients(ctx, PHONE) == []  # nothing of it stays


@pytest.mark.parametrize(
    "changed",
    [
        {"username": None},
        {"private_key": None},
        {"client_secret": "env:SECRET"},
        {"username": None, "private_key": None},
        {"api_version": "67"},
        {"api_version": "v67.0"},
        {"objects": []},
        {"objects": ["Account"]},
        {"external_id_field": "Id"},
        {"external_id_field": "Key__c/../Contact__c"},
        {"api_reserve": 1},
        {"instance_url": None},
    ],
)
def test_settings_that_do_not_hold_together_are_refused(world: World, changed: dict[str, Any]) -> None:
    with pytest.raises(host.ConnectionSettingsError):
        world.connector(**changed)


def test_it_is_a_crm_and_says_so() -> None:
    assert host.load("salesforce") is Salesforce
    assert Salesforce.kind == "crm"
