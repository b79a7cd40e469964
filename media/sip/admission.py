"""Who is let in: trunks by their address, phones by their password (RFC 3261 section 22)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Protocol

import structlog

from media.sip.digest import Authority, Outcome
from media.sip.guard import Guard
from media.sip.hop import Hop
from media.sip.leg import Stack
from media.sip.message import Request
from media.sip.registrar import Registrar
from media.sip.transport import Wires

log = structlog.get_logger()

DOUBT_SECONDS = 0.05
"How often at most those who may sign in are read once more because somebody was refused."

_REMEMBERED = 1024
"Source addresses whose trunk is kept; a flood from made-up addresses cannot fill memory."


class TrunkTable:
    """Trunks by source address: exact addresses and networks; pass it to `Endpoint` as `trunks`."""

    def __init__(self, hosts: Mapping[str, Sequence[str]]) -> None:
        """Take the hosts of each trunk by its name.

        Raises:
            ValueError: a host that is neither an IP address nor a network.
        """
        # The narrowest network wins, so that one address inside a carrier's network can be another trunk.
        self._networks = sorted(
            ((ip_network(host), name) for name, listed in hosts.items() for host in listed),
            key=lambda entry: entry[0].prefixlen,
            reverse=True,
        )
        self._find = lru_cache(_REMEMBERED)(self._search)

    def __call__(self, source: str) -> str | None:
        """Return the trunk that an IP address belongs to, or None."""
        return self._find(source)

    def _search(self, source: str) -> str | None:
        try:
            address = ip_address(source)
        except ValueError:
            return None
        return next((name for network, name in self._networks if address in network), None)


def is_known(wires: Wires, registrar: Registrar, source: Hop) -> bool:
    """Tell whether a message comes over a connection that somebody signed in on, or from where a phone registered.

    Also whether from a server that calls outside go to: what a trunk answers must come in, wherever DNS finds it.
    """
    return bool(wires.owner(source)) or registrar.holds(source) or registrar.servers(source.host)


class Host(Protocol):
    """Whose door it is: the endpoint."""

    def on_request(self, request: Request, source: Hop) -> None:
        """Take a request, for the second time here."""

    def answer(self, request: Request, status: int, headers: Mapping[str, list[str]] | None = None) -> None:
        """Answer without keeping state."""


class Door:
    """Where phones prove who they are."""

    def __init__(self, authority: Authority, guard: Guard, stack: Stack, host: Host) -> None:
        self.on_doubt: Callable[[], Awaitable[bool]] | None = None
        "Asked before a phone is refused: reads who may sign in once more, and tells whether that has changed."

        self._authority = authority
        self._guard = guard
        self._stack = stack
        self._host = host
        self._doubted_at = float("-inf")
        self._doubted: dict[tuple[Hop, str, str], tuple[Request, Hop]] = {}
        "What was refused while the record is asked, each transaction once: judged again after that."

    def extension_of(self, request: Request, source: Hop, trunk: str = "") -> str:
        """Return the extension that a request proves to come from.

        Otherwise it is answered and nothing returned; a trunk's request is only told apart from a phone's.
        """
        verdict = self._authority.judge(request)
        if verdict.outcome is Outcome.ACCEPTED:
            self._guard.proved(source.host, verdict.username)
        elif trunk:
            return ""
        elif verdict.outcome is Outcome.REFUSED:
            self._refuse(request, source, verdict.claimed)
        else:
            challenges = self._authority.challenges(request, stale=verdict.outcome is Outcome.STALE)
            self._host.answer(request, 401, {"WWW-Authenticate": challenges})
        return verdict.username

    def _refuse(self, request: Request, source: Hop, claimed: str) -> None:
        """Refuse a phone, once the record was asked whether it has changed: the phone may just have been added.

        Nothing here depends on whether the name is known.
        """
        now = self._stack.timers.clock()
        asking = bool(self._doubted)
        if self.on_doubt is not None and (asking or now - self._doubted_at >= DOUBT_SECONDS):
            if len(self._doubted) < _REMEMBERED:
                self._doubted.setdefault((source, request.via.branch, request.method), (request, source))
            if not asking:
                self._stack.spawn(self._ask(self.on_doubt))
            return
        self._guard.failed(source.host, claimed)
        self._host.answer(request, 403)

    async def _ask(self, on_doubt: Callable[[], Awaitable[bool]]) -> None:
        try:
            await on_doubt()
        except Exception as error:  # answered all the same, or the phone would ask for ever
            log.error("record not asked", kind=type(error).__name__)
        doubted, self._doubted = self._doubted, {}
        self._doubted_at = self._stack.timers.clock()  # so that the same requests are in doubt no second time
        for request, source in doubted.values():
            self._host.on_request(request, source)
