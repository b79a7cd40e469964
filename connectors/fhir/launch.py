"""EHR launch with PKCE: somebody in the EHR opens the patient here (SMART App Launch 2.x; RFC 7636).

    EHR       GET launch address?iss=FHIR base&launch=handle
    here      303 authorize endpoint?response_type=code&...&code_challenge=S256(verifier)
    EHR       302 redirect_uri?code=...&state=...
    here      POST token endpoint, code and verifier -> {"patient": "123", ...}

Only the patient's id is taken from the answer. The token that comes with it is used for nothing and kept nowhere.
"""

import hashlib
import re
import secrets
from base64 import b64encode, urlsafe_b64encode
from typing import Any
from urllib.parse import quote_plus

import httpx

from connectors.api import Context, RejectedError
from connectors.fhir.auth import Headers, asked_for
from connectors.fhir.discovery import Endpoints, discover, token_endpoint
from connectors.fhir.reading import text
from connectors.fhir.settings import FhirSettings

SCOPES = "launch openid fhirUser"

_ID = re.compile(r"[A-Za-z0-9\-.]{1,128}")
"FHIR R4 datatypes.html#id has 64 at most; some servers have longer ones."


def verifier() -> str:
    """Return a new code verifier: 86 characters of RFC 7636 section 4.1."""
    return secrets.token_urlsafe(64)


def challenge_of(verifier: str) -> str:
    """Return the S256 code challenge (RFC 7636 section 4.2)."""
    return urlsafe_b64encode(hashlib.sha256(verifier.encode("ascii")).digest()).rstrip(b"=").decode()


def is_issuer(settings: FhirSettings, iss: str) -> bool:
    """Whether `iss` is the base URL, with or without a slash at its end."""
    try:
        url = httpx.URL(iss)
        at_base = settings.at_base(url)
    except (httpx.InvalidURL, UnicodeError):
        return False
    path = httpx.URL(settings.base).path.rstrip("/")
    return at_base and url.path.rstrip("/") == path and not url.query and not url.fragment


def address(
    settings: FhirSettings, found: Endpoints, *, launch: str, state: str, challenge: str, redirect_uri: str
) -> str:
    """Return where the browser is sent to be let in.

    Raises:
        RejectedError: no app is set, or the server has no authorize endpoint that is safe to be sent to.
    """
    if not settings.launch_client_id:
        raise RejectedError("no-launch-client", field="launch_client_id")
    if found.authorize is None:
        raise RejectedError("no-authorize-endpoint", field="base_url")
    if found.challenges and "S256" not in found.challenges:
        raise RejectedError("no-pkce", field="code_challenge_methods_supported")
    url = httpx.URL(found.authorize)
    if url.scheme != "https" and not settings.at_base(url):
        raise RejectedError("authorize-endpoint-in-clear", field="base_url")
    asked = {
        "response_type": "code",
        "client_id": settings.launch_client_id,
        "redirect_uri": redirect_uri,
        "launch": launch,
        "scope": SCOPES,
        "state": state,
        "aud": settings.base,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    return str(url.copy_merge_params(asked))


async def exchange(ctx: Context, settings: FhirSettings, *, code: str, verifier: str, redirect_uri: str) -> str:
    """Return the logical id of the patient whom the code was given for.

    Raises:
        AuthExpiredError: the app's credentials are refused.
        RejectedError: the code is refused, or it is for no patient.
        TransientError, RateLimitedError: no answer.
    """
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
    }
    headers: Headers = {}
    if settings.launch_client_secret is None:
        form["client_id"] = settings.launch_client_id
    else:  # RFC 6749 section 2.3.1: both form-encoded, then Basic
        parts = (settings.launch_client_id, settings.launch_client_secret.get_secret_value())
        shown = ":".join(quote_plus(part) for part in parts).encode()
        headers["Authorization"] = f"Basic {b64encode(shown).decode()}"
    url = token_endpoint(settings, await discover(ctx, settings))
    return patient_of(await asked_for(ctx, url, form, headers))


def patient_of(answer: dict[str, Any]) -> str:
    """Return the patient of a token answer.

    Raises:
        RejectedError: there is none.
    """
    said = (text(answer.get("patient")) or "").removeprefix("Patient/")
    if not _ID.fullmatch(said):
        raise RejectedError("launch-without-patient", field="patient")
    return said
