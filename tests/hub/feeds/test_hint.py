"""From a change at an EHR to a row in the inbox by way of its callback, without waiting for the next round."""

import asyncio
import os
from contextlib import suppress
from datetime import UTC, datetime

import httpx
import pytest

from connectors.api import AppointmentFacts, AppointmentStatus
from connectors.sandbox import ehr
from connectors.sandbox.people import make
from connectors.sandbox.resource import resources
from connectors.sandbox.store import Store
from connectors.sandbox.topic import Topics
from hub.api.app import create
from hub.api.flows import Flows
from hub.feeds import read_row
from hub.feeds.poll import EVERY_S
from hub.outside import Outside
from hub.record import inbox
from hub.record.inbox import Form
from tests.connectors.stage import served
from tests.hub.feedhouse import NOON, Postbox
from tests.hub.feeds.said import ZONE, Told
from tests.hub.feeds.test_connections import running


async def test_a_change_at_the_ehr_is_in_the_inbox_before_the_next_round_is_due(
    box: Postbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "HINT_SECRET", "shared")
    store = Store(lambda: datetime.now(UTC), resources(make(7, NOON, ZONE)))  # as the server's Date header has it
    instance = box.instance
    hub = create(instance, Outside(instance, os.environ, actor="system:hub"), Flows(instance, {}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(hub)) as http, served(ehr.app(store)) as server:
        topics = Topics(store, lambda: box.now, http)
        notifying = asyncio.create_task(topics.run())
        settings = (
            f'base_url = "{server}/fhir", callback_url = "http://127.0.0.1:9/carriers/ehr/hints", '
            'callback_secret = "env:HINT_SECRET", feed = ["appointments"]'
        )
        box.publish(f'\n[[connection]]\nname = "ehr"\nconnector = "fhir"\nsettings = {{ {settings} }}\n')
        async with running(box) as told:
            async with asyncio.timeout(60):
                await told.wait()
            async with asyncio.timeout(EVERY_S - 3):
                await topics.waiting.join()
                assert box.read(inbox.hints, "ehr") == 1  # the handshake
                visit = store.get("Appointment", "a3")
                assert visit is not None
                told.clear()
                store.put(visit | {"status": "cancelled"})
                await told.wait()
                await topics.waiting.join()  # what the handshake began may tell of the change before its own hint does
                assert box.read(inbox.hints, "ehr") == 2
        notifying.cancel()
        with suppress(asyncio.CancelledError):
            await notifying
    facts = [
        fact
        for row, raw in zip(box.rows(), box.raws(), strict=True)
        if row.form is Form.FACT
        for fact in read_row(Told([]), row, raw, timezone=ZONE, region="US")
    ]
    last = facts[-1]
    assert isinstance(last, AppointmentFacts)
    assert (last.ids[0].value, last.status) == ("a3", AppointmentStatus.CANCELLED)
