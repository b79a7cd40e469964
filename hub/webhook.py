"""Webhooks out: one signed POST (Standard Webhooks 1.0.0), what its answer means, and the live lane.

A body names ids and codes, never a person. The live lane is for what is happening now: a few tries within two
seconds, dropped when the call has moved on. The record lane is DeliveryFlow. Both carry the same event id, by which
the receiver knows a repeat.
"""

import asyncio
import base64
import binascii
import math
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus
from uuid import UUID

import httpx
import orjson
from standardwebhooks.webhooks import Webhook

from connectors import host
from hub.errors import UsageError
from hub.instance import Instance
from hub.record.event import Event, webhook_of
from hub.record.pop import token_of
from hub.settings import Practice

LIVE_AT_S = (0.0, 0.25, 0.75, 1.5)
"When the live lane tries, from the event. A try that hangs does not hold back the next."

LIVE_TIMEOUT_S = 2.0
"Of each try in the live lane."

TIMEOUT_S = 15.0
"Of each try in the record lane (Standard Webhooks: 15 to 30 s)."

MIN_SECRET_BYTES = 24
MAX_SECRET_BYTES = 64
"Standard Webhooks, symmetric secrets."

LONGEST_PAUSE_S = 24 * 3600.0
"A receiver may not ask for more with Retry-After."


class WebhookSecretError(UsageError):
    """The secret of a webhook is not one."""

    code = "webhook-secret"


class Taken(StrEnum):
    """What an answer means."""

    DELIVERED = "delivered"
    GONE = "gone"
    "410: the receiver wants nothing more."

    LATER = "later"
    "No answer, or not a good one."

    DROPPED = "dropped"
    "The call moved on before anyone took it (live lane only)."


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a try."""

    taken: Taken
    status: int | None = None
    "HTTP status, None where there was no answer."

    retry_after: float | None = None
    "Seconds that the receiver asks for."


@dataclass(frozen=True, slots=True)
class Letter:
    """One event for one webhook."""

    url: str
    secret: str
    event_id: str
    body: bytes

    def headers(self, at: datetime) -> dict[str, str]:
        """Return the headers of a try at `at`; the signature covers id, time and body.

        Raises:
            WebhookSecretError: the secret is not base64 of 24 to 64 bytes.
        """
        stamp = at.astimezone(UTC)
        signature = _signer(self.secret).sign(self.event_id, stamp, self.body.decode())
        return {
            "content-type": "application/json",
            "user-agent": "Chartline",
            "webhook-id": self.event_id,
            "webhook-timestamp": str(math.floor(stamp.timestamp())),
            "webhook-signature": signature,
        }


def body_of(kind: str, event_id: str, at: datetime, said: Mapping[str, object]) -> bytes:
    """Return the body of an event: its type, id and instant (ISO 8601, UTC) before what it says."""
    stamp = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return orjson.dumps({"type": kind, "id": event_id, "at": stamp, **said})


def letter_of(told: Event, webhook: str, practice: Practice, instance: Instance) -> Letter | None:
    """Return the letter that tells an event to a webhook (`event.webhook_of`); None where the policy has it no more.

    Raises:
        WebhookSecretError: its secret is not to be had.
    """
    hook = next((each for each in practice.webhooks if webhook_of(each.url) == webhook), None)
    if hook is None:
        return None
    said = dict(told.payload)
    if told.call_id is not None:
        said["call"] = str(told.call_id)
    if offer := said.pop("offer", None):
        said["pop"] = f"{practice.http.base_url}/v1/pops/{token_of(instance.keys.pop, UUID(offer))}"
    try:
        secret = host.secrets(instance.paths.root, os.environ)(hook.secret)
    except (LookupError, OSError):
        raise WebhookSecretError(f"the secret {hook.secret.partition(':')[0]}: of a webhook is not there") from None
    return Letter(hook.url, secret, str(told.id), body_of(told.type, str(told.id), told.at, said))


async def post(http: httpx.AsyncClient, letter: Letter, at: datetime, *, within: float = TIMEOUT_S) -> Outcome:
    """Try once, `within` seconds; redirects are not followed, anything but 2xx is not taken.

    Raises:
        WebhookSecretError: the secret is not base64 of 24 to 64 bytes.
    """
    headers = letter.headers(at)
    try:
        async with asyncio.timeout(within):
            async with http.stream(
                "POST", letter.url, content=letter.body, headers=headers, follow_redirects=False
            ) as answer:  # the answer's body is nobody's business here
                return _outcome(answer.status_code, answer.headers.get("retry-after"), at)
    except (httpx.HTTPError, TimeoutError):
        return Outcome(Taken.LATER)


async def post_live(
    http: httpx.AsyncClient,
    letter: Letter,
    clock: Callable[[], datetime],
    still: Callable[[], bool],
    *,
    times: Sequence[float] = LIVE_AT_S,
) -> Outcome:
    """Try at each of `times` until one try is taken; stop when `still` says that the call has moved on.

    Raises:
        WebhookSecretError: the secret is not base64 of 24 to 64 bytes.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    last = Outcome(Taken.LATER)
    async with _tries() as tries:
        for following in (*times[1:], None):
            if not still():
                return Outcome(Taken.DROPPED)
            tries.add(asyncio.ensure_future(post(http, letter, clock(), within=LIVE_TIMEOUT_S)))
            until = None if following is None else began + following
            last = await _first_taken(tries, until)
            if last.taken in {Taken.DELIVERED, Taken.GONE}:
                return last
            if until is not None:
                await asyncio.sleep(max(0.0, until - loop.time()))
    return last


@asynccontextmanager
async def _tries() -> AsyncIterator[set[asyncio.Future[Outcome]]]:
    """Yield a set for tries under way; what is still under way at the end is cancelled."""
    tries: set[asyncio.Future[Outcome]] = set()
    try:
        yield tries
    finally:
        for each in tries:
            each.cancel()
        await asyncio.gather(*tries, return_exceptions=True)


async def _first_taken(tries: set[asyncio.Future[Outcome]], until: float | None) -> Outcome:
    """Return the first good answer, or the last bad one once nothing is under way or `until` has come."""
    last = Outcome(Taken.LATER)
    loop = asyncio.get_running_loop()
    while tries:
        wait = None if until is None else max(0.0, until - loop.time())
        done, _ = await asyncio.wait(tries, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            return last
        tries -= done
        for each in done:
            last = each.result()
            if last.taken in {Taken.DELIVERED, Taken.GONE}:
                return last
    return last


def _signer(secret: str) -> Webhook:
    try:
        key = base64.b64decode(secret.strip().removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise WebhookSecretError("a webhook secret is base64 of 24 to 64 random bytes, with or without whsec_")
    return Webhook(key)


def _outcome(status: int, retry_after: str | None, at: datetime) -> Outcome:
    if 200 <= status < 300:
        return Outcome(Taken.DELIVERED, status)
    if status == HTTPStatus.GONE:
        return Outcome(Taken.GONE, status)
    return Outcome(Taken.LATER, status, _seconds(retry_after, at))


def _seconds(retry_after: str | None, at: datetime) -> float | None:
    """Return Retry-After in seconds (RFC 9110 section 10.2.3: a number of seconds, or a date)."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return min(float(retry_after), LONGEST_PAUSE_S)
    try:
        when = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return min(max(0.0, (when - at).total_seconds()), LONGEST_PAUSE_S)
