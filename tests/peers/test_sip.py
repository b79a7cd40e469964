"""The SIP endpoint against sipp, a client and server of another make."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from media.errors import UnacceptableError
from media.offer import answer_audio, offer_audio
from media.sdp import Session
from media.sip import Address, Cause, Credentials, Endpoint, Hop, Incoming, Outgoing, TrunkTable, Uri
from media.sip.digest import Algorithm
from tests.peers.sipp import HOST, LONG, Outcome, Run, Sipp, unhurried

pytestmark = pytest.mark.peer("sipp")

SECRETS = {"101": Credentials.of("101", "chartline", "right")}
MEDIA = (HOST, 20000)
FROM = Address.parse('"Front desk" <sip:+12125550100@127.0.0.1>')


class Desk:
    """An endpoint on loopback whose calls ring, are answered, and are remembered."""

    def __init__(
        self,
        *,
        trunk: bool = True,
        algorithms: tuple[Algorithm, ...] = tuple(Algorithm),
        clock: Callable[[], float] = unhurried,
    ) -> None:
        trunks = TrunkTable({"carrier": [HOST]} if trunk else {})
        self.endpoint = Endpoint(
            [Hop(HOST, 0), Hop(HOST, 0, "tcp")],
            credentials=SECRETS.get,
            trunks=trunks,
            algorithms=algorithms,
            clock=clock,
        )
        self.endpoint.on_invite = self.take
        self.endpoint.on_registered = lambda extension, seconds: self.registered.append((extension, seconds))
        self.calls: list[Incoming] = []
        self.registered: list[tuple[str, int]] = []

    async def take(self, call: Incoming) -> None:
        self.calls.append(call)
        call.on_offer = self.moved
        call.ring()
        assert call.offer is not None
        call.answer(answer_audio(call.offer, MEDIA)[0])

    async def moved(self, offer: Session) -> Session:
        return answer_audio(offer, MEDIA)[0]

    async def causes(self) -> list[Cause]:
        async with asyncio.timeout(20):
            return [await call.ended for call in self.calls]

    def call(self, port: int, transport: str = "udp", **options: float) -> Outgoing:
        target = Uri.parse(f"sip:101@{HOST}:{port};transport={transport.upper()}")
        return self.endpoint.call(target, offer_audio(MEDIA), from_=FROM, **options)  # type: ignore[arg-type]


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
async def prompt() -> AsyncIterator[Desk]:
    """A desk that sends again as soon as a real one."""
    made = Desk(clock=time.monotonic)
    await made.endpoint.start()
    yield made
    await made.endpoint.close()


@pytest.fixture
async def strict() -> AsyncIterator[Desk]:
    """A desk that knows no trunk: everyone needs a password."""
    made = Desk(trunk=False)
    await made.endpoint.start()
    yield made
    await made.endpoint.close()


def went_well(outcome: Outcome, calls: int = 1) -> bool:
    assert (outcome.successful, outcome.failed, outcome.unexpected) == (calls, 0, 0), outcome.detail
    return True


# Registering


async def test_a_phone_registers_asks_and_goes(strict: Desk, sipp: Sipp) -> None:
    assert went_well(await sipp.run("register", strict.endpoint.local, login=("101", "right"), keys={"user": "101"}))
    assert strict.registered == [("101", 120), ("101", 0)]
    assert strict.endpoint.registrar.contacts("101") == []


@pytest.mark.parametrize("login", [("101", "wrong"), ("999", "right")])
async def test_a_wrong_password_does_not_register(strict: Desk, sipp: Sipp, login: tuple[str, str]) -> None:
    outcome = await sipp.run("register-refused", strict.endpoint.local, login=login, keys={"user": login[0]})
    assert went_well(outcome)
    assert strict.registered == []


async def test_a_phone_that_registered_is_called_where_it_is(strict: Desk, sipp: Sipp) -> None:
    assert went_well(
        await sipp.run("register-stay", strict.endpoint.local, login=("101", "right"), keys={"user": "101"})
    )
    (binding,) = strict.endpoint.registrar.contacts("101")
    assert binding.hop() == binding.source


# Calls that come in


async def test_a_call_over_the_trunk_held_for_a_second(desk: Desk, sipp: Sipp) -> None:
    outcome = await sipp.run("call", desk.endpoint.local, hold_ms=1000)
    assert went_well(outcome)
    assert await desk.causes() == [Cause.HANGUP]
    assert (desk.calls[0].from_number, desk.calls[0].display_name) == ("+12125550123", "Ada")
    assert desk.calls[0].acked.result() is True
    assert desk.endpoint.calls == 0


async def test_a_hundred_calls_at_once(desk: Desk, sipp: Sipp) -> None:
    outcome = await sipp.run("call", desk.endpoint.local, calls=100, rate=200, hold_ms=1000)
    assert went_well(outcome, 100)
    assert await desk.causes() == [Cause.HANGUP] * 100
    assert len({call.call_id for call in desk.calls}) == 100


async def test_requests_that_come_twice_are_one_call(desk: Desk, sipp: Sipp) -> None:
    # Without -nr sipp answers each copy that it gets with a copy of its own, for ever.
    assert went_well(await sipp.run("call-repeated", desk.endpoint.local, flags=["-nr"]))
    assert await desk.causes() == [Cause.HANGUP]
    assert desk.endpoint.transactions.resent >= 1


async def test_an_answer_comes_again_until_its_ack(prompt: Desk, sipp: Sipp) -> None:
    assert went_well(await sipp.run("call-ack-late", prompt.endpoint.local, flags=["-nr"]))
    assert prompt.endpoint.transactions.resent >= 1
    assert prompt.calls[0].acked.result() is True


@pytest.mark.parametrize("scenario", ["call-cancelled", "call-bye-early"])
async def test_a_caller_who_gives_up_while_it_rings(desk: Desk, sipp: Sipp, scenario: str) -> None:
    async def ring(call: Incoming) -> None:
        desk.calls.append(call)
        call.ring()

    desk.endpoint.on_invite = ring
    assert went_well(await sipp.run(scenario, desk.endpoint.local, calls=10, rate=20), 10)
    assert await desk.causes() == [Cause.CANCELLED] * 10
    assert desk.endpoint.calls == 0


async def test_a_caller_moves_holds_and_asks_for_what_cannot_be(desk: Desk, sipp: Sipp) -> None:
    offers: list[Session] = []

    async def moved(offer: Session) -> Session:
        offers.append(offer)
        return answer_audio(offer, MEDIA)[0]

    desk.moved = moved  # type: ignore[method-assign]
    assert went_well(await sipp.run("call-moved", desk.endpoint.local))
    assert len(offers) == 2
    with pytest.raises(UnacceptableError):
        answer_audio(offers[1], MEDIA)
    assert desk.calls[0].local is not None
    assert desk.calls[0].local.media[0].direction == "recvonly"


async def test_a_call_that_is_refused(desk: Desk, sipp: Sipp) -> None:
    async def refuse(call: Incoming) -> None:
        desk.calls.append(call)
        call.reject(486)

    desk.endpoint.on_invite = refuse
    assert went_well(await sipp.run("call-refused", desk.endpoint.local))
    assert await desk.causes() == [Cause.CLOSED]


async def test_a_phone_calls_with_its_password(strict: Desk, sipp: Sipp) -> None:
    outcome = await sipp.run(
        "call-as-extension", strict.endpoint.local, login=("101", "right"), keys={"user": "101"}, calls=5
    )
    assert went_well(outcome, 5)
    assert {call.extension for call in strict.calls} == {"101"}


async def test_a_stranger_does_not_get_in(strict: Desk, sipp: Sipp) -> None:
    outcome = await sipp.run("call-as-stranger", strict.endpoint.local, login=("101", "wrong"), keys={"user": "101"})
    assert went_well(outcome)
    assert strict.calls == []
    assert strict.endpoint.transactions.servers == {}


async def test_a_carrier_that_asks_whether_anyone_is_there(desk: Desk, sipp: Sipp) -> None:
    assert went_well(await sipp.run("options", desk.endpoint.local, calls=20, rate=100), 20)


# Calls that go out


async def answered_and_hung_up(desk: Desk, phone: Run) -> None:
    leg = desk.call(phone.port)
    async with asyncio.timeout(20):
        session = await leg.answered
        assert session is not None
        assert leg.status == 200
        leg.bye()
        assert await leg.ended is Cause.CLOSED
        await leg.gone
        assert went_well(await phone.done())


async def test_a_phone_is_rung_answers_and_is_hung_up_on(desk: Desk, sipp: Sipp) -> None:
    await answered_and_hung_up(desk, await sipp.start("phone"))


async def test_a_phone_that_is_slow_is_asked_again(prompt: Desk, sipp: Sipp) -> None:
    await answered_and_hung_up(prompt, await sipp.start("phone-slow", flags=["-nr"]))
    assert prompt.endpoint.transactions.resent


async def test_fifty_phones_at_once(desk: Desk, sipp: Sipp) -> None:
    phone = await sipp.start("phone", calls=50)
    legs = [desk.call(phone.port) for _ in range(50)]
    async with asyncio.timeout(20):
        for leg in legs:
            assert await leg.answered is not None
        for leg in legs:
            leg.bye()
        assert went_well(await phone.done(), 50)


async def test_a_phone_that_is_busy(desk: Desk, sipp: Sipp) -> None:
    phone = await sipp.start("phone-busy")
    leg = desk.call(phone.port)
    async with asyncio.timeout(20):
        assert await leg.answered is None
        assert await leg.ended is Cause.BUSY
        assert went_well(await phone.done())


@pytest.mark.parametrize(("ring_seconds", "cause"), [(60.0, Cause.CANCELLED), (1.0 / LONG, Cause.NO_ANSWER)])
async def test_a_phone_that_rings_in_vain(desk: Desk, sipp: Sipp, ring_seconds: float, cause: Cause) -> None:
    phone = await sipp.start("phone-rings")
    leg = desk.call(phone.port, ring_seconds=ring_seconds)
    if cause is Cause.CANCELLED:
        leg.on_progress = lambda _status, _session: leg.cancel()
    async with asyncio.timeout(20):
        assert await leg.ended is cause
        assert await leg.answered is None
        await leg.gone
        assert went_well(await phone.done())
    assert leg.status == 487
