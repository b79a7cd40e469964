"""What would have to hear a sealed call is refused, and the record says so."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from hub.instance import Instance
from hub.record import recording
from hub.record.recording import RecordingState
from media.browser.leg import BrowserLeg
from media.browser.sealing import told
from media.calls.taping import Taping
from media.core.leg import RemoteLeg
from media.errors import SealedError
from media.ledger import Ledger
from media.relay import BuiltinRelay, Relay, Wanted
from tests.media.browser.farpage import FarPage
from tests.media.calls.test_taping import rung
from tests.media.core.cores import cores
from tests.media.farend import relay

BROWSER = Wanted(kind="browser")
LISTENING: dict[str, Callable[[BrowserLeg | RemoteLeg], Awaitable[object]]] = {
    "silence": lambda leg: leg.silence(60.0),
    "fax": lambda leg: leg.fax(),
    "beep": lambda leg: leg.beep(),
    "picked up": lambda leg: leg.picked_up(),
}


@pytest.fixture(params=["here", "in a core"])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Relay]:
    async with relay() if request.param == "here" else cores() as opened:
        yield opened


@pytest.fixture
async def page() -> AsyncIterator[FarPage]:
    opened = FarPage()
    yield opened
    await opened.vanish()


async def sealed(engine: Relay, page: FarPage) -> BrowserLeg | RemoteLeg:
    leg: BrowserLeg | RemoteLeg = await engine.allocate(BROWSER)
    await leg.answer(told(await page.describe("actpass"), "commit x"))
    assert leg.protection == "sframe"
    return leg


@pytest.mark.parametrize("what", LISTENING)
async def test_nothing_listens_to_a_sealed_leg(engine: Relay, page: FarPage, what: str) -> None:
    leg = await sealed(engine, page)
    with pytest.raises(SealedError):
        await LISTENING[what](leg)


@pytest.mark.parametrize("what", LISTENING)
async def test_whoever_listens_hears_that_the_leg_is_sealed_from_now_on(page: FarPage, what: str) -> None:
    async with relay() as engine:
        leg = await engine.allocate(BROWSER)
        offer = await page.describe("actpass")
        await page.take(await leg.answer(offer))
        assert isinstance(leg, BrowserLeg)
        listening = asyncio.ensure_future(LISTENING[what](leg))
        await asyncio.sleep(0)
        await leg.answer(told(offer, "commit x"))
        with pytest.raises(SealedError):
            await listening
        await leg.answer(offer)
        again = asyncio.ensure_future(LISTENING[what](leg))
        await asyncio.sleep(0)
        assert not again.done(), "an ordinary call again"
        again.cancel()


async def test_a_recording_of_a_sealed_leg_does_not_begin(instance: Instance, engine: Relay, page: FarPage) -> None:
    leg = await sealed(engine, page)
    call_id, subject = await rung(instance)
    ledger = Ledger(instance.db)
    taping = Taping(instance, ledger, engine)
    tape = await taping.start(call_id, subject, [leg])
    if isinstance(engine, BuiltinRelay):
        assert tape is None
    else:
        assert tape is not None
        assert await tape.stop() == 0.0
        assert tape.state is RecordingState.LOST
    await taping.close()
    await asyncio.to_thread(ledger.close)
    (row,) = await instance.db.run(lambda db: recording.of_call(db, call_id))
    assert row.state is (RecordingState.LOST if tape is None else RecordingState.RUNNING), "whoever stops it writes it"
    assert not (instance.paths.media / row.name).exists()
