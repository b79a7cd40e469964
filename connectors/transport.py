"""What a connector's HTTP client is made of: only the settings' hosts, no redirects, and every fault a connector error.

The transport stands over the client that the egress gate opened, so it opens nothing by itself. What it raises names
no address, no query and no body: those hold what a person's record says.

    connection never made                               TransientError
    no answer, or half of one, to what may be repeated  TransientError
    no answer, or half of one, to anything else         UnknownOutcomeError

A request that only reads is sent once more after a broken connection or a 5xx; nothing else is ever repeated here.

Some systems say only in the body of a refusal what they mean by it. A connector that reads such bodies itself names
the statuses with the request, `extensions={"answers": {400, 403}}`, and gets those answers as they are.

An answer is held whole, up to `LARGEST`. A file of any size is read as it comes in: `http.stream(..., extensions=
{"streamed": True})`; there the deadline is for the head of the answer, and each piece has its time-out.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from connectors.api import (
    AuthExpiredError,
    ConflictError,
    ConnectorError,
    RateLimitedError,
    RejectedError,
    TransientError,
    UnknownOutcomeError,
)

Origin = tuple[str, str, int]
"Scheme, host and port, in lower case."

TIMEOUT = httpx.Timeout(10.0, connect=5.0)
"Seconds without any progress."

DEADLINE = 30.0
"Seconds for one request with its answer: a peer that sends a byte now and then makes progress, too."

LARGEST = 32 * 1024 * 1024
"Bytes of one answer, unpacked."

PAUSE = 30.0
"Seconds to wait where a 429 does not say how long."

LONGEST_PAUSE = 3600.0

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"RFC 9110 section 9.2.2."

_PORTS = {"http": 80, "https": 443}

AGAIN_S = 0.2
"Before a request that only reads is sent once more, where it got no answer or one that says: not now."

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
"What has no effect, so that asking twice has none either (RFC 9110 section 9.2.1)."

_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
"What surely did not reach the other side."


def origin_of(url: httpx.URL) -> Origin:
    """Return where `url` leads."""
    return url.scheme, url.host.lower(), url.port or _PORTS.get(url.scheme, 0)


def origins(settings: Mapping[str, Any]) -> frozenset[Origin]:
    """Return every address of HTTP or of a stream (`stream.SCHEMES`) that stands in `settings`, at any depth."""
    found: set[Origin] = set()
    waiting: list[Any] = [settings]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list | tuple | set | frozenset):
            waiting += value
        elif isinstance(value, str) and value.lower().startswith(("http://", "https://", "mllp://", "mllps://")):
            found.add(origin_of(httpx.URL(value)))
    return frozenset(found)


class ConnectorTransport(httpx.AsyncBaseTransport):
    """Sends through `client` what leads to `allowed`, reads the whole answer, and raises connector errors only."""

    def __init__(self, client: httpx.AsyncClient, allowed: frozenset[Origin], *, deadline: float = DEADLINE) -> None:
        self._client = client
        self._allowed = allowed
        self._deadline = deadline

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the answer, if it is a good one.

        Raises:
            ConnectorError: every other end; see the module and `error_of`.
        """
        if origin_of(request.url) not in self._allowed:
            raise RejectedError("host-not-in-settings")
        # The error is raised after the except block: an httpx exception carries its request, and it must not ride
        # along as the context of ours.
        error: ConnectorError
        try:
            async with asyncio.timeout(self._deadline):
                if request.method in _READS:
                    with contextlib.suppress(TransientError, *_UNSENT, httpx.RemoteProtocolError, httpx.ReadError):
                        return await self._exchange(request)
                    await asyncio.sleep(AGAIN_S)
                return await self._exchange(request)
        except _UNSENT:
            error = TransientError("no connection")
        except (httpx.HTTPError, TimeoutError):
            error = _unanswered(request)
        raise error

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        answer = await self._client.send(request, stream=True)
        flowing: _Flowing | None = None
        try:
            if answer.status_code not in request.extensions.get("answers", ()) and (error := error_of(answer, request)):
                raise error
            if request.extensions.get("streamed"):
                flowing = _Flowing(answer)
                return httpx.Response(answer.status_code, headers=answer.headers.raw, stream=flowing, request=request)
            body = bytearray()
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > LARGEST:
                    raise RejectedError("answer-too-large")
        finally:
            if flowing is None:
                await answer.aclose()
        headers = [
            (name, value)
            for name, value in answer.headers.raw
            if name.lower() not in {b"content-encoding", b"content-length", b"transfer-encoding"}
        ]
        return httpx.Response(answer.status_code, headers=headers, content=bytes(body), request=request)


class _Flowing(httpx.AsyncByteStream):
    """The bytes of an answer as they come in, still packed; what breaks on the way is a connector error."""

    def __init__(self, answer: httpx.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._answer.aiter_raw():
                yield piece
        except httpx.HTTPError:
            broken = True  # raised below, without what carries the request
        else:
            broken = False
        if broken:
            raise TransientError("the answer broke off")

    async def aclose(self) -> None:
        await self._answer.aclose()


def error_of(answer: httpx.Response, request: httpx.Request) -> ConnectorError | None:
    """Return what a status means (RFC 9110 section 15), or None for a good one."""
    status = answer.status_code
    if status < 300 or status == 304:
        return None
    if status == 401:
        return AuthExpiredError("the credentials are refused")
    if status in {409, 412}:
        return ConflictError("it changed since it was read")
    if status == 429 or (status == 503 and "retry-after" in answer.headers):
        return RateLimitedError(pause_of(answer))
    if status in {502, 504} and not _repeatable(request):
        return UnknownOutcomeError("a gateway got no answer from the system behind it")
    if status >= 500 and status != 501:
        return TransientError(f"answered {status}")
    if status == 408:
        return _unanswered(request)
    if status < 400:
        return RejectedError("redirected")
    return RejectedError("forbidden" if status == 403 else f"http-{status}")


def pause_of(answer: httpx.Response) -> float:
    """Return the seconds that Retry-After asks for, by the other side's own clock (RFC 9110 section 10.2.3)."""
    said = answer.headers.get("retry-after", "").strip()
    if said.isdigit():
        return min(float(said), LONGEST_PAUSE)
    try:
        sent_at = parsedate_to_datetime(answer.headers.get("date", ""))
        return min(max((parsedate_to_datetime(said) - sent_at).total_seconds(), 0.0), LONGEST_PAUSE)
    except (ValueError, TypeError):
        return PAUSE


def _repeatable(request: httpx.Request) -> bool:
    """Whether a second copy would have no second effect."""
    if request.method == "PATCH":
        return "if-match" in request.headers
    return request.method in _IDEMPOTENT or "if-none-exist" in request.headers  # FHIR R4 http.html, conditional create


def _unanswered(request: httpx.Request) -> ConnectorError:
    if _repeatable(request):
        return TransientError("no answer")
    return UnknownOutcomeError("sent, and no answer came")
