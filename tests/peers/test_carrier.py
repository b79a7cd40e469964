"""sipp as a carrier: it asks for passwords and checks them itself, is busy, is silent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hub.settings import Practice, load
from media.offer import offer_audio
from media.sip.admission import TrunkTable
from media.sip.endpoint import Endpoint
from media.sip.hop import Hop
from media.sip.outgoing import Outgoing
from media.sip.status import Cause
from media.trunk import trunks as module
from media.trunk.trunks import Trunks, Wish
from tests.peers.sipp import LONG, Run, Sipp, unhurried

pytestmark = [pytest.mark.peer("sipp"), pytest.mark.xdist_group("peers")]


@pytest.fixture
async def sipp(tmp_path: Path) -> AsyncIterator[Sipp]:
    made = Sipp(tmp_path)
    yield made
    await made.close()


def policy(*servers: Run, password: str = "hush", registers: bool = False) -> Practice:
    transport = servers[0].hop.transport
    listed = ", ".join(f'"127.0.0.1:{run.port}"' for run in servers)
    return load(
        '[practice]\nname = "Harbor"\ntimezone = "America/New_York"\n'
        f'[[trunk]]\nname = "carrier"\nhosts = ["192.0.2.9"]\nservers = [{listed}]\ntransport = "{transport}"\n'
        f'domain = "carrier.example"\nusername = "u100"\npassword = "env:{password}"\n'
        f"registers = {str(registers).lower()}\nkeepalive_seconds = 0\n"
    )


@asynccontextmanager
async def trunks(practice: Practice) -> AsyncIterator[Trunks]:
    listeners = [Hop("127.0.0.1", 0), Hop("127.0.0.1", 0, "tcp")]
    endpoint = Endpoint(listeners, credentials=lambda _: None, trunks=TrunkTable({}), clock=unhurried)
    await endpoint.start()
    built = Trunks(endpoint, lambda: practice, lambda reference: reference.removeprefix("env:"))
    built.follow()
    try:
        yield built
    finally:
        await built.close()
        await endpoint.close(1.0)


async def reach(built: Trunks) -> Outgoing:
    wish = Wish("+12125550123", "+12125550100", offer_audio(("127.0.0.1", 30_000)))
    async with asyncio.timeout(20):
        call, _ = await built.reach(["carrier"], wish, lambda _status, _early: None)
    assert call is not None
    return call


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_carrier_takes_the_right_password(sipp: Sipp, transport: str) -> None:
    carrier = await sipp.start("carrier-challenges", transport=transport)
    async with trunks(policy(carrier)) as built:
        call = await reach(built)
        assert call.answered.result() is not None
        call.bye()
        outcome = await carrier.done()
    assert (outcome.successful, outcome.failed, outcome.unexpected) == (1, 0, 0), outcome.detail


async def test_a_carrier_refuses_a_wrong_password(sipp: Sipp) -> None:
    carrier = await sipp.start("carrier-challenges")
    async with trunks(policy(carrier, password="other")) as built:
        call = await reach(built)
        assert (call.status, call.ended.result()) == (403, Cause.DENIED)
        assert (await carrier.done()).unexpected == 0


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_busy_server_leaves_the_call_to_the_next(sipp: Sipp, transport: str) -> None:
    busy, spare = [await sipp.start(each, transport=transport) for each in ("carrier-busy", "phone")]
    async with trunks(policy(busy, spare)) as built:
        call = await reach(built)
        assert call.answered.result() is not None
        call.bye()
        outcomes = [await busy.done(), await spare.done()]
    assert [(each.successful, each.unexpected) for each in outcomes] == [(1, 0), (1, 0)]


async def test_a_server_that_wakes_late_is_told_to_stop(sipp: Sipp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE_S", 0.4 / LONG)
    late, spare = await sipp.start("carrier-silent"), await sipp.start("phone")
    async with trunks(policy(late, spare)) as built:
        call = await reach(built)
        assert call.answered.result() is not None
        outcome = await late.done()
        assert (outcome.successful, outcome.unexpected) == (1, 0), outcome.detail
        assert not call.ended.done()
        call.bye()
        assert (await spare.done()).successful == 1


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_registration_is_proven(sipp: Sipp, transport: str) -> None:
    carrier = await sipp.start("carrier-registers", calls=1, transport=transport)
    async with trunks(policy(carrier, registers=True)) as built:
        outcome = await carrier.done()
        assert (outcome.successful, outcome.failed) == (1, 0), outcome.detail
        async with asyncio.timeout(20):
            while not built.states[0].up:  # noqa: ASYNC110 - sipp is done before its answer is read here
                await asyncio.sleep(0.01)
        assert built.states[0].code == "registered"


async def test_a_server_that_refuses_connections_is_passed_over_at_once(sipp: Sipp) -> None:
    gone, spare = [await sipp.start("phone", transport="tcp") for _ in range(2)]
    await gone.stop()
    async with trunks(policy(gone, spare)) as built:
        call = await reach(built)  # which does not wait for as long as a server may be silent on this clock
        assert call.answered.result() is not None
        call.bye()
        assert (await spare.done()).successful == 1
