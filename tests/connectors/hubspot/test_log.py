"""Activities: calls and communications, one for each key whatever happens on the way; refusals without words."""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from connectors.api import (
    AuthExpiredError,
    CommunicationFacts,
    ConnectorError,
    Identifier,
    RateLimitedError,
    RejectedError,
    TransientError,
)
from connectors.hubspot.refusal import DAY, MOVING, SECOND
from tests.connectors.hubspot.server import CANARY, KEY, Fault, error, limit
from tests.connectors.hubspot.world import World

PHONE = "+12125550177"
UPSERT = "POST .*/batch/upsert"
LINK = "PUT .*/associations/"


def said(*ids: Identifier, **changed: Any) -> CommunicationFacts:
    base: dict[str, Any] = {"patient_ids": ids, "medium": "PHONE", "inbound": True, "topic": "Refill question"}
    base |= {"sent_at": datetime(2026, 11, 24, 1, 30, tzinfo=UTC), "body": "Asked to call back", "phone": PHONE}
    return CommunicationFacts(**base | {"seconds": 125} | changed)


def contact(own: str) -> Identifier:
    return Identifier(system="hubspot/contact", value=own)


async def test_a_call_hangs_on_the_contact_that_the_ids_name(world: World) -> None:
    own = world.account.add()
    connector = world.connector()
    mrn = Identifier(system="urn:harbor:mrn", value="MRN-4712")
    receipt = await connector.log(world.context(connector), said(mrn, contact(own)), key="k")
    assert world.account.objects["calls"] == {
        receipt.external_id: {
            KEY: "k",
            "hs_timestamp": "2026-11-24T01:30:00.000Z",
            "hs_call_title": "Refill question",
            "hs_call_body": "Asked to call back",
            "hs_call_direction": "INBOUND",
            "hs_call_duration": "125000",
            "hs_call_status": "COMPLETED",
            "hs_call_from_number": PHONE,
        }
    }
    assert world.account.links == {("calls", receipt.external_id, own)}
    assert b"MRN-4712" not in b"".join(world.account.bodies)


async def test_a_text_is_a_communication(world: World) -> None:
    connector = world.connector()
    receipt = await connector.log(world.context(connector), said(medium="SMSWRIT", inbound=False), key="k")
    assert world.account.objects["communications"][receipt.external_id] == {
        KEY: "k",
        "hs_timestamp": "2026-11-24T01:30:00.000Z",
        "hs_communication_channel_type": "SMS",
        "hs_communication_logged_from": "CRM",
        "hs_communication_body": f"Text message sent\nRefill question\n{PHONE}\nAsked to call back",
    }


async def test_without_agreed_fields_only_generic_words_go_out(world: World) -> None:
    connector = world.connector(agreed=())
    ctx = world.context(connector)
    await connector.log(ctx, said(seconds=None, inbound=False), key="a")
    await connector.log(ctx, said(medium="SMSWRIT"), key="b")
    (call,) = world.account.objects["calls"].values()
    (text,) = world.account.objects["communications"].values()
    assert call == {
        KEY: "a",
        "hs_timestamp": "2026-11-24T01:30:00.000Z",
        "hs_call_title": "Phone call",
        "hs_call_direction": "OUTBOUND",
        "hs_call_status": "NO_ANSWER",
    }
    assert text["hs_communication_body"] == "Text message received"
    out = b"".join(world.account.bodies)
    assert not any(word in out for word in (b"Refill", b"call back", b"5550177"))


async def test_a_number_that_one_contact_has_names_them_and_a_shared_one_nobody(world: World) -> None:
    own = world.account.add(phone="(212) 555-0177")
    connector = world.connector()
    ctx = world.context(connector)
    first = await connector.log(ctx, said(), key="one")
    world.account.add(mobilephone="2125550177")
    await connector.log(ctx, said(), key="two")
    assert world.account.links == {("calls", first.external_id, own)}


async def test_a_repeat_of_a_key_is_the_same_record(world: World) -> None:
    own = world.account.add()
    connector = world.connector()
    ctx = world.context(connector)
    receipts = [await connector.log(ctx, said(contact(own)), key="k") for _ in range(3)]
    receipts += await asyncio.gather(*(connector.log(ctx, said(contact(own)), key="k") for _ in range(5)))
    assert len({one.external_id for one in receipts}) == len(world.account.objects["calls"]) == 1
    assert len(world.account.links) == 1


@pytest.mark.parametrize("on", [UPSERT, LINK])
async def test_what_got_no_answer_is_tried_again_and_stands_once(world: World, on: str) -> None:
    own = world.account.add()
    connector = world.connector()
    ctx = world.context(connector)
    world.account.faults.append(Fault(0, after=True, on=on))
    with pytest.raises(TransientError):
        await connector.log(ctx, said(contact(own)), key="k")
    receipt = await connector.log(ctx, said(contact(own)), key="k")
    assert list(world.account.objects["calls"]) == [receipt.external_id]
    assert world.account.links == {("calls", receipt.external_id, own)}


async def test_a_contact_who_is_gone_is_refused(world: World) -> None:
    connector = world.connector()
    with pytest.raises(RejectedError, match="object-not-found"):
        await connector.log(world.context(connector), said(contact("999")), key="k")


async def test_a_contact_that_is_no_id_is_left_out(world: World) -> None:
    connector = world.connector()
    await connector.log(world.context(connector), said(contact("1/../../x"), phone=None), key="k")
    assert world.account.links == set()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(400, error("VALIDATION_ERROR")), RejectedError),
        (Fault(401, error("EXPIRED_AUTHENTICATION")), AuthExpiredError),
        (Fault(403, error("MISSING_SCOPES")), RejectedError),
        (Fault(409, error("CONFLICT")), TransientError),
        (Fault(207, {"results": [], "errors": [error("CONFLICT")], "numErrors": 1}), TransientError),
        (Fault(423, error("LOCKED")), TransientError),
        (Fault(500, {}), TransientError),
        (Fault(502, {}), TransientError),
        (Fault(302, {}), RejectedError),
        (Fault(200, {"status": "COMPLETE", "results": []}), TransientError),
        (Fault(200, b'{"status": "COMP'), TransientError),
        (Fault(207, {"results": [], "errors": [error("VALIDATION_ERROR")], "numErrors": 1}), RejectedError),
        (Fault(207, {"results": [], "errors": [error("RATE_LIMITS")], "numErrors": 1}), RateLimitedError),
    ],
)
async def test_a_refusal_is_the_error_that_its_category_means(
    world: World, fault: Fault, kind: type[ConnectorError]
) -> None:
    connector = world.connector()
    world.account.faults.append(fault)
    with pytest.raises(ConnectorError) as caught:
        await connector.log(world.context(connector), said(phone=None), key="k")
    assert type(caught.value) is kind


async def test_a_property_of_ours_is_named_and_no_other(world: World) -> None:
    connector = world.connector()
    document = error("VALIDATION_ERROR", ["hs_call_status", CANARY])
    world.account.faults.append(Fault(400, document))
    with pytest.raises(RejectedError) as caught:
        await connector.log(world.context(connector), said(phone=None), key="k")
    assert (caught.value.reason, caught.value.field) == ("validation-error", "hs_call_status")


@pytest.mark.parametrize(
    ("status", "body", "headers", "seconds"),
    [
        (429, limit("SECONDLY"), {}, SECOND),
        (429, limit("TEN_SECONDLY_ROLLING"), {"Retry-After": "7"}, 7.0),
        (429, limit("DAILY"), {}, DAY),
        (429, limit("DAILY"), {"Retry-After": "120"}, 120.0),
        (429, [], {"Retry-After": "soon"}, SECOND),
        (477, {}, {"Retry-After": "86400"}, 86_400.0),
        (477, {}, {}, MOVING),
    ],
)
async def test_a_limit_is_a_pause_of_its_kind(
    world: World, status: int, body: Any, headers: dict[str, str], seconds: float
) -> None:
    connector = world.connector()
    world.account.faults.append(Fault(status, body, headers=headers))
    with pytest.raises(RateLimitedError) as caught:
        await connector.find_patients(world.context(connector), PHONE)
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 423, 429, 477, 500])
@pytest.mark.parametrize(
    "document",
    [
        error("VALIDATION_ERROR", [CANARY]),
        error(CANARY.upper()),
        limit(CANARY),
        {"category": [CANARY], "errors": [{"in": {"x": CANARY}, "context": {"propertyName": CANARY}}, CANARY]},
        f"<html>{CANARY}</html>".encode(),
    ],
)
async def test_no_error_repeats_what_the_other_side_says(
    world: World, caplog: pytest.LogCaptureFixture, document: Any, status: int
) -> None:
    caplog.set_level(logging.DEBUG)
    connector = world.connector()
    ctx = world.context(connector)
    patient = contact(world.account.add())
    for on, act in (
        ("POST .*/search", connector.find_patients(ctx, PHONE)),
        (UPSERT, connector.log(ctx, said(patient), key="k")),
    ):
        world.account.faults.clear()
        world.account.faults.append(Fault(status, document, on=on))
        with pytest.raises(ConnectorError) as caught:
            await act
        told = str(caught.value) + caplog.text
        chain: BaseException | None = caught.value
        while chain is not None:
            told += repr(chain)
            assert not isinstance(chain, httpx.HTTPError)
            chain = chain.__context__
        assert CANARY.lower() not in told.lower()
        assert PHONE[1:] not in told


async def test_only_the_hosts_of_the_settings_are_reached(world: World) -> None:
    ctx = world.context(world.connector())
    for url in ("https://api.hubapi.com/crm/objects/2026-03/contacts", "https://app.hubspot.com/contacts/4711"):
        with pytest.raises(RejectedError, match="host-not-in-settings"):
            await ctx.http.get(url)  # the web application is for the agent's browser alone
