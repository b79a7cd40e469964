"""Where a server authorizes: its .well-known/smart-configuration, else its CapabilityStatement (SMART App Launch 2.x).

Both are open to everybody, so that no credentials are sent. What is found is not trusted with any: a token endpoint
counts only if it is on a host that the settings name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from connectors.api import AuthExpiredError, Context, RejectedError
from connectors.fhir.reading import inner, items, text
from connectors.fhir.settings import FhirSettings

OAUTH_URIS = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
"The extension of CapabilityStatement.rest.security that has the endpoints."


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What a server publishes of its authorization; all of it may be missing."""

    token: str | None = None
    authorize: str | None = None
    scopes: frozenset[str] = frozenset()
    "scopes_supported."

    capabilities: frozenset[str] = frozenset()
    challenges: frozenset[str] = frozenset()
    "code_challenge_methods_supported."


async def discover(ctx: Context, settings: FhirSettings) -> Endpoints:
    """Return what the server publishes; empty where it publishes nothing.

    Raises:
        TransientError, RateLimitedError: it did not answer, so that nobody knows.
    """
    found = published(await _document(ctx, f"{settings.base}/.well-known/smart-configuration"))
    if found.token or found.authorize:
        return found
    return declared(await _document(ctx, f"{settings.base}/metadata"))


def published(document: Any) -> Endpoints:
    """Return what a smart-configuration document says."""
    return Endpoints(
        token=_address(inner(document, "token_endpoint")),
        authorize=_address(inner(document, "authorization_endpoint")),
        scopes=_words(inner(document, "scopes_supported")),
        capabilities=_words(inner(document, "capabilities")),
        challenges=_words(inner(document, "code_challenge_methods_supported")),
    )


def declared(statement: Any) -> Endpoints:
    """Return what the security extension of a CapabilityStatement says."""
    rest = next((one for one in items(inner(statement, "rest")) if one.get("mode") == "server"), {})
    for extension in items(inner(rest, "security", "extension")):
        if extension.get("url") == OAUTH_URIS:
            said = {one.get("url"): _address(one.get("valueUri")) for one in items(extension.get("extension"))}
            return Endpoints(token=said.get("token"), authorize=said.get("authorize"))
    return Endpoints()


def token_endpoint(settings: FhirSettings, found: Endpoints) -> str:
    """Return where tokens are asked for: `token_url`, else what the server publishes on the base URL's host.

    Raises:
        RejectedError: it publishes none, or one on a host that is not in the settings.
    """
    if settings.token_url is not None:
        return str(settings.token_url)
    if found.token is None:
        raise RejectedError("no-token-endpoint", field="token_url")
    if not settings.at_base(found.token):
        raise RejectedError("token-endpoint-not-in-settings", field="token_url")
    return found.token


async def _document(ctx: Context, url: str) -> Any:
    """Return the JSON at `url`, None where there is none."""
    try:
        answer = await ctx.http.get(url, headers={"Accept": "application/json, application/fhir+json"})
    except (RejectedError, AuthExpiredError):
        return None
    try:
        return orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return None  # a page for people, with status 200


def _address(said: Any) -> str | None:
    """Return an address of HTTP as it stands there: what follows is signed for it, character by character."""
    found = text(said)
    if found is None:
        return None
    try:
        url = httpx.URL(found)
    except (httpx.InvalidURL, UnicodeError):
        return None
    fit = url.scheme in {"http", "https"} and url.host and not url.userinfo and not url.fragment
    return found if fit else None


def _words(said: Any) -> frozenset[str]:
    listed: Sequence[Any] = said if isinstance(said, list) else []
    return frozenset(one for one in listed if isinstance(one, str))
