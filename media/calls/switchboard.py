"""Who in the house can be passed on to whom: the far ends of its calls, and the extensions that can be rung."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from media.browser import sealing
from media.calls.floor import Rung, first_answer, wanted
from media.calls.rescue import follow
from media.errors import MediaError, ProtocolError, UnacceptableError
from media.line import Line
from media.relay import Leg, Relay
from media.sdp import Session
from media.sip.endpoint import Endpoint
from media.sip.incoming import Incoming
from media.sip.leg import Leg as SipLeg
from media.sip.referral import Replaces
from media.sip.registrar import Binding
from media.sip.status import Cause
from media.sip.uri import Address, Uri

RING_SECONDS = 50.0
"How long a colleague is rung for a call that is passed on: less than a phone waits to hear of its transfer."

RESUME = "X-Resume"
"Header of a call that goes on with one that a page had before it was loaded anew; its phone answers by itself."

RESUME_SECONDS = 5.0

_STATUSES = {Cause.BUSY: 486, Cause.REFUSED: 603, Cause.UNREACHABLE: 480, Cause.NO_ANSWER: 480}


@dataclass(frozen=True, slots=True)
class Side:
    """One party of a talk, answered."""

    sip: SipLeg
    leg: Leg
    agent_id: UUID | None = None
    "The person of the practice whose phone it is; None for somebody outside."


Give = Callable[[], Side | None]
"Hands over the party at the other end of a call and ends what is left of it; None where there is nobody yet."

Take = Callable[[Side], Awaitable[bool]]
"Puts a party in the place of the one that a leg belongs to; False where the talk is over."


Found = tuple[Side | None, int]
"Who picked up, and the status that says how it went."

Promise = Callable[[], Awaitable[Found]]
"Waits for whoever is rung to pick up for somebody else; a task that is cancelled in it stops the ringing."


class Switchboard:
    """Finds calls by what a phone knows them as (RFC 3891), and rings extensions."""

    def __init__(self, line: Line, endpoint: Endpoint, relay: Relay) -> None:
        self._line = line
        self._endpoint = endpoint
        self._relay = relay
        self._gives: dict[SipLeg, Give] = {}
        self._takes: dict[SipLeg, Take] = {}
        self._promises: dict[SipLeg, Promise] = {}
        self._awaiting: set[asyncio.Event] = set()

    def offer(self, sip: SipLeg, give: Give) -> None:
        """Let the far end of the call that `sip` made be passed on, until `sip` ends."""
        self._gives[sip] = give
        sip.gone.add_done_callback(lambda _: self._gives.pop(sip, None))

    def promise(self, sip: SipLeg, promise: Promise) -> None:
        """Let who is rung for the call that `sip` makes be had by another caller, when they pick up."""
        self._promises[sip] = promise
        sip.gone.add_done_callback(lambda _: self._promises.pop(sip, None))

    def put(self, sip: SipLeg, take: Take) -> None:
        """Let the talk that `sip` is in be taken over by somebody else, until `sip` ends."""
        self._takes[sip] = take
        sip.gone.add_done_callback(lambda _: self._takes.pop(sip, None))

    def far_end(self, replaces: Replaces) -> Side | None:
        """Return whoever is at the other end of the call that a phone names, which thereby leaves it."""
        sip = self._endpoint.find_leg(replaces)
        give = self._gives.get(sip) if sip is not None else None
        return None if give is None else give()

    def promised(self, replaces: Replaces) -> Promise | None:
        """Return what waits for whoever is rung by the call that a phone names."""
        sip = self._endpoint.find_leg(replaces)
        return None if sip is None or sip in self._gives else self._promises.get(sip)

    def taker(self, replaces: Replaces) -> Take | None:
        """Return what puts somebody in the place of the phone in a talk that it names."""
        sip = self._endpoint.find_leg(replaces)
        return None if sip is None else self._takes.get(sip)

    async def replace(self, call: Incoming) -> bool:
        """Let a phone take the place of another in a talk, where its INVITE asks for that (RFC 3891); else False."""
        if call.replaces is None:
            return False
        take = self._takes.get(call.replaces)
        if not call.extension or take is None or call.offer is None:
            call.reject(603 if call.extension else 403)
            return True
        try:
            leg = await self._answer(call, call.offer)
        except MediaError as error:
            call.reject(error.status)
            return True
        if leg is not None:
            await take(Side(call, leg, self._line.directory.owners.get(call.extension)))
        return True

    async def _answer(self, call: Incoming, offer: Session) -> Leg | None:
        """Answer a phone, and return its leg; None where it is gone before it has acknowledged that.

        Raises:
            MediaError: no leg can be had, or none for what it offers; the leg is given up.
        """
        leg: Leg = await self._relay.allocate(wanted(call.source))
        there = False
        try:
            if call.answer(await sealing.answer(leg, offer, "", via=call.source.host)):
                call.on_offer = leg.answer
                follow(self._relay, leg, call)
                there = await call.acked
        finally:
            if not there:
                leg.close()
        return leg if there else None

    def registered(self) -> None:
        """Look again for pages that come back: some phone has registered."""
        for each in self._awaiting:
            each.set()

    async def ring_back(self, lost: Side, caller: str, *, name: str, max_forwards: int) -> Side | None:
        """Call the page that was loaded anew as soon as it has registered; None where it takes the call no more.

        `name` is what the page knows the call as: by it, it answers at once. Waits as long as it is let.

        Raises:
            MediaError: no leg can be had.
        """
        extensions = [] if lost.agent_id is None else self._line.directory.extensions_of(lost.agent_id)
        before, again = Uri.parse(lost.sip.contact), asyncio.Event()
        self._awaiting.add(again)
        try:
            while (found := self._come_back(extensions, before)) is None:
                again.clear()
                await again.wait()
        finally:
            self._awaiting.discard(again)
        extension, contact = found
        rung = Rung(await self._relay.allocate(wanted(contact.hop())))
        side: Side | None = None
        try:
            speaks = Address(Uri("sip", caller or "anonymous", self._endpoint.local.host))
            call = self._endpoint.call(
                contact,
                await rung.leg.offer(),
                from_=speaks,
                headers={RESUME: name},
                ring_seconds=RESUME_SECONDS,
                max_forwards=max_forwards,
            )
            rung.ring(call)
            side = await self._answered(extension, await first_answer([rung]))
        finally:
            if side is None:
                rung.stop()
        return side

    def _come_back(self, extensions: Sequence[str], before: Uri) -> tuple[str, Binding] | None:
        """Return where a person's page is that was not there before."""
        for extension in extensions:
            for contact in self._endpoint.registrar.contacts(extension):
                uri = contact.contact
                # What a page calls itself is made up anew each time that it is loaded.
                if contact.hop().transport == "ws" and (uri.user, uri.host) != (before.user, before.host):
                    return extension, contact
        return None

    def is_extension(self, name: str) -> bool:
        """Tell whether this is an extension of the house."""
        return name in self._line.directory.owners

    async def ring(
        self, extension: str, caller: str, *, max_forwards: int, referred_by: str, heard: Callable[[int], None]
    ) -> tuple[Side | None, int]:
        """Ring every phone of an extension until one picks up; return who did, and the status that says how it went.

        `heard` is told of each status before that. A task that is cancelled here stops the ringing.

        Raises:
            MediaError: no leg can be had.
        """
        speaks = Address(Uri("sip", caller or "anonymous", self._endpoint.local.host))
        headers = {"Referred-By": referred_by} if referred_by else {}
        rung: list[Rung] = []
        side: Side | None = None
        try:
            for contact in self._endpoint.registrar.contacts(extension):
                leg = await self._relay.allocate(wanted(contact.hop()))
                rung.append(Rung(leg))
                sip = self._endpoint.call(
                    contact,
                    await leg.offer(),
                    from_=speaks,
                    headers=headers,
                    ring_seconds=RING_SECONDS,
                    max_forwards=max_forwards,
                )
                rung[-1].ring(sip).on_progress = lambda status, _: heard(status)
            side = await self._answered(extension, await first_answer(rung))
        finally:
            for each in rung:
                if side is None or each.sip is not side.sip:
                    each.stop()
        return side, 200 if side is not None else _status([each.sip for each in rung if each.sip is not None])

    async def _answered(self, extension: str, taken: Rung | None) -> Side | None:
        if taken is None or taken.sip is None or taken.sip.remote is None:
            return None
        try:
            await taken.leg.settle(taken.sip.remote)
        except (ProtocolError, UnacceptableError):
            return None  # nothing to speak with: it is hung up with those who were not picked up
        follow(self._relay, taken.leg, taken.sip)
        return Side(taken.sip, taken.leg, self._line.directory.owners.get(extension))


def join(relay: Relay, caller: Side, other: Side, *, waits: bool = False) -> None:
    """Let the two hear each other, or the one that is held some music; `waits` holds the caller in any case."""
    if not (caller.sip.held or other.sip.held or waits):
        relay.bridge(caller.leg, other.leg)
        return
    relay.unbridge(caller.leg)
    for side, held in ((caller, other.sip.held or waits), (other, caller.sip.held)):
        if held and not side.sip.held:
            side.leg.hold_music()
        else:
            side.leg.quiet()


def _status(calls: Sequence[SipLeg]) -> int:
    """Return the status that says best why nobody took it."""
    causes = [call.ended.result() for call in calls if call.ended.done()]
    return next((_STATUSES[cause] for cause in causes if cause in _STATUSES), 480)
