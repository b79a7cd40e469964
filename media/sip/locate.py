"""Where a SIP server is: its name becomes addresses, by SRV records where there are some (RFC 3263 section 4)."""

import asyncio
import random
import socket
from collections.abc import Sequence

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.resolver
import structlog

from media.sip.dialog import is_numeric
from media.sip.hop import DEFAULT_PORTS, Hop

LOOK_UP_S = 5.0
"How long one question may take; afterwards what was known last stands."

KNOWN_S = 0.5
"How long a look-up is waited for where an older answer is known; it goes on, for whoever asks next."

_SERVICES = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"}
"RFC 3263 section 4.1."

_CACHED = 256

_NO_ADDRESS = (socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_ADDRFAMILY)
"What the machine says of a name that is gone, or has no IPv4 address (getaddrinfo(3))."

log = structlog.get_logger()

Record = tuple[int, int, str, int]
"Priority, weight, target and port of an SRV record (RFC 2782)."

_Question = tuple[str, int | None, str]
"""Host, port and transport."""


class Locator:
    """Looks servers up; answers are kept as long as DNS lets them, and longer while DNS is silent.

    `nameservers` are addresses and ports; without them the machine's own resolver is asked.
    """

    def __init__(self, nameservers: Sequence[tuple[str, int]] = (), chance: random.Random | None = None) -> None:
        self._nameservers = tuple(nameservers)
        self._chance = chance or random.Random()
        self._resolver: dns.asyncresolver.Resolver | None = None
        self._known: dict[_Question, list[Hop]] = {}
        self._looks: dict[_Question, asyncio.Task[list[Hop]]] = {}
        "The look-ups that go on now."

    async def locate(self, host: str, port: int | None = None, transport: str = "udp") -> list[Hop]:
        """Return where a server is, in the order in which to try; empty where nobody knows.

        A number is taken as it is; a name with a port is looked up as an address, any other by SRV first (RFC 3263
        section 4.2).
        """
        if is_numeric(host):
            return [Hop(host, port or DEFAULT_PORTS[transport], transport)]
        question = (host.lower(), port, transport)
        look = self._looks.get(question)
        if look is None:
            look = self._looks[question] = asyncio.create_task(self._look(question))
            look.add_done_callback(lambda _done: self._looks.pop(question))
        known = self._known.get(question, [])
        await asyncio.wait([look], timeout=KNOWN_S if known else None)
        return look.result() if look.done() else known

    async def _look(self, question: _Question) -> list[Hop]:
        try:
            self._known[question] = await self._search(*question)
        except (dns.exception.DNSException, OSError) as error:
            _warn(error)
        return self._known.get(question, [])

    async def _search(self, host: str, port: int | None, transport: str) -> list[Hop]:
        if port is None:
            records = await self._services(f"{_SERVICES[transport]}.{host}")
            if records:
                places = [(target, at) for _, _, target, at in ordered(records, self._chance)]
                return await self._all_at(places, transport, host)
        return await self._at(host, port or DEFAULT_PORTS[transport], transport, host)

    async def _all_at(self, places: Sequence[tuple[str, int]], transport: str, name: str) -> list[Hop]:
        """Return the addresses of all targets; one that cannot be looked up does not hide the others."""
        looks = [self._at(target, port, transport, name) for target, port in places]
        found: list[Hop] = []
        failures: list[BaseException] = []
        for answer in await asyncio.gather(*looks, return_exceptions=True):
            if isinstance(answer, BaseException):
                failures.append(answer)
            else:
                found += answer
        if failures and not found:
            raise failures[0]
        for failure in failures:
            _warn(failure)
        return found

    async def _at(self, target: str, port: int, transport: str, name: str) -> list[Hop]:
        """Return the addresses of a host; its certificate bears the name that was asked for (RFC 5922 section 7.3)."""
        async with asyncio.timeout(LOOK_UP_S):
            found = [target] if is_numeric(target) else await self._addresses(target)
        return [Hop(address, port, transport, name=name) for address in found]

    async def _services(self, name: str) -> list[Record]:
        try:
            async with asyncio.timeout(LOOK_UP_S):
                answer = await self._asked().resolve(name, "SRV")
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        return [(each.priority, each.weight, each.target.to_text(omit_final_dot=True), each.port) for each in answer]

    async def _addresses(self, host: str) -> list[str]:
        if not self._nameservers:
            # The machine's own files count too.
            loop = asyncio.get_running_loop()
            try:
                found = await loop.getaddrinfo(host, None, type=socket.SOCK_DGRAM, family=socket.AF_INET)
            except socket.gaierror as error:
                if error.errno in _NO_ADDRESS:
                    return []
                raise
            return list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for kind in ("A", "AAAA"):
            try:
                return [each.to_text() for each in await self._asked().resolve(host, kind)]
            except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
                continue
        return []

    def _asked(self) -> dns.asyncresolver.Resolver:
        if self._resolver is None:
            self._resolver = dns.asyncresolver.Resolver(configure=not self._nameservers)
            self._resolver.cache = dns.resolver.LRUCache(_CACHED)
            self._resolver.lifetime = LOOK_UP_S
            if self._nameservers:
                asked = [dns.nameserver.Do53Nameserver(address, port) for address, port in self._nameservers]
                self._resolver.nameservers = asked
        return self._resolver


def _warn(error: BaseException) -> None:
    log.warning("server not looked up", kind=type(error).__name__)


def ordered(records: Sequence[Record], chance: random.Random) -> list[Record]:
    """Return SRV records in the order in which to try them: by priority, among equals at random by weight (RFC 2782).

    A target "." says that there is no such service.
    """
    left = sorted((record for record in records if record[2] not in {"", "."}), key=lambda each: (each[0], each[1]))
    taken: list[Record] = []
    while left:
        equals = [record for record in left if record[0] == left[0][0]]  # weight 0 stands first
        drawn, total = chance.randint(0, sum(record[1] for record in equals)), 0
        for record in equals:
            total += record[1]
            if total >= drawn:
                break
        taken.append(record)
        left.remove(record)
    return taken
