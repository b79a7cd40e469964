"""Reminders that are called: rows that wait for a line are taken, dialled over the trunks of the policy, and spoken to.

`hub.rules.dialling` governs them like calls of a phone of the practice. Whoever picks up hears the practice's name and
number; when the visit is, only who says by a key to be the one that is meant. A machine gets a message after its beep.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from sqlmodel import Session as Db

from hub.errors import ChartlineError
from hub.record import outbound, voice
from hub.record.voice import Outcome, ReminderCall
from hub.rules import dialling
from hub.rules.dialling import External
from hub.rules.matching import Match
from hub.rules.voice import ANOTHER_TIME, CONFIRM, MEANT, STOP, words_of
from hub.vault.client import Access
from media.calls import script
from media.calls.closing import note_leg
from media.calls.floor import LEAST
from media.calls.house import House
from media.calls.notice import Emitted
from media.calls.outbound import Outside
from media.calls.rescue import follow
from media.calls.script import Said
from media.errors import MediaError
from media.hearing.machine import Verdict
from media.relay import Leg, Wanted
from media.sip.outgoing import Outgoing
from media.sip.status import Cause
from media.trunk.trunks import Wish

LINE = "reminders"
"What the meter counts these calls under, as it does those of an extension."

LOOK_S = 5.0
"How often calls are looked for that wait until a limit of the policy lets them out."

RING_SECONDS = 30.0
"About six rings: most machines pick up by then, and a person who has not is not near."

LONGEST_S = 180.0
"A call that goes on for longer is ended, whatever it is doing."

_UNKNOWN_NUMBER = frozenset({404, 410, 484, 604})
"SIP statuses of a number that nobody has."

_CAUSES = {Cause.BUSY: Outcome.BUSY, Cause.NO_ANSWER: Outcome.NO_ANSWER, Cause.REFUSED: Outcome.NO_ANSWER}

log = structlog.get_logger()


class RefusedError(MediaError):
    """The call may not be made, or cannot be; `reason` says why."""

    code = "call-refused"
    status = 403

    def __init__(self, reason: str) -> None:
        super().__init__(f"the call is not made: {reason}")
        self.reason = reason


@dataclass(slots=True)
class ReminderCaller:
    """One call, from its claim to its end."""

    house: House
    outside: Outside
    row: ReminderCall
    outcome: Outcome = Outcome.UNREACHABLE
    answered_by: str = ""
    reason: str = ""
    trunk: str = ""
    cause: str = "system"
    leg: Leg | None = None
    call: Outgoing | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    "Set once the meter counts it, or it is over."

    _dialled: bool = False
    _told: asyncio.Event = field(default_factory=asyncio.Event)
    "Set once somebody pressed a key: whatever sounds like a beep then is none."

    async def run(self) -> None:
        """Claim it, and make it; whatever happens is in its row at the end."""
        line = self.house.line
        claimed = await self.house.ledger.do(lambda db: voice.claim(db, self.row.id, line.host, line.now()))
        if claimed is None:
            return
        try:
            async with asyncio.timeout(LONGEST_S):
                await self._make()
        except RefusedError as error:
            self.outcome, self.reason = Outcome.REFUSED, error.reason
        except TimeoutError:
            log.warning("reminder ended by its limit", call=str(self.row.id))
        except ChartlineError as error:
            self.reason = self.reason or error.code
            log.warning("reminder not called to its end", call=str(self.row.id), code=error.code)
        except Exception as error:
            log.error("reminder failed", call=str(self.row.id), kind=type(error).__name__)
        finally:
            await self._end()

    async def _make(self) -> None:
        number, language = await asyncio.to_thread(self._whom)
        practice, now = self.house.line.practice, self.house.line.now()
        decision = dialling.decide(practice, number, self.outside.meter.usage(LINE), now)
        if not isinstance(decision, External):
            raise RefusedError(str(decision) if isinstance(decision, dialling.Refusal) else "not-a-number")
        self.outside.meter.begin(self.row.id, LINE, decision.price)  # at once: whoever decides next counts it
        self.begun.set()
        try:
            words = words_of(practice, self.row.starts_at, language)
            said = await asyncio.to_thread(script.said, self.house.prompts, practice, words)
        except ChartlineError as error:
            raise RefusedError(error.code) from error
        await self.house.ledger.do(lambda db: self._write_dialled(db, decision))
        self._dialled = True
        self.outcome = Outcome.NO_ANSWER
        call = await self._dial(decision.number)
        if call is None or self.leg is None or not _is_up(call):
            self._unanswered(call)
            return
        await self._answered(call, self.leg, said)

    def _whom(self) -> tuple[str, str]:
        """Open whom the call goes to; the look is on record in the audit log."""
        instance = self.house.line.instance
        access = Access("system:media", "system", "treatment", session=f"reminder-call-{self.row.id}")
        with instance.db.read() as db:
            (fields,) = instance.opener.open(db, access, [voice.sealed_of(self.row)])
        return str(fields["number"]), str(fields["language"])

    def _write_dialled(self, db: Db, decision: External) -> None:
        line = self.house.line
        outbound.dial(
            db,
            self.row.id,
            shown=dialling.shown_number(line.practice),
            host=line.host,
            number=decision.number,
            match=Match("one", (self.row.patient_id,)),
            price=decision.price,
            agent_id=None,
            seal=line.instance.sealer,
            index=line.instance.index,
            now=line.now(),
        )

    async def _dial(self, number: str) -> Outgoing | None:
        practice = self.house.line.practice
        names = dialling.trunks_for(practice)
        first = practice.find_trunk(names[0]) if names else None
        if first is None:
            return None
        wanted = Wanted(secure=first.transport == "tls", least=LEAST[first.protection])
        self.leg = await self.house.relay.allocate(wanted)
        offer = await self.leg.offer()
        wish = Wish(number, dialling.shown_number(practice), offer, ring_seconds=RING_SECONDS)
        self.call, self.trunk = await self.outside.trunks.reach(names, wish, lambda _status, _early: None)
        return self.call

    def _unanswered(self, call: Outgoing | None) -> None:
        """Note why nobody was reached."""
        if call is None:
            self.outcome, self.cause = Outcome.UNREACHABLE, "503"
            return
        self.cause = str(call.status or 503)
        if call.status in _UNKNOWN_NUMBER:
            self.outcome, self.reason = Outcome.REFUSED, "number-unknown"
        elif call.ended.done():
            self.outcome = _CAUSES.get(call.ended.result(), Outcome.UNREACHABLE)

    # Somebody, or something, has picked up

    async def _answered(self, call: Outgoing, leg: Leg, said: Said) -> None:
        line, at = self.house.line, self.house.line.now()
        self.outcome = Outcome.SILENT
        self.house.ledger.note(lambda db: outbound.connected(db, self.row.id, self.trunk, at))
        self.outside.meter.answered(self.row.id)
        call.on_offer = leg.answer
        if call.remote is not None:
            await leg.settle(call.remote)
        call.on_digit = leg.pressed
        follow(self.house.relay, leg, call)
        speaking = asyncio.create_task(self._speak(leg, said))
        try:
            either: list[asyncio.Future[Any]] = [speaking, call.ended]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)
        self.cause = "far-end" if call.ended.done() else "system"
        if not speaking.cancelled() and (error := speaking.exception()) is not None:
            raise error
        log.info("reminder called", call=str(self.row.id), outcome=str(self.outcome), host=line.host)

    async def _speak(self, leg: Leg, said: Said) -> None:
        finding = await leg.picked_up()
        self.answered_by, self.reason = str(finding.verdict), finding.reason
        if finding.verdict is Verdict.MACHINE and (finding.reason == "beep" or await script.beeped(leg)):
            await self._leave(leg, said)
            return
        # Whoever it is, it is spoken to as to a person, with an ear for the beep of a machine that was not known.
        talking, beep = asyncio.create_task(self._talk(leg, said)), asyncio.create_task(leg.beep())
        try:
            await asyncio.wait({talking, beep}, return_when=asyncio.FIRST_COMPLETED)
            if beep.done() and not beep.exception() and not talking.done() and not self._told.is_set():
                talking.cancel()
                await asyncio.gather(talking, return_exceptions=True)
                self.answered_by, self.reason = str(Verdict.MACHINE), "beep"
                await self._leave(leg, said)
            else:
                await talking
        finally:
            for each in (talking, beep):
                each.cancel()
            await asyncio.gather(talking, beep, return_exceptions=True)

    async def _leave(self, leg: Leg, said: Said) -> None:
        await leg.play(said.message)
        self.outcome = Outcome.LEFT

    async def _talk(self, leg: Leg, said: Said) -> None:
        key = await script.ask(leg, [said.opening] * 2, MEANT + STOP)
        if key:
            self._told.set()
        if key == MEANT:
            self.outcome = Outcome.HEARD
            key = await script.tell(leg, said)
            chosen = {CONFIRM: Outcome.CONFIRMED, ANOTHER_TIME: Outcome.RESCHEDULE}.get(key)
            if chosen is not None:
                await self._note(chosen)
                await leg.play(said.confirmed if chosen is Outcome.CONFIRMED else said.reschedule)
                return
        if key == STOP:
            await self._note(Outcome.STOPPED)
            await leg.play(said.stopped)
        else:
            await leg.play(said.closing)

    async def _note(self, outcome: Outcome) -> None:
        """Write what was chosen before anything else: it holds even if the next word is never said."""
        self.outcome = outcome
        at = self.house.line.now()
        await asyncio.wrap_future(
            self.house.ledger.note(lambda db: voice.heard(db, self.row.id, outcome, at), soon=True)
        )

    # The record

    async def _end(self) -> None:
        house, at = self.house, self.house.line.now()
        if self.call is not None:
            self.call.bye()
        if self.leg is not None:
            self.leg.close()
        figures = await house.relay.last_stats(self.leg) if self.leg is not None else None
        self.outside.meter.end(self.row.id)

        def change(db: Db) -> list[Emitted]:
            voice.over(db, self.row.id, self.outcome, at, answered_by=self.answered_by, reason=self.reason)
            if not self._dialled:
                return []
            if figures is not None:
                note_leg(db, self.row.id, "far-end", figures)
            row = outbound.over(db, self.row.id, self.cause, at)
            return [house.notices.emit(db, "call.ended", self.row.id, {"status": row.path or ""}, at)]

        written = house.ledger.note(change, soon=True)
        house.notices.follow(written)
        await asyncio.wrap_future(written)
        if self._dialled:
            await house.planner.ended(self.row.id)


class Reminding:
    """Takes the calls that wait, as many at a time as the policy allows one extension."""

    def __init__(self, house: House, outside: Outside) -> None:
        self._house = house
        self._outside = outside
        self._changed = asyncio.Event()
        self._closing = False
        self._going: dict[UUID, asyncio.Task[None]] = {}
        house.line.on_change.append(self._changed.set)

    async def run(self) -> None:
        """Look for calls whenever somebody wrote to the record, until cancelled."""
        while True:
            try:
                await self._look()
            except Exception as error:
                log.error("calls to be made not read", kind=type(error).__name__)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._changed.wait()
            self._changed.clear()

    async def close(self) -> None:
        """Hang up on whoever is being called; their rows say how far it came."""
        self._closing = True
        going = list(self._going.values())
        for task in going:
            task.cancel()
        await asyncio.gather(*going, return_exceptions=True)

    async def _look(self) -> None:
        line = self._house.line
        if self._closing or not any(reminder.voice for reminder in line.practice.reminders):
            return
        now = line.now()
        for row in await line.instance.db.run(lambda db: voice.waiting(db, now)):
            if row.id in self._going or self._closing:
                continue
            usage = self._outside.meter.usage(LINE)
            room = len(self._going) < line.practice.dialling.concurrent_each
            if not room or dialling.within(line.practice, usage, now) is not None:
                return
            caller = ReminderCaller(self._house, self._outside, row)
            task = asyncio.create_task(caller.run())
            self._going[row.id] = task
            task.add_done_callback(partial(self._gone, caller))
            await caller.begun.wait()  # what is free for the next is known only then

    def _gone(self, caller: ReminderCaller, _task: object) -> None:
        del self._going[caller.row.id]
        caller.begun.set()
        self._changed.set()  # there is room for the next


def _is_up(call: Outgoing) -> bool:
    return call.answered.done() and not call.answered.cancelled() and call.answered.result() is not None
