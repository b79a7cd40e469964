"""One trunk as this side sees it: its servers, which of them answer, and whether we are registered."""

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from hub.settings.telephony import Trunk
from hub.settings.value import Server
from media.sip.client import Client
from media.sip.digest import Login
from media.sip.hop import Hop
from media.sip.locate import Locator
from media.sip.registrar import plain
from media.sip.registration import REGISTERED, Account, Registration
from media.sip.uri import Uri

PING_S = 4.0
"How long a server may take to answer OPTIONS."

MISSES = 2
"Silences in a row after which a server counts as down."

DOWN_S = 60.0
"How long a server that failed a call is tried last, where no OPTIONS tells that it is back."

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class TrunkState:
    """How a trunk is, for people."""

    name: str
    up: bool
    code: str
    "`registered`, a SIP status, `no-answer` or `ok`: what registering, or asking the servers, last came to."

    servers: Mapping[str, bool] = field(default_factory=dict)
    "Which of its servers answer, by `address:port`."


class Carrier:
    """One trunk with servers; `run` keeps it, `hops` says where calls go.

    `on_change` hears its state each time it is another, and whether it came up, or went down, by that.
    """

    def __init__(
        self,
        trunk: Trunk,
        client: Client,
        locator: Locator,
        password: str,
        on_change: Callable[[TrunkState, bool], None],
    ) -> None:
        self.trunk = trunk
        self.called = trunk.name
        self.login = Login(trunk.username, password, trunk.realm or "") if trunk.username is not None else None
        self._client = client
        self._locator = locator
        self._on_change = on_change
        self._down: dict[tuple[str, int, str], float] = {}
        self._misses: dict[tuple[str, int, str], int] = {}
        self._found: dict[Server, list[Hop]] = {}
        self._servers = (trunk.proxy,) if trunk.proxy is not None else trunk.servers
        self._hosts = {plain(server.host) for server in (*trunk.servers, *self._servers)}
        "What its servers are called, and every address that they ever had."
        self._told: TrunkState | None = None
        self._registration: Registration | None = None
        if trunk.registers and self.login is not None:
            account = Account(
                trunk.name, self.login.username, trunk.known_as, self.login, trunk.register_seconds, self.route
            )
            self._registration = Registration(client, account, self.hops, lambda _: self._tell())

    @property
    def route(self) -> str:
        """The Route value of the outbound proxy; empty without one."""
        proxy = self.trunk.proxy
        if proxy is None:
            return ""
        named = "" if self.trunk.transport == "udp" else f";transport={self.trunk.transport}"
        return f"<sip:{proxy}{named};lr>"

    @property
    def state(self) -> TrunkState:
        """How it is now."""
        hops = [hop for found in self._found.values() for hop in found]
        servers = {f"{hop.host}:{hop.port}": not self.is_down(hop) for hop in hops}
        answers = not servers or any(servers.values())
        if self._registration is None:
            return TrunkState(self.trunk.name, answers, "ok" if answers else "no-answer", servers)
        code = self._registration.code
        return TrunkState(self.trunk.name, answers and code == REGISTERED, code, servers)

    def uri_of(self, number: str) -> Uri:
        """Return the address of a number (E.164 or a short one) at this carrier."""
        params: dict[str, str | None] = {"user": "phone"} if number.startswith("+") else {}
        return Uri("sip", number, self.trunk.known_as, params=params)

    def looks(self) -> list[Coroutine[Any, Any, list[Hop]]]:
        """Return a look-up of each server, in the policy's order."""
        return [self._look(server) for server in self._servers]

    async def _look(self, server: Server) -> list[Hop]:
        found = self._found[server] = await self._locator.locate(server.host, server.port, self.trunk.transport)
        self._hosts.update(plain(hop.host) for hop in found)
        return found

    def has(self, host: str) -> bool:
        """Tell whether an IP address, as `plain` writes it, is or was one of its servers'."""
        return host in self._hosts

    def ordered(self, hops: Iterable[Hop]) -> list[Hop]:
        """Return servers in the order to try: those that answer first, the others last."""
        return sorted(dict.fromkeys(hops), key=self.is_down)

    async def hops(self) -> list[Hop]:
        """Return where requests go, in the order to try."""
        found = await asyncio.gather(*self.looks())
        return self.ordered(hop for hops in found for hop in hops)

    def is_down(self, hop: Hop) -> bool:
        """Tell whether a server did not answer of late."""
        return self._down.get(_key(hop), -math.inf) > asyncio.get_running_loop().time()

    def failed(self, hop: Hop) -> None:
        """Note that a server did not take a call; OPTIONS, or time, tells when it is back."""
        until = math.inf if self.trunk.keepalive_seconds else asyncio.get_running_loop().time() + DOWN_S
        self._mark(hop, until)

    async def run(self) -> None:
        """Register and watch the servers until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            if self._registration is not None:
                tasks.create_task(self._registration.run())
            if self.trunk.keepalive_seconds:
                tasks.create_task(self._watch())
            else:
                await self.hops()  # nobody else asks before the first call, and `has` should know

    async def close(self) -> None:
        """Take the registration back."""
        if self._registration is not None:
            await self._registration.close()

    async def _watch(self) -> None:
        while True:
            hops = await self.hops()
            await asyncio.gather(*(self._ping(hop) for hop in hops))
            self._tell()
            await asyncio.sleep(self.trunk.keepalive_seconds)

    async def _ping(self, hop: Hop) -> None:
        """Ask a server whether it is there; whatever it says but 408 and 503, it is (RFC 3261 section 11)."""
        user = self.trunk.username or "chartline"
        domain = self.trunk.known_as
        headers = {"Contact": [self._client.contact_for(hop, user)]}
        if self.route:
            headers["Route"] = [self.route]
        response, _ = await self._client.ask(
            "OPTIONS",
            f"sip:{domain}",
            hop,
            from_=f"<sip:{user}@{domain}>",
            to=f"<sip:{domain}>",
            headers=headers,
            seconds=PING_S,
        )
        if response is not None and response.status not in (408, 503):
            self._misses.pop(_key(hop), None)
            self._mark(hop, -math.inf)
            return
        misses = self._misses[_key(hop)] = self._misses.get(_key(hop), 0) + 1
        if misses >= MISSES or response is not None:
            self._mark(hop, math.inf)

    def _mark(self, hop: Hop, until: float) -> None:
        before = self.is_down(hop)
        if until == -math.inf:
            self._down.pop(_key(hop), None)
        else:
            self._down[_key(hop)] = until
        if self.is_down(hop) != before:
            log.info("server down" if not before else "server up", trunk=self.called)
            self._tell()

    def _tell(self) -> None:
        """Let others know what is new; a trunk that is up from the beginning did not come up."""
        state, before = self.state, self._told
        if state != before:
            self._told = state
            self._on_change(state, not state.up if before is None else state.up != before.up)


def _key(hop: Hop) -> tuple[str, int, str]:
    return hop.host, hop.port, hop.transport
