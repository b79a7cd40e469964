"""The trunks that calls to the outside go over: kept up as the policy says, and tried one after the other."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from hub.errors import SettingsError
from hub.settings.practice import Practice
from hub.settings.telephony import Trunk
from media.sdp import Session
from media.sip.endpoint import RING_SECONDS, Endpoint
from media.sip.hop import Hop
from media.sip.locate import Locator
from media.sip.message import MAX_FORWARDS
from media.sip.multipart import Part
from media.sip.outgoing import Outgoing
from media.sip.status import Cause
from media.sip.uri import Address
from media.trunk.carrier import Carrier, TrunkState
from media.trunk.way import Way, Ways

SILENCE_S = 4.0
"How long a server may say nothing at all to an INVITE before the next is tried."

CLOSE_S = 1.0
"How long taking registrations back may hold up the end of the process."

_FAILED = frozenset({408, 503})
"Statuses of a server that cannot take the call now (RFC 3263 section 4.3)."

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Wish:
    """A call to the outside, before it is known who carries it."""

    number: str = field(repr=False)
    "E.164, or a short number."

    shown: str = field(repr=False)
    "The practice's number that the far end sees (E.164); empty where it has none."

    offer: Session = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    parts: Sequence[Part] = ()
    ring_seconds: float = RING_SECONDS
    max_forwards: int = MAX_FORWARDS
    insistent: bool = False
    "For a call for help: every refusal but a busy line leads to the next server."


Progress = Callable[[int, Session | None], None]


class Trunks:
    """Every trunk with servers, and the calls that go over them."""

    def __init__(
        self,
        endpoint: Endpoint,
        policy: Callable[[], Practice],
        secret: Callable[[str], str],
        locator: Locator | None = None,
    ) -> None:
        """Take where the policy in force and a secret by its reference come from; `secret` may raise SettingsError."""
        self.on_state: Callable[[TrunkState], None] | None = None
        "Hears of each trunk that went down, or came up after it was down."

        self.on_look: Callable[[], None] | None = None
        "Called whenever `states` say something new."

        self._endpoint = endpoint
        self._policy = policy
        self._secret = secret
        self._locator = locator or Locator()
        self._carriers: dict[str, Carrier] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}
        endpoint.registrar.servers = self.have

    def have(self, host: str) -> bool:
        """Tell whether an IP address is or was a server's of a trunk: nobody but a carrier is called there."""
        return any(carrier.has(host) for carrier in self._carriers.values())

    @property
    def states(self) -> list[TrunkState]:
        """How each trunk is, in the policy's order."""
        return [carrier.state for carrier in self._carriers.values()]

    def follow(self) -> None:
        """Begin with the policy's trunks, or go over to those of a new policy; trunks that stay as they are go on."""
        wanted = {trunk.name: trunk for trunk in self._policy().trunks if trunk.servers}
        for name in list(self._carriers):
            if self._carriers[name].trunk != wanted.get(name):
                self._stop(name)
        for name, trunk in wanted.items():
            if name not in self._carriers:
                self._begin(trunk)
        self._carriers = {name: self._carriers[name] for name in wanted if name in self._carriers}
        if self.on_look is not None:
            self.on_look()

    async def close(self) -> None:
        """Watch no more, and take registrations back."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        ends = [asyncio.create_task(carrier.close()) for carrier in self._carriers.values()] + [*self._ending.values()]
        if ends:
            _, late = await asyncio.wait(ends, timeout=CLOSE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*ends, return_exceptions=True)

    async def reach(self, names: Sequence[str], wish: Wish, on_progress: Progress) -> tuple[Outgoing | None, str]:
        """Call a number over the first server that takes it; return the call, answered or ended, and its trunk.

        A server that is silent, unreachable or says 503 before anything rang is left for the next, and its call
        withdrawn, so that nothing rings twice. None where there is no server at all. Cancelled, it stops ringing.
        """
        ways = Ways([carrier for name in names if (carrier := self._carriers.get(name)) is not None])
        call: Outgoing | None = None
        trunk = ""
        try:
            way = await ways.next()
            while way is not None:
                carrier, hop = way
                trunk, had, following = carrier.trunk.name, False, ways.next()
                call = self._call(carrier, hop, wish)
                try:
                    if await _took(call, wish, on_progress, following):
                        had = await call.answered is not None
                        return call, trunk
                finally:
                    if not had:  # also one that was answered in the moment in which nobody wanted it any more
                        call.cancel()
                carrier.failed(hop)
                log.info("next server tried", trunk=trunk, status=call.status)
                way = await following
            return call, trunk
        finally:
            ways.close()

    def _call(self, carrier: Carrier, hop: Hop, wish: Wish) -> Outgoing:
        uri = carrier.uri_of(wish.number)
        user = wish.shown or (carrier.trunk.username or "anonymous")
        own = Address(carrier.uri_of(user))
        headers = dict(wish.headers)
        if wish.shown:
            headers["P-Asserted-Identity"] = f"<{own.uri}>"  # RFC 3325 section 9.1: the carrier is in our trust domain
        if carrier.route:
            headers["Route"] = carrier.route
        return self._endpoint.call(
            uri,
            wish.offer,
            from_=own,
            headers=headers,
            login=carrier.login,
            ring_seconds=wish.ring_seconds,
            max_forwards=wish.max_forwards,
            hop=hop,
            parts=wish.parts,
        )

    def _begin(self, trunk: Trunk) -> None:
        called = trunk.name
        try:
            password = self._secret(trunk.password) if trunk.password is not None else ""
        except SettingsError as error:
            log.error("trunk not begun", trunk=called, code=error.code)
            return
        carrier = Carrier(trunk, self._endpoint.client, self._locator, password, self._changed)
        self._carriers[called] = carrier
        self._running[called] = asyncio.create_task(self._run(carrier, self._ending.get(called)))

    async def _run(self, carrier: Carrier, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            # Otherwise the old registration's end could take the new one away.
            await asyncio.wait([before])
        await carrier.run()

    def _stop(self, name: str) -> None:
        carrier, task = self._carriers.pop(name), self._running.pop(name)
        task.cancel()
        self._ending[name] = asyncio.create_task(carrier.close())

    def _changed(self, state: TrunkState, turned: bool) -> None:
        if self.on_look is not None:
            self.on_look()
        if turned and self.on_state is not None:
            self.on_state(state)


async def _took(call: Outgoing, wish: Wish, on_progress: Progress, following: "asyncio.Task[Way | None]") -> bool:
    """Tell whether a server took the call: it rings, was answered, or refused for a reason that is not the server's.

    The last has all the time that the call may ring; `following` tells whether there is another.
    """
    told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    rung = False

    def tell(_done: object = None) -> None:
        if not told.done():
            told.set_result(None)

    def progressed(status: int, early: Session | None) -> None:
        nonlocal rung
        if status > 100:
            rung = True
            tell()
            on_progress(status, early)

    call.on_progress = progressed
    call.answered.add_done_callback(tell)
    call.ended.add_done_callback(tell)
    while not told.done() and call.status == 0 and call.silence < SILENCE_S:
        await asyncio.wait([told], timeout=SILENCE_S - call.silence)
    if not told.done() and call.status == 0:
        either: list[asyncio.Future[Any]] = [told, following]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not told.done() and call.status == 0 and following.result() is not None:
            return False
    await told
    if rung or not call.ended.done():
        return True
    if wish.insistent:
        theirs = call.ended.result() in (Cause.BUSY, Cause.REFUSED)
    else:
        theirs = not (call.status in _FAILED or call.status <= 100)
    return theirs or await following is None
