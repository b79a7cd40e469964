"""What Salesforce says with a refusal, as a connector error: by its code, never by its words.

REST API Developer Guide, "Status Codes and Error Responses": a list of objects with `errorCode`, `message` and
`fields`; the token endpoint answers an object with `error` and `error_description` (RFC 6749 section 5.2).
"""

from collections.abc import Collection
from typing import Any

import httpx
import orjson

from connectors.api import AuthExpiredError, ConnectorError, RateLimitedError, RejectedError, TransientError

READ = frozenset({300, 400, 403, 404, 409})
"Statuses whose body says what is meant."

PAUSE = 900.0
"Seconds: the daily allocation counts the last 24 hours, so a little of it comes back all the time."

_EXPIRED = frozenset({"INVALID_SESSION_ID", "INVALID_AUTH_HEADER", "INVALID_LOGIN", "INACTIVE_OWNER_OR_USER"})
_AGAIN = frozenset(
    {"UNABLE_TO_LOCK_ROW", "SERVER_UNAVAILABLE", "QUERY_TIMEOUT", "REQUEST_RUNNING_TOO_LONG", "UNKNOWN_EXCEPTION"}
)
_KNOWN = frozenset(
    {
        "API_CURRENTLY_DISABLED",
        "API_DISABLED_FOR_ORG",
        "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
        "DUPLICATE_EXTERNAL_ID",
        "DUPLICATE_VALUE",
        "ENTITY_IS_DELETED",
        "FIELD_CUSTOM_VALIDATION_EXCEPTION",
        "FIELD_INTEGRITY_EXCEPTION",
        "INSUFFICIENT_ACCESS",
        "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
        "INSUFFICIENT_ACCESS_OR_READONLY",
        "INVALID_CROSS_REFERENCE_KEY",
        "INVALID_FIELD",
        "INVALID_FIELD_FOR_INSERT_UPDATE",
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
        "INVALID_QUERY_LOCATOR",
        "INVALID_SEARCH",
        "INVALID_TYPE",
        "JSON_PARSER_ERROR",
        "MALFORMED_ID",
        "MALFORMED_QUERY",
        "MALFORMED_SEARCH",
        "NOT_FOUND",
        "REQUIRED_FIELD_MISSING",
        "STORAGE_LIMIT_EXCEEDED",
        "STRING_TOO_LONG",
    }
)
"Only these are repeated: a code that nobody knows may be anything."

_TOKEN_AGAIN = frozenset({"server_error", "temporarily_unavailable", "unknown_error"})
_TOKEN_REFUSED = frozenset(
    {
        "inactive_org",
        "inactive_user",
        "invalid_app_access",
        "invalid_client",
        "invalid_client_credentials",
        "invalid_client_id",
        "invalid_grant",
        "no_access",
        "unauthorized_client",
    }
)


def error_of(answer: httpx.Response, sent: Collection[str] = ()) -> ConnectorError:
    """Return what a refusal means; `sent` are the fields of the record that was written, the only names repeated."""
    if answer.status_code == 300:  # two records carry one external id
        return RejectedError("external-id-names-several", field="Task")
    for one in _entries(answer):
        code = str(one.get("errorCode"))
        if code == "REQUEST_LIMIT_EXCEEDED":
            return RateLimitedError(PAUSE)
        if code in _EXPIRED:
            return AuthExpiredError("the session is refused")
        if code in _AGAIN:
            return TransientError(_reason(code))
        if code in _KNOWN:
            named = one.get("fields")
            fields = (
                [name for name in named if isinstance(name, str) and name in sent] if isinstance(named, list) else []
            )
            return RejectedError(_reason(code), field=",".join(fields))
    return RejectedError("forbidden" if answer.status_code == 403 else f"http-{answer.status_code}")


def token_error_of(answer: httpx.Response) -> ConnectorError:
    """Return what a refusal of the token endpoint means."""
    code = next((str(one.get("error")) for one in _entries(answer)), "")
    if code in _TOKEN_AGAIN:
        return TransientError("no token at the moment")
    if code in _TOKEN_REFUSED:
        return AuthExpiredError(f"no token: {code}")
    return RejectedError(f"http-{answer.status_code}", field="token")


def _entries(answer: httpx.Response) -> list[dict[str, Any]]:
    try:
        said = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return []
    return [one for one in (said if isinstance(said, list) else [said]) if isinstance(one, dict)]


def _reason(code: str) -> str:
    return code.replace("_", "-").lower()
