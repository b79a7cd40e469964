"""Signing in: SMART Backend Services against a server that verifies everything, and what is never sent anywhere."""

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from connectors.api import AuthExpiredError, ConnectorError, RateLimitedError, RejectedError, TransientError
from connectors.fhir import Fhir
from connectors.fhir.auth import Backend, token_of
from connectors.fhir.client import Client
from tests.connectors.fhir.smart import CLIENT, OAUTH_URIS, V1, V2, Authority, Pair, behind, pair, signed, smart
from tests.connectors.fhir.world import World, told
from tests.connectors.stage import NOW, online, served

FOUND = "/fhir/.well-known/smart-configuration"
NOBODY = "+12125550199"


def scopes_of(authority: Authority) -> set[str]:
    return set(authority.asked[-1]["scope"].split())


async def test_over_real_sockets_with_the_token_endpoint_on_a_host_of_its_own(world: World) -> None:
    authority = Authority(world.clock, pair("rsa"))
    app = behind(authority, world.app)
    async with served(app) as ehr, served(app) as door:
        authority.token_url = f"{door}/token"
        written = {"base_url": f"{ehr}/fhir", "client_id": CLIENT, "private_key": pair("rsa").private}
        connector = world.connector(**written, token_url=authority.token_url)
        async with online(connector) as ctx:
            await connector.check(ctx)
        assert len(authority.granted) == 1
        refused = world.connector(**written)
        async with online(refused) as ctx:
            with pytest.raises(RejectedError) as caught:
                await refused.check(ctx)
    assert (caught.value.reason, caught.value.field) == ("token-endpoint-not-in-settings", "token_url")
    assert len(authority.asked) == 1


async def test_a_token_is_used_until_shortly_before_its_end_and_then_another(world: World) -> None:
    authority = smart(world, pair("p384"))
    connector = signed(world, pair("p384"))
    ctx = world.context(connector)
    for seconds, tokens in ((0, 1), (200, 1), (50, 2), (200, 2)):
        world.later(seconds=seconds)
        await connector.find_patients(ctx, NOBODY)
        assert len(authority.granted) == tokens
    assert {one.path for one in world.asked if one.path.startswith("/fhir/.")} == {FOUND}
    assert [one.path for one in world.asked].count(FOUND) == 1


async def at_once(world: World, authority: Authority, connector: Fhir) -> list[Any]:
    """Let eight ask for somebody while the first of them waits for a token; return what became of it."""
    ctx, authority.opens = world.context(connector), asyncio.Event()
    asking = [asyncio.create_task(connector.find_patients(ctx, NOBODY)) for _ in range(8)]
    await authority.knocked.wait()
    authority.opens.set()
    return await asyncio.gather(*asking, return_exceptions=True)


async def test_those_who_need_a_token_at_once_ask_for_one(world: World) -> None:
    authority = smart(world, pair("p384"))
    assert await at_once(world, authority, signed(world, pair("p384"))) == [[]] * 8
    assert authority.knocks == 1


async def test_those_who_wait_for_a_token_share_a_refusal_and_the_next_one_asks_again(world: World) -> None:
    authority = smart(world, pair("p384"), down=429)
    connector = signed(world, pair("p384"))
    ends = await at_once(world, authority, connector)
    assert {(type(end), end.retry_after) for end in ends} == {(RateLimitedError, 7.0)}
    assert authority.knocks == 1
    authority.down = None
    assert await connector.find_patients(world.context(connector), NOBODY) == []
    assert authority.knocks == 2


async def test_a_token_that_ends_before_its_time_is_replaced_once_and_nothing_is_lost(world: World) -> None:
    authority = smart(world, pair("p384"))
    connector = signed(world, pair("p384"), page_size=3)
    ctx = world.context(connector)
    person = world.people.alone_at_their_number()[0]
    assert [ref.id for ref in await connector.find_patients(ctx, str(person.phone))] == [person.id]
    authority.granted.clear()
    found = await asyncio.gather(*(connector.find_patients(ctx, str(person.phone)) for _ in range(4)))
    assert [[ref.id for ref in refs] for refs in found] == [[person.id]] * 4
    assert len(authority.granted) == 1


async def test_a_feed_loses_nothing_to_tokens_that_end_between_its_pages(world: World) -> None:
    whole, _ = await told(plain := world.connector(page_size=7), world.context(plain))
    authority = smart(world, pair("p384"))
    inner, seen = world.app, 0

    async def revoking(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal seen
        seen += 1
        if seen % 5 == 0:
            authority.granted.clear()
        await inner(scope, receive, send)

    world.app = revoking
    connector = signed(world, pair("p384"), page_size=7)
    facts, _ = await told(connector, world.context(connector))
    assert facts == whole
    assert len(authority.seen) > 3
    assert authority.refused == []


async def test_what_comes_in_pieces_is_asked_for_with_another_token_as_well(world: World) -> None:
    authority = smart(world, pair("p384"))
    connector = signed(world, pair("p384"))
    client = Client(world.context(connector), connector.settings, Backend(connector.settings, connector.scopes))
    for _ in range(2):
        async with client.streamed("Patient?_count=1", with_token=True, accept="application/json") as pieces:
            assert b"Bundle" in b"".join([piece async for piece in pieces])
        authority.granted.clear()
    assert len(authority.seen) == 2
    with pytest.raises(AuthExpiredError):
        async with client.streamed("Patient?_count=1", with_token=False, accept="application/json"):
            pass
    assert len(authority.seen) == 2


async def test_a_server_that_takes_no_token_at_all_is_told_as_that(world: World) -> None:
    authority = smart(world, pair("p384"), lives=0)  # each has ended when it comes
    connector = signed(world, pair("p384"))
    with pytest.raises(AuthExpiredError):
        await connector.find_patients(world.context(connector), NOBODY)
    assert len(authority.asked) == 2


@pytest.mark.parametrize(
    ("key", "settings", "own_name"),
    [
        (pair("rsa", 1), {}, "http://ehr.test/token"),
        (pair("p384"), {}, "http://ehr.test/token"),
        (pair("rsa"), {"key_id": "unknown"}, "http://ehr.test/token"),
        (pair("rsa"), {"client_id": "somebody-else"}, "http://ehr.test/token"),
        (pair("rsa"), {"token_url": "http://ehr.test/token"}, "http://elsewhere.test/token"),
    ],
    ids=["another key", "another kind of key", "another kid", "another client", "another audience"],
)
async def test_whoever_is_not_who_they_say_is_refused(
    world: World, key: Pair, settings: dict[str, Any], own_name: str
) -> None:
    authority = smart(world, pair("rsa"), token_url=own_name)
    written: dict[str, Any] = {"client_id": CLIENT, "private_key": key.private} | settings
    connector = world.connector(**written)
    with pytest.raises(AuthExpiredError, match="invalid-client") as caught:
        await connector.check(world.context(connector))
    assert len(authority.refused) == 1
    assert authority.granted == {}
    assert "assertion" not in str(caught.value)


async def test_neither_tokens_nor_assertions_are_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    authority = smart(world, pair("p384"))
    connector = signed(world, pair("p384"))
    await connector.check(world.context(connector))
    authority.granted.clear()
    await connector.find_patients(world.context(connector), NOBODY)
    secrets = [*authority.granted, *(form["client_assertion"] for form in authority.asked)]
    assert all(secret not in caplog.text and secret not in repr(vars(connector)) for secret in secrets)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (429, RateLimitedError),
        (500, TransientError),
        (502, TransientError),
        (504, TransientError),
        (401, AuthExpiredError),
    ],
)
async def test_a_token_endpoint_that_is_down_is_asked_again_later(
    world: World, status: int, kind: type[ConnectorError]
) -> None:
    authority = smart(world, pair("p384"), down=status)
    connector = signed(world, pair("p384"))
    ctx = world.context(connector)
    with pytest.raises(kind):
        await connector.find_patients(ctx, NOBODY)
    assert not [one for one in world.asked if one.path.startswith("/fhir/Patient")]
    authority.down = None
    await connector.find_patients(ctx, NOBODY)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"<html>", TransientError),
        (b"[1]", TransientError),
        ({"token_type": "bearer"}, RejectedError),
        ({"access_token": "", "token_type": "bearer"}, RejectedError),
        ({"access_token": "a\r\nX-Evil: 1", "token_type": "bearer"}, RejectedError),
        ({"access_token": "a", "token_type": "mac"}, RejectedError),
        ({"access_token": ["a"], "token_type": "bearer"}, RejectedError),
    ],
)
async def test_an_answer_that_is_no_token_lets_nobody_in(world: World, answer: Any, kind: type[ConnectorError]) -> None:
    smart(world, pair("p384"), instead=answer)
    connector = signed(world, pair("p384"))
    with pytest.raises(kind):
        await connector.find_patients(world.context(connector), NOBODY)


@pytest.mark.parametrize(
    ("said", "held"),
    [
        (300, 240),
        (60, 48),
        (0, 0),
        (-5, 0),
        ("300", 240),
        (None, 240),
        ("soon", 240),
        (float("nan"), 240),
        (1e12, 86340),
    ],
)
def test_how_long_a_token_holds_is_never_more_than_was_said(said: Any, held: float) -> None:
    token = token_of({"access_token": "a", "token_type": "Bearer", "expires_in": said}, NOW)
    assert token.ends_at == NOW + timedelta(seconds=held)


@pytest.mark.parametrize(
    ("supported", "wanted"),
    [
        (V2, {"system/Appointment.rus", "system/Patient.rs", "system/Communication.crs"}),
        (V1, {"system/Appointment.read", "system/Appointment.write", "system/Patient.read"}),
        ([], {"system/Appointment.rus"}),
        (["system/Patient.rs", "system/Appointment.crus"], {"system/Patient.rs", "system/Appointment.rus"}),
        (["system/Patient.rs?x=y", "system/Appointment.r"], {"system/Patient.rs", "system/Appointment.r"}),
        (["system/Patient.read"], {"system/Patient.read"}),
    ],
)
async def test_scopes_are_asked_for_in_the_servers_own_way(
    world: World, supported: list[str], wanted: set[str]
) -> None:
    authority = smart(world, pair("p384"), scopes=supported)
    connector = signed(world, pair("p384"))
    await connector.check(world.context(connector))
    assert wanted <= scopes_of(authority)
    if len(supported) == 2 and "*" not in supported[0]:
        assert wanted == scopes_of(authority)


async def test_no_more_is_asked_for_than_the_settings_need(world: World) -> None:
    authority = smart(world, pair("p384"))
    connector = signed(world, pair("p384"), feed=["patients"], override={"write_back": "none", "communication": "no"})
    await connector.check(world.context(connector))
    told = scopes_of(authority)
    assert {"system/Patient.rs", "system/Task.rs"} <= told
    assert all(one.endswith(".rs") and "Appointment" not in one and "Slot" not in one for one in told)
    own = signed(world, pair("p384"), scope="system/Patient.rs")
    await own.check(world.context(own))
    assert scopes_of(authority) == {"system/Patient.rs"}
    old = signed(world, pair("p384"), override={"scopes": "v1"})
    await old.check(world.context(old))
    assert all(one.endswith((".read", ".write")) for one in scopes_of(authority))


@pytest.mark.parametrize("status", [404, 401, 403, {"token_endpoint": None}, ["x"]])
async def test_where_there_is_no_discovery_document_the_capability_statement_says_it(world: World, status: Any) -> None:
    authority = smart(world, pair("p384"))
    uris = {"url": OAUTH_URIS, "extension": [{"url": "token", "valueUri": authority.token_url}]}
    statement = {
        "resourceType": "CapabilityStatement",
        "fhirVersion": "4.0.1",
        "rest": [{"mode": "server", "security": {"extension": [{"url": "other"}, uris]}}],
    }
    authority.documents |= {FOUND: status, "/fhir/metadata": statement}
    connector = signed(world, pair("p384"))
    await connector.check(world.context(connector))
    assert all(one.endswith((".read", ".write")) for one in scopes_of(authority))


async def test_a_server_that_says_nothing_of_tokens_needs_the_operator(world: World) -> None:
    authority = smart(world, pair("p384"))
    authority.documents[FOUND] = 404
    connector = signed(world, pair("p384"))
    with pytest.raises(RejectedError, match="no-token-endpoint"):
        await connector.check(world.context(connector))
    told = signed(world, pair("p384"), token_url=authority.token_url)
    await told.check(world.context(told))


@pytest.mark.parametrize(
    "elsewhere",
    [
        "http://evil.test/token",
        "https://ehr.test/token",
        "http://ehr.test:8080/token",
        "http://u:p@ehr.test/token",
        "ftp://x",
    ],
)
async def test_a_token_endpoint_elsewhere_gets_nothing(world: World, elsewhere: str) -> None:
    authority = smart(world, pair("p384"), token_url=elsewhere)
    connector = signed(world, pair("p384"))
    with pytest.raises(RejectedError, match=r"token-endpoint-not-in-settings|no-token-endpoint"):
        await connector.check(world.context(connector))
    assert authority.asked == []


@pytest.mark.parametrize("settings", [{"token": "tick"}, {"username": "u", "password": "p"}, {"smart": True}])
async def test_credentials_go_to_no_other_host_than_the_base(world: World, settings: dict[str, Any]) -> None:
    inner, strangers = world.app, []

    async def leading_away(scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        if headers["host"] != "ehr.test":
            strangers.append(headers)
        if scope["path"] == "/fhir/Patient":
            page = (
                b'{"resourceType":"Bundle","link":[{"relation":"next","url":"http://door.test/fhir/Patient?page=2"}]}'
            )
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": page})
            return
        await inner(scope, receive, send)

    if settings.pop("smart", False):
        settings = {"client_id": CLIENT, "private_key": pair("p384").private}
        inner = behind(Authority(world.clock, pair("p384"), token_url="http://door.test/token"), inner)
    world.app = leading_away
    connector = world.connector(**settings, token_url="http://door.test/token")
    with pytest.raises(RejectedError, match="paging-in-a-circle"):
        await connector.find_patients(world.context(connector), NOBODY)
    assert len([one for one in strangers if "authorization" in one]) == 0
    assert strangers
