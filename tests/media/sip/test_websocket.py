"""SIP over WebSocket: whose connection it is, what goes over it and back, and what happens when it is gone."""

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from media.sip.hop import Hop
from media.sip.transport.websocket import EACH, EXTENSION, LONGEST, SOURCE, TOO_MANY, UNSENT, WebSocketTransport


class Ear:
    """A receiver that keeps what it is told."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[tuple[str, object, Hop | None]] = asyncio.Queue()

    def receive(self, data: bytes, source: Hop) -> None:
        self.told.put_nowait(("received", data, source))

    def refuse(self, head: bytes, source: Hop, status: int) -> None:
        self.told.put_nowait(("refused", (head, status), source))

    def unsent(self, data: bytes, hop: Hop) -> None:
        self.told.put_nowait(("unsent", data, hop))

    def closed(self, flow: int) -> None:
        self.told.put_nowait(("closed", flow, None))

    async def next(self) -> tuple[str, object, Hop | None]:
        async with asyncio.timeout(20):
            return await self.told.get()


@pytest.fixture
async def ear() -> Ear:
    return Ear()


@pytest.fixture
async def transport(ear: Ear, tmp_path: Path) -> AsyncIterator[WebSocketTransport]:
    opened = await WebSocketTransport.open(tmp_path / "phone.sock", ear)
    yield opened
    opened.close()
    await opened.wait_closed()


@asynccontextmanager
async def page(tmp_path: Path, extension: str = "101", **options: int) -> AsyncIterator[ClientConnection]:
    headers = {EXTENSION: extension, SOURCE: "192.0.2.9 5000"} if extension else {}
    sip, path = [Subprotocol("sip")], str(tmp_path / "phone.sock")
    async with unix_connect(path, uri="ws://media/", subprotocols=sip, additional_headers=headers, **options) as socket:
        yield socket


async def flow_of(ear: Ear, socket: ClientConnection) -> Hop:
    await socket.send("REGISTER sip:x SIP/2.0\r\n\r\n")
    _, _, source = await ear.next()
    assert source is not None
    return source


async def test_a_connection_belongs_to_the_extension_that_the_hub_names(
    transport: WebSocketTransport, ear: Ear, tmp_path: Path
) -> None:
    async with page(tmp_path) as socket:
        source = await flow_of(ear, socket)
        assert source[:3] == ("192.0.2.9", 5000, "ws")
        assert source.flow
        assert transport.owner(source.flow) == "101"
        assert socket.subprotocol == "sip"
    assert transport.owner(source.flow + 1) == ""


async def test_nobody_gets_in_without_an_extension(
    transport: WebSocketTransport,  # noqa: ARG001 - listens
    tmp_path: Path,
) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        async with page(tmp_path, ""):
            pass


async def test_the_socket_is_its_owners_alone(
    transport: WebSocketTransport,  # noqa: ARG001 - listens
    tmp_path: Path,
) -> None:
    assert stat.S_IMODE((tmp_path / "phone.sock").stat().st_mode) == 0o600


async def test_a_socket_that_a_dead_process_has_left_is_replaced(ear: Ear, tmp_path: Path) -> None:
    (tmp_path / "phone.sock").touch()
    opened = await WebSocketTransport.open(tmp_path / "phone.sock", ear)
    async with page(tmp_path):
        pass
    opened.close()
    await opened.wait_closed()


async def test_messages_go_both_ways_one_a_frame(transport: WebSocketTransport, ear: Ear, tmp_path: Path) -> None:
    async with page(tmp_path) as socket:
        source = await flow_of(ear, socket)
        transport.send("SIP/2.0 200 Gr\u00fc\u00df Gott\r\n\r\n".encode(), source)
        assert await socket.recv() == "SIP/2.0 200 Gr\u00fc\u00df Gott\r\n\r\n"
        transport.send(b"\xff\r\n\r\n", source)
        assert await socket.recv() == b"\xff\r\n\r\n"
        await socket.send(b"BYE sip:y SIP/2.0\r\n\r\n")
        assert await ear.next() == ("received", b"BYE sip:y SIP/2.0\r\n\r\n", source)


async def test_a_keep_alive_is_answered_and_passed_to_nobody(
    transport: WebSocketTransport,  # noqa: ARG001 - listens
    ear: Ear,
    tmp_path: Path,
) -> None:
    async with page(tmp_path) as socket:
        await socket.send("\r\n\r\n")
        assert await socket.recv() == "\r\n"
        assert ear.told.empty()


async def test_a_page_that_goes_is_told_of_and_what_is_for_it_is_not_lost_in_silence(
    transport: WebSocketTransport, ear: Ear, tmp_path: Path
) -> None:
    async with page(tmp_path) as socket:
        source = await flow_of(ear, socket)
    assert await ear.next() == ("closed", source.flow, None)
    assert transport.owner(source.flow) == ""
    transport.send(b"INVITE", source)
    assert await ear.next() == ("unsent", b"INVITE", source)


async def test_what_is_for_a_page_that_is_just_going_is_not_lost_in_silence(
    transport: WebSocketTransport, ear: Ear, tmp_path: Path
) -> None:
    async with page(tmp_path) as socket:
        source = await flow_of(ear, socket)
        going = asyncio.create_task(transport._phones[source.flow].socket.close())
        await asyncio.sleep(0)
        transport.send(b"INVITE", source)
        assert await ear.next() == ("unsent", b"INVITE", source)
        assert await ear.next() == ("closed", source.flow, None)
        await going


async def test_a_message_longer_than_any_ends_the_connection(
    transport: WebSocketTransport, ear: Ear, tmp_path: Path
) -> None:
    async with page(tmp_path) as socket:
        await flow_of(ear, socket)
        await socket.send("x" * (LONGEST + 1))
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1009
    assert (await ear.next())[0] == "closed"
    assert len(transport) == 0


async def test_a_page_that_reads_nothing_is_given_up(transport: WebSocketTransport, ear: Ear, tmp_path: Path) -> None:
    async with page(tmp_path, max_queue=1, close_timeout=1) as socket:
        source = await flow_of(ear, socket)
        message = b"x" * 60_000
        async with asyncio.timeout(30):
            while transport.owner(source.flow):
                transport.send(message, source)
                await asyncio.sleep(0)
    kinds = [ear.told.get_nowait()[0] for _ in range(ear.told.qsize())]
    assert kinds.count("closed") == 1
    assert kinds.count("unsent") > UNSENT


async def test_one_extension_has_so_many_pages_and_no_more(
    transport: WebSocketTransport, ear: Ear, tmp_path: Path
) -> None:
    async with asyncio.timeout(30):
        pages = [page(tmp_path) for _ in range(EACH)]
        sockets = [await each.__aenter__() for each in pages]
        for socket in sockets:
            await flow_of(ear, socket)
        async with page(tmp_path) as one_more:
            await one_more.wait_closed()
            assert one_more.close_code == TOO_MANY
        assert len(transport) == EACH
        async with page(tmp_path, "102") as other:
            await flow_of(ear, other)
        for each in pages:
            await each.__aexit__(None, None, None)


async def test_a_process_that_stops_tells_pages_to_come_back(ear: Ear, tmp_path: Path) -> None:
    opened = await WebSocketTransport.open(tmp_path / "phone.sock", ear)
    async with page(tmp_path) as socket:
        await flow_of(ear, socket)
        opened.close()
        await socket.wait_closed()
        assert socket.close_code == 1001
    await opened.wait_closed()
