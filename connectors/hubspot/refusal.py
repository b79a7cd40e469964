"""What HubSpot says with a refusal, as a connector error: by its category, never by its words.

The schemas Error and StandardError of its published OpenAPI documents: `category`, `message`, `correlationId`,
`context`, `errors`; a 429 also says `errorType` and `policyName` (developer documentation, "Usage guidelines").
"""

from collections.abc import Collection
from typing import Any

import httpx
import orjson

from connectors.api import (
    AuthExpiredError,
    ConnectorError,
    RateLimitedError,
    RejectedError,
    TransientError,
)

READ = frozenset({400, 403, 404, 409, 423, 429, 477})
"Statuses whose body or headers say what is meant."

SECOND = 1.0
"Seconds until more is taken after a limit that counts a second, where the answer does not say."

DAY = 3600.0
"Seconds until it is tried again after a limit that counts a day: it ends at midnight in the account's time zone."

LONGEST = 86_400.0

MOVING = 900.0
"Seconds until it is tried again while the account is moved to another data centre (477), where it does not say."

_KNOWN = frozenset(
    {
        "BANNED",
        "FORBIDDEN",
        "INVALID_PARAMETER",
        "MISSING_SCOPES",
        "OBJECT_ALREADY_EXISTS",
        "OBJECT_NOT_FOUND",
        "RESOURCE_NOT_FOUND",
        "VALIDATION_ERROR",
    }
)
"Only these are repeated: a category that nobody knows may be anything."


def error_of(answer: httpx.Response, sent: Collection[str] = ()) -> ConnectorError:
    """Return what a refusal means; `sent` are the properties that were written, the only names repeated."""
    status = answer.status_code
    if status == 429:
        daily = str(_object(answer.content).get("policyName")) == "DAILY"
        return RateLimitedError(_pause(answer, DAY if daily else SECOND))
    if status == 477:
        return RateLimitedError(_pause(answer, MOVING))
    if status == 423:  # written again too soon, while another write holds the record
        return TransientError("locked")
    return category_error(_object(answer.content), status, sent)


def category_error(said: dict[str, Any], status: int, sent: Collection[str] = ()) -> ConnectorError:
    """Return what an Error or a StandardError means."""
    category = str(said.get("category"))
    if category in {"EXPIRED_AUTHENTICATION", "INVALID_AUTHENTICATION"}:
        return AuthExpiredError("the token is refused")
    if category == "RATE_LIMITS":
        return RateLimitedError(SECOND)
    if category == "CONFLICT" or status == 409:
        return TransientError("another write of the same is under way")
    if category in _KNOWN:
        return RejectedError(category.replace("_", "-").lower(), field=",".join(_named(said, sent)))
    return RejectedError("forbidden" if status == 403 else f"http-{status}")


def _named(said: dict[str, Any], sent: Collection[str]) -> list[str]:
    """Return the properties that the details of an error name, as far as they are ours."""
    details = said.get("errors")
    named: list[Any] = []
    for one in details if isinstance(details, list) else []:
        if isinstance(one, dict):
            context = one.get("context")
            told = context.get("propertyName") if isinstance(context, dict) else None
            named += [one.get("in"), *(told if isinstance(told, list) else [told])]
    return sorted({name for name in named if isinstance(name, str) and name in sent})


def _pause(answer: httpx.Response, otherwise: float) -> float:
    said = answer.headers.get("retry-after", "").strip()
    return min(float(said), LONGEST) if said.isascii() and said.isdigit() else otherwise


def _object(content: bytes) -> dict[str, Any]:
    try:
        said = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}
