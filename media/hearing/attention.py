"""Listening to what a leg hears: keys, whether somebody speaks, a fax machine that calls, who or what picks up.

It costs about 20 us for each 20 ms, and a leg that nobody listens to pays nothing: `AudioLeg` taps its sound only while
something here is wanted. Keys in the sound are wanted where the far end agreed on no telephone events, as long as the
leg is not bridged: in a talk nobody reads them.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from hub.g711 import Codec, Pcm, decode
from media.errors import MediaError
from media.hearing.activity import Activity
from media.hearing.calling import Calling
from media.hearing.inband import Ear
from media.hearing.machine import TOTAL_S, Beep, Finding, Screening, Verdict
from media.rtp import FRAME, ahead


class Tap(Protocol):
    """Who is given each packet of sound that a leg hears."""

    def heard(self, codec: Codec, ssrc: int, timestamp: int, payload: bytes, now: float) -> None:
        """Take one packet's sound; `now` is the loop's time in seconds."""
        ...


class Attention:
    """A `Tap` that understands; for one leg and one event loop."""

    def __init__(self, pressed: Callable[[str], None], changed: Callable[[], None]) -> None:
        """Take who is told of keys, and who is told that something is wanted or no longer wanted."""
        self.behind: Tap | None = None
        "Who is given each packet as well."
        self.spoken_at = 0.0
        "When somebody last spoke, in the loop's time; kept while `silence` waits."
        self._pressed = pressed
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._ear: Ear | None = None
        self._activity: Activity | None = None
        self._calling: Calling | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._silences = 0
        self._fax: asyncio.Future[None] = self._loop.create_future()
        self._faxes = 0
        self._screening: Screening | None = None
        self._found: asyncio.Future[Finding] = self._loop.create_future()
        self._beep: Beep | None = None
        self._beeped: asyncio.Future[None] = self._loop.create_future()
        self._last: tuple[int, int] | None = None
        self._rest: Pcm = np.zeros(0, np.int16)

    @property
    def wanted(self) -> bool:
        """Whether anything is listened for."""
        listeners = (self._ear, self._activity, self._calling, self._screening, self._beep)
        return any(each is not None for each in listeners)

    def hear_keys(self, wanted: bool) -> None:
        """Hear keys in the sound from now on, or not."""
        if wanted != (self._ear is not None):
            self._ear = Ear() if wanted else None

    async def silence(self, seconds: float) -> None:
        """Return once nobody has spoken for `seconds`, counted from now at the earliest.

        Nothing heard at all is silence too: many a far end sends no packets while it has nothing to say.

        Raises:
            LegClosedError: the leg was closed meanwhile.
        """
        if not self._silences:
            self._activity, self._rest = Activity(), self._rest[:0]
            self.spoken_at = self._loop.time()
        self._silences += 1
        until = max(self.spoken_at, self._loop.time()) + seconds
        self._changed()
        try:
            while (left := until - self._loop.time()) > 0:
                await self._wait(left)
                until = max(until, self.spoken_at + seconds)
        finally:
            self._silences -= 1
            if not self._silences:
                self._activity = None
                self._changed()

    async def fax(self) -> None:
        """Return once a fax machine is heard calling.

        Raises:
            LegClosedError: the leg was closed meanwhile.
        """
        if not self._faxes:
            self._calling, self._rest = Calling(), self._rest[:0]
        if self._fax.done():
            self._fax = self._loop.create_future()
        self._faxes += 1
        self._changed()
        try:
            await asyncio.shield(self._fax)
        finally:
            self._faxes -= 1
            if not self._faxes:
                self._calling = None
                self._changed()

    async def picked_up(self) -> Finding:
        """Return who picked up, by what is heard from now on; for one who waits at a time.

        A far end that sends nothing while it says nothing is not told apart.

        Raises:
            LegClosedError: the leg was closed meanwhile.
        """
        self._screening, self._rest = Screening(), self._rest[:0]
        self._found = self._loop.create_future()
        self._changed()
        try:
            async with asyncio.timeout(TOTAL_S):
                return await self._found
        except TimeoutError:
            return Finding(Verdict.UNKNOWN, "undecided")
        finally:
            self._screening = None
            self._changed()

    async def beep(self) -> None:
        """Return once the beep of a machine that takes messages is over; for one who waits at a time.

        Raises:
            LegClosedError: the leg was closed meanwhile.
        """
        self._beep, self._rest = Beep(), self._rest[:0]
        self._beeped = self._loop.create_future()
        self._changed()
        try:
            await self._beeped
        finally:
            self._beep = None
            self._changed()

    async def _wait(self, seconds: float) -> None:
        waiting: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(waiting)
        timer = self._loop.call_later(seconds, _wake, waiting)
        try:
            await waiting
        finally:
            timer.cancel()
            self._waiting.remove(waiting)

    def heard(self, codec: Codec, ssrc: int, timestamp: int, payload: bytes, now: float) -> None:
        """Take one packet's sound; one that comes twice, or late, is not listened to."""
        if self.behind is not None:
            self.behind.heard(codec, ssrc, timestamp, payload, now)
        last, self._last = self._last, (ssrc, timestamp)
        if last is not None and last[0] == ssrc and ahead(timestamp, last[1], 32) <= 0:
            self._last = last
            return
        pcm = decode(codec, payload)
        if self._ear is not None:
            for key in self._ear.heard(pcm):
                self._pressed(key)
        if all(each is None for each in (self._activity, self._calling, self._screening, self._beep)):
            return
        if len(self._rest):
            pcm = np.concatenate((self._rest, pcm))
        for at in range(0, len(pcm) - FRAME + 1, FRAME):
            self._frame(pcm[at : at + FRAME], now)
        self._rest = pcm[len(pcm) - len(pcm) % FRAME :]

    def _frame(self, pcm: Pcm, now: float) -> None:
        if self._activity is not None and self._activity.heard(pcm):
            self.spoken_at = now
        if self._calling is not None and self._calling.heard(pcm) and not self._fax.done():
            self._fax.set_result(None)
        if self._screening is not None:
            self._screening.heard(pcm)
            if self._screening.finding is not None and not self._found.done():
                self._found.set_result(self._screening.finding)
        if self._beep is not None and self._beep.heard(pcm) and not self._beeped.done():
            self._beeped.set_result(None)

    def end(self, why: MediaError) -> None:
        """Let whoever waits know that there is nothing to hear any more."""
        self.behind = None
        waited: list[asyncio.Future[Any]] = [*self._waiting, *([self._fax] if self._faxes else [])]
        waited += [self._found] if self._screening is not None else []
        waited += [self._beeped] if self._beep is not None else []
        for each in waited:
            if not each.done():
                each.set_exception(why)


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
