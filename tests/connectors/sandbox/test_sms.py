"""The carrier and its connector: sending, proving, reading, and what carriers do to people."""

import dataclasses
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.api import (
    AuthExpiredError,
    Callback,
    Change,
    ConnectorError,
    RateLimitedError,
    ReceiptFacts,
    RejectedError,
    ReplyFacts,
    Sms,
    TransientError,
    UnknownOutcomeError,
)
from connectors.kit.virtual import play
from connectors.sandbox import carrier
from connectors.sandbox.sms import SandboxSms, SandboxSmsSettings, signature
from tests.connectors.stage import NOW, Clock, context, online, served

PATIENT, PRACTICE = "+12125550111", "+12125550100"
TEXT = Sms(to=PATIENT, sender=PRACTICE, body="Harbor Family Medicine: your visit is tomorrow. Reply C to confirm.")


def connector(base: str = "http://carrier.test", token: str = "tick", secret: str = "tock") -> SandboxSms:
    return SandboxSms(SandboxSmsSettings.model_validate({"base_url": base, "token": token, "secret": secret}))


class Hub:
    """Takes callbacks as the hub's API does; refuses as many as it is told to at first."""

    def __init__(self, refuse: int = 0) -> None:
        self.refuse = refuse
        self.taken: list[Callback] = []
        self.app = Starlette(routes=[Route("/carriers/sms/{path:path}", self.take, methods=["POST"])])

    async def take(self, request: Request) -> Response:
        if self.refuse:
            self.refuse -= 1
            return Response(status_code=503)
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = await request.body()
        self.taken.append(Callback(request.method, request.path_params["path"], {}, headers, body, NOW))
        return Response(status_code=204)

    def facts(self) -> list[Change]:
        reader = connector()
        found: list[Change] = []
        for callback in self.taken:
            assert reader.verify(callback)
            found += reader.read(callback.body, timezone=ZoneInfo("UTC"), region="US")
        return found


@pytest.fixture
def hub() -> Hub:
    return Hub()


@asynccontextmanager
async def reporting(hub: Hub) -> AsyncIterator[carrier.Carrier]:
    """Open a carrier that reports to the hub."""
    client = httpx.AsyncClient(transport=httpx.ASGITransport(hub.app))
    made = carrier.Carrier("tick", "tock", Clock(), "http://hub.test/carriers/sms", client=client)
    try:
        yield made
    finally:
        await made.aclose()


@pytest.fixture
async def post(hub: Hub) -> AsyncIterator[carrier.Carrier]:
    async with reporting(hub) as made:
        yield made


async def test_a_text_is_taken_delivered_and_reported(post: carrier.Carrier, hub: Hub) -> None:
    sms = connector()
    receipt = await sms.send(context(sms, carrier.app(post)), TEXT, key="k1")
    await post.settle()
    (text,) = post.texts
    assert (text.id, text.to, text.sender, text.text) == (receipt.external_id, PATIENT, PRACTICE, TEXT.body)
    assert hub.facts() == [
        ReceiptFacts(external_id=receipt.external_id, at=NOW, status=status) for status in ("sent", "delivered")
    ]


async def test_a_repeat_of_a_key_sends_nothing(post: carrier.Carrier, hub: Hub) -> None:
    sms = connector()
    ctx = context(sms, carrier.app(post))
    first = await sms.send(ctx, TEXT, key="k1")
    again = await sms.send(ctx, TEXT, key="k1")
    await post.settle()
    assert first == again
    assert len(post.texts) == 1
    assert len(hub.taken) == 2
    with pytest.raises(RejectedError, match="http-422"):
        await sms.send(ctx, TEXT.model_copy(update={"body": "another"}), key="k1")


async def test_a_patient_answers_by_the_script(post: carrier.Carrier, hub: Hub) -> None:
    app = carrier.app(post)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://carrier.test") as stage:
        await stage.post("rules", json={"to": PATIENT, "contains": "Reply C", "reply": "C"})
        await stage.post("rules", json={"reply": "Who is this?"})
        sms = connector()
        for number, key in ((PATIENT, "a"), ("+12125550112", "b"), (PATIENT, "c")):
            await sms.send(context(sms, app), TEXT.model_copy(update={"to": number}), key=key)
            await post.settle()
    replies = [fact for fact in hub.facts() if isinstance(fact, ReplyFacts)]
    assert [(one.sender, one.to, one.body) for one in replies] == [
        (PATIENT, PRACTICE, "C"),
        ("+12125550112", PRACTICE, "Who is this?"),
    ]
    assert len({one.external_id for one in replies}) == 2


async def test_a_number_that_cannot_be_reached_is_reported_with_a_code(post: carrier.Carrier, hub: Hub) -> None:
    post.undelivered.add(PATIENT)
    sms = connector()
    await sms.send(context(sms, carrier.app(post)), TEXT, key="k")
    await post.settle()
    last = hub.facts()[-1]
    assert isinstance(last, ReceiptFacts)
    assert (last.status, last.code) == ("undelivered", "30003")


@pytest.mark.parametrize(("mode", "kind"), [("error", TransientError), ("busy", RateLimitedError)])
async def test_what_was_not_taken_can_be_sent_again(
    post: carrier.Carrier, mode: carrier.Fault, kind: type[ConnectorError]
) -> None:
    post.faults.append(mode)
    sms = connector()
    ctx = context(sms, carrier.app(post))
    with pytest.raises(kind):
        await sms.send(ctx, TEXT, key="k")
    assert post.texts == []
    await sms.send(ctx, TEXT, key="k")
    assert len(post.texts) == 1


async def test_an_answer_lost_after_it_was_taken_is_an_unknown_outcome(post: carrier.Carrier) -> None:
    post.faults.append("drop")
    async with served(carrier.app(post)) as base:
        sms = connector(base)
        async with online(sms) as ctx:
            with pytest.raises(UnknownOutcomeError):
                await sms.send(ctx, TEXT, key="k")
            assert len(post.texts) == 1
            again = await sms.send(ctx, TEXT, key="k")
    assert [text.id for text in post.texts] == [again.external_id]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"id": 5}'])
async def test_a_text_that_was_taken_and_not_named_is_an_unknown_outcome(body: bytes) -> None:
    sms = connector()
    app = Starlette(routes=[Route("/messages", lambda _: Response(body, 201), methods=["POST"])])
    with pytest.raises(UnknownOutcomeError):
        await sms.send(context(sms, app), TEXT, key="k")


def test_a_carrier_too_slow_for_us_is_an_unknown_outcome(hub: Hub) -> None:
    """In virtual time: on a busy machine the text would come too late as well."""

    async def main() -> int:
        async with reporting(hub) as post:
            post.faults.append("slow")
            post.slow_seconds = 60
            with pytest.raises(UnknownOutcomeError):
                await connector().send(context(connector(), carrier.app(post)), TEXT, key="k")
            return len(post.texts)

    assert play(main()) == 1


async def test_a_report_that_was_not_taken_comes_again(post: carrier.Carrier, hub: Hub) -> None:
    post.retries = (0.0, 0.0)
    hub.refuse = 2
    sms = connector()
    await sms.send(context(sms, carrier.app(post)), TEXT, key="k")
    await post.settle()
    assert len(hub.facts()) == 2
    assert post.lost == 0
    hub.refuse = 3
    await sms.send(context(sms, carrier.app(post)), TEXT, key="k2")
    await post.settle()
    assert post.lost == 1


async def test_a_report_may_come_twice_with_one_id(post: carrier.Carrier, hub: Hub) -> None:
    sms = connector()
    post.faults.append("twice")
    post.reply(carrier.Reply.model_validate({"from": PATIENT, "to": PRACTICE, "text": "STOP"}))
    await post.settle()
    assert len(hub.taken) == 2
    assert len({sms.verify(callback) for callback in hub.taken}) == 1


async def test_check_needs_the_right_token(post: carrier.Carrier) -> None:
    good, bad = connector(), connector(token="wrong")
    await good.check(context(good, carrier.app(post)))
    with pytest.raises(AuthExpiredError):
        await bad.check(context(bad, carrier.app(post)))
    with pytest.raises(AuthExpiredError):
        await bad.send(context(bad, carrier.app(post)), TEXT, key="k")
    assert post.texts == []


@pytest.mark.parametrize("to", ["911", "2125550111", "", "+0123456789"])
async def test_a_number_that_is_none_is_refused(post: carrier.Carrier, to: str) -> None:
    sms = connector()
    with pytest.raises(RejectedError):
        await sms.send(context(sms, carrier.app(post)), TEXT.model_copy(update={"to": to}), key="k")


def signed(body: bytes, *, stamp: str = "1795446000", secret: str = "tock") -> Callback:
    headers = {"sandbox-timestamp": stamp, "sandbox-signature": signature(secret, stamp, body)}
    return Callback("POST", "replies", {}, headers, body, NOW)


BODY = orjson.dumps(
    {
        "id": "cb-1",
        "type": "reply",
        "message": "mo-1",
        "at": NOW.isoformat(),
        "from": PATIENT,
        "to": PRACTICE,
        "text": "C",
    }
)


def test_an_old_callback_is_not_taken_again() -> None:
    with pytest.raises(RejectedError, match="stale"):
        connector().verify(dataclasses.replace(signed(BODY), received_at=NOW + timedelta(seconds=301)))


def test_a_callback_is_genuine_only_as_it_was_signed() -> None:
    sms = connector()
    genuine = signed(BODY)
    assert sms.verify(genuine) == "cb-1"
    forged = [
        signed(BODY, secret="other"),
        Callback("POST", "replies", {}, dict(genuine.headers), BODY.replace(b'"C"', b'"X"'), NOW),
        Callback("POST", "replies", {}, dict(genuine.headers) | {"sandbox-timestamp": "1795446001"}, BODY, NOW),
        Callback("POST", "replies", {}, dict(genuine.headers) | {"sandbox-signature": "é"}, BODY, NOW),
        Callback("POST", "replies", {}, {}, BODY, NOW),
    ]
    for callback in forged:
        with pytest.raises(RejectedError, match="signature"):
            sms.verify(callback)


@pytest.mark.parametrize("cut", range(len(BODY)))
def test_a_callback_cut_anywhere_is_refused_and_not_repeated(cut: int) -> None:
    sms = connector()
    with pytest.raises(RejectedError) as caught:
        sms.verify(signed(BODY[:cut]))
    assert PATIENT not in str(caught.value)
    with pytest.raises(RejectedError):
        sms.read(BODY[:cut], timezone=ZoneInfo("UTC"), region="US")


@pytest.mark.parametrize(
    "change", [{"type": "other"}, {"at": "soon"}, {"text": 5}, {"from": None}, {"at": "2026-11-23"}]
)
def test_a_body_that_makes_no_sense_is_refused_without_its_words(change: dict[str, Any]) -> None:
    raw = orjson.dumps(orjson.loads(BODY) | change)
    with pytest.raises(RejectedError) as caught:
        connector().read(raw, timezone=ZoneInfo("UTC"), region="US")
    assert PATIENT not in repr(caught.value)


async def test_the_inbox_shows_texts_as_text(post: carrier.Carrier) -> None:
    app = carrier.app(post)
    sms = connector()
    await sms.send(context(sms, app), TEXT.model_copy(update={"body": "<script>alert(1)</script>"}), key="k")
    await post.settle()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://carrier.test") as browser:
        page = (await browser.get("inbox")).text
        listed = (await browser.get("inbox.json", params={"to": PATIENT})).json()["items"]
        other = (await browser.get("inbox.json", params={"to": PRACTICE})).json()["items"]
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert [one["status"] for one in listed] == ["delivered"]
    assert other == []


@pytest.mark.parametrize(
    ("path", "body"), [("faults", {"mode": "sulk"}), ("rules", {}), ("replies", {"from": "5"}), ("faults", [])]
)
async def test_what_the_stage_does_not_understand_is_refused(post: carrier.Carrier, path: str, body: Any) -> None:
    transport = httpx.ASGITransport(carrier.app(post))
    async with httpx.AsyncClient(transport=transport, base_url="http://carrier.test") as stage:
        assert (await stage.post(path, json=body)).status_code == 400
        assert (await stage.post("faults", json={"mode": "error", "times": 2})).json() == {"waiting": 2}
        replied = await stage.post("replies", json={"from": PATIENT, "to": PRACTICE, "text": "R"})
    assert re.fullmatch(r"mo-[0-9a-f]{16}", replied.json()["id"])
    await post.settle()
