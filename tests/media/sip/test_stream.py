"""TCP and TLS on loopback: connections that are used again, slow, silent, greedy, broken, or of the wrong name."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from media.sip.hop import Hop
from media.sip.transport import Identity, Limits, StreamTransport
from tests.media.sip.certificate import Office
from tests.media.sip.line import invite, request

HOST = "127.0.0.1"
ASK = bytes(request("OPTIONS"))
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


class Heard:
    """What stands over a transport, and remembers."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[tuple[bytes, Hop]] = asyncio.Queue()
        self.refused: list[tuple[bytes, int]] = []
        self.lost: asyncio.Queue[tuple[bytes, Hop]] = asyncio.Queue()
        self.gone: asyncio.Queue[int] = asyncio.Queue()

    def receive(self, data: bytes, source: Hop) -> None:
        self.messages.put_nowait((data, source))

    def refuse(self, head: bytes, source: Hop, status: int) -> None:  # noqa: ARG002 - the contract's signature
        self.refused.append((head, status))

    def unsent(self, data: bytes, hop: Hop) -> None:
        self.lost.put_nowait((data, hop))

    def closed(self, flow: int) -> None:
        self.gone.put_nowait(flow)


class End:
    """One transport and what it hears."""

    def __init__(self, heard: Heard, transport: StreamTransport) -> None:
        self.heard = heard
        self.transport = transport

    @property
    def hop(self) -> Hop:
        return self.transport.local

    async def takes(self) -> tuple[bytes, Hop]:
        async with asyncio.timeout(20):
            return await self.heard.messages.get()

    async def loses(self) -> bytes:
        async with asyncio.timeout(20):
            return (await self.heard.lost.get())[0]


@asynccontextmanager
async def end(identity: Identity | None = None, **limits: float) -> AsyncIterator[End]:
    heard = Heard()
    bind = Hop(HOST, 0, "tls" if identity else "tcp")
    made = await StreamTransport.open(bind, heard, identity, Limits(**limits))  # type: ignore[arg-type]
    try:
        yield End(heard, made)
    finally:
        made.close()
        async with asyncio.timeout(20):
            await made.wait_closed()
        assert len(made) == 0


@asynccontextmanager
async def stranger(
    to: Hop, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(to.host, to.port, ssl=tls)
    try:
        async with asyncio.timeout(30):
            yield reader, writer
    finally:
        writer.transport.abort()


def anywhere(story: Callable[[], Awaitable[None]], loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def told() -> None:
        await story()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(told())


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])
def test_one_connection_carries_all_messages_both_ways(
    loop: Callable[[], asyncio.AbstractEventLoop], secure: bool, tmp_path: Path
) -> None:
    async def story() -> None:
        identity = Office(tmp_path).identity(HOST) if secure else None
        async with end(identity) as near, end(identity) as far:
            for number in range(3):
                near.transport.send(b"%b" % ASK.replace(b"call-1", b"call-%d" % number), far.hop)
            heard = [await far.takes() for _ in range(3)]
            assert [b"call-%d" % number in data for number, (data, _) in enumerate(heard)] == [True] * 3
            (source,) = {source for _, source in heard}
            assert (source.host, source.transport) == (HOST, far.hop.transport)
            far.transport.send(b"SIP/2.0 200 OK\r\nl: 0\r\n\r\n", source)
            data, back = await near.takes()
            assert data.startswith(b"SIP/2.0 200")
            assert back[:3] == far.hop[:3]
            assert (len(near.transport), len(far.transport)) == (1, 1)

    anywhere(story, loop)


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_an_address_where_nobody_listens_is_told_at_once(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def story() -> None:
        async with end() as near, end() as far:
            nowhere = far.hop
            far.transport.close()
            await far.transport.wait_closed()
            for hop in (nowhere, Hop("not an address", 5060, "tcp"), Hop(HOST, 99999, "tcp")):
                near.transport.send(ASK, hop)
                assert near.heard.lost.empty()  # never inside `send`
                assert await near.loses() == ASK
            assert len(near.transport) == 0

    anywhere(story, loop)


async def test_a_message_in_pieces_then_several_then_a_ping() -> None:
    async with end() as far, stranger(far.hop) as (reader, writer):
        for place in range(len(ASK)):
            writer.write(ASK[place : place + 1])
            await writer.drain()
        writer.write(ASK + ASK + b"\r\n\r\n")
        assert [(await far.takes())[0] for _ in range(3)] == [ASK] * 3
        assert await reader.readexactly(2) == b"\r\n"


async def test_a_peer_that_goes_in_the_middle_of_a_message_is_forgotten() -> None:
    async with end() as far:
        async with stranger(far.hop) as (_, writer):
            writer.write(ASK + ASK[:40])
            await far.takes()
        async with asyncio.timeout(20):
            await far.heard.gone.get()
        assert far.heard.messages.empty()
        assert len(far.transport) == 0


@pytest.mark.parametrize(
    "sent", [b"", b"OPTIONS sip:a", b"\r\n\r\n" * 3, ASK + ASK[:-10]], ids=["silent", "slow", "pings", "half"]
)
async def test_a_slow_or_silent_peer_is_closed(sent: bytes) -> None:
    async with (
        end(first_seconds=0.2, message_seconds=0.2, idle_seconds=60) as far,
        stranger(far.hop) as (reader, writer),
    ):
        writer.write(sent)
        assert (await reader.read()).strip() == b""


async def test_a_peer_that_says_something_now_and_then_is_kept_and_a_quiet_one_is_not() -> None:
    async with end(first_seconds=0.2, message_seconds=0.2, idle_seconds=0.6) as far:
        # What it says is there before it is let in: nothing is late, however slow the machine is.
        with socket.create_connection(far.hop[:2]) as quick:
            quick.sendall(ASK)
            quick.setblocking(False)
            loop = asyncio.get_running_loop()
            started = loop.time()
            await far.takes()
            async with asyncio.timeout(20):
                assert await loop.sock_recv(quick, 1) == b""
            assert loop.time() - started > 0.5


async def test_what_cannot_be_cut_is_refused_and_the_connection_closed() -> None:
    async with end() as far, stranger(far.hop) as (reader, writer):
        writer.write(ASK + ASK.replace(b"Content-Length: 0\r\n", b""))
        await far.takes()
        assert await reader.read() == b""
        ((head, status),) = far.heard.refused
        assert (status, head.startswith(b"OPTIONS")) == (400, True)


async def test_one_source_has_so_many_connections_and_no_more() -> None:
    async with end(per_source=2) as far, stranger(far.hop) as one, stranger(far.hop) as two:
        for _, writer in (one, two):
            writer.write(ASK)
            await far.takes()
        async with stranger(far.hop) as (reader, _):
            assert await reader.read() == b""
        one[1].close()
        await far.heard.gone.get()
        async with stranger(far.hop) as (_, writer):
            writer.write(ASK)
            await far.takes()


async def test_a_peer_that_does_not_read_is_cut_off() -> None:
    async with end(queued_bytes=100_000) as far, stranger(far.hop) as (_, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(ASK)
        _, source = await far.takes()
        async with asyncio.timeout(30):
            while far.heard.gone.empty():
                far.transport.send(ASK * 50, source)
                await asyncio.sleep(0)


async def test_a_peer_that_neither_reads_nor_goes_is_closed_in_time() -> None:
    async with end(queued_bytes=8_000_000, message_seconds=0.3) as far, stranger(far.hop) as (_, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(ASK)
        _, source = await far.takes()
        far.transport.send(ASK * 20_000, source)
        async with asyncio.timeout(20):
            await far.heard.gone.get()


async def test_what_waits_for_a_connection_is_bounded() -> None:
    async with end() as far, end(queued_bytes=2 * len(ASK) + 1) as near:
        for _ in range(3):
            near.transport.send(ASK, far.hop)
        assert [await near.loses() for _ in range(3)] == [ASK] * 3


async def test_a_connection_that_was_closed_for_its_age_is_opened_again_for_what_it_lost() -> None:
    async with end() as near, end(idle_seconds=60) as far:
        near.transport.send(ASK, far.hop)
        _, first = await far.takes()
        far.transport.send(ASK, first)
        await near.takes()
        # It goes just as the next message comes.
        connection = far.transport._flows[first.flow]
        connection._transport.pause_reading()
        near.transport.send(bytes(invite()), far.hop)
        await asyncio.sleep(0)
        connection.abort()
        data, second = await far.takes()
        assert data == bytes(invite())
        assert second.flow != first.flow
        assert near.heard.lost.empty()


async def test_an_answer_takes_its_connection_and_without_it_the_way_to_the_sender() -> None:
    async with end() as near, end() as far:
        near.transport.send(ASK, far.hop)
        _, source = await far.takes()
        near.transport._dialled[near.transport._dialled.__iter__().__next__()].abort()
        await far.heard.gone.get()
        far.transport.send(b"SIP/2.0 200 OK\r\nl: 0\r\n\r\n", source._replace(port=near.hop.port))
        data, _ = await near.takes()
        assert data.startswith(b"SIP/2.0 200")


# TLS


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_a_certificate_must_bear_the_name_and_come_from_an_authority_we_know(
    loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path
) -> None:
    async def story() -> None:
        ours, other = Office(tmp_path), Office(tmp_path, "other")
        named = ours.identity("sip.carrier.example")
        async with end(ours.identity(HOST)) as near:
            async with end(named) as far:
                near.transport.send(ASK, far.hop._replace(name="sip.carrier.example"))
                assert (await far.takes())[0] == ASK
                near.transport.send(ASK, far.hop)  # the address stands nowhere in it
                assert await near.loses() == ASK
                near.transport.send(ASK, far.hop._replace(name="sip.other.example"))
                assert await near.loses() == ASK
            async with end(other.identity("127.0.0.1")) as far:
                near.transport.send(ASK, far.hop)
                assert await near.loses() == ASK

    anywhere(story, loop)


async def test_old_versions_plain_text_and_silence_get_no_connection(tmp_path: Path) -> None:
    office = Office(tmp_path)
    async with end(office.identity(HOST), connect_seconds=0.3) as far:
        old = ssl.create_default_context(cafile=office.file)
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(HOST, far.hop.port, ssl=old)
        for said in (ASK, b""):
            async with stranger(far.hop) as (reader, writer):
                writer.write(said)
                assert b"SIP" not in await reader.read()
        assert far.heard.messages.empty()
        far.transport._handshake_seconds = 20  # who shakes hands may take its time
        async with stranger(far.hop, ssl.create_default_context(cafile=office.file)) as (_, writer):
            writer.write(ASK)
            assert (await far.takes())[1].transport == "tls"


async def test_a_certificate_that_is_missing_is_no_listener(tmp_path: Path) -> None:
    nothing = Identity(tmp_path / "none.crt", tmp_path / "none.key")
    with pytest.raises(OSError, match="No such file"):
        await StreamTransport.open(Hop(HOST, 0, "tls"), Heard(), nothing)
