"""`/phone`: who is let in, as whom, and what becomes of a connection when either end goes."""

import asyncio
import base64
import hashlib
import hmac
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, unix_serve
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from hub.api import phone
from hub.api.caller import SESSION_COOKIE
from hub.api.phone import AWAY, EXTENSION, NOT_A_PHONE, OVER, RESTARTED, SOURCE
from hub.record import staff, token
from hub.record.token import TokenKind
from hub.security.access import Scope
from tests.hub.api.office import POLICY, Office, Worker

SIP = Subprotocol("sip")
PATIENCE_S = 20.0


class Media:
    """A media process that keeps what it hears and says what it is told to."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[str | bytes] = asyncio.Queue()
        self.came: asyncio.Queue[ServerConnection] = asyncio.Queue()

    async def serve(self, connection: ServerConnection) -> None:
        await self.came.put(connection)
        async for message in connection:
            await self.heard.put(message)

    async def connection(self) -> ServerConnection:
        async with asyncio.timeout(PATIENCE_S):
            return await self.came.get()


class Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@asynccontextmanager
async def serving(office: Office) -> AsyncIterator[str]:
    """Serve the office's hub as its process does, and return its address."""
    config = uvicorn.Config(
        office.app, port=0, log_config=None, lifespan="off", ws="websockets-sansio", ws_max_size=65_536
    )
    server = Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(PATIENCE_S):
            await server.listening.wait()
        host, port = server.servers[0].sockets[0].getsockname()[:2]
        yield f"{host}:{port}"
    finally:
        server.should_exit = True
        await serving


@pytest.fixture
async def media(office: Office) -> AsyncIterator[Media]:
    path = office.instance.paths.phone_socket
    path.parent.mkdir(exist_ok=True)
    there = Media()
    async with unix_serve(there.serve, str(path), subprotocols=[SIP], compression=None):
        yield there
    path.unlink(missing_ok=True)


def session_of(office: Office, who: Worker) -> str:
    """Return the cookie of a login."""
    lasting = {"now": office.now, "lifetime": timedelta(hours=1), "kind": TokenKind.SESSION}
    return str(office.write(token.create, scopes=list(Scope), staff_id=who.id, **lasting)[1])


def page(address: str, cookie: str = "", origin: str = "", protocols: tuple[Subprotocol, ...] = (SIP,)) -> connect:
    headers = {"Cookie": f"{SESSION_COOKIE}={cookie}"} if cookie else {}
    return connect(
        f"ws://{address}/phone",
        subprotocols=list(protocols) or None,
        origin=Origin(origin or f"http://{address}"),
        additional_headers=headers,
        compression=None,
        proxy=None,
    )


async def code_of(opened: ClientConnection) -> int | None:
    async with asyncio.timeout(PATIENCE_S):
        await opened.wait_closed()
    return opened.close_code


async def test_a_login_opens_the_phone_of_its_person(office: Office, media: Media) -> None:
    async with serving(office) as address, page(address, session_of(office, office.listed())) as opened:
        there = await media.connection()
        assert there.request is not None
        assert there.request.headers[EXTENSION] == "101"
        assert there.request.headers[SOURCE].split()[0] == "127.0.0.1"
        assert opened.subprotocol == "sip"
        await opened.send("REGISTER sip:hub SIP/2.0\r\n\r\n")
        assert await media.heard.get() == "REGISTER sip:hub SIP/2.0\r\n\r\n"
        await there.send("SIP/2.0 200 OK\r\n\r\n")
        assert await opened.recv() == "SIP/2.0 200 OK\r\n\r\n"
        await there.send(b"\xff")
        assert await opened.recv() == b"\xff"


async def test_a_phone_of_ones_own_counts_where_the_policy_names_none(office: Office, media: Media) -> None:
    worker = office.worker("nurse")
    office.write(staff.add_device, worker.id, "433", "chartline", office.now)
    async with serving(office) as address, page(address, session_of(office, worker)):
        there = await media.connection()
        assert there.request is not None
        assert there.request.headers[EXTENSION] == "433"


@pytest.mark.usefixtures("media")
@pytest.mark.parametrize(
    ("origin", "protocols"), [("http://evil.example", (SIP,)), ("", ()), ("null", (SIP,)), ("", (Subprotocol("x"),))]
)
async def test_other_sites_and_other_protocols_are_refused(
    office: Office, origin: str, protocols: tuple[Subprotocol, ...]
) -> None:
    cookie = session_of(office, office.listed())
    async with serving(office) as address:
        with pytest.raises(InvalidStatus, match="403"):
            async with page(address, cookie, origin, protocols):
                pass


@pytest.mark.usefixtures("media")
async def test_without_a_session_or_an_extension_it_closes_and_says_why(office: Office) -> None:
    async with serving(office) as address:
        async with page(address) as nobody:
            assert await code_of(nobody) == OVER
        async with page(address, office.listed().token) as program:
            assert await code_of(program) == OVER
        async with page(address, session_of(office, office.worker("nurse"))) as phoneless:
            assert await code_of(phoneless) == NOT_A_PHONE


async def test_it_ends_soon_after_its_session(office: Office, media: Media, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phone, "LOOK_S", 0.02)
    async with serving(office) as address, page(address, session_of(office, office.listed())) as opened:
        there = await media.connection()
        office.later(minutes=11)
        assert await code_of(opened) == OVER
        await there.wait_closed()


async def test_a_media_process_that_is_away_or_goes_sends_the_page_to_try_again(office: Office) -> None:
    cookie, path = session_of(office, office.listed()), office.instance.paths.phone_socket
    path.parent.mkdir(exist_ok=True)
    async with serving(office) as address:
        async with page(address, cookie) as early:
            assert await code_of(early) == AWAY
        there = Media()
        served = unix_serve(there.serve, str(path), subprotocols=[SIP])
        async with served as server, page(address, cookie) as late:
            await there.connection()
            server.close()
            assert await code_of(late) == RESTARTED


async def test_a_page_that_goes_takes_its_connection_with_it(office: Office, media: Media) -> None:
    async with serving(office) as address:
        async with page(address, session_of(office, office.listed())):
            there = await media.connection()
        async with asyncio.timeout(PATIENCE_S):
            await there.wait_closed()


async def test_a_message_longer_than_any_goes_nowhere(office: Office, media: Media) -> None:
    async with serving(office) as address, page(address, session_of(office, office.listed())) as opened:
        await media.connection()
        await opened.send("x" * 70_000)
        assert await code_of(opened) == 1009
        assert media.heard.empty()


async def test_a_page_is_told_its_extension_and_where_turn_is(office: Office) -> None:
    ana = office.listed()
    async with office.http(ana) as http:
        assert (await http.get("/v1/phone")).json() == {"extension": "101", "ice_servers": []}
        shared = office.instance.paths.root / "secrets" / "turn.secret"
        shared.write_text("shared with coturn")
        servers = '["stun:turn.harbor.example:3478", "turn:turn.harbor.example:3478?transport=udp"]'
        office.publish(f'{POLICY}\n[browser]\nturn = {servers}\nturn_secret = "file:secrets/turn.secret"\n')
        try:
            told = (await http.get("/v1/phone")).json()["ice_servers"]
        finally:
            office.publish(POLICY)
    assert told[0]["urls"] == ["stun:turn.harbor.example:3478"]
    assert told[1]["urls"] == ["turn:turn.harbor.example:3478?transport=udp"]
    until, _, name = told[1]["username"].partition(":")
    assert name == "101"
    assert int(until) == int(office.now.timestamp()) + 12 * 3600
    proof = hmac.new(b"shared with coturn", told[1]["username"].encode(), hashlib.sha1).digest()
    assert told[1]["credential"] == base64.b64encode(proof).decode()


async def test_somebody_without_an_extension_has_no_phone(office: Office) -> None:
    async with office.http(office.worker("nurse")) as http:
        assert (await http.get("/v1/phone")).status_code == 404
