"""The SIP endpoint against sipp over TCP: all calls over one connection, or a connection a call."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from media.sip import Cause, Hop, Incoming
from tests.peers.sipp import LONG, Sipp
from tests.peers.test_sip import Desk, went_well

pytestmark = pytest.mark.peer("sipp")


@pytest.fixture
async def sipp(tmp_path: Path) -> AsyncIterator[Sipp]:
    made = Sipp(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    await made.endpoint.start()
    yield made
    await made.endpoint.close()


@pytest.fixture
async def strict() -> AsyncIterator[Desk]:
    made = Desk(trunk=False)
    await made.endpoint.start()
    yield made
    await made.endpoint.close()


def over_tcp(desk: Desk) -> Hop:
    return desk.endpoint.listening["tcp"]


async def test_a_phone_registers_asks_and_goes(strict: Desk, sipp: Sipp) -> None:
    outcome = await sipp.run("register", over_tcp(strict), login=("101", "right"), keys={"user": "101"})
    assert went_well(outcome)
    assert strict.registered == [("101", 120), ("101", 0)]


async def test_a_wrong_password_does_not_register(strict: Desk, sipp: Sipp) -> None:
    outcome = await sipp.run("register-refused", over_tcp(strict), login=("101", "wrong"), keys={"user": "101"})
    assert went_well(outcome)
    assert strict.registered == []


async def test_a_phone_calls_with_its_password(strict: Desk, sipp: Sipp) -> None:
    outcome = await sipp.run(
        "call-as-extension", over_tcp(strict), login=("101", "right"), keys={"user": "101"}, calls=5
    )
    assert went_well(outcome, 5)
    assert {(call.extension, call.source.transport) for call in strict.calls} == {("101", "tcp")}


@pytest.mark.parametrize("flags", [[], ["-t", "tn", "-max_socket", "200"]], ids=["one", "each"])
async def test_a_hundred_calls_at_once(desk: Desk, sipp: Sipp, flags: list[str]) -> None:
    outcome = await sipp.run("call", over_tcp(desk), calls=100, rate=200, hold_ms=1500, flags=flags)
    assert went_well(outcome, 100)
    assert await desk.causes() == [Cause.HANGUP] * 100
    assert len({call.source.flow for call in desk.calls}) == (100 if flags else 1)
    assert (outcome.retransmissions, desk.endpoint.transactions.resent) == (0, 0)


@pytest.mark.parametrize("scenario", ["call-cancelled", "call-bye-early"])
async def test_a_caller_who_gives_up_while_it_rings(desk: Desk, sipp: Sipp, scenario: str) -> None:
    async def ring(call: Incoming) -> None:
        desk.calls.append(call)
        call.ring()

    desk.endpoint.on_invite = ring
    assert went_well(await sipp.run(scenario, over_tcp(desk), calls=10, rate=20), 10)
    assert await desk.causes() == [Cause.CANCELLED] * 10
    assert desk.endpoint.calls == 0


async def test_a_caller_moves_holds_and_asks_for_what_cannot_be(desk: Desk, sipp: Sipp) -> None:
    assert went_well(await sipp.run("call-moved", over_tcp(desk)))


async def test_fifty_phones_are_called_over_one_connection(desk: Desk, sipp: Sipp) -> None:
    phone = await sipp.start("phone", calls=50, transport="tcp")
    legs = [desk.call(phone.port, "tcp") for _ in range(50)]
    async with asyncio.timeout(20):
        for leg in legs:
            assert await leg.answered is not None
        assert len(desk.endpoint.wires._open["tcp"]) == 1  # type: ignore[arg-type]
        for leg in legs:
            leg.bye()
        assert went_well(await phone.done(), 50)
        assert [await leg.ended for leg in legs] == [Cause.CLOSED] * 50


async def test_a_phone_that_rings_in_vain(desk: Desk, sipp: Sipp) -> None:
    phone = await sipp.start("phone-rings", transport="tcp")
    leg = desk.call(phone.port, "tcp", ring_seconds=1.0 / LONG)
    async with asyncio.timeout(20):
        assert await leg.ended is Cause.NO_ANSWER
        await leg.gone
        assert went_well(await phone.done())


async def test_nobody_there_is_known_at_once(desk: Desk, sipp: Sipp) -> None:
    phone = await sipp.start("phone", transport="tcp")
    await phone.stop()
    started = asyncio.get_running_loop().time()
    leg = desk.call(phone.port, "tcp")
    assert await leg.ended is Cause.UNREACHABLE
    assert asyncio.get_running_loop().time() - started < 5
