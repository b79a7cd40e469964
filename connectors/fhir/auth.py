"""What a request shows to be let in: nothing, HTTP Basic, a bearer token, or a token of SMART Backend Services.

Credentials go to two places only: what `headers` returns to the base URL's host, the signed assertion to the token
endpoint on that host or on that of `token_url`. No error and no log line holds a key, an assertion or a token.
"""

import asyncio
import math
import re
from base64 import b64encode
from collections.abc import Collection
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NoReturn, Protocol
from uuid import uuid4

import jwt
import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from connectors.api import (
    AuthExpiredError,
    ConnectorError,
    Context,
    RejectedError,
    Scope,
    TransientError,
    UnknownOutcomeError,
)
from connectors.fhir.discovery import Endpoints, discover, token_endpoint
from connectors.fhir.reading import inner
from connectors.fhir.scope import asked, needs, style
from connectors.fhir.settings import FhirSettings

Headers = dict[str, str]

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
"RFC 7523 section 2.2."

ASSERTION_LIFE = timedelta(minutes=4)
"At most five (SMART App Launch, client-confidential-asymmetric); a minute is left for a clock that goes ahead."

UNSAID = 300.0
"Seconds that a token is taken to hold where the answer does not say: what Backend Services recommends at most."

LONGEST = 86_400.0
"Seconds; a token that claims to hold for longer is asked for again all the same."

SHORTEST_RSA = 2048
"Bits (RFC 7518 section 3.3)."

_LOCKED_OUT = {"invalid_client", "unauthorized_client", "access_denied"}
_ERRORS = _LOCKED_OUT | {"invalid_grant", "invalid_request", "invalid_scope", "unsupported_grant_type"}
"RFC 6749 section 5.2. Only these are repeated: descriptions may quote what was sent."

_TOKEN = re.compile(r"[\x21-\x7e]+")
"Visible ASCII: all that fits a header (RFC 6749 appendix A.12 without the space)."


class Authorization(Protocol):
    """The credentials of one connection; it lives as long as the connector, so that a token is asked for once."""

    async def headers(self, ctx: Context) -> Headers:
        """Return the headers that let a request in at the FHIR base; they must go to no other host."""
        ...

    async def renewed(self, ctx: Context, refused: Headers) -> Headers | None:
        """Return other headers after `refused` were answered by 401, None where there are none to be had."""
        ...


class Fixed:
    """Credentials that stand in the settings; refused once, they stay refused."""

    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    async def headers(self, ctx: Context) -> Headers:  # noqa: ARG002 - another authorization needs it
        """Return the same for every request."""
        return self._headers

    async def renewed(self, ctx: Context, refused: Headers) -> Headers | None:  # noqa: ARG002 - see headers
        """Return None: there are no others."""
        return None


@dataclass(frozen=True, slots=True)
class Token:
    """An access token."""

    value: str = field(repr=False)
    ends_at: datetime

    def fresh(self, now: datetime) -> bool:
        """Whether it will hold for a request that begins now."""
        return now < self.ends_at

    @property
    def headers(self) -> Headers:
        """How it is shown (RFC 6750 section 2.1)."""
        return {"Authorization": f"Bearer {self.value}"}


class Backend:
    """SMART Backend Services: a token for a signed assertion, kept until shortly before its end.

    There is no refresh token; another one is asked for in the same way. Those who need one at the same time wait for
    one request, and share what becomes of it.
    """

    def __init__(self, settings: FhirSettings, scopes: Collection[Scope]) -> None:
        self._settings = settings
        self._scopes = scopes
        self._one = asyncio.Lock()
        self._token: Token | None = None
        self._endpoints: Endpoints | None = None
        self._attempts = 0
        "Those that are over."

        self._failure: ConnectorError | None = None
        "What became of the last attempt."

    async def headers(self, ctx: Context) -> Headers:
        """Return the headers of a token that holds.

        Raises:
            AuthExpiredError: the key cannot be used, or the server refuses the client.
            RejectedError: there is no token endpoint, none on a host of the settings, or it refuses the scopes.
            TransientError, RateLimitedError: no answer; try again.
        """
        token = self._token
        if token is None or not token.fresh(ctx.clock()):
            token = await self._another(ctx, token)
        return token.headers

    async def renewed(self, ctx: Context, refused: Headers) -> Headers | None:
        """Return the headers of another token than the one in `refused`."""
        token = self._token
        if token is None or token.headers == refused:
            token = await self._another(ctx, token)
        return token.headers

    async def _another(self, ctx: Context, than: Token | None) -> Token:
        """Return another token than `than`: the one that somebody else brought meanwhile, or a new one."""
        attempts = self._attempts
        async with self._one:
            if self._token is not None and self._token is not than:
                return self._token
            if self._attempts != attempts and self._failure is not None:
                raise copy(self._failure)
            self._token = self._failure = None
            try:
                self._token = await self._fetch(ctx)
            except ConnectorError as error:
                self._failure = copy(error)  # without the frames, which hold an assertion
                raise
            finally:
                self._attempts += 1
            return self._token

    async def _fetch(self, ctx: Context) -> Token:
        try:
            self._endpoints = self._endpoints or await discover(ctx, self._settings)
            url = token_endpoint(self._settings, self._endpoints)
            form = {
                "grant_type": "client_credentials",
                "scope": self._scope(self._endpoints),
                "client_assertion_type": ASSERTION_TYPE,
                "client_assertion": assertion(self._settings, self._settings.client_id, url, ctx.clock()),
            }
            return token_of(await asked_for(ctx, url, form), ctx.clock())
        except ConnectorError:
            self._endpoints = None  # it may have moved: look it up again
            raise

    def _scope(self, found: Endpoints) -> str:
        if self._settings.scope:
            return self._settings.scope
        how = style(self._settings, found.scopes, found.capabilities)
        return asked(needs(self._settings, self._scopes), how, found.scopes)


def authorization(settings: FhirSettings, scopes: Collection[Scope]) -> Authorization:
    """Return the credentials that the settings name, for a connector of these scopes."""
    if settings.client_id:
        return Backend(settings, scopes)
    if settings.password is not None:
        shown = f"{settings.username}:{settings.password.get_secret_value()}".encode()
        return Fixed({"Authorization": f"Basic {b64encode(shown).decode()}"})  # RFC 7617 section 2
    if settings.token is not None:
        return Fixed({"Authorization": f"Bearer {settings.token.get_secret_value()}"})  # RFC 6750 section 2.1
    return Fixed({})


def assertion(settings: FhirSettings, client_id: str, audience: str, now: datetime) -> str:
    """Return a JWT that proves to the token endpoint `audience` who asks (RFC 7523; RS384 or ES384 by the key).

    Raises:
        AuthExpiredError: the private key is none, or of a kind that SMART does not use.
    """
    key = _key(settings)
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "exp": int((now + ASSERTION_LIFE).timestamp()),
        "iat": int(now.timestamp()),
        "jti": uuid4().hex,
    }
    headers = {"kid": settings.key_id} if settings.key_id else None
    return jwt.encode(claims, key, algorithm="RS384" if isinstance(key, RSAPrivateKey) else "ES384", headers=headers)


def _key(settings: FhirSettings) -> RSAPrivateKey | EllipticCurvePrivateKey:
    written = settings.private_key.get_secret_value() if settings.private_key else ""
    try:
        key = load_pem_private_key(written.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None  # raised below: the cause may quote a part of the key
    if isinstance(key, RSAPrivateKey) and key.key_size >= SHORTEST_RSA:
        return key
    if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP384R1):
        return key
    raise AuthExpiredError("private_key is no PEM of RSA with 2048 bits or more, or of P-384")


async def asked_for(ctx: Context, url: str, form: dict[str, str], headers: Headers | None = None) -> dict[str, Any]:
    """Return what a token endpoint answers to `form` (RFC 6749 sections 4.1.3 and 4.4.2).

    Raises:
        AuthExpiredError: the client is not known, or not let in.
        RejectedError: it refuses the request for another reason.
        TransientError, RateLimitedError: no answer; asking again does no harm.
    """
    try:
        answer = await ctx.http.post(
            url,
            data=form,
            headers={"Accept": "application/json"} | (headers or {}),
            extensions={"answers": {400, 401}},
        )
    except UnknownOutcomeError:
        answer = None  # a token that nobody holds has no effect
    if answer is None:
        raise TransientError("no answer from the token endpoint")
    try:
        said = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        said = None
    if answer.status_code >= 400:
        _refuse(inner(said, "error"), answer.status_code, form["grant_type"])
    if not isinstance(said, dict):
        raise TransientError("an answer of the token endpoint that is no JSON object")
    return said


def _refuse(error: Any, status: int, grant: str) -> NoReturn:
    code = error if isinstance(error, str) and error in _ERRORS else ""
    words = code.replace("_", "-")
    # invalid_grant: the assertion is no good, or the code of a launch is, which the next launch mends.
    locked_out = code in _LOCKED_OUT or (code == "invalid_grant" and grant == "client_credentials")
    if locked_out or (status == 401 and not code):
        raise AuthExpiredError(f"the token endpoint refuses the client ({words or 'unauthorized'})")
    raise RejectedError("token-refused", field=words)


def token_of(answer: dict[str, Any], now: datetime) -> Token:
    """Return the token of a token answer (RFC 6749 section 5.1), to be used until a while before its end.

    Raises:
        RejectedError: there is none, or one of a kind that is not shown as Bearer.
    """
    value, kind, seconds = answer.get("access_token"), answer.get("token_type"), answer.get("expires_in", UNSAID)
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise RejectedError("no-access-token", field="access_token")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise RejectedError("no-bearer-token", field="token_type")
    try:
        life = float(seconds)
    except (TypeError, ValueError):
        life = math.nan
    life = min(max(life, 0.0), LONGEST) if math.isfinite(life) else UNSAID
    return Token(value, now + timedelta(seconds=life - min(60.0, life / 5)))
