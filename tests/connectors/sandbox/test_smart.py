"""The sandbox's authorization server: what proves a client, what does not, and what a scope lets it do."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from connectors.sandbox import ehr
from connectors.sandbox.export import Exports
from connectors.sandbox.people import make
from connectors.sandbox.resource import resources
from connectors.sandbox.smart import ASSERTION_TYPE, Client, Tokens
from connectors.sandbox.store import Store
from tests.connectors.stage import NOW, ZONE, Clock

HOST = "http://ehr.test"
TOKEN_URL = f"{HOST}/auth/token"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
P384 = ec.generate_private_key(ec.SECP384R1())
OTHER = ec.generate_private_key(ec.SECP384R1())


def pem(key: Any) -> str:
    public: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return public.decode()


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def tokens(clock: Clock) -> Tokens:
    keys = {"r": pem(RSA), "e": pem(P384)}
    limited = Client("limited", {"": pem(P384)}, ("system/Appointment.read",))
    return Tokens(clock, {"hub": Client("hub", keys), "limited": limited})


@pytest.fixture
async def client(tokens: Tokens, clock: Clock) -> AsyncIterator[httpx.AsyncClient]:
    store = Store(clock, resources(make(7, NOW, ZONE)))
    app = ehr.app(store, tokens=tokens, exports=Exports(store, clock))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HOST) as made:
        yield made


def assertion(key: Any = P384, algorithm: str = "ES384", kid: str | None = "e", **claims: Any) -> str:
    said = {"iss": "hub", "sub": "hub", "aud": TOKEN_URL, "jti": uuid4().hex, "exp": int(NOW.timestamp()) + 240}
    kept = {name: value for name, value in (said | claims).items() if value is not None}
    return jwt.encode(kept, key, algorithm, headers={"kid": kid} if kid else None)


async def asked(client: httpx.AsyncClient, proof: str, scope: str = "system/*.rs", **form: str) -> httpx.Response:
    written = {
        "grant_type": "client_credentials",
        "scope": scope,
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": proof,
    }
    return await client.post("/auth/token", data=written | form)


async def test_discovery_says_where_and_how(client: httpx.AsyncClient) -> None:
    said = (await client.get("/fhir/.well-known/smart-configuration")).json()
    assert said["token_endpoint"] == TOKEN_URL
    assert set(said["token_endpoint_auth_signing_alg_values_supported"]) == {"RS384", "ES384"}
    assert {"permission-v1", "permission-v2"} <= set(said["capabilities"])


@pytest.mark.parametrize(
    "proof",
    [
        lambda: assertion(),
        lambda: assertion(RSA, "RS384", "r"),
        lambda: assertion(kid=None),
        lambda: assertion(exp=int(NOW.timestamp()) + 300),
    ],
)
async def test_a_good_assertion_gets_a_token_that_lets_in(client: httpx.AsyncClient, proof: Callable[[], str]) -> None:
    answer = await asked(client, proof())
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    said = answer.json()
    assert (said["token_type"], said["expires_in"], said["scope"]) == ("bearer", 300, "system/*.rs")
    headers = {"Authorization": f"Bearer {said['access_token']}"}
    assert (await client.get("/fhir/Patient/p01", headers=headers)).status_code == 200
    assert (await client.get("/fhir/Patient/p01")).status_code == 401
    assert (await client.get("/fhir/metadata")).status_code == 200


@pytest.mark.parametrize(
    "proof",
    [
        lambda: "",
        lambda: "not.a.token",
        lambda: assertion(OTHER),
        lambda: assertion(RSA, "RS256", "r"),
        lambda: assertion(kid="unknown"),
        lambda: assertion(iss="nobody", sub="nobody"),
        lambda: assertion(sub="limited"),
        lambda: assertion(aud=f"{HOST}/fhir"),
        lambda: assertion(aud=None),
        lambda: assertion(exp=int(NOW.timestamp()) - 1),
        lambda: assertion(exp=int(NOW.timestamp()) + 3600),
        lambda: assertion(exp=None),
        lambda: assertion(jti=None),
    ],
)
async def test_what_proves_nothing_gets_no_token(client: httpx.AsyncClient, proof: Callable[[], str]) -> None:
    answer = await asked(client, proof())
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_client"})


async def test_an_assertion_is_good_once(client: httpx.AsyncClient) -> None:
    proof = assertion()
    assert (await asked(client, proof)).status_code == 200
    assert (await asked(client, proof)).json() == {"error": "invalid_client"}


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"client_assertion_type": "urn:x"}, "invalid_request"),
        ({"scope": "patient/*.rs"}, "invalid_scope"),
        ({"scope": "system/Patient.everything"}, "invalid_scope"),
        ({"scope": ""}, "invalid_scope"),
    ],
)
async def test_a_form_that_asks_for_something_else_is_refused(
    client: httpx.AsyncClient, form: dict[str, str], error: str
) -> None:
    answer = await asked(client, assertion(), **form)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


@pytest.mark.parametrize(
    ("scope", "method", "path", "status"),
    [
        ("system/Patient.rs", "GET", "Patient?_count=1", 200),
        ("system/Patient.s", "GET", "Patient?_count=1", 200),
        ("system/Patient.r", "GET", "Patient?_count=1", 403),
        ("system/Patient.read", "GET", "Patient?_count=1", 200),
        ("system/Patient.rs", "GET", "Appointment/a1", 403),
        ("system/Patient.rs system/Appointment.r", "GET", "Appointment/a1", 200),
        ("system/Appointment.read", "DELETE", "Appointment/a1", 403),
        ("system/Appointment.write", "DELETE", "Appointment/a1", 204),
        ("system/Appointment.rs", "GET", "$export", 403),
        ("system/Appointment.rs", "GET", "$export?_type=Appointment", 202),
        ("system/Appointment.rs", "GET", "$export?_type=Appointment,Patient", 403),
        ("system/*.rs", "GET", "$export", 202),
    ],
)
async def test_a_scope_lets_do_what_it_says(
    client: httpx.AsyncClient, scope: str, method: str, path: str, status: int
) -> None:
    token = (await asked(client, assertion(), scope)).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}", "Prefer": "respond-async"}
    assert (await client.request(method, f"/fhir/{path}", headers=headers)).status_code == status


async def test_nobody_gets_more_than_they_were_registered_for(client: httpx.AsyncClient) -> None:
    proof = assertion(kid=None, iss="limited", sub="limited")
    scopes = "system/Appointment.rs system/Patient.rs system/Appointment.cruds system/*.rs"
    assert (await asked(client, proof, scopes)).json()["scope"] == "system/Appointment.rs"


async def test_a_token_ends(client: httpx.AsyncClient, tokens: Tokens, clock: Clock) -> None:
    token = (await asked(client, assertion())).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    clock.now += timedelta(seconds=299)
    assert (await client.get("/fhir/Patient/p01", headers=headers)).status_code == 200
    clock.now += timedelta(seconds=1)
    assert (await client.get("/fhir/Patient/p01", headers=headers)).status_code == 401
    clock.now = NOW
    assert (await client.get("/fhir/Patient/p01", headers=headers)).status_code == 200
    tokens.expire()
    assert (await client.get("/fhir/Patient/p01", headers=headers)).status_code == 401
