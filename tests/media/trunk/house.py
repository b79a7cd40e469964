"""Trunks on an endpoint whose policy a test may change; the carriers are sockets on loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from hub.settings import Practice, load
from media.offer import offer_audio
from media.sip.admission import TrunkTable
from media.sip.endpoint import Endpoint
from media.sip.hop import Hop
from media.sip.locate import Locator
from media.sip.outgoing import Outgoing
from media.sip.transport import Limits
from media.trunk.carrier import TrunkState
from media.trunk.trunks import Trunks, Wish
from tests.media.sip.peer import Conduct, Peer, peer

LOGIN = ("u100", "hush", "carrier.example")
NUMBER = "+12125550123"


def practice(*tables: str) -> Practice:
    return load('[practice]\nname = "Harbor"\ntimezone = "America/New_York"\n' + "".join(tables))


def trunk(name: str, *peers: Peer, **more: object) -> str:
    servers = ", ".join(f'"{each.address[0]}:{each.address[1]}"' for each in peers)
    given = {"keepalive_seconds": 0} | more
    lines = "".join(f"{key} = {value}\n" for key, value in given.items())
    return f'[[trunk]]\nname = "{name}"\nhosts = ["192.0.2.{len(name)}"]\nservers = [{servers}]\n{lines}'


def named(name: str, *servers: str) -> str:
    """Return a trunk whose servers are names."""
    return trunk(name).replace("servers = []", f"servers = {[*servers]}".replace("'", '"'))


ACCOUNT = {"username": '"u100"', "password": '"env:CARRIER"', "domain": '"carrier.example"'}


class House:
    """An endpoint with trunks whose policy a test may change."""

    def __init__(self, endpoint: Endpoint, policy: Practice, locator: Locator | None) -> None:
        self.policy = policy
        self.said: list[tuple[str, bool, str]] = []
        self.changed = asyncio.Event()
        self.endpoint = endpoint
        self.trunks = Trunks(endpoint, lambda: self.policy, {"env:CARRIER": "hush"}.__getitem__, locator)
        self.trunks.on_state = self._hear
        self.progress: list[int] = []
        self.rung = asyncio.Event()

    def _hear(self, state: TrunkState) -> None:
        self.said.append((state.name, state.up, state.code))
        self.changed.set()

    async def states(self, count: int) -> list[tuple[str, bool, str]]:
        async with asyncio.timeout(20):
            while len(self.said) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.said

    async def reach(self, *names: str, **more: Any) -> tuple[Outgoing | None, str]:
        wish = Wish(NUMBER, "+12125550100", offer_audio(("127.0.0.1", 30_000)), **more)
        async with asyncio.timeout(20):
            return await self.trunks.reach(names, wish, self._ring)

    def _ring(self, status: int, _early: object) -> None:
        self.progress.append(status)
        self.rung.set()


@asynccontextmanager
async def house(policy: Practice, locator: Locator | None = None, limits: Limits | None = None) -> AsyncIterator[House]:
    listeners = [Hop("127.0.0.1", 0), Hop("127.0.0.1", 0, "tcp")]
    endpoint = Endpoint(listeners, credentials=lambda _: None, trunks=TrunkTable({}), limits=limits)
    await endpoint.start()
    built = House(endpoint, policy, locator)
    built.trunks.follow()
    try:
        yield built
    finally:
        await built.trunks.close()
        await endpoint.close(0.2)


@asynccontextmanager
async def peers(*conducts: Conduct) -> AsyncIterator[list[Peer]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(peer(each)) for each in conducts]
