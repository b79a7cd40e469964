import asyncio
import gzip
import logging
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from connectors.api import (
    AuthExpiredError,
    ConflictError,
    ConnectorError,
    Context,
    RateLimitedError,
    RejectedError,
    TransientError,
    UnknownOutcomeError,
)
from connectors.fhir import Fhir, FhirSettings
from connectors.transport import LARGEST, PAUSE, ConnectorTransport, origins
from tests.connectors.stage import context, listening, online

SECRET = "+12125550188"


def fhir(base: str = "http://ehr.test/fhir") -> Fhir:
    return Fhir(FhirSettings.model_validate({"base_url": base}))


def answering(status: int, headers: dict[str, str] | None = None) -> Any:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(b"", status, headers)(scope, receive, send)

    return app


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RejectedError),
        (401, AuthExpiredError),
        (403, RejectedError),
        (404, RejectedError),
        (408, TransientError),
        (409, ConflictError),
        (412, ConflictError),
        (422, RejectedError),
        (429, RateLimitedError),
        (500, TransientError),
        (501, RejectedError),
        (502, TransientError),
        (503, TransientError),
        (504, TransientError),
    ],
)
async def test_a_status_is_the_error_it_means(status: int, kind: type[ConnectorError]) -> None:
    ctx = context(fhir(), answering(status))
    with pytest.raises(ConnectorError) as caught:
        await ctx.http.get(f"http://ehr.test/fhir/Patient?phone={SECRET}")
    assert type(caught.value) is kind


@pytest.mark.parametrize("status", [300, 400, 403, 429])
async def test_a_status_that_the_connector_reads_itself_comes_as_an_answer(status: int) -> None:
    ctx = context(fhir(), answering(status, {"X-Why": "busy"}))
    answer = await ctx.http.post("http://ehr.test/fhir/Task", extensions={"answers": {300, 400, 403, 429}})
    assert (answer.status_code, answer.headers["x-why"]) == (status, "busy")
    with pytest.raises(ConnectorError):
        await ctx.http.post("http://ehr.test/fhir/Task", extensions={"answers": {404}})


@pytest.mark.parametrize("status", [502, 504, 408])
async def test_a_gateway_that_heard_nothing_leaves_a_post_unknown(status: int) -> None:
    ctx = context(fhir(), answering(status))
    with pytest.raises(UnknownOutcomeError):
        await ctx.http.post("http://ehr.test/fhir/Communication")


@pytest.mark.parametrize("status", [500, 503])
async def test_a_failure_that_the_server_tells_is_no_unknown_outcome(status: int) -> None:
    ctx = context(fhir(), answering(status))
    with pytest.raises(TransientError):
        await ctx.http.post("http://ehr.test/fhir/Communication")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "Mon, 23 Nov 2026 15:00:09 GMT", "Date": "Mon, 23 Nov 2026 15:00:00 GMT"}, 9.0),
        ({"Retry-After": "Mon, 23 Nov 2026 14:00:00 GMT", "Date": "Mon, 23 Nov 2026 15:00:00 GMT"}, 0.0),
        ({"Retry-After": "999999"}, 3600.0),
        ({"Retry-After": "soon"}, PAUSE),
        ({}, PAUSE),
    ],
)
async def test_a_pause_is_as_long_as_the_server_asks(headers: dict[str, str], seconds: float) -> None:
    ctx = context(fhir(), answering(429, headers))
    with pytest.raises(RateLimitedError) as caught:
        await ctx.http.get("http://ehr.test/fhir/Patient")
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize(
    "url",
    [
        "http://elsewhere.test/fhir/Patient",
        "https://ehr.test/fhir/Patient",
        "http://ehr.test:8080/fhir/Patient",
        "http://ehr.test.evil.test/fhir/Patient",
    ],
)
async def test_only_the_hosts_of_the_settings_are_reached(url: str) -> None:
    ctx = context(fhir(), answering(200))
    with pytest.raises(RejectedError, match="host-not-in-settings"):
        await ctx.http.get(url)


async def test_a_redirect_is_not_followed() -> None:
    asked = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(Request(scope).url.path)
        await RedirectResponse("http://ehr.test/fhir/other")(scope, receive, send)

    with pytest.raises(RejectedError, match="redirected"):
        await context(fhir(), app).http.get("http://ehr.test/fhir/Patient")
    assert asked == ["/fhir/Patient"]


async def test_nothing_is_sent_through_a_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    answer = await context(fhir(), answering(200)).http.get("http://ehr.test/fhir/metadata")
    assert answer.status_code == 200


async def test_an_error_carries_nothing_of_the_request() -> None:
    connector = fhir("http://127.0.0.1:1/fhir")
    async with online(connector) as ctx:
        with pytest.raises(TransientError) as caught:
            await ctx.http.get(f"http://127.0.0.1:1/fhir/Patient?phone={SECRET}")
    assert SECRET[1:] not in repr(caught.value)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


async def test_no_library_logs_an_address(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await context(fhir(), answering(200)).http.get("http://ehr.test/fhir/Patient", params={"phone": SECRET})
    assert SECRET[1:] not in caplog.text


async def hang_up(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


async def half_an_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 50\r\n\r\n{")
    await writer.drain()


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b" ")
        try:
            await writer.drain()
        except ConnectionError:
            return
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("talk", [hang_up, half_an_answer, drip])
@pytest.mark.parametrize(
    ("method", "headers", "kind"),
    [
        ("GET", {}, TransientError),
        ("PUT", {}, TransientError),
        ("PATCH", {"If-Match": 'W/"1"'}, TransientError),
        ("PATCH", {}, UnknownOutcomeError),
        ("POST", {}, UnknownOutcomeError),
        ("POST", {"If-None-Exist": "identifier=a"}, TransientError),
        ("POST", {"Idempotency-Key": "k"}, UnknownOutcomeError),
    ],
)
async def test_silence_is_unknown_where_a_repeat_could_have_an_effect(
    talk: Any, method: str, headers: dict[str, str], kind: type[ConnectorError]
) -> None:
    async with listening(talk) as port:
        base = f"http://127.0.0.1:{port}/fhir"
        async with httpx.AsyncClient(trust_env=False) as client:
            transport = ConnectorTransport(client, origins({"base_url": base}), deadline=0.2)
            with pytest.raises(ConnectorError) as caught:
                await transport.handle_async_request(httpx.Request(method, f"{base}/X", headers=headers))
    assert type(caught.value) is kind


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_was_never_sent_is_safe_to_repeat(method: str) -> None:
    connector = fhir("http://127.0.0.1:1/fhir")
    async with online(connector) as ctx:
        with pytest.raises(TransientError):
            await ctx.http.request(method, "http://127.0.0.1:1/fhir/X")


async def test_an_answer_without_end_is_given_up() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(b" " * (LARGEST + 1))(scope, receive, send)

    with pytest.raises(RejectedError, match="answer-too-large"):
        await context(fhir(), app).http.get("http://ehr.test/fhir/X")


async def test_a_packed_answer_is_unpacked_once() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        packed = gzip.compress(b'{"resourceType": "Patient"}')
        await Response(packed, headers={"Content-Encoding": "gzip"})(scope, receive, send)

    answer = await context(fhir(), app).http.get("http://ehr.test/fhir/X")
    assert answer.json() == {"resourceType": "Patient"}


def test_addresses_are_found_at_any_depth() -> None:
    settings = {"a": "https://One.test/x", "b": [{"c": "http://two.test:81"}], "d": "three.test", "e": 5}
    assert origins(settings) == {("https", "one.test", 443), ("http", "two.test", 81)}


class Flaky:
    """Fails a number of times, then answers; remembers what was asked."""

    def __init__(self, *faults: int | Exception) -> None:
        self.faults = list(faults)
        self.asked: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope["method"])
        fault = self.faults.pop(0) if self.faults else 200
        if isinstance(fault, Exception):
            raise fault
        await Response(b"", fault)(scope, receive, send)


@pytest.mark.parametrize("fault", [500, 502, 503, 504, httpx.ConnectError("x"), httpx.RemoteProtocolError("x")])
async def test_what_only_reads_is_asked_once_more(fault: int | Exception) -> None:
    app = Flaky(fault)
    answer = await context(fhir(), app).http.get("http://ehr.test/fhir/Patient")
    assert (answer.status_code, app.asked) == (200, ["GET", "GET"])


async def test_a_second_failure_is_told() -> None:
    app = Flaky(503, 503)
    with pytest.raises(TransientError):
        await context(fhir(), app).http.get("http://ehr.test/fhir/Patient")
    assert app.asked == ["GET", "GET"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_what_writes_is_never_sent_twice(method: str) -> None:
    app = Flaky(503)
    with pytest.raises(TransientError):
        await context(fhir(), app).http.request(method, "http://ehr.test/fhir/Communication")
    assert app.asked == [method]


@pytest.mark.parametrize("status", [401, 404, 429])
async def test_what_the_server_means_is_not_asked_again(status: int) -> None:
    app = Flaky(status)
    with pytest.raises(ConnectorError):
        await context(fhir(), app).http.get("http://ehr.test/fhir/Patient")
    assert app.asked == ["GET"]


async def test_a_server_that_names_a_pause_gets_it() -> None:
    with pytest.raises(RateLimitedError) as caught:
        await context(fhir(), answering(503, {"Retry-After": "4"})).http.get("http://ehr.test/fhir/Patient")
    assert caught.value.retry_after == 4.0


async def streamed(ctx: Context, url: str) -> int:
    """Return how many bytes come, unpacked; none is kept."""
    async with ctx.http.stream("GET", url, extensions={"streamed": True}) as answer:
        return sum([len(piece) async for piece in answer.aiter_bytes()])


async def test_a_streamed_answer_may_be_larger_than_a_whole_one_and_comes_unpacked() -> None:
    packed = gzip.compress(bytes(LARGEST + 1))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(packed, headers={"Content-Encoding": "gzip"})(scope, receive, send)

    ctx = context(fhir(), app)
    with pytest.raises(RejectedError, match="answer-too-large"):
        await ctx.http.get("http://ehr.test/fhir/file")
    assert await streamed(ctx, "http://ehr.test/fhir/file") == LARGEST + 1


async def test_a_streamed_answer_that_breaks_off_is_transient_and_names_nothing() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it")
        await writer.drain()

    async with listening(talk) as port:
        connector = fhir(f"http://127.0.0.1:{port}/fhir")
        async with online(connector) as ctx:
            with pytest.raises(TransientError) as caught:
                await streamed(ctx, f"http://127.0.0.1:{port}/fhir/file?phone={SECRET}")
    assert SECRET not in repr(caught.value)
    assert caught.value.__context__ is None


async def test_a_streamed_request_that_is_refused_is_the_error_it_means() -> None:
    with pytest.raises(AuthExpiredError):
        await streamed(context(fhir(), answering(401)), "http://ehr.test/fhir/file")
