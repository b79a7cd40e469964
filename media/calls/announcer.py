"""Tells who waits in a queue, every so often, that somebody will come, and their place where the policy says so."""

import asyncio
from uuid import UUID

from hub.record import queue
from hub.rules import queueing
from hub.settings.practice import Queue
from media.line import Line
from media.prompts import Prompts
from media.relay import Leg
from media.sound import Sound, pause

FURTHEST = 20
"Places beyond are not told: nobody who hears thirty-four is helped by it."


class Announcer:
    """Speaks to one caller over the music."""

    def __init__(self, line: Line, prompts: Prompts, call_id: UUID, leg: Leg, language: str) -> None:
        self._line = line
        self._prompts = prompts
        self._call_id = call_id
        self._leg = leg
        self._language = language
        self._task: asyncio.Task[None] | None = None

    def begin(self, settings: Queue | None) -> None:
        """Begin to speak as a queue's policy says; another queue begins anew."""
        self.stop()
        if settings is not None and settings.announce_seconds:
            self._task = asyncio.create_task(self._run(settings))

    def stop(self) -> None:
        """Say no more, also in the middle of a word."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self, settings: Queue) -> None:
        while True:
            await asyncio.sleep(settings.announce_seconds)
            await self._leg.play(await self._words(settings))

    async def _words(self, settings: Queue) -> Sound:
        said = self._prompts.stock("all-agents-busy", self._language)
        place = await self._place() if settings.announce_place else None
        if place is None or place > FURTHEST:
            return said
        told = [self._prompts.stock(name, self._language) for name in ("place-in-queue", f"number-{place}")]
        return said + pause(0.4) + told[0] + told[1]

    async def _place(self) -> int | None:
        waiting = await self._line.instance.db.run(queue.waiting)
        return queueing.position(str(self._call_id), waiting, self._line.now())
