"""Who is not listened to: sources that guess passwords, and known scanners.

Failures are counted by source and by account. A source that fails too often is banned, for longer each time; the
addresses where phones proved themselves and those of trunks never are, and who signed in over a connection is heard
over it, so that nobody is locked out by what others send in their name. All memory is bounded: a flood from made-up
sources pushes out only what is oldest.
"""

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv6Address

import structlog

from media.sip.hop import Hop
from media.sip.message import Request

FAILURES = 5
"Wrong passwords in `WINDOW_S` after which a source is banned."

WINDOW_S = 60.0
BESIEGED = 20
"Wrong passwords for one account in `WINDOW_S`, from anywhere, after which each source has one try only."

BAN_S = 60.0
"The first ban; each further one is twice as long."

LONGEST_BAN_S = 86_400.0
"Also how long a source has to behave before its bans are forgotten."

SOURCES = 4096
"Sources, and accounts, whose failures are counted at a time."

BANS = 16_384
SAY_S = 10.0
"A flood fills no log: bans are told at most so often."

HOMES = 4
"Addresses that are remembered of each phone's owner."

_SCANNERS = (
    *("friendly-scanner", "friendly-request", "sipvicious", "sipcli", "pplsip", "vaxsipuseragent", "vaxasip"),
    *("sundayddr", "sip-scan", "sipscan", "smap", "iwar", "sivus"),
)
"How the User-Agent of programs begins that look for open doors; lower case."

_MARKS = re.compile(r"sipvicious|@1\.1\.1\.1(?![0-9])")
"What stands in From or To of requests that those programs make, under whatever User-Agent."

log = structlog.get_logger()


@dataclass(slots=True)
class _Record:
    """What one source, or one account, did."""

    failures: list[float] = field(default_factory=list)
    bans: int = 0
    until: float = 0.0

    def fails(self, now: float, most: int) -> bool:
        """Count a failure; tell whether there were `most` of them within the window."""
        self.failures = [at for at in self.failures[-most:] if now - at < WINDOW_S] + [now]
        return len(self.failures) >= most


class Guard:
    """The doorkeeper of one endpoint.

    `trusted` tells a trunk's address, `known` who is heard from a banned address, by the connection or the very place,
    `clock` gives seconds.
    """

    def __init__(
        self, clock: Callable[[], float], trusted: Callable[[str], bool], known: Callable[[Hop], bool]
    ) -> None:
        self._clock = clock
        self._trusted = trusted
        self._known = known
        self._banned: OrderedDict[str, float] = OrderedDict()
        self._sources: OrderedDict[str, _Record] = OrderedDict()
        self._accounts: OrderedDict[str, _Record] = OrderedDict()
        self._homes: dict[str, OrderedDict[str, None]] = {}
        self._say_at, self._untold = -SAY_S, 0
        self.dropped = 0
        "Messages of banned sources and of scanners since the start."

    def bars(self, source: Hop) -> bool:
        """Tell whether nothing from there is looked at; one look-up where nobody is banned.

        A ban is of an IP address, in whose name anybody sends over UDP, and which a whole office may share: who is
        known by the connection is heard all the same.
        """
        if not self._banned:
            return False
        network = network_of(source.host)
        until = self._banned.get(network)
        if until is None:
            return False
        if until <= self._clock():
            del self._banned[network]
            return False
        if self._known(source):
            return False
        self.dropped += 1
        return True

    def ignores(self, request: Request, host: str) -> bool:
        """Tell whether a request is left without an answer: one that only scanners send."""
        agent = (request.get("User-Agent") or "").lower()
        marked = any(_MARKS.search(request.get(name) or "") for name in ("From", "To"))
        if not (marked or agent.startswith(_SCANNERS)) or self._trusted(host):
            return False
        self.dropped += 1
        self._count(host, FAILURES)
        return True

    def failed(self, host: str, account: str) -> None:
        """Count a wrong password, or an unknown name, from an IP address."""
        besieged = _kept(self._accounts, account[:64]).fails(self._clock(), BESIEGED)
        self._count(host, 1 if besieged else FAILURES)

    def proved(self, host: str, account: str) -> None:
        """Note that an account's phone is at an IP address: it is not banned, whatever comes from there."""
        source = network_of(host)
        homes = self._homes.setdefault(account, OrderedDict())
        homes[source] = None
        homes.move_to_end(source)
        if len(homes) > HOMES:
            homes.popitem(last=False)
        self._sources.pop(source, None)
        self._banned.pop(source, None)

    def _count(self, host: str, most: int) -> None:
        source = network_of(host)
        if self._trusted(host) or any(source in homes for homes in self._homes.values()):
            return
        record = _kept(self._sources, source)
        now = self._clock()
        if not record.fails(now, most):
            return
        if now - record.until > LONGEST_BAN_S:
            record.bans = 0
        seconds = min(BAN_S * 2**record.bans, LONGEST_BAN_S)
        record.bans = min(record.bans + 1, 16)
        record.failures, record.until = [], now + seconds
        self._banned[source] = record.until
        self._banned.move_to_end(source)
        if len(self._banned) > BANS:
            self._banned.popitem(last=False)
        self._untold += 1
        if now >= self._say_at:
            log.warning("source banned", source=source, seconds=int(seconds), bans=self._untold)
            self._say_at, self._untold = now + SAY_S, 0


@lru_cache(SOURCES)
def network_of(host: str) -> str:
    """Return what is banned for an IP address: itself, or the /64 that one owner of IPv6 addresses has."""
    if ":" not in host:
        return host
    try:
        address = IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"


def _kept(records: OrderedDict[str, _Record], key: str) -> _Record:
    """Return the record of `key`, which is now the latest; the oldest goes where there are too many."""
    record = records.get(key)
    if record is None:
        record = records[key] = _Record()
        if len(records) > SOURCES:
            records.popitem(last=False)
    else:
        records.move_to_end(key)
    return record
