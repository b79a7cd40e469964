"""A caller and whoever they talk to: hold with music, and the call passed on by a phone of the practice."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Protocol
from uuid import UUID

import structlog
from sqlmodel import Session as Db

from hub.record import transfer
from hub.record.queue import OfferState
from media.calls.keeping import Keeping
from media.calls.notice import Notices
from media.calls.switchboard import RING_SECONDS, Found, Side, Switchboard, join
from media.errors import MediaError
from media.ledger import Ledger
from media.line import Line
from media.relay import Relay
from media.sip.keypress import RECORDING_TYPE
from media.sip.status import Cause
from media.sip.transfer import Refer

log = structlog.get_logger()

PARKED_S = 10.0
"How long a caller waits for a page that was lost to come back."

_WHY = {486: OfferState.REFUSED, 603: OfferState.REFUSED, 487: OfferState.WITHDRAWN}
"How the ringing of a colleague's phone ended, by the SIP status that says so."

FORBIDDEN, UNKNOWN, GONE = 403, 481, 487
"SIP statuses: a number that may not be dialled so; a call that is not there; the caller hung up meanwhile."


class Office(Protocol):
    """What a talk works with; `inbound.House` has it."""

    @property
    def line(self) -> Line:
        """The practice as it is now."""
        ...

    @property
    def ledger(self) -> Ledger:
        """Who writes rows."""
        ...

    @property
    def relay(self) -> Relay:
        """Who carries the sound."""
        ...

    @property
    def notices(self) -> Notices:
        """Who tells webhooks."""
        ...

    @property
    def board(self) -> Switchboard:
        """Who can be passed on to whom."""
        ...


@dataclass(frozen=True, slots=True)
class Onward:
    """Where a phone sends the caller back to: exactly one of the two."""

    did: str = ""
    "One of the practice's own numbers (E.164), with its menu."

    queue: str | None = None


@dataclass(slots=True)
class Talk:
    """One conversation, whoever of the practice carries it on.

    The caller stays; the other side changes when its phone transfers the call.
    """

    house: Office
    id: UUID
    caller: Side
    other: Side
    number: str
    "The caller's, as a phone that the call is passed on to shows it; empty where it is withheld."

    max_forwards: int
    wrap_up_seconds: int
    on_passed: Callable[[Side | None], None]
    "Hears who carries the talk on from now, and None where nobody does because the caller goes elsewhere."

    keeping: Keeping
    "What is kept of it: stopped and taken up at whoever's phone carries it on, which is told how that stands."

    keys: Callable[[str], None] | None = None
    """Hears each key that the phone presses by INFO, where the practice made the call: whoever was called may want it.

    They are sent to no queue and no number of the practice."""

    _onward: Onward | None = None

    _wait: asyncio.Future[None] | None = None
    _return: asyncio.Future[None] | None = None
    "A page that was lost is waited for."

    _searches: set[asyncio.Future[Any]] = field(default_factory=set)
    "Transfers that go on: somebody is rung to take the call."

    _over: bool = field(default=False)
    "Whether nobody can take it any more: it ended, or the caller went on elsewhere."

    async def run(self) -> Cause | Onward:
        """Bridge the two, and wait until whoever talks to the caller hangs up; return how that ended.

        Or return where the caller goes on, alone.
        """
        self.keeping.on_changed = self._tell_recording
        self._attend(self.other)
        self.caller.sip.on_held = self._held
        self._join()
        try:
            while (end := self._end()) is None:
                other = self.other
                self._wait = asyncio.get_running_loop().create_future()
                # A phone may hang up on its transfer before that is over, as many do: the caller waits on.
                await _first(*([self._wait] if other.sip.ended.done() else [self._wait, other.sip.ended]))
            return end
        finally:
            self._over = True
            self.keeping.on_changed = None
            self._leave(self.other)
            self._await_no_page()
            self._search_no_more()
            self.caller.sip.on_held = None

    def _end(self) -> Cause | Onward | None:
        """Return how the talk ended; None while it goes on, or somebody may still take it."""
        if self._onward is not None:
            return self._onward
        ended = self.other.sip.ended
        return ended.result() if ended.done() and not self._waiting else None

    @property
    def _waiting(self) -> bool:
        """Whether the caller waits for somebody: who is rung, or whose page was lost."""
        return self._return is not None or bool(self._searches)

    # Hold

    def _held(self, _held: bool) -> None:
        self._join()
        if self.other.sip.held or self.caller.sip.held:
            self.house.notices.tell("call.held", self.id, self._who(self.other))

    def _join(self) -> None:
        """Let the two hear each other, or the one that is held some music."""
        join(self.house.relay, self.caller, self.other, waits=self._waiting)

    # A page that is loaded anew

    def _lost(self, side: Side) -> None:
        if side is self.other and not side.sip.ended.done() and self._return is None:
            self._return = asyncio.ensure_future(self._await_return(side))

    async def _await_return(self, side: Side) -> None:
        """Let the caller wait for the page to come back; one that does not has hung up, and leaves its transfers."""
        self._join()
        back: Side | None = None
        try:
            async with asyncio.timeout(PARKED_S):
                back = await self.house.board.ring_back(
                    side, self.number, name=str(self.id), max_forwards=self.max_forwards
                )
        except (TimeoutError, MediaError) as error:
            log.info("page did not come back", call=str(self.id), kind=type(error).__name__)
        finally:
            if self._return is asyncio.current_task():
                self._return = None
        if back is None:
            side.sip.bye()
            self._wake()
        else:
            self._put(back)

    def _await_no_page(self) -> None:
        if self._return is not None:
            self._return.cancel()
            self._return = None

    # Passing on (RFC 3515, RFC 3891)

    def _attend(self, side: Side) -> None:
        side.leg.on_gone = partial(self._lost, side)
        side.sip.on_held = self._held
        side.sip.on_refer = self._refer
        side.sip.on_record = partial(self.keeping.press, side.agent_id)
        side.sip.on_follow = self._tell_recording
        self._tell_recording()
        side.sip.on_digit = self.keys or side.leg.pressed
        self.house.board.put(side.sip, self._take)

    def _leave(self, side: Side) -> None:
        side.leg.on_gone = None
        side.sip.on_held = side.sip.on_refer = side.sip.on_digit = side.sip.on_record = side.sip.on_follow = None

    def _tell_recording(self) -> None:
        """Tell the phone that asked for it whether the talk is recorded now."""
        if self.other.sip.follows_recording:
            self.other.sip.inform(RECORDING_TYPE, self.keeping.standing.encode())

    async def _refer(self, wish: Refer) -> None:
        """Carry out what the phone asks for, and tell it how that goes."""
        place = None if wish.replaces is not None else self._place(wish.target.user)
        if place is not None:
            self._send_on(place, wish)
            return
        search = asyncio.ensure_future(self._search(wish))
        self._searches.add(search)
        side, status = None, GONE
        try:
            await _first(search, self.caller.sip.ended)
            if search.done() and not search.cancelled():
                side, status = search.result()
        finally:
            self._searches.discard(search)
            search.cancel()
        if side is None or not await self._take(side, told=wish):
            wish.progress(status if side is None else GONE)
            if not (self._over or self.other.sip.ended.done() or self.caller.sip.ended.done()):
                self._join()
            self._wake()

    async def _search(self, wish: Refer) -> Found:
        """Return who takes the call: whom it goes to, or who hung up on a transfer that failed."""
        try:
            side, status = await self._find(wish)
        except MediaError as error:
            side, status = None, error.status
        if side is None and self.other.sip.ended.done() and self._return is None:
            side = await self._call_back()
        return side, status

    def _search_no_more(self) -> None:
        for each in self._searches:
            each.cancel()
        self._searches.clear()

    async def _call_back(self) -> Side | None:
        """Ring who hung up on a transfer that failed: the caller comes back to them."""
        owner, board = self.other.agent_id, self.house.board
        extensions = [] if owner is None else self.house.line.directory.extensions_of(owner)
        for extension in extensions:
            try:
                side, _ = await board.ring(
                    extension, self.number, max_forwards=self.max_forwards, referred_by="", heard=lambda _: None
                )
            except MediaError as error:
                log.info("not called back", call=str(self.id), code=error.code)
                continue
            if side is not None:
                return side
        return None

    async def _find(self, wish: Refer) -> Found:
        """Return whom the call goes to, and the status that says how it went."""
        if wish.replaces is not None:
            return await self._consulted(wish)
        target = wish.target.user
        if not self.house.board.is_extension(target):
            return None, FORBIDDEN
        self._join()
        side, status = None, GONE
        self._rings(target)
        try:
            side, status = await self.house.board.ring(
                target,
                self.number,
                max_forwards=self.max_forwards,
                referred_by=wish.referred_by,
                heard=lambda status: wish.progress(status) if 100 < status < 200 else None,
            )
        finally:
            if side is None:
                self._rings_no_more(status)
        return side, status

    def _rings(self, extension: str) -> None:
        """Let the desk of whoever is rung show the caller."""
        who, line = self.house.line.directory.owners.get(extension), self.house.line
        if who is not None:
            key, at = line.instance.keys.pop, line.now()
            until = at + timedelta(seconds=RING_SECONDS)
            self.house.ledger.note(lambda db: transfer.rung(db, self.id, who, key=key, now=at, until=until), soon=True)

    def _rings_no_more(self, status: int) -> None:
        why, at = _WHY.get(status, OfferState.TIMEOUT), self.house.line.now()
        self.house.ledger.note(lambda db: transfer.ended(db, self.id, why, at), soon=True)

    def _place(self, dialled: str) -> Onward | None:
        """Return which queue or number of the practice was dialled, if it is one; extensions of people come first."""
        line = self.house.line
        if self.keys is not None or self.house.board.is_extension(dialled):
            return None
        for each in line.practice.queues:
            if dialled in (each.name, each.extension):
                return Onward(queue=each.name)
        number = line.number_of(dialled)
        return None if number is None else Onward(number.did)

    def _send_on(self, place: Onward, wish: Refer) -> None:
        """Let the caller go back to where callers wait; the phone is done with the call."""
        if self.caller.sip.ended.done():
            wish.progress(GONE)
            return
        other = self.other
        self._onward = place
        self._leave(other)
        self.house.relay.unbridge(self.caller.leg)
        self.on_passed(None)
        log.info("call sent on", call=str(self.id), queue=place.queue)
        self._note(other, None, {"queue": place.queue} if place.queue is not None else {})
        wish.progress(200)
        other.sip.bye()
        other.leg.close()
        self._wake()

    async def _consulted(self, wish: Refer) -> Found:
        """Return the colleague whom the phone called, also where that still rings: then once they pick up."""
        if wish.replaces is None:
            return None, UNKNOWN
        side = self.house.board.far_end(wish.replaces)
        rings = self.house.board.promised(wish.replaces) if side is None else None
        if rings is None:
            return side, 200 if side is not None else UNKNOWN
        self._join()
        wish.progress(180)
        return await rings()

    async def _take(self, side: Side, *, told: Refer | None = None) -> bool:
        """Put `side` in the place of the phone that carried the talk; False where the caller is gone.

        Nobody else is rung or waited for any more.
        """
        self._await_no_page()
        self._search_no_more()
        return self._put(side, told)

    def _put(self, side: Side, told: Refer | None = None) -> bool:
        if self._over or self._onward is not None or self.caller.sip.ended.done():
            side.sip.bye()
            side.leg.close()
            return False
        before, self.other = self.other, side
        self._leave(before)
        self._attend(side)
        self._join()
        self.on_passed(side)
        if side.agent_id != before.agent_id or side.agent_id is None:
            log.info("call passed on", call=str(self.id))
            self._note(before, side, self._who(side))
        if told is not None:
            told.progress(200)
        before.sip.bye()
        before.leg.close()
        self._wake()
        return True

    def _note(self, before: Side, after: Side | None, told: Mapping[str, str]) -> None:
        """Write whose the call is from now, None where it is nobody's yet, and tell webhooks."""
        key, at, wrap_up = self.house.line.instance.keys.pop, self.house.line.now(), self.wrap_up_seconds
        had, has = before.agent_id, None if after is None else after.agent_id

        def change(db: Db) -> None:
            transfer.taken(db, self.id, had, has, key=key, now=at, wrap_up_seconds=wrap_up)

        self.house.notices.tell("call.transferred", self.id, told, along=change, soon=True)

    def _who(self, side: Side) -> dict[str, str]:
        return {} if side.agent_id is None else {"agent": str(side.agent_id)}

    def _wake(self) -> None:
        if self._wait is not None and not self._wait.done():
            self._wait.set_result(None)


async def _first(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
