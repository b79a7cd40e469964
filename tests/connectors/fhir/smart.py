"""An authorization server of the tests' own, which takes nothing on trust, and a FHIR server behind it."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, EllipticCurve, generate_private_key
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from connectors.fhir import Fhir
from tests.connectors.fhir.world import World
from tests.connectors.stage import Clock

CLIENT = "chartline-client"
OAUTH_URIS = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

V2 = ["system/*.cruds", "openid"]
V1 = ["system/*.read", "system/*.write"]


@dataclass(frozen=True)
class Pair:
    """A key as the client has it, and as the server knows it."""

    private: str
    public: str
    algorithm: str


@cache
def pair(kind: str, which: int = 0) -> Pair:  # noqa: ARG001 - another number is another pair
    """Return a key pair: `rsa`, `short-rsa`, `p384` or `p256`; made once, as an RSA key takes its time."""
    curves: dict[str, EllipticCurve] = {"p384": SECP384R1(), "p256": SECP256R1()}
    if kind in curves:
        key: Any = generate_private_key(curves[kind])
    else:
        key = generate_rsa(public_exponent=65537, key_size=1024 if kind == "short-rsa" else 2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return Pair(private, public, "ES384" if kind in curves else "RS384")


@dataclass
class Authority:
    """Gives tokens for assertions (SMART Backend Services), and codes for launches."""

    clock: Clock
    key: Pair
    token_url: str = "http://ehr.test/token"
    kid: str | None = None
    lives: int = 300
    "Seconds."

    scopes: list[str] = field(default_factory=lambda: list(V2))
    documents: dict[str, Any] = field(default_factory=dict)
    "By path: what is answered instead of the discovery document or the CapabilityStatement."

    down: int | None = None
    "The status of every answer of the token endpoint."

    instead: Any = None
    "What a good request is answered with, in the place of a token."

    knocks: int = 0
    "Requests for a token, whatever became of them."

    knocked: asyncio.Event = field(default_factory=asyncio.Event)
    opens: asyncio.Event | None = None
    "What every request for a token waits for."

    seen: set[str] = field(default_factory=set)
    granted: dict[str, datetime] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def configuration(self) -> dict[str, Any]:
        return {
            "token_endpoint": self.token_url,
            "authorization_endpoint": "http://ehr.test/authorize",
            "scopes_supported": self.scopes,
            "capabilities": ["client-confidential-asymmetric", "launch-ehr", "permission-v1", "permission-v2"],
            "code_challenge_methods_supported": ["S256"],
        }

    def fault(self, form: Mapping[str, str]) -> str | None:
        """Return what is wrong with a token request, None if it is as the specification says."""
        if form.get("grant_type") != "client_credentials" or form.get("client_assertion_type") != ASSERTION_TYPE:
            return "grant"
        try:
            header = jwt.get_unverified_header(form["client_assertion"])
            claims = jwt.decode(
                form["client_assertion"],
                self.key.public,
                algorithms=[self.key.algorithm],
                audience=self.token_url,
                issuer=CLIENT,
                options={"require": ["iss", "sub", "aud", "exp", "jti"], "verify_exp": False, "verify_iat": False},
            )
        except (jwt.InvalidTokenError, KeyError) as error:
            return type(error).__name__
        now = self.clock().timestamp()
        if header.get("kid") != self.kid or header.get("typ") != "JWT":
            return "header"
        if claims["sub"] != CLIENT or not now < claims["exp"] <= now + 300:
            return "claims"
        if claims["jti"] in self.seen:
            return "jti"
        self.seen.add(claims["jti"])
        wanted = form.get("scope", "").split()
        return None if wanted and all(one.startswith("system/") for one in wanted) else "scope"

    async def token(self, request: Request) -> Response:
        """Answer a token request."""
        self.knocks += 1
        self.knocked.set()
        if self.opens is not None:
            await self.opens.wait()
        if self.down is not None:
            return Response("<html>down</html>", self.down, headers={"Retry-After": "7"})
        form = dict(parse_qsl((await request.body()).decode()))
        self.asked.append(form)
        if fault := self.fault(form):
            self.refused.append(fault)
            return JSONResponse({"error": "invalid_client", "error_description": f"{form}"}, 400)
        if self.instead is not None:
            return Response(self.instead if isinstance(self.instead, bytes) else json.dumps(self.instead))
        value = uuid4().hex
        self.granted[value] = self.clock() + timedelta(seconds=self.lives)
        said = {"access_token": value, "token_type": "bearer", "expires_in": self.lives, "scope": form["scope"]}
        return JSONResponse(said, headers={"Cache-Control": "no-store"})

    def lets_in(self, request: Request) -> bool:
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        return scheme == "Bearer" and value in self.granted and self.clock() < self.granted[value]


def behind(authority: Authority, fhir: ASGIApp) -> ASGIApp:
    """Return the authorization server, and `fhir` for those whom it let in; discovery is open."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request, path = Request(scope, receive), scope["path"]
        answer: ASGIApp
        if path in authority.documents:
            said = authority.documents[path]
            answer = Response(status_code=said) if isinstance(said, int) else JSONResponse(said)
        elif path == "/fhir/.well-known/smart-configuration":
            answer = JSONResponse(authority.configuration())
        elif path == "/token":
            answer = await authority.token(request)
        elif path == "/fhir/metadata" or authority.lets_in(request):
            answer = fhir
        else:
            answer = Response(status_code=401)
        await answer(scope, receive, send)

    return app


def smart(world: World, key: Pair, **how: Any) -> Authority:
    """Put an authorization server before the world's FHIR server."""
    authority = Authority(world.clock, key, **how)
    world.app = behind(authority, world.app)
    return authority


def signed(world: World, key: Pair, **settings: Any) -> Fhir:
    return world.connector(client_id=CLIENT, private_key=key.private, **settings)
