"""The agents' side: offers are read from the rows, their phones ring, and who picks up is connected.

`hub.record.queue` decides whom to ring. Any process may run it; this one rings what the rows say is its own, whoever
wrote them, so a line queues and rings without anything else running.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog
from sqlmodel import Session as Db

from hub.record import agent, queue
from hub.record.queue import Offer, OfferState
from media.calls.rescue import follow
from media.errors import MediaError, ProtocolError, UnacceptableError
from media.ledger import Ledger
from media.line import Line
from media.relay import Leg, Relay, Wanted
from media.sip.endpoint import Endpoint
from media.sip.hop import Hop
from media.sip.outgoing import Outgoing
from media.sip.registrar import Binding
from media.sip.status import Cause
from media.sip.uri import Address, Uri

log = structlog.get_logger()

LOOK_S = 1.0
"How often agents who may be tried again, or whose wrap-up is over, are looked for while somebody waits."


@dataclass(frozen=True, slots=True)
class Answered:
    """An agent who picked up."""

    agent_id: UUID
    sip: Outgoing
    leg: Leg


@dataclass(slots=True)
class Rung:
    """One phone that is rung, and the sound it would have."""

    leg: Leg
    sip: Outgoing | None = None

    def ring(self, sip: Outgoing) -> Outgoing:
        """Take the call that rings it. A phone may offer anew in the moment in which it is picked up: that is heard."""
        self.sip = sip
        sip.on_offer = self.leg.answer
        return sip

    def stop(self) -> None:
        """Ring no more."""
        if self.sip is not None:
            self.sip.cancel()
        self.leg.close()


class Floor:
    """Rings agents' phones for the callers of this process."""

    def __init__(self, line: Line, ledger: Ledger, endpoint: Endpoint, relay: Relay) -> None:
        self._line = line
        self._ledger = ledger
        self._endpoint = endpoint
        self._relay = relay
        self._waiting: dict[UUID, asyncio.Queue[Offer]] = {}
        self._taken: set[UUID] = set()
        self._came: dict[UUID, asyncio.Future[None]] = {}
        "By agent whose phones ring: done when one of them registers."

        self._changed = asyncio.Event()
        line.on_change.append(self._changed.set)

    async def run(self) -> None:
        """Hand new offers to the calls that wait for them, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._changed.wait()
            woken = self._changed.is_set()
            self._changed.clear()
            if not self._waiting:
                continue
            try:
                if not woken:
                    await self._ledger.do(self._pair)
                await self._hand_out()
            except Exception as error:
                log.error("offers not read", kind=type(error).__name__)

    async def _hand_out(self) -> None:
        offers = await self._line.instance.db.run(lambda db: queue.ringing(db, self._line.host))
        self._taken &= {offer.id for offer in offers}
        for offer in offers:
            waiting = self._waiting.get(offer.call_id)
            if waiting is not None and offer.id not in self._taken:
                self._taken.add(offer.id)
                waiting.put_nowait(offer)

    def registered(self, extension: str, seconds: int) -> None:
        """Note that a phone signed in or off; callers may be waiting for it."""
        owner = self._line.directory.owners.get(extension)
        if owner is None:
            return
        if came := self._came.pop(owner, None):
            came.set_result(None)
        now = self._line.now()
        until = now + timedelta(seconds=seconds) if seconds else None

        def change(db: Db) -> None:
            agent.registered(db, owner, until, now)
            self._pair(db)

        self._note(change)

    async def enter(
        self, call_id: UUID, queue_name: str, priority: int, language: str, before: Callable[[Db], object]
    ) -> asyncio.Queue[Offer]:
        """Let a caller wait, after `before` in the same transaction; offers for them come out of the queue returned."""
        offers = self._waiting.setdefault(call_id, asyncio.Queue())
        now, host = self._line.now(), self._line.host

        def change(db: Db) -> None:
            before(db)
            queue.enter(db, call_id, queue_name, priority, now, host, language=language)
            self._pair(db)

        await self._ledger.do(change)
        self._changed.set()
        return offers

    def left(self, call_id: UUID) -> None:
        """Hand out no more offers for a call; its rows are written by whoever ends it."""
        self._waiting.pop(call_id, None)
        self._changed.set()

    def again(self) -> None:
        """Look for offers again: somebody became free."""
        self._changed.set()

    async def ring(self, offer: Offer, caller: str, max_forwards: int, *, beside: Leg | None = None) -> Answered | None:
        """Ring the agent's phones until one picks up; None when nobody does, and the caller waits on.

        `beside` is the leg of the caller. A task that is cancelled here stops the ringing: the caller is gone.
        """
        contacts = self._contacts(offer.agent_id)
        seconds = max((offer.expires_at - self._line.now()).total_seconds(), 1.0)
        speaks = Address(Uri.parse(f"sip:{caller or 'anonymous'}@{self._endpoint.local[0]}"))
        rung: list[Rung] = []
        answered: Answered | None = None
        try:
            for contact in contacts:
                leg = await self._relay.allocate(wanted(contact.hop()), beside)
                rung.append(Rung(leg))
                rung[-1].ring(
                    self._endpoint.call(
                        contact, await leg.offer(), from_=speaks, ring_seconds=seconds, max_forwards=max_forwards
                    )
                )
            taken = await self._picked_up(offer.agent_id, contacts, rung)
            if taken is not None and taken.sip is not None and await _connect(taken.leg, taken.sip):
                answered = Answered(offer.agent_id, taken.sip, taken.leg)
                follow(self._relay, taken.leg, taken.sip)
        except MediaError as error:
            log.error("agent not rung", offer=str(offer.id), code=error.code)
        finally:
            for each in rung:
                if answered is None or each.sip is not answered.sip:
                    each.stop()
        if answered is None:
            await self._passed(offer, contacts, _why([each.sip for each in rung if each.sip is not None]))
        return answered

    async def _picked_up(self, agent_id: UUID, contacts: Sequence[Binding], rung: list[Rung]) -> Rung | None:
        """Return the phone that somebody picks up, None when none can be any more, as all began anew meanwhile."""
        answer = asyncio.ensure_future(first_answer(rung))
        try:
            while not answer.done():
                there = self._contacts(agent_id)
                if there and not _some_of(contacts, there):
                    return None
                came = self._came[agent_id] = asyncio.get_running_loop().create_future()
                await asyncio.wait({answer, came}, return_when=asyncio.FIRST_COMPLETED)
            return answer.result()
        finally:
            self._came.pop(agent_id, None)
            answer.cancel()

    def _contacts(self, agent_id: UUID) -> list[Binding]:
        """Return the phones of an agent that can be called now."""
        extensions = self._line.directory.extensions_of(agent_id)
        return [each for one in extensions for each in self._endpoint.registrar.contacts(one)]

    async def _passed(self, offer: Offer, rung: Sequence[Binding], why: OfferState) -> None:
        """Write that nobody took it. Whose phones are gone, or began anew as a page does, has passed nobody by."""
        now, there = self._line.now(), self._contacts(offer.agent_id)
        if not _some_of(rung, there):
            why = OfferState.WITHDRAWN

        def change(db: Db) -> None:
            if not there:
                agent.registered(db, offer.agent_id, None, now)  # until one registers again
            queue.refuse(db, offer.id, why, now)
            self._pair(db)

        await self._ledger.do(change)
        self._changed.set()

    def _pair(self, db: Db) -> None:
        if queue.pair(db, self._line.practice, self._line.now()):
            log.info("agents rung")

    def _note(self, change: Callable[[Db], object]) -> None:
        """Write a change, and look for offers once it stands there."""
        written = asyncio.wrap_future(self._ledger.note(change, soon=True))
        written.add_done_callback(self._noted)

    def _noted(self, written: "asyncio.Future[object]") -> None:
        if not written.cancelled():
            written.exception()  # the ledger has told of it
        self._changed.set()


LEAST = {"any": "rtp", "sdes": "sdes-srtp", "dtls": "dtls-srtp"}
"The least protection that a trunk's sound has to have, by its policy."


def wanted(hop: Hop, least: str = LEAST["any"]) -> Wanted:
    """Return what kind of leg goes with the way that its signalling takes."""
    if hop.transport == "ws":
        return Wanted(kind="browser", secure=True, least="dtls-srtp")
    return Wanted(secure=hop.transport == "tls", least=least)


def _some_of(rung: Sequence[Binding], there: Sequence[Binding]) -> bool:
    """Tell whether a phone that was rung is still there; one that began anew has another Call-ID (RFC 3261 10.2)."""
    return not {each.call_id for each in rung}.isdisjoint(each.call_id for each in there)


async def first_answer(rung: list[Rung]) -> Rung | None:
    """Return the first phone that somebody picks up, None when none can be any more."""
    open_calls = {asyncio.ensure_future(asyncio.shield(each.sip.answered)): each for each in rung if each.sip}
    while open_calls:
        done, _ = await asyncio.wait(open_calls, return_when=asyncio.FIRST_COMPLETED)
        for future in done:
            each = open_calls.pop(future)
            if future.result() is not None:
                return each
    return None


async def _connect(leg: Leg, call: Outgoing) -> bool:
    """Connect the leg to what the phone answered; a phone that answers with nothing to speak is hung up."""
    if call.remote is None:
        return False
    try:
        await leg.settle(call.remote)
    except (ProtocolError, UnacceptableError):
        call.bye()
        return False
    return True


def _why(calls: list[Outgoing]) -> OfferState:
    """Return how an offer that nobody took ended: a person or a phone said no, or nobody did anything."""
    causes = {call.ended.result() for call in calls if call.ended.done()}
    return OfferState.TIMEOUT if Cause.NO_ANSWER in causes else OfferState.REFUSED
