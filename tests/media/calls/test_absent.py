"""Whose page is being loaded anew as a caller comes has passed nobody by, and is rung once it is there."""

import asyncio
from datetime import timedelta

import pytest
from sqlmodel import col, select

from hub.db import now
from hub.record import agent
from hub.record.queue import Offer, OfferState
from media import line
from media.calls import floor
from media.sip import Incoming
from tests.media.calls import test_passing_on as house
from tests.media.calls.test_passing_on import DESK, Office
from tests.media.calls.test_returning import page
from tests.media.calls.test_sending_on import current

instance, office = house.instance, house.office

pytestmark = [pytest.mark.xdist_group("gateway"), pytest.mark.timeout(90)]


@pytest.fixture(autouse=True)
def _event_driven(monkeypatch: pytest.MonkeyPatch) -> None:
    """See that nothing of it waits for the next look."""
    for module in (floor, line):
        monkeypatch.setattr(module, "LOOK_S", 60.0)


async def become(office: Office, *states: OfferState) -> None:
    """Wait until the offers of the caller who is there went so, in their order."""
    call_id = current(office).id
    query = select(Offer.state).where(Offer.call_id == call_id).order_by(col(Offer.id))
    async with asyncio.timeout(20):
        while await office.instance.db.run(lambda db: tuple(db.exec(query))) != states:  # noqa: ASYNC110 - a thread writes
            await asyncio.sleep(0.01)


async def reached(office: Office, *, by_row: bool) -> None:
    """Wait until Ana's row says that her phone can be called, or that it cannot."""
    ana = await office.staff_id("101")
    async with asyncio.timeout(20):
        while True:
            row = await office.instance.db.run(lambda db: db.get(agent.Agent, ana))
            if (row is not None and row.contact_until is not None) is by_row:
                return
            await asyncio.sleep(0.01)


async def comes_back(office: Office) -> None:
    """Let the page be there again, and see that it is rung for who waits, as it has passed nobody by."""
    async with page("back", office.instance.paths.phone_socket) as again:
        taken = await again.called()
        await become(office, OfferState.WITHDRAWN, OfferState.ANSWERED)
        taken.bye()
        await taken.ended


async def test_a_page_that_is_not_back_yet_after_a_restart_is_rung_once_it_is(office: Office) -> None:
    async with page("shut", office.instance.paths.phone_socket):
        await reached(office, by_row=True)
    await reached(office, by_row=False)
    ana, later = await office.staff_id("101"), now() + timedelta(hours=1)
    # As a process leaves it that died under its phones.
    await office.instance.db.run(lambda db: agent.registered(db, ana, later, now()), write=True)
    await office.caller.dial(DESK)
    await become(office, OfferState.WITHDRAWN)
    await reached(office, by_row=False)
    await comes_back(office)


async def test_a_page_that_is_loaded_anew_while_it_rings_is_rung_again(office: Office) -> None:
    rings = asyncio.Event()

    async def rung(call: Incoming) -> None:
        call.ring()
        rings.set()

    async with page("ringing", office.instance.paths.phone_socket) as first:
        first.endpoint.on_invite = rung
        await office.caller.dial(DESK)
        async with asyncio.timeout(20):
            await rings.wait()
    await comes_back(office)
