"""The sandbox's authorization server: SMART Backend Services, with assertions signed by RS384 or ES384.

SMART App Launch 2: backend-services.html, client-confidential-asymmetric.html. It is strict where many are not: an
assertion lives five minutes at most and is good once.
"""

import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import jwt
import orjson
from starlette.requests import Request
from starlette.responses import Response

ALGORITHMS = ("RS384", "ES384")
LONGEST = timedelta(minutes=5)
"From an assertion's issue to its `exp`."

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SCOPES = ("system/*.read", "system/*.write", "system/*.rs", "system/*.cruds")
"What `scopes_supported` names; others of the same form are granted, too."

_LETTERS = {"read": "r", "search": "s", "create": "c", "update": "u", "delete": "d"}
"SMART v2 permissions of an interaction."


class RefusedTokenError(Exception):
    """No token; the text is an OAuth error code (RFC 6749 section 5.2)."""


@dataclass(frozen=True, slots=True)
class Client:
    """A program that is registered."""

    id: str
    keys: Mapping[str, str]
    "Public keys in PEM, by `kid`; empty for one that goes by any."

    scopes: tuple[str, ...] = SCOPES


@dataclass(slots=True)
class _Token:
    scopes: tuple[str, ...]
    ends_at: datetime


@dataclass
class Tokens:
    """Gives access tokens, and knows them again."""

    clock: Callable[[], datetime]
    clients: Mapping[str, Client]
    lasts: timedelta = timedelta(minutes=5)
    _given: dict[str, _Token] = field(default_factory=dict)
    _seen: set[tuple[str, str]] = field(default_factory=set)

    async def configuration(self, request: Request) -> Response:
        """Answer .well-known/smart-configuration."""
        return _json(
            {
                "token_endpoint": token_url(request),
                "token_endpoint_auth_methods_supported": ["private_key_jwt"],
                "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
                "grant_types_supported": ["client_credentials"],
                "scopes_supported": list(SCOPES),
                "capabilities": ["client-confidential-asymmetric", "permission-v1", "permission-v2"],
            }
        )

    async def token(self, request: Request) -> Response:
        """Answer a request for a token (RFC 6749 section 4.4)."""
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True))
        try:
            return _json(self.given(form, token_url(request)))
        except RefusedTokenError as error:
            return _json({"error": str(error)}, 400)

    def given(self, form: Mapping[str, str], audience: str) -> dict[str, Any]:
        """Return a new token.

        Raises:
            RefusedTokenError: the form or the assertion is not as it should be.
        """
        if form.get("grant_type") != "client_credentials":
            raise RefusedTokenError("unsupported_grant_type")
        if form.get("client_assertion_type") != ASSERTION_TYPE or "scope" not in form:
            raise RefusedTokenError("invalid_request")
        client = self._proven(form.get("client_assertion", ""), audience)
        scopes = tuple(scope for scope in form["scope"].split() if _allowed(scope, client.scopes))
        if not scopes:
            raise RefusedTokenError("invalid_scope")
        token = secrets.token_urlsafe(24)
        self._given[token] = _Token(scopes, self.clock() + self.lasts)
        return {
            "access_token": token,
            "token_type": "bearer",
            "expires_in": int(self.lasts.total_seconds()),
            "scope": " ".join(scopes),
        }

    def _proven(self, assertion: str, audience: str) -> Client:
        """Return whose assertion it is."""
        try:
            said = jwt.decode(assertion, options={"verify_signature": False})
            kid = jwt.get_unverified_header(assertion).get("kid")
        except jwt.PyJWTError:
            raise RefusedTokenError("invalid_client") from None
        client = self.clients.get(str(said.get("iss")))
        if client is None or said.get("sub") != client.id:
            raise RefusedTokenError("invalid_client")
        keys = [key for name, key in client.keys.items() if kid is None or name in {"", kid}]
        if not any(_signed(assertion, key, audience) for key in keys):
            raise RefusedTokenError("invalid_client")
        now, ends = self.clock().timestamp(), said.get("exp")
        once = (client.id, str(said.get("jti")))
        fresh = isinstance(ends, int | float) and now < ends <= now + LONGEST.total_seconds() + 5
        if not fresh or "jti" not in said or once in self._seen:
            raise RefusedTokenError("invalid_client")
        self._seen.add(once)
        return client

    def expire(self) -> None:
        """End every token before its time."""
        self._given.clear()

    def admits(self, authorization: str, kind: str, interaction: str) -> bool | None:
        """Return whether a request is let in by its Authorization header; None if that holds no valid token."""
        found = next(
            (
                token
                for name, token in self._given.items()
                if hmac.compare_digest(authorization.encode(), f"Bearer {name}".encode())
            ),
            None,
        )
        if found is None or found.ends_at <= self.clock():
            return None
        return any(_covers(scope, kind, interaction) for scope in found.scopes)


def token_url(request: Request) -> str:
    """Return the address of the token endpoint, which is an assertion's audience."""
    return str(request.base_url).rstrip("/") + "/auth/token"


def _signed(assertion: str, key: str, audience: str) -> bool:
    algorithms = list(ALGORITHMS)
    try:
        # When it ends is looked at by the sandbox's clock, in `_proven`.
        jwt.decode(assertion, key, algorithms, options={"verify_exp": False, "verify_iat": False}, audience=audience)
    except (jwt.PyJWTError, ValueError, TypeError):
        return False
    return True


def _allowed(scope: str, granted: Sequence[str]) -> bool:
    """Whether a scope that is asked for lies within what the client may have."""
    kind, verbs = _parts(scope)
    own = [_parts(one) for one in granted]
    return bool(verbs) and any(of in (kind, "*") and verbs <= may for of, may in own)


def _covers(scope: str, kind: str, interaction: str) -> bool:
    of, verbs = _parts(scope)
    return of in (kind, "*") and _LETTERS[interaction] in verbs


def _parts(scope: str) -> tuple[str, frozenset[str]]:
    """Return the resource type and the permissions of a v1 or v2 scope; no permissions if it is none for a system."""
    context, _, rest = scope.partition("/")
    kind, _, verbs = rest.partition(".")
    v1 = {"read": "rs", "write": "cud", "*": "cruds"}.get(verbs, verbs)
    good = context == "system" and bool(v1) and set(v1) <= set("cruds")
    return kind, frozenset(v1) if good else frozenset()


def _json(said: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(said), status, {"Cache-Control": "no-store"}, "application/json")
