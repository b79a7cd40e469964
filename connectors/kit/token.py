"""A token endpoint that takes signed assertions (RFC 7523 section 3; SMART App Launch 2, Backend Services)."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

import httpx
import jwt
import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from connectors.kit.case import Assertion, Case
from connectors.kit.error import CaseError

LONGEST = 300.0
"Seconds that an assertion may live: at most five minutes (SMART App Launch 2, Backend Services)."

LEEWAY = 1.0

OVERLOOKED = {"sub", "aud", "exp", "jti"}
"""What real servers let pass. The check fails, and the others still have something to say."""

KIND = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
"RFC 7523 section 2.2."


class TokenEndpoint:
    """Issues a token for each assertion that holds, and notes what is wrong with the others."""

    def __init__(self, case: Case, rules: Assertion, clock: Callable[[], datetime]) -> None:
        self._rules = rules
        self._clock = clock
        self._client = case.filled(rules.client)
        self._key = public_half(case.filled(rules.key))
        self.path = rules.path
        self.issued: list[str] = []
        self.seen: list[str] = []
        "Each jti, in order."

        self.faults: list[str] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request for a token (RFC 6749 sections 5.1 and 5.2)."""
        form = {name: values[0] for name, values in parse_qs(request.content.decode("ascii", "replace")).items()}
        fault = self._fault(form)
        if fault:
            self.faults.append(fault)
        if fault and fault not in OVERLOOKED:
            return httpx.Response(400, json={"error": "invalid_client"})
        token = f"kit-access-{len(self.issued) + 1}"
        self.issued.append(token)
        said = {"access_token": token, "token_type": "bearer", "expires_in": 300, "scope": form.get("scope", "")}
        return httpx.Response(200, json=said)

    def _fault(self, form: Mapping[str, str]) -> str:
        if form.get("grant_type") != "client_credentials":
            return "grant_type"
        if form.get("client_assertion_type") != KIND:
            return "client_assertion_type"
        try:
            said = jwt.decode(
                form.get("client_assertion", ""),
                self._key,
                algorithms=list(self._rules.algorithms),
                # The audience and the times are compared below: PyJWT would take the real clock for them.
                options={"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False},
            )
        except jwt.InvalidAlgorithmError:
            return "alg"
        except jwt.InvalidSignatureError:
            return "signature"
        except (jwt.PyJWTError, TypeError, ValueError):
            return "client_assertion"
        return self._claims(said)

    def _claims(self, said: Mapping[str, Any]) -> str:
        now = self._clock().timestamp()
        ends_at = said.get("exp")
        audience = said.get("aud")
        jti = said.get("jti")
        if said.get("iss") != self._client:
            return "iss"
        if said.get("sub") != self._client:
            return "sub"
        if self._rules.audience not in (audience if isinstance(audience, list) else [audience]):
            return "aud"
        if not isinstance(ends_at, int | float) or ends_at <= now or ends_at > now + LONGEST + LEEWAY:
            return "exp"
        if not isinstance(jti, str) or not jti or jti in self.seen:
            return "jti"
        self.seen.append(jti)
        return ""


def public_half(key: str) -> Any:
    """Return the public key of a private one, PEM or JWK.

    Raises:
        CaseError: it is neither.
    """
    try:
        if key.lstrip().startswith("{"):
            private: Any = jwt.PyJWK(orjson.loads(key)).key
        else:
            private = load_pem_private_key(key.encode(), None)
        return private.public_key()
    except (ValueError, TypeError, AttributeError, UnsupportedAlgorithm, jwt.PyJWTError):
        pass  # the fault may quote the key
    raise CaseError("kit.toml: auth.assertion.key: no private key, PEM or JWK")


def other_key(key: str) -> str:
    """Return a private key of the same kind and form, of nobody's."""
    known = public_half(key)
    if isinstance(known, rsa.RSAPublicKey):
        private: Any = rsa.generate_private_key(65537, known.key_size)
        algorithm: Any = jwt.algorithms.RSAAlgorithm
    else:
        private = ec.generate_private_key(known.curve)
        algorithm = jwt.algorithms.ECAlgorithm
    if key.lstrip().startswith("{"):
        given = orjson.loads(key)
        kept = {name: given[name] for name in ("kid", "alg", "use") if name in given}
        return orjson.dumps(algorithm.to_jwk(private, as_dict=True) | kept).decode()
    return str(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
