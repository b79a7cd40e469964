"""One call that a phone of the practice makes: to a colleague, to a number outside, or for help.

What may be dialled is decided by `hub.rules.dialling`; the far end hears and sees the practice, never the person. Two
legs meet in the relay, so that each side negotiates for itself.
"""

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from sqlmodel import Session as Db

from hub.db import uuid7
from hub.record import outbound, pop
from hub.rules import dialling
from hub.rules.dialling import Emergency, External, Internal, Refusal
from media.browser import sealing
from media.calls.closing import note_leg
from media.calls.colleague import ring_colleague
from media.calls.dialled import Dialled
from media.calls.floor import LEAST, wanted
from media.calls.house import House
from media.calls.notice import Emitted
from media.calls.outward import OutwardTalk, refusal_of
from media.calls.rescue import cause_of, follow
from media.calls.switchboard import Found, Side, join
from media.errors import MediaError, UnacceptableError
from media.line import NOBODY
from media.relay import Leg, Wanted
from media.sdp import Session
from media.sip.endpoint import Endpoint
from media.sip.incoming import Incoming
from media.sip.outgoing import Outgoing
from media.sip.status import Cause
from media.sip.transfer import Refer
from media.trunk import pidf
from media.trunk.meter import Meter
from media.trunk.trunks import Trunks, Wish

RING_SECONDS = 120.0
"How long a number outside may ring; carriers end it earlier."

_ANSWERS = (486, 600, 603)
"Statuses of a call for help that somebody gave who heard of it."

_STATUS = {Refusal.NOT_A_NUMBER: 404, Refusal.NO_TRUNK: 503}
"SIP statuses of refusals; every other one is 403."

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Outside:
    """What calls that are made here work with, beside the house."""

    endpoint: Endpoint
    trunks: Trunks
    meter: Meter


@dataclass(slots=True)
class OutboundCall:
    """One call from a phone of the practice, from its INVITE to its end."""

    house: House
    outside: Outside
    sip: Incoming
    id: UUID = field(default_factory=uuid7)
    near: Leg | None = None
    far: Leg | None = None
    call: Outgoing | None = None
    cause: str = "agent"
    _early: asyncio.Task[None] | None = None
    _answer: Session | None = None
    "What the caller was told already, before anybody picked up."

    trunk: str = ""
    colleague: UUID | None = None
    "Whose extension was dialled."

    helped: bool = False
    "Whether it is a call for help, which no limit ends."

    _written: bool = False
    "Whether the call stands in the record."

    _pressing: set[asyncio.Task[None]] = field(default_factory=set)
    _promise: asyncio.Future[Found] | None = None
    "Set where whoever is rung gets a caller of another talk when they pick up."

    _talk: OutwardTalk | None = None
    "With a number outside, once that answered."

    _given: asyncio.Event = field(default_factory=asyncio.Event)
    "Set once the far end was passed on to somebody else."

    async def run(self) -> None:
        """Make the call, or refuse it."""
        house, meter = self.house, self.outside.meter
        usage = meter.usage(self.sip.extension)
        decision = dialling.decide(
            house.line.practice, self.sip.to_number, usage, house.line.now(), house.line.directory.credentials.keys()
        )
        if isinstance(decision, Refusal):
            self._refuse(decision)
            return
        if not isinstance(decision, Internal):
            meter.begin(self.id, self.sip.extension, decision.price)  # at once: others that are dialled now count it
        story = asyncio.create_task(self._story(decision))
        ended: asyncio.Future[Any] = asyncio.ensure_future(asyncio.shield(self.sip.ended))
        try:
            await asyncio.wait({story, ended}, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            if self._talk is not None:
                await asyncio.wait({story})  # its phone may have handed it on
            if not story.done() and self._promise is not None:
                # The phone has no more to do with it: it rings on for the caller of its other call.
                either: set[asyncio.Future[Any]] = {story, self._promise}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not story.done():
                story.cancel()
            await asyncio.gather(story, return_exceptions=True)
            if not story.cancelled() and story.exception() is not None:
                self.cause = "system"
                log.error("call failed", call=str(self.id), kind=type(story.exception()).__name__)
        finally:
            await self._end()

    def _refuse(self, why: Refusal) -> None:
        """Refuse what may not be dialled; the phone shows the code (RFC 3261 section 20.43)."""
        log.warning("call refused", extension=self.sip.extension, code=str(why))
        self.sip.reject(_STATUS.get(why, 403), headers={"Warning": [f'399 chartline "{why}"']})

    async def _story(self, decision: Internal | External | Emergency) -> None:
        house = self.house
        try:
            self.near = await house.relay.allocate(wanted(self.sip.source))
            if isinstance(decision, Internal):
                self.colleague = house.line.directory.owners.get(decision.extension)
                house.board.promise(self.sip, self._ring_on)
                rung, call = await ring_colleague(house, self.outside.endpoint, self.sip, self.near, decision.extension)
                if rung is not None:
                    self.far, self.call = rung.leg, rung.sip
            else:
                call = await self._ring_outside(decision)
        except MediaError as error:
            self.sip.reject(error.status)
            return
        if self._early is not None:
            await asyncio.gather(self._early, return_exceptions=True)
        if call is None or self.far is None or call.remote is None or not _answered(call):
            self._pass_on(call)
            return
        if self._promise is not None:
            await self._keep_promise(self._promise, call, self.far)
            return
        try:
            await self._connect(self.near, self.far, call)
        except UnacceptableError:
            call.bye()
            self.sip.reject(488)
            self.sip.bye()
            return
        if not self._written:
            await self._talk_inside(call)
            return
        at = house.line.now()
        self.outside.meter.answered(self.id)
        house.ledger.note(lambda db: outbound.connected(db, self.id, self.trunk, at))
        await self._talk_outside(call, self.near, self.far)

    # Whom it goes to

    async def _ring_outside(self, decision: External | Emergency) -> Outgoing | None:
        """Call a number over the trunks of the policy; return the call, answered or ended."""
        practice, helped = self.house.line.practice, isinstance(decision, Emergency)
        known = decision.number.startswith("+")
        match = await self.house.line.match(decision.number) if known else NOBODY
        self._written, self.helped = True, helped
        dialled = Dialled(
            self.id, self.sip.extension, decision.number, decision.price, match, self.house.line.now(), helped=helped
        )
        self.house.ledger.note(partial(dialled.note, self.house.line), soon=helped)
        names = dialling.trunks_for(practice, emergency=helped)
        first = practice.find_trunk(names[0]) if names else None
        if first is None:
            return None
        secure = first.transport == "tls"
        self.far = await self.house.relay.allocate(Wanted(secure=secure, least=LEAST[first.protection]), self.near)
        shown = dialling.shown_number(practice)
        wish = Wish(
            decision.number,
            shown,
            await self.far.offer(),
            ring_seconds=RING_SECONDS,
            max_forwards=self.sip.max_forwards - 1,
            insistent=helped,
        )
        place = dialling.location_of(practice, self.sip.extension) if helped else None
        if place is not None:
            headers, part = pidf.sent_along(place, shown, first.known_as, self.house.line.now())
            wish = replace(wish, headers=headers, parts=(part,))
        self.call, self.trunk = await self.outside.trunks.reach(names, wish, self._progressed)
        if wish.parts and self.call is not None and not _answered(self.call) and self.call.status not in _ANSWERS:
            # Help matters more than where it is needed: some carrier may not read bodies of several parts.
            log.warning("emergency call without its location", call=str(self.id), status=self.call.status)
            wish = replace(wish, headers={}, parts=())
            self.call, self.trunk = await self.outside.trunks.reach(names, wish, self._progressed)
        return self.call

    # Two legs

    def _progressed(self, _status: int, early: Session | None) -> None:
        if early is None or self.sip.offer is None:
            self.sip.ring()
        elif self._early is None:
            self._early = asyncio.create_task(self._let_hear(early))

    async def _let_hear(self, early: Session) -> None:
        """Pass early audio on: the carrier's ringing tone, or its words why it does not ring."""
        if self.near is None or self.far is None or self.sip.offer is None:
            return
        try:
            await self.far.settle(early)
            answer = await sealing.answer(self.near, self.sip.offer, "", via=self.sip.source.host)
        except UnacceptableError:
            self.sip.ring()
            return
        self._answer = answer
        self.house.relay.bridge(self.near, self.far)
        self.sip.ring(early=answer)

    async def _connect(self, near: Leg, far: Leg, call: Outgoing) -> None:
        """Answer the caller now that the far end has.

        Raises:
            UnacceptableError: one of the two has nothing to speak with.
        """
        call.on_offer = far.answer
        self.sip.on_offer = near.answer
        if call.remote is not None:
            await far.settle(call.remote)
        if self._answer is not None:
            self.sip.answer(self._answer)
        elif self.sip.offer is not None:
            said = sealing.said_in(call.remote) if far.protection == "sframe" else ""
            sealing.carry(self.sip, call)  # the caller's page speaks as soon as it has its answer
            self.sip.answer(await sealing.answer(near, self.sip.offer, said, via=self.sip.source.host))
        else:
            self.sip.answer(await near.offer())
            if await self.sip.acked and self.sip.remote is not None:
                await near.settle(self.sip.remote, via=self.sip.source.host)
        self.house.relay.bridge(near, far)
        follow(self.house.relay, near, self.sip)
        follow(self.house.relay, far, call)
        for side, other in ((self.sip, far), (call, near)):
            side.on_held = self._held
            side.on_digit = partial(self._press, other)

    def _held(self, _held: bool) -> None:
        """Let whoever is held hear music, and both each other when nobody is."""
        if self.near is None or self.far is None or self.call is None:
            return
        join(self.house.relay, Side(self.sip, self.near), Side(self.call, self.far))

    def _press(self, leg: Leg, key: str) -> None:
        """Pass on a key that came by INFO; those in the sound pass by themselves."""
        task = asyncio.create_task(leg.press(key))
        self._pressing.add(task)
        task.add_done_callback(self._pressing.discard)

    async def _talk_inside(self, call: Outgoing) -> None:
        """Wait until the colleague hangs up, or was passed on."""
        self.house.board.offer(self.sip, self._give)
        self.sip.on_refer = self._refer
        call.ended.add_done_callback(lambda _: self._given.set())
        await self._given.wait()
        if self.call is not None:
            self.cause = "far-end" if call.ended.result() is Cause.HANGUP else "system"

    async def _talk_outside(self, call: Outgoing, near: Leg, far: Leg) -> None:
        """Wait until one of them hangs up, whoever has the call then, or the policy's limits are reached."""
        practice, loop, meter = self.house.line.practice, asyncio.get_running_loop(), self.outside.meter
        until = loop.time() + practice.dialling.longest_minutes * 60
        agent = Side(self.sip, near, self.house.line.directory.owners.get(self.sip.extension))
        self._talk = OutwardTalk(
            self.house,
            self.id,
            Side(call, far),
            agent,
            self.sip.to_number,
            self.sip.max_forwards - 1,
            None if self.helped else lambda: min(until - loop.time(), meter.seconds_left()),
        )
        self.cause = await self._talk.run()

    # Passed on by the phone that called (RFC 3515, RFC 3891)

    def _give(self) -> Side | None:
        """Hand over the colleague who was called; numbers outside stay with who may dial them, and pays for it."""
        if self.call is None or self.far is None or self._written or self.call.ended.done():
            return None
        if self.far.protection == "sframe":
            return None  # only the page that called can be understood there
        side = Side(self.call, self.far, self.colleague)
        self.call = self.far = None
        self._given.set()
        return side

    async def _ring_on(self) -> Found:
        """Wait for the colleague who is rung, for the caller of another talk; cancelled, it stops the ringing."""
        promise: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._promise = promise
        try:
            return await promise
        except asyncio.CancelledError:
            if promise.done() and not promise.cancelled() and (side := promise.result()[0]) is not None:
                side.sip.bye()  # picked up in the moment in which the other caller was gone
                side.leg.close()
            raise

    async def _keep_promise(self, promise: asyncio.Future[Found], call: Outgoing, far: Leg) -> None:
        """Hand over the colleague who picked up; whoever called them is told that the call was taken elsewhere."""
        call.on_offer = far.answer
        if call.remote is not None:
            await far.settle(call.remote)
        follow(self.house.relay, far, call)
        side = self._give()
        if promise.done() and side is not None:
            side.sip.bye()
            side.leg.close()
        elif not promise.done():
            promise.set_result((side, 200 if side is not None else 480))
        self.sip.reject(487)

    async def _refer(self, wish: Refer) -> None:
        """Put the colleague in the place of the phone in the talk that it names."""
        take = None if wish.replaces is None else self.house.board.taker(wish.replaces)
        side = None if take is None else self._give()
        if take is None or side is None:
            wish.progress(403 if wish.replaces is None else 481)
        else:
            wish.progress(200 if await take(side) else 487)

    def _pass_on(self, call: Outgoing | None) -> None:
        """Tell the caller why nobody answered, with the far end's own status where it has one to pass on."""
        status = refusal_of(call, outside=self._written)
        self.cause = str(status)
        self.sip.reject(status)

    # The record

    async def _end(self) -> None:
        """Hang up on whoever is left, and write how it went; runs to its end whatever happened."""
        house = self.house
        if self._promise is not None and not self._promise.done():
            self._promise.set_result((None, int(self.cause) if self.cause.isdigit() else 480))
        self.sip.bye()
        agent = self.sip if self._talk is None else self._talk.agent.sip
        agent.bye()
        self.near = self.near if self._talk is None else self._talk.agent.leg
        for doing in (self._early, *self._pressing):
            if doing is not None:
                doing.cancel()
        if self.call is not None:
            self.call.bye()
        legs = [(role, leg) for role, leg in (("agent", self.near), ("far-end", self.far)) if leg is not None]
        for _, leg in legs:
            leg.close()
        self.outside.meter.end(self.id)
        figures = [(role, await house.relay.last_stats(leg)) for role, leg in legs]
        if not self._written:
            return
        at = house.line.now()
        self.cause = cause_of(agent, self.call) or self.cause

        def change(db: Db) -> list[Emitted]:
            for role, stats in figures:
                note_leg(db, self.id, role, stats)
            row = outbound.over(db, self.id, self.cause, at)
            pop.close(db, self.id, at)
            return [house.notices.emit(db, "call.ended", self.id, {"status": row.path or ""}, at)]

        written = house.ledger.note(change)
        house.notices.follow(written)
        await asyncio.wrap_future(written)
        house.floor.again()
        house.planner.tell_end(self.id)


def _answered(call: Outgoing) -> bool:
    return call.answered.done() and not call.answered.cancelled() and call.answered.result() is not None
