"""A gateway with a carrier and phones that were just added, for tests of calls that are made here."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from string import Template

from sqlmodel import Session, col, select

from hub.db import now
from hub.demo.ports import free_port
from hub.instance import Instance
from hub.record import call, staff
from hub.record.call import Call
from hub.vault.client import Access
from media.gateway import REALM, Gateway
from media.offer import offer_audio
from media.sdp import Session as Sdp
from media.sip.digest import Login
from media.sip.endpoint import Endpoint
from media.sip.hop import Hop
from media.sip.incoming import Incoming
from media.sip.outgoing import Outgoing
from media.sip.uri import Address, Uri
from tests.media.trunk.test_stir import URL

ACCESS = Access("system:test", "system", "operations")
POLICY = Template("""
[practice]
name = "Quiet Cove Clinic"
timezone = "America/New_York"

[http]
bind = "127.0.0.1:$http"

[sip]
udp = "127.0.0.1:$sip"
tcp = "127.0.0.1:$sip"
rtp_ports = "19600-19899"

[[trunk]]
name = "line"
hosts = ["192.0.2.9"]
servers = ["127.0.0.1:$carrier"]
domain = "carrier.example"
keepalive_seconds = 0

[[trunk]]
name = "signed"
hosts = ["127.0.0.9"]

[stir]
authorities = "file:authority.pem"
certificates = { "$url" = "file:carrier.pem" }

[[number]]
did = "+12125550100"
voicemail = "desk"

[[voicemail]]
name = "desk"
roles = ["front-desk"]

[[staff]]
email = "ana@cove.example"
roles = ["front-desk"]
extension = "101"

[[staff]]
email = "ben@cove.example"
roles = ["front-desk"]
extension = "102"

[[location]]
name = "main"
country = "US"
state = "NY"
city = "New York"
street = "Main & Front"
house = "12"
floor = "3"

[dialling]
countries = ["US"]
concurrent_each = 1
per_minute = 100
per_hour = 100
rates = { "+1" = 0.5 }
""")


def policy(more: str = "") -> str:
    """Return the policy with ports that nobody has now, and `more` tables."""
    ports = {"http": free_port(), "sip": free_port(), "carrier": free_port()}
    return POLICY.substitute(ports, url=URL) + more


class Phone:
    """A phone with an extension's password, and a socket for its sound."""

    def __init__(self, extension: str, secret: str, port: int) -> None:
        self.extension = extension
        self.line = Hop("127.0.0.1", port)
        self.login = Login(extension, secret)
        self.endpoint = Endpoint(
            [Hop("127.0.0.1", 0)], credentials=lambda _: None, trunks=lambda _: "gateway", realm=REALM
        )
        self.rung: asyncio.Queue[Incoming] = asyncio.Queue()
        self.sound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sound.bind(("127.0.0.1", 0))
        self.sound.setblocking(False)

    async def _ring(self, incoming: Incoming) -> None:
        incoming.ring()
        self.rung.put_nowait(incoming)

    def offer(self) -> Sdp:
        return offer_audio(self.sound.getsockname())

    def dial(self, number: str) -> Outgoing:
        uri = Uri.parse(f"sip:{number}@127.0.0.1:{self.line.port}")
        own = Address(Uri.parse(f"sip:{self.extension}@127.0.0.1"))
        return self.endpoint.call(uri, self.offer(), from_=own, login=self.login)

    async def register(self, seconds: int = 600) -> None:
        own = f"<sip:{self.extension}@127.0.0.1>"
        hop = self.line
        headers = {"Contact": [self.endpoint.client.contact_for(hop, self.extension)], "Expires": [str(seconds)]}
        response, _ = await self.endpoint.client.ask(
            "REGISTER", "sip:127.0.0.1", hop, from_=own, to=own, headers=headers, login=self.login
        )
        assert response is not None
        assert response.status == 200

    async def hears(self, data: bytes) -> bool:
        """Tell whether this very sound comes in, among whatever else does."""
        async with asyncio.timeout(20):
            while True:
                packet = await asyncio.get_running_loop().sock_recv(self.sound, 2048)
                if packet[12:] == data:
                    return True


class Office:
    """The gateway, and phones that were just added."""

    def __init__(self, instance: Instance, gateway: Gateway) -> None:
        self.instance = instance
        self.gateway = gateway
        self.port = gateway.endpoint.local.port
        self.carrier_port = gateway.line.practice.trunks[0].servers[0].port or 0

    @asynccontextmanager
    async def phone(self, extension: str) -> AsyncIterator[Phone]:
        def secret(db: Session) -> str:
            person = staff.find(db, {"101": "ana@cove.example", "102": "ben@cove.example"}[extension])
            assert person is not None
            return staff.add_device(db, person.id, extension, REALM, now())

        phone = Phone(extension, await self.instance.db.run(secret, write=True), self.port)
        phone.endpoint.on_invite = phone._ring
        try:
            await phone.endpoint.start()
            yield phone
        finally:
            await phone.endpoint.close(0.2)
            phone.sound.close()

    async def rows(self, holds: Callable[[list[Call]], bool], direction: str = call.OUT) -> list[Call]:
        """Return the calls of one direction once they are as a test waits for."""
        async with asyncio.timeout(30):
            while True:
                rows = await self.instance.db.run(partial(_calls, direction))
                if holds(rows):
                    return rows
                await asyncio.sleep(0.02)

    async def ended(self, before: int) -> Call:
        return (await self.rows(lambda rows: len(rows) > before and rows[-1].ended_at is not None))[-1]

    async def count(self) -> int:
        return len(await self.rows(lambda _: True))


def _calls(direction: str, db: Session) -> list[Call]:
    return list(db.exec(select(Call).where(Call.direction == direction).order_by(col(Call.started_at))))


@asynccontextmanager
async def opened_gateway(instance: Instance, host: str) -> AsyncIterator[Gateway]:
    """Run a gateway on this loop, with Temporal away."""
    nobody = {"TEMPORAL_ADDRESS": f"127.0.0.1:{free_port()}"}
    gateway = await Gateway.open(instance, nobody, host)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.close()


@asynccontextmanager
async def opened_office(instance: Instance) -> AsyncIterator[Office]:
    async with opened_gateway(instance, "media-test") as gateway:
        yield Office(instance, gateway)


def rtp(payload: bytes) -> bytes:
    return b"\x80\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x07" + payload


def port_of(session: Sdp | None) -> int:
    assert session is not None
    assert session.audio is not None
    return session.audio.port
