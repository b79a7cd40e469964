"""The ng protocol over a network that loses and repeats, and with an rtpengine that is gone."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from hub.settings.value import Address as Place
from media.errors import ProtocolError
from media.latch import Address
from media.rtpengine import ng
from media.rtpengine.bencode import encode
from media.rtpengine.ng import Engine, EngineLostError, EngineRefusedError, answer_in, request
from media.rtpengine.relay import RtpengineRelay
from tests.media.farend import relay

PONG = {"result": "pong"}


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask once, and look at nothing: what is counted here must not depend on how fast the machine is."""
    monkeypatch.setattr(ng, "AGAIN_S", (20.0,))
    monkeypatch.setattr(ng, "LOOK_S", 60.0)


class Wire(asyncio.DatagramProtocol):
    """Where an rtpengine would be: what comes is kept, and answered as the test says."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.answers: Callable[[bytes, dict[str, object]], list[bytes]] = self.pong
        self.place: Address = ("", 0)
        self._transport: asyncio.DatagramTransport

    def pong(self, cookie: bytes, asked: dict[str, object]) -> list[bytes]:
        assert asked["command"]
        return [request(cookie, {"result": "pong"})]

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport
        self.place = transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.heard.append(data)
        cookie, asked = answer_in(data)
        for each in self.answers(cookie, dict(asked)):
            self._transport.sendto(each, addr)

    def close(self) -> None:
        self._transport.close()


@asynccontextmanager
async def wired() -> AsyncIterator[tuple[Engine, Wire]]:
    loop = asyncio.get_running_loop()
    _, wire = await loop.create_datagram_endpoint(Wire, local_addr=("127.0.0.1", 0))
    engine = Engine(wire.place)
    try:
        await engine.open()
        wire.heard.clear()
        yield engine, wire
    finally:
        engine.close()
        wire.close()
        await asyncio.sleep(0)


async def test_a_lost_answer_is_asked_for_again_under_the_same_cookie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ng, "AGAIN_S", (0.05, 0.05, 20.0))
    async with wired() as (engine, wire):
        wire.answers = lambda cookie, asked: wire.pong(cookie, asked) if len(wire.heard) > 2 else []
        assert (await engine.ask("query", {"call-id": "one"}))["result"] == b"pong"
        assert len(wire.heard) == 3
        assert len(set(wire.heard)) == 1
        assert engine.up


async def test_an_answer_that_comes_twice_is_taken_once_and_not_for_another() -> None:
    async with wired() as (engine, wire):
        late: list[bytes] = []

        def twice(cookie: bytes, asked: dict[str, object]) -> list[bytes]:
            now = request(cookie, {"result": "ok", "call": asked["call-id"]})  # type: ignore[dict-item]
            before, late[:] = list(late), [now]
            return [*before, now, now]

        wire.answers = twice
        for call in (b"one", b"two", b"three"):
            assert (await engine.ask("query", {"call-id": call}))["call"] == call
        assert len(wire.heard) == 3


async def test_many_are_asked_at_once_and_each_gets_its_own_answer() -> None:
    async with wired() as (engine, wire):
        held: list[bytes] = []

        def backwards(cookie: bytes, asked: dict[str, object]) -> list[bytes]:
            held.insert(0, request(cookie, {"result": "ok", "call": asked["call-id"]}))  # type: ignore[dict-item]
            return held if len(held) == 5 else []

        wire.answers = backwards
        answers = await asyncio.gather(*(engine.ask("query", {"call-id": number}) for number in range(5)))
        assert [answer["call"] for answer in answers] == list(range(5))


async def test_a_refusal_is_an_error_that_does_not_repeat_what_was_said() -> None:
    async with wired() as (engine, wire):
        wire.answers = lambda cookie, _: [request(cookie, {"result": "error", "error-reason": "secret"})]
        with pytest.raises(EngineRefusedError) as refused:
            await engine.ask("offer", {"sdp": "secret"})
        assert "secret" not in str(refused.value)
        assert engine.up


async def test_nonsense_is_passed_over() -> None:
    async with wired() as (engine, wire):
        wire.answers = lambda cookie, asked: [b"", b"x", cookie + b" i1e", b" de", *wire.pong(cookie, asked)]
        await engine.ping()
        assert len(wire.heard) == 1


async def test_silence_is_the_end_and_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with wired() as (engine, wire):
        monkeypatch.setattr(ng, "AGAIN_S", (0.01, 0.02))
        ends: list[bool] = []
        engine.on_lost = lambda: ends.append(engine.up)
        wire.answers = lambda *_: []
        results = await asyncio.gather(*(engine.ask("ping", {}) for _ in range(3)), return_exceptions=True)
        assert [type(result) for result in results] == [EngineLostError] * 3
        assert ends == [False]
        assert 2 <= len(wire.heard) <= 6
        # It comes back.
        monkeypatch.setattr(ng, "AGAIN_S", (20.0,))
        wire.answers = wire.pong
        await engine.ping()
        assert engine.up


async def test_a_closed_port_is_known_at_once() -> None:
    async with wired() as (engine, wire):
        wire.close()
        await asyncio.sleep(0)
        async with asyncio.timeout(ng.AGAIN_S[0] / 2):
            with pytest.raises(EngineLostError):
                await engine.ping()


async def test_it_is_looked_at_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ng, "LOOK_S", 0.01)
    async with wired() as (engine, wire):
        thrice = asyncio.Event()

        def counted(cookie: bytes, asked: dict[str, object]) -> list[bytes]:
            if len(wire.heard) == 3:
                thrice.set()
            return wire.pong(cookie, asked)

        wire.answers = counted
        async with asyncio.timeout(20):
            await thrice.wait()
        assert len(set(wire.heard)) == len(wire.heard)
    with pytest.raises(EngineLostError):
        await engine.ping()


async def test_where_one_cannot_be_asked_nothing_goes_on_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ng, "AGAIN_S", (0.2,))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        async with relay() as inner:
            outer = RtpengineRelay(inner, [Place("255.255.255.255:9"), Place(f"127.0.0.1:{silent.getsockname()[1]}")])
            with pytest.raises(PermissionError):
                await outer.start()
            await outer.close()
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("datagram", [b"", b"cookie", b"cookie le", b" de", b"cookie d", b"cookie i1e"])
def test_what_is_no_answer_is_refused(datagram: bytes) -> None:
    with pytest.raises(ProtocolError):
        answer_in(datagram)


def test_a_command_is_a_cookie_and_a_dictionary() -> None:
    assert request(b"5_1", {"command": "ping"}) == b"5_1 d7:command4:pinge"
    assert answer_in(b"5_1 " + encode(PONG)) == (b"5_1", {"result": b"pong"})  # type: ignore[arg-type]
