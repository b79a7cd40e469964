"""Limits, pages, hosts and error documents: each is one of our errors, and says nothing of what they say."""

import logging
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from connectors.api import (
    CommunicationFacts,
    ConnectorError,
    RateLimitedError,
    RejectedError,
    TransientError,
)
from connectors.salesforce.budget import Budget
from connectors.salesforce.refusal import PAUSE
from tests.connectors.salesforce.server import CANARY, VERSION, Fault, error
from tests.connectors.salesforce.world import World
from tests.connectors.stage import NOW

PHONE = "+12125550177"
QUERY = f"GET /services/data/v{VERSION}/query"


def call() -> CommunicationFacts:
    at = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
    return CommunicationFacts(
        patient_ids=(), medium="PHONE", inbound=True, sent_at=at, topic=CANARY, body=CANARY, phone=PHONE
    )


async def test_requests_stop_where_the_share_of_others_begins_and_go_on_when_it_is_free_again(world: World) -> None:
    connector = world.connector(api_reserve=0.25)
    ctx = world.context(connector)
    world.org.used, world.org.limit = 74, 100
    await connector.find_patients(ctx, PHONE)  # the 75th: what is left is just the share of others
    await connector.find_patients(ctx, PHONE)
    asked = len(world.org.asked)
    with pytest.raises(RateLimitedError) as caught:
        await connector.find_patients(ctx, PHONE)
    assert caught.value.retry_after == PAUSE
    assert len(world.org.asked) == asked
    world.clock.now = datetime.fromtimestamp(NOW.timestamp() + PAUSE, UTC)
    await connector.find_patients(ctx, PHONE)  # one goes out to see, and sees that nothing came back yet
    with pytest.raises(RateLimitedError):
        await connector.find_patients(ctx, PHONE)
    world.org.used = 5
    world.clock.now = datetime.fromtimestamp(NOW.timestamp() + 2 * PAUSE, UTC)
    await connector.find_patients(ctx, PHONE)
    await connector.find_patients(ctx, PHONE)


@pytest.mark.parametrize("header", ["", "per-app-api-usage=249/250(appName=x)", "api-usage=/", "api-usage=x/5"])
def test_a_header_without_the_org_s_figures_changes_nothing(header: str) -> None:
    budget = Budget(0.5)
    budget.note(header, NOW)
    budget.ask(NOW)
    budget.note("api-usage=99/100; api-bursts=1/750", NOW)
    budget.note(header, NOW)
    with pytest.raises(RateLimitedError):
        budget.ask(NOW)


async def test_an_exhausted_allocation_is_a_pause(world: World) -> None:
    world.org.used = world.org.limit
    connector = world.connector(api_reserve=0)
    with pytest.raises(RateLimitedError) as caught:
        await connector.find_patients(world.context(connector), PHONE)
    assert caught.value.retry_after == PAUSE


async def test_a_locked_row_is_tried_again(world: World) -> None:
    connector = world.connector()
    ctx = world.context(connector)
    world.org.faults.append(Fault(400, error("UNABLE_TO_LOCK_ROW", []), on="PATCH"))
    with pytest.raises(TransientError):
        await connector.log(ctx, call(), key="k")
    await connector.log(ctx, call(), key="k")
    assert len(world.org.tasks) == 1


async def test_a_query_is_followed_through_its_pages(world: World) -> None:
    own = world.org.add("Task", CallObject="k")
    connector = world.connector(external_id_field="")
    first = {"totalSize": 2, "done": False, "records": [], "nextRecordsUrl": f"{QUERY[4:]}/01g000000000000-1"}
    world.org.rows = 1
    world.org.add("Task", CallObject="k")
    ctx = world.context(connector)
    assert (await connector.log(ctx, call(), key="k")).external_id == own
    world.org.faults.append(Fault(200, first, on=QUERY))  # an empty page that is not the last one
    receipt = await connector.log(ctx, call(), key="k")
    assert receipt.external_id == world.org.tasks[1]["Id"]
    assert len(world.org.tasks) == 2


@pytest.mark.parametrize(
    ("following", "reason"),
    [
        ("https://elsewhere.test/services/data/x", "no-address"),
        ("//elsewhere.test/services/data/x", "no-address"),
        (f"/services/data/v{VERSION}/query/01g-1", "paging-in-a-circle"),
    ],
)
async def test_pages_that_lead_out_or_around_are_refused(world: World, following: str, reason: str) -> None:
    connector = world.connector(external_id_field="")
    page = {"totalSize": 9, "done": False, "records": [], "nextRecordsUrl": following}
    world.org.faults.extend([Fault(200, page, on=QUERY)] * 3)
    with pytest.raises(RejectedError, match=reason):
        await connector.log(world.context(connector), call(), key="k")
    assert world.org.tasks == []


async def test_a_redirect_is_not_followed(world: World) -> None:
    connector = world.connector()
    world.org.faults.append(Fault(302, {}, on="GET"))
    with pytest.raises(RejectedError, match="redirected"):
        await connector.find_patients(world.context(connector), PHONE)
    assert world.org.count("GET") == 1


async def test_only_the_hosts_of_the_settings_are_reached(world: World) -> None:
    ctx = world.context(world.connector())
    with pytest.raises(RejectedError, match="host-not-in-settings"):
        await ctx.http.get("https://other.my.salesforce.test/services/data")


@pytest.mark.parametrize("status", [300, 400, 401, 403, 404, 409, 429, 500, 503])
@pytest.mark.parametrize(
    "document",
    [
        error("INVALID_FIELD", [CANARY]),
        error("MALFORMED_SEARCH"),
        error(CANARY.upper(), [CANARY]),
        error("FIELD_CUSTOM_VALIDATION_EXCEPTION", [CANARY, "Subject"]),
        {"message": CANARY, "errorCode": "NOT_FOUND"},
        {"error": CANARY, "error_description": CANARY},
        [CANARY],
        f"<html>{CANARY}</html>".encode(),
        b"",
    ],
)
async def test_no_error_repeats_what_the_other_side_says(
    world: World, caplog: pytest.LogCaptureFixture, document: Any, status: int
) -> None:
    caplog.set_level(logging.DEBUG)
    connector = world.connector(external_id_field="")
    ctx = world.context(connector)
    for on, act in (("GET", connector.find_patients(ctx, PHONE)), ("POST .*Task", connector.log(ctx, call(), key="k"))):
        world.org.faults.clear()
        world.org.faults.extend([Fault(status, document, on=on)] * 2)
        with pytest.raises(ConnectorError) as caught:
            await act
        told = repr(caught.value) + str(caught.value) + caplog.text
        chain: BaseException | None = caught.value
        while chain is not None:
            told += repr(chain)
            assert not isinstance(chain, httpx.HTTPError)
            chain = chain.__context__
        assert CANARY.lower() not in told.lower()
        assert PHONE[1:] not in told
