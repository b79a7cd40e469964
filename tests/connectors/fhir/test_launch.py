"""EHR launch: the address, the proof key, the exchange; what is no answer is no patient."""

import base64
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from connectors.api import AuthExpiredError, ConnectorError, Identifier, RejectedError, TransientError
from connectors.fhir import Fhir, FhirSettings
from connectors.fhir.launch import challenge_of, is_issuer, patient_of, verifier
from tests.connectors.fhir.smart import Authority, behind, pair
from tests.connectors.fhir.world import BASE, World

BACK = "https://hub.test/launch/ehr/callback"
APP = "chartline-app"


def settings(**written: Any) -> FhirSettings:
    return FhirSettings.model_validate({"base_url": BASE, "launch_client_id": APP} | written)


def test_the_challenge_is_that_of_the_specifications_example() -> None:
    # RFC 7636 appendix B
    assert challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_a_verifier_is_long_unguessable_and_never_the_same() -> None:
    made = {verifier() for _ in range(50)}
    assert len(made) == 50
    assert all(43 <= len(one) <= 128 and one.replace("-", "").replace("_", "").isalnum() for one in made)


@pytest.mark.parametrize("iss", [BASE, f"{BASE}/", "http://EHR.test/fhir", "http://ehr.test:80/fhir/"])
def test_the_base_url_is_the_issuer_however_it_ends(iss: str) -> None:
    assert is_issuer(settings(), iss)


@pytest.mark.parametrize(
    "iss",
    [
        "", "ehr", "https://ehr.test/fhir", "http://ehr.test:8080/fhir", "http://ehr.test/fhir2", "http://ehr.test",
        "http://ehr.test.evil.test/fhir", "http://u@ehr.test/fhir", "http://ehr.test/fhir?x=1", "http://[::1",
        "http://ehr.test/fhir#x", "//ehr.test/fhir",
    ],
)  # fmt: skip
def test_nobody_else_is_the_issuer(iss: str) -> None:
    assert not is_issuer(settings(), iss)


@given(st.text(max_size=60))
def test_whatever_is_said_to_be_the_issuer_raises_nothing(iss: str) -> None:
    assert isinstance(is_issuer(settings(), iss), bool)


def ehr(world: World, **documents: Any) -> Authority:
    authority = Authority(world.clock, pair("p384"), documents=documents)
    world.app = behind(authority, world.app)
    return authority


def app(world: World, **written: Any) -> Fhir:
    return world.connector(**{"launch_client_id": APP} | written)


async def begun(connector: Fhir, world: World) -> tuple[str, str]:
    return await connector.launch_url(world.context(connector), "handle", state="s t&a=te", redirect_uri=BACK)


async def test_the_browser_is_sent_with_all_that_the_specification_asks_for(world: World) -> None:
    authority = ehr(world)
    address, proof = await begun(app(world), world)
    url = urlsplit(address)
    assert f"{url.scheme}://{url.netloc}{url.path}" == authority.configuration()["authorization_endpoint"]
    assert parse_qs(url.query) == {
        "response_type": ["code"],
        "client_id": [APP],
        "redirect_uri": [BACK],
        "launch": ["handle"],
        "scope": ["launch openid fhirUser"],
        "state": ["s t&a=te"],
        "aud": [BASE],
        "code_challenge": [challenge_of(proof)],
        "code_challenge_method": ["S256"],
    }
    assert authority.asked == []


CONFIGURATION = "/fhir/.well-known/smart-configuration"


@pytest.mark.parametrize(
    ("written", "document", "reason"),
    [
        ({"launch_client_id": ""}, {}, "no-launch-client"),
        ({}, {"token_endpoint": "http://ehr.test/token"}, "no-authorize-endpoint"),
        ({}, {"authorization_endpoint": "http://else.test/a"}, "authorize-endpoint-in-clear"),
        ({}, {"authorization_endpoint": "javascript:alert(1)", "token_endpoint": "http://ehr.test/token"}, "no-auth"),
        (
            {},
            {"authorization_endpoint": "https://a.test/a", "code_challenge_methods_supported": ["plain"]},
            "no-pkce",
        ),
    ],
)
async def test_a_launch_that_would_not_be_safe_does_not_begin(
    world: World, written: dict[str, Any], document: dict[str, Any], reason: str
) -> None:
    ehr(world, **{CONFIGURATION: document} if document else {})
    with pytest.raises(RejectedError, match=reason):
        await begun(app(world, **written), world)


async def test_an_authorize_endpoint_on_another_host_keeps_its_own_parameters(world: World) -> None:
    ehr(world, **{CONFIGURATION: {"authorization_endpoint": "https://door.test/authorize?tenant=7"}})
    url = urlsplit((await begun(app(world), world))[0])
    assert (url.netloc, parse_qs(url.query)["tenant"], parse_qs(url.query)["state"]) == (
        "door.test",
        ["7"],
        ["s t&a=te"],
    )


def exchanging(world: World, said: Any, status: int = 200) -> list[tuple[dict[str, str], str]]:
    """Answer the exchange of a code; return what was asked, form and Authorization."""
    asked: list[tuple[dict[str, str], str]] = []
    ehr(world)
    inner = world.app

    async def door(scope: Scope, receive: Receive, send: Send) -> None:
        answer: ASGIApp = inner
        if scope["path"] == "/token":
            request = Request(scope, receive)
            form = dict(parse_qsl((await request.body()).decode()))
            asked.append((form, request.headers.get("authorization", "")))
            answer = JSONResponse(said, status)
        await answer(scope, receive, send)

    world.app = door
    return asked


async def launched(connector: Fhir, world: World) -> Identifier:
    return await connector.launched(world.context(connector), "c0de", verifier="v", redirect_uri=BACK)


async def test_a_public_app_shows_code_and_verifier(world: World) -> None:
    asked = exchanging(world, {"access_token": "a", "token_type": "Bearer", "patient": "p03"})
    assert await launched(app(world), world) == Identifier(system="fhir/Patient", value="p03")
    form = {"grant_type": "authorization_code", "code": "c0de", "redirect_uri": BACK, "code_verifier": "v"}
    assert asked == [(form | {"client_id": APP}, "")]


async def test_a_confidential_app_shows_its_secret_as_well(world: World) -> None:
    asked = exchanging(world, {"patient": "p03"})
    await launched(app(world, launch_client_secret="s:cr et%"), world)
    ((form, shown),) = asked
    assert "client_id" not in form
    assert base64.b64decode(shown.removeprefix("Basic ")).decode() == f"{APP}:s%3Acr+et%25"


@pytest.mark.parametrize(
    ("said", "status", "kind", "words"),
    [
        ({"error": "invalid_grant", "error_description": "c0de"}, 400, RejectedError, "invalid-grant"),
        ({"error": "invalid_client"}, 401, AuthExpiredError, "invalid-client"),
        ({"error": "something of its own"}, 400, RejectedError, "token-refused"),
        ([], 400, RejectedError, "token-refused"),
        ({"access_token": "a"}, 200, RejectedError, "launch-without-patient"),
        ({"patient": None}, 200, RejectedError, "launch-without-patient"),
        ({"patient": "../Patient?x"}, 200, RejectedError, "launch-without-patient"),
        ({}, 502, TransientError, "no answer"),
    ],
)
async def test_an_exchange_that_fails_says_so_and_repeats_nothing(
    world: World, said: Any, status: int, kind: type[ConnectorError], words: str
) -> None:
    exchanging(world, said, status)
    with pytest.raises(kind, match=words) as caught:
        await launched(app(world), world)
    assert "c0de" not in str(caught.value)


@pytest.mark.parametrize("said", ["7", "Patient/7", " 7 "])
def test_a_patient_is_named_by_the_logical_id(said: str) -> None:
    assert patient_of({"patient": said}) == "7"
