"""A caller's wait for a person: music, announcements, phones that ring, and what is done with those who wait long."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlmodel import Session

from hub.record import call, pop, queue
from hub.record.queue import Offer
from hub.rules.menu import Go
from hub.settings.practice import Overflow
from media.calls.announcer import Announcer
from media.calls.house import House
from media.calls.switchboard import Side
from media.relay import Leg


@dataclass(frozen=True, slots=True)
class Served:
    """Somebody picked up."""

    side: Side
    offer: Offer


@dataclass(slots=True)
class Waiting:
    """One caller's wait, in one queue after another."""

    house: House
    call_id: UUID
    leg: Leg
    number: str
    "The caller's, as the agents' phones show it; empty where it is withheld."

    max_forwards: int
    goes_on: Callable[[], bool]
    "Whether the caller is still there."

    wrap_up_seconds: int = 0
    "Of the queue that the caller is in, or was in last."

    _announcer: Announcer | None = None

    async def serve(self, go: Go, name: str) -> Served | Overflow:
        """Let the caller wait in a queue; return who took the call, or the rule that says what else becomes of it.

        A rule that leads to another queue is followed here. What the caller hears goes on; `hush` ends the words.
        """
        house, leg = self.house, self.leg
        while True:
            await leg.play(house.prompts.stock("please-hold", go.language))
            leg.hold_music()
            began = house.line.now()
            offers = await self._enter(go, name, began)
            settings = house.line.practice.find_queue(name)
            self._announcer = self._announcer or Announcer(house.line, house.prompts, self.call_id, leg, go.language)
            self._announcer.begin(settings)
            self.wrap_up_seconds = settings.wrap_up_seconds if settings else 0
            ended = await self._until_overflow(offers, settings.overflow if settings else (), began)
            if isinstance(ended, Served) or ended.queue is None:
                self.hush()
                return ended
            house.floor.left(self.call_id)
            name = ended.queue

    def hush(self) -> None:
        """Say nothing more to who waits."""
        if self._announcer is not None:
            self._announcer.stop()

    async def _enter(self, go: Go, name: str, at: datetime) -> asyncio.Queue[Offer]:
        def before(db: Session) -> None:
            queue.reopen(db, self.call_id, at)
            call.queued(db, self.call_id, name, at)

        return await self.house.floor.enter(self.call_id, name, go.priority, go.language, before)

    async def _until_overflow(
        self, offers: asyncio.Queue[Offer], rules: tuple[Overflow, ...], began: datetime
    ) -> Served | Overflow:
        """Return who took the call, or the first of the rules that lets nobody wait on; without any, wait on."""
        for rule in sorted(rules, key=lambda each: each.after_seconds):
            served = await self._served(offers, began + timedelta(seconds=rule.after_seconds))
            return rule if served is None else served
        while (served := await self._served(offers, None)) is None:
            pass
        return served

    async def _served(self, offers: asyncio.Queue[Offer], until: datetime | None) -> Served | None:
        """Ring agents as they are offered; return who picked up, None once `until` has come."""
        while True:
            left = None if until is None else max((until - self.house.line.now()).total_seconds(), 0.0)
            try:
                async with asyncio.timeout(left):
                    offer = await offers.get()
            except TimeoutError:
                return None
            self._offered(offer)
            taken = await self.house.floor.ring(offer, self.number, self.max_forwards, beside=self.leg)
            if taken is not None:
                return Served(Side(taken.sip, taken.leg, taken.agent_id), offer)

    def _offered(self, offer: Offer) -> None:
        house = self.house
        key, at = house.line.instance.keys.pop, house.line.now()
        payload = {"queue": offer.queue, "agent": str(offer.agent_id), "offer": str(offer.id)}
        house.notices.tell(
            "call.offered",
            self.call_id,
            payload,
            along=lambda db: pop.open(db, offer, key=key, now=at),
            still=self.goes_on,
            soon=True,
        )
