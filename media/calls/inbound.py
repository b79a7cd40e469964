"""One call from outside, told as it goes: match, plan, answer, announce, menu, queue, talk, end.

Nothing that the caller hears waits for the record or for Temporal beyond a deadline: rows are written beside the call
(`Ledger`), and the published plan stands in where no plan comes in time.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from sqlmodel import Session

from hub.db import uuid7
from hub.record import call, queue, task
from hub.record.queue import Offer
from hub.rules import menu, routing
from hub.rules.matching import Match
from hub.rules.menu import Ask, Go
from hub.rules.recording import consent_of
from hub.rules.routing import Plan
from hub.settings import Fax
from hub.settings.practice import Overflow
from media.browser import sealing
from media.calls.closing import Closing
from media.calls.consent import consented
from media.calls.fax import Watch, machine_of
from media.calls.floor import LEAST, wanted
from media.calls.house import House
from media.calls.keeping import Keeping
from media.calls.keys import forget_keys, next_key
from media.calls.message import left
from media.calls.notice import Emitted
from media.calls.rescue import cause_of, follow
from media.calls.switchboard import Side
from media.calls.talk import Onward, Talk
from media.calls.taping import Tape
from media.calls.waiting import Waiting
from media.errors import MediaError
from media.line import NOBODY
from media.relay import Leg, Wanted
from media.sip.incoming import Incoming
from media.sip.status import Cause

log = structlog.get_logger()


@dataclass(slots=True)
class InboundCall:
    """One call that came in."""

    house: House
    sip: Incoming
    id: UUID = field(default_factory=uuid7)
    leg: Leg | None = None
    agent: Side | None = None
    "Whoever of the practice talks to the caller, or did so last."

    tape: Tape | None = None
    "Of a message; `keeping` has those of talks."

    keeping: Keeping = field(init=False)
    path: str | None = None
    "How it went, where that is not told by how far it came."

    cause: str = "caller"
    waiting: Waiting | None = None
    went: Go | None = None
    "Where the menus led last."

    subject: UUID | None = None
    spoken: float | None = None
    "Seconds from the beginning of a message to its last word."

    _watch: Watch | None = None

    def __post_init__(self) -> None:
        self.keeping = Keeping(self.house, self.id, self._whose)

    async def run(self) -> None:
        """Take the call from its INVITE to its end."""
        line = self.house.line
        did = line.e164(self.sip.to_number) or self.sip.to_number
        if line.practice.find_number(did) is None:
            self.sip.reject(404)
            return
        try:
            story = asyncio.create_task(self._story(did))
            ended: asyncio.Future[Any] = asyncio.ensure_future(asyncio.shield(self.sip.ended))
            racing: set[asyncio.Future[Any]] = {story, ended}
            await asyncio.wait(racing, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            if not story.done():
                story.cancel()
            await asyncio.gather(story, return_exceptions=True)
            if not story.cancelled() and story.exception() is not None:
                self.cause = "system"
                log.error("call failed", call=str(self.id), kind=type(story.exception()).__name__)
        finally:
            await self._end()

    # From INVITE to answer

    async def _story(self, did: str) -> None:
        house = self.house
        began = house.line.now()
        number = house.line.e164(self.sip.from_number)
        match = NOBODY
        try:
            match = await house.line.match(number)
        finally:
            # Also of a caller who is gone by then there is a row.
            self._ring(did, number, match, began)
        plan = await house.planner.plan(self.id, did, match)
        planned_at = house.line.now()
        house.ledger.note(lambda db: call.planned(db, self.id, plan, planned_at))
        self.leg = await self._answer()
        if self.leg is None:
            return
        self._watch = Watch(self.leg)
        fax = house.line.practice.fax
        if await self._watch.heard(fax, self._inside(plan, number)):
            await self._fax(fax, plan.language)

    async def _inside(self, plan: Plan, number: str | None) -> None:
        house, leg = self.house, self._leg
        if house.line.practice.recording.calls:
            needed = consent_of(house.line.practice, number)
            self.keeping.consented = await consented(leg, house.prompts, needed, plan.language)
        await self._go(await self._menu(plan, leg))

    async def _fax(self, fax: Fax, language: str) -> None:
        """Let a fax machine that was heard go to where the practice says."""
        log.info("fax heard", call=str(self.id))
        if self.waiting is not None:
            self.waiting.hush()
            self._leave("fax" if fax.queue is None else "")
        if fax.extension is None:
            await self._go(Go(fax.queue, fax.voicemail, language, 0, "plan"))
            return
        self.path = call.FAX
        self.agent = await machine_of(self.house, fax.extension, self.sip)
        if self.agent is not None:
            self.house.relay.bridge(self._leg, self.agent.leg)
            await asyncio.shield(self.agent.sip.ended)
        self.cause = "system" if self.agent is None else "far-end"

    def _ring(self, did: str, number: str | None, match: Match, now: datetime) -> None:
        house = self.house
        instance = house.line.instance
        name = self.sip.display_name or None
        trunk = self.sip.trunk or "extension"

        def change(db: Session) -> None:
            self.subject = call.ring(
                db,
                self.id,
                did=did,
                trunk=trunk,
                host=house.line.host,
                number=number,
                name=name,
                match=match,
                seal=instance.sealer,
                index=instance.index,
                now=now,
                more=self.sip.provenance,
            )

        house.notices.tell("call.ringing", self.id, {"match": match.kind}, along=change, still=self.sip.goes_on)

    async def _whose(self) -> UUID | None:
        """Return whose the call's recordings are: its row says so, which may wait for others to be written."""
        return self.subject or await self.house.ledger.do(lambda _: self.subject)

    def _wanted(self) -> Wanted:
        trunk = self.house.line.practice.find_trunk(self.sip.trunk)
        return wanted(self.sip.source, LEAST[trunk.protection if trunk is not None else "any"])

    async def _answer(self) -> Leg | None:
        """Return the caller's leg once the call is answered; None where there is nothing to speak with."""
        try:
            # Known at once: a caller who is gone before the answer leaves nobody else to close it.
            leg: Leg = await self.house.relay.allocate(self._wanted())
            self.leg = leg
        except MediaError as error:
            self.sip.reject(error.status)
            return None
        self.sip.on_offer = leg.answer
        self.sip.on_digit = leg.pressed
        try:
            if self.sip.offer is None:
                await self._offer(leg)
            else:
                self.sip.answer(await sealing.answer(leg, self.sip.offer, "", via=self.sip.source[0]))
        except MediaError as error:
            leg.close()
            self.sip.reject(error.status)
            self.sip.bye()
            return None
        at = self.house.line.now()
        self.house.ledger.note(lambda db: call.answered(db, self.id, at))
        await self.sip.acked
        follow(self.house.relay, leg, self.sip)
        return leg

    async def _offer(self, leg: Leg) -> None:
        """Make the offer in our answer, where the INVITE has none: the caller's ACK answers it (RFC 3264 section 4).

        Raises:
            UnacceptableError: the ACK takes none of it.
        """
        self.sip.answer(await leg.offer())
        if await self.sip.acked and self.sip.remote is not None:
            await leg.settle(self.sip.remote, via=self.sip.source[0])

    # Menus

    async def _menu(self, plan: Plan, leg: Leg) -> Go:
        prompts, practice = self.house.prompts, self.house.line.practice
        step = menu.begin(practice, plan)
        while isinstance(step, Ask):
            if step.notice:
                notice = "invalid-choice" if step.notice == "invalid" else "no-choice"
                await leg.play(prompts.stock(notice, step.language), barge_in=True)
            asked = practice.find_menu(step.menu)
            await leg.play(prompts.menu(practice, step.menu, step.language), barge_in=True)
            step = menu.press(practice, plan, step, await next_key(leg, asked.timeout_seconds if asked else 5.0))
        return step

    async def _go(self, go: Go) -> None:
        self.went = go
        if go.queue is not None:
            await self._queue(go, go.queue)
        elif go.voicemail is not None:
            await self._voicemail(go.voicemail, go.language)
        else:
            await self._say_goodbye(go.language)

    # The queue

    async def _queue(self, go: Go, name: str) -> None:
        ended = await self._waiting.serve(go, name)
        if isinstance(ended, Overflow):
            await self._overflow(ended, go)
        else:
            self.agent = ended.side
            await self._talk(ended.side, ended.offer)

    async def _overflow(self, overflow: Overflow, go: Go) -> None:
        """Do what the policy says of those who wait long."""
        house, leg = self.house, self._leg
        self._leave("overflow")
        if overflow.voicemail is not None:
            await self._voicemail(overflow.voicemail, go.language)
            return
        self.path = call.CALLBACK
        at = house.line.now()
        house.ledger.note(
            lambda db: task.ask(db, "callback", key=f"callback:{self.id}", reason="overflow", now=at, call_id=self.id)
        )
        leg.quiet()
        await leg.play(house.prompts.stock("callback-offered", go.language))
        await self._say_goodbye(go.language)

    # The talk

    async def _talk(self, side: Side, offer: Offer) -> None:
        house, leg = self.house, self._leg
        if self._watch is not None:
            self._watch.stop()
        house.relay.bridge(leg, side.leg)
        at = house.line.now()

        def change(db: Session) -> None:
            queue.answer(db, offer.id, at)
            if call.bridged(db, self.id, offer.agent_id, at).agent_id != offer.agent_id:
                call.passed(db, self.id, None, offer.agent_id, at)

        payload = {"queue": offer.queue, "agent": str(offer.agent_id)}
        house.notices.tell("call.answered", self.id, payload, along=change, still=self.sip.goes_on, soon=True)
        self.keeping.begin(offer.queue, [leg, side.leg])
        number, forwards, wrap_up = self.sip.from_number, self.sip.max_forwards - 1, self.wrap_up_seconds
        caller = Side(self.sip, leg)
        talk = Talk(house, self.id, caller, side, number, forwards, wrap_up, self._passed, self.keeping)
        ended = await talk.run()
        if isinstance(ended, Onward):
            await self._send_on(ended)
        else:
            self.cause = "agent" if ended is Cause.HANGUP else "system"

    def _passed(self, side: Side | None) -> None:
        """Note who carries the talk on: that is whom the end of the call hangs up, and who is recorded."""
        self.agent = side
        if side is None:
            self.keeping.pause()
        else:
            self.keeping.pass_on([self._leg, side.leg])

    async def _send_on(self, to: Onward) -> None:
        """Let the caller begin anew at one of the practice's numbers, or wait in a queue, in the language spoken."""
        line, leg, went = self.house.line, self._leg, self.went
        language, priority = (went.language, went.priority) if went is not None else ("en", 0)
        if to.queue is not None:
            await self._go(Go(to.queue, None, language, priority, "choice"))
            return
        plan = routing.last_good(line.practice, line.version, to.did)
        plan = plan.model_copy(update={"language": language, "priority": max(plan.priority, priority)})
        leg.quiet()
        forget_keys(leg)  # pressed for whoever talked to them
        await self._go(await self._menu(plan, leg))

    # Voicemail

    async def _voicemail(self, box: str, language: str) -> None:
        house, leg = self.house, self._leg
        settings = house.line.practice.find_voicemail(box)
        leg.quiet()
        forget_keys(leg)
        await leg.play(house.prompts.voicemail(settings, language), barge_in=True)
        await leg.play(house.prompts.beep)
        forget_keys(leg)  # a key ends a message, and one that skipped the greeting does not
        if self._watch is not None:
            self._watch.stop()
        tape = await house.taping.start(self.id, await self._whose(), [leg], box=box)
        self.tape = tape
        if tape is None:
            await self._say_goodbye(language)
            return
        self.path = call.VOICEMAIL
        self.spoken = await left(leg, settings)
        await self._say_goodbye(language)

    # The end

    async def _say_goodbye(self, language: str) -> None:
        self.cause = "system"
        await self._leg.play(self.house.prompts.stock("goodbye", language))

    def _leave(self, why: str) -> None:
        """Leave the queue: for what `why` says, or without it, to wait in another."""
        at = self.house.line.now()
        self.house.floor.left(self.id)
        self.house.ledger.note(lambda db: queue.leave(db, self.id, why, at) if why else queue.recall(db, self.id, at))

    async def _end(self) -> None:
        """Close what is open and write how it went; runs to its end whatever happened."""
        house = self.house
        at = house.line.now()
        self.sip.bye()
        if self.waiting is not None:
            self.waiting.hush()
        house.floor.left(self.id)
        figures = [("caller", self.leg)] + ([("agent", self.agent.leg)] if self.agent else [])
        if self.agent is not None:
            self.agent.sip.bye()
            self.agent.leg.close()
        if self.leg is not None:
            self.leg.close()
        stats = [(role, await house.relay.last_stats(leg)) for role, leg in figures if leg is not None]
        await self.keeping.end()
        seconds = await self.tape.stop() if self.tape is not None else 0.0
        if self.spoken is not None:
            seconds = min(seconds, self.spoken)
        whose = None if self.agent is None else self.agent.agent_id
        self.cause = cause_of(self.sip, self.agent.sip if self.agent else None) or self.cause
        wrap_up = self.wrap_up_seconds
        closing = Closing(self.id, at, self.cause, self.path, whose, wrap_up, stats, self.tape, seconds)
        written = house.ledger.note(partial(self._write_end, closing))
        house.notices.follow(written)
        await asyncio.wrap_future(written)
        house.floor.again()
        house.planner.tell_end(self.id)

    def _write_end(self, closing: Closing, db: Session) -> list[Emitted]:
        told = closing.write(db, self.house.line.practice)
        return [self.house.notices.emit(db, kind, self.id, payload, closing.at) for kind, payload in told]

    @property
    def wrap_up_seconds(self) -> int:
        """How long whoever had the call is left alone after it."""
        return self.waiting.wrap_up_seconds if self.waiting is not None else 0

    @property
    def _waiting(self) -> Waiting:
        if self.waiting is None:
            forwards = self.sip.max_forwards - 1
            self.waiting = Waiting(self.house, self.id, self._leg, self.sip.from_number, forwards, self.sip.goes_on)
        return self.waiting

    @property
    def _leg(self) -> Leg:
        if self.leg is None:
            raise MediaError("the call was never answered")
        return self.leg
