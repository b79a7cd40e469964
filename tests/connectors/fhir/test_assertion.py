"""The signed assertion: what stands in it, who can verify it, and which keys cannot make one."""

import base64
import json
import logging
from typing import Any

import jwt
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from connectors.api import AuthExpiredError
from connectors.fhir.auth import assertion
from tests.connectors.fhir.smart import CLIENT, pair, signed, smart
from tests.connectors.fhir.world import World
from tests.connectors.stage import NOW

NOBODY = "+12125550199"


@pytest.mark.parametrize("kind", ["rsa", "p384"])
@pytest.mark.parametrize("kid", [None, "key-2026"])
async def test_an_assertion_is_what_the_specification_asks_for(world: World, kind: str, kid: str | None) -> None:
    authority = smart(world, pair(kind), kid=kid)
    connector = signed(world, pair(kind), key_id=kid or "")
    await connector.check(world.context(connector))
    assert authority.refused == []
    claims = jwt.decode(authority.asked[0]["client_assertion"], options={"verify_signature": False})
    assert claims["iss"] == claims["sub"] == CLIENT
    assert claims["aud"] == authority.token_url
    assert 0 < claims["exp"] - NOW.timestamp() <= 300


async def test_every_assertion_has_a_number_of_its_own(world: World) -> None:
    authority = smart(world, pair("p384"))
    connector = signed(world, pair("p384"))
    for _ in range(3):
        await connector.find_patients(world.context(connector), NOBODY)
        world.later(seconds=300)
    assert len(authority.seen) == 3
    assert authority.refused == []


def by_hand(text: str, public: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims of a JWS, verified without a JWT library (RFC 7515; RFC 7518 sections 3.3 and 3.4)."""
    header, claims, signature = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in text.split("."))
    said, key = text.rpartition(".")[0].encode(), load_pem_public_key(public.encode())
    if isinstance(key, RSAPublicKey):
        key.verify(signature, said, PKCS1v15(), SHA384())
    else:
        assert isinstance(key, EllipticCurvePublicKey)
        assert len(signature) == 96
        halves = int.from_bytes(signature[:48]), int.from_bytes(signature[48:])
        key.verify(encode_dss_signature(*halves), said, ECDSA(SHA384()))
    return json.loads(header), json.loads(claims)


@pytest.mark.parametrize(("kind", "algorithm"), [("rsa", "RS384"), ("p384", "ES384")])
def test_an_independent_reader_verifies_the_assertion(world: World, kind: str, algorithm: str) -> None:
    connector = signed(world, pair(kind), key_id="k1")
    text = assertion(connector.settings, CLIENT, "https://ehr.test/token", NOW)
    header, claims = by_hand(text, pair(kind).public)
    assert header == {"alg": algorithm, "typ": "JWT", "kid": "k1"}
    assert claims.keys() == {"iss", "sub", "aud", "exp", "iat", "jti"}
    assert claims["exp"] == NOW.timestamp() + 240
    with pytest.raises(InvalidSignature):
        by_hand(text, pair(kind, 1).public)


@pytest.mark.parametrize("written", ["", "nonsense", pair("p256").private, pair("short-rsa").private, "-----BEGIN"])
async def test_a_key_that_cannot_be_used_is_said_without_a_part_of_it(
    world: World, written: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    authority = smart(world, pair("rsa"))
    broken = written or pair("rsa").private.replace("A", "B")
    connector = world.connector(client_id=CLIENT, private_key=broken)
    with pytest.raises(AuthExpiredError) as caught:
        await connector.check(world.context(connector))
    said = f"{caught.value!r} {caught.value.__context__!r} {caught.value.__cause__!r} {caplog.text}"
    assert all(line not in said for line in broken.splitlines() if len(line) > 12 and "KEY" not in line)
    assert authority.asked == []
