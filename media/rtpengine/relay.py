"""The relay with rtpengine at its edge: which leg is in which rtpengine, and what happens when one dies."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

import structlog

from hub.settings.value import Address
from media.errors import MediaError
from media.leg import LegStats
from media.recorder import Place
from media.relay import PLAIN, Recording, Relay, Wanted
from media.rtpengine.edge import Edge
from media.rtpengine.leg import EdgeLeg
from media.rtpengine.ng import Engine, EngineLostError, EngineRefusedError

log = structlog.get_logger()

SETTLED_S = 1.0
"How long two have heard each other before rtpengine passes their sound on by itself: a recording may begin."

LOOKS = 10
"Within so many looks each call of an rtpengine is looked at."

CLOSING_S = 2.0
"How long rtpengine may take at the end to forget the calls that go on."


class RtpengineRelay:
    """A `RelayEngine`: `inner` makes and hears the sound, and rtpengine stands between it and the far ends.

    Browsers speak with `inner` at once: it tells when a page is gone, and what is sealed from end to end.
    """

    def __init__(self, inner: Relay, places: Sequence[Address]) -> None:
        self.inner = inner
        "What makes and hears the sound."

        self._engines = [Engine((place.host, place.port)) for place in places]
        self._legs: set[EdgeLeg] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = 0

    async def start(self) -> None:
        """Return once `inner` is ready and every rtpengine was asked; one that is not there is asked again and again.

        Raises:
            OSError: the name of one has no address.
        """
        await self.inner.start()
        for engine in self._engines:
            engine.on_lost = lambda engine=engine: self._lost(engine)
            engine.look = lambda engine=engine: self._look(engine)  # type: ignore[misc]
        # All are waited for, also where one fails: another would begin to look after everything was closed.
        opened = await asyncio.gather(*(engine.open() for engine in self._engines), return_exceptions=True)
        for failure in opened:
            if failure is not None:
                raise failure
        if not any(engine.up for engine in self._engines):
            log.error("no rtpengine answers; calls go on without one")

    async def allocate(self, wanted: Wanted = PLAIN, beside: EdgeLeg | None = None) -> EdgeLeg:
        """Return a new leg, in the rtpengine of `beside` or the one with the fewest; in none where none is there.

        Raises:
            NoPortError: our own leg can have none.
        """
        engine = None
        if wanted.kind == "sip":
            engine = beside.edge.engine if beside is not None and beside.edge is not None else None
            engine = engine if engine is not None and engine.up else self._roomiest()
        # Behind rtpengine is nobody who could listen: its keys are what protects.
        behind = wanted if engine is None else replace(wanted, least="rtp")
        inner = await self.inner.allocate(behind, beside.inner if beside is not None else None)
        leg = EdgeLeg(inner, wanted, engine, self._roomiest, self._spawn, self._changed)
        self._legs.add(leg)
        return leg

    def bridge(self, a: EdgeLeg, b: EdgeLeg) -> None:
        """Let two legs hear each other; a leg that was bridged before leaves that bridge."""
        if a is b or a.closed or b.closed or a.peer is b:
            return
        for leg in (a, b):
            self.unbridge(leg)
        self.inner.bridge(a.inner, b.inner)
        a.peer, b.peer = b, a
        self._changed(a)

    def unbridge(self, leg: EdgeLeg) -> None:
        """Part a leg from the one it hears; both hear silence from then on."""
        peer = leg.peer
        if peer is None:
            return
        self.inner.unbridge(leg.inner)
        leg.peer = peer.peer = None
        for each in (leg, peer):
            self._changed(each)

    def record(self, place: Place, legs: Sequence[EdgeLeg]) -> Recording:
        """Record what legs say, the caller's first; their sound comes to our legs until that ends."""
        recording = self.inner.record(place, [leg.inner for leg in legs])
        for leg in legs:
            leg.need(1)

        def ended(_: object) -> None:
            for leg in legs:
                leg.need(-1)

        recording.ended.add_done_callback(ended)
        return recording

    def watch(self, leg: EdgeLeg, moved: Callable[[], Awaitable[None]]) -> None:
        """Call `moved` whenever the leg's sound has another place: its far end is to be made a new offer."""
        leg.watch(moved)
        self.inner.watch(leg.inner, moved)

    async def last_stats(self, leg: EdgeLeg) -> LegStats:
        """Return what is known of a leg's sound up to this moment, or up to its end."""
        edge = leg.edge
        if leg.closed:
            await asyncio.shield(leg.final)
        elif edge is not None:
            await self._ask(leg, edge)
        own = await self.inner.last_stats(leg.inner)
        return own if leg.direct else leg.seen.over(own, leg.protection)

    def __len__(self) -> int:
        return len(self._legs)

    async def close(self) -> None:
        """Give all legs up, seal what is being recorded, and let rtpengine forget the calls."""
        for leg in list(self._legs):
            leg.close()
        await self.inner.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSING_S)
        for task in list(self._tasks):
            task.cancel()
        for engine in self._engines:
            engine.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Which leg is where

    def _roomiest(self) -> Engine | None:
        """Return the rtpengine with the fewest legs among those that are there."""
        there = [engine for engine in self._engines if engine.up]
        return min(there, key=lambda engine: len(self._in(engine)), default=None)

    def _in(self, engine: Engine) -> list[EdgeLeg]:
        return [leg for leg in self._legs if leg.edge is not None and leg.edge.engine is engine]

    def _lost(self, engine: Engine) -> None:
        for leg in self._in(engine):
            if leg.edge is not None:
                leg.lose(leg.edge)

    async def _look(self, engine: Engine) -> None:
        """Look at some of the calls there, in turn: that it answers is not enough where it has begun anew."""
        legs = self._in(engine)
        self._turns += 1
        some = [leg for place, leg in enumerate(legs) if (place + self._turns) % LOOKS == 0 or len(legs) < LOOKS]
        known = [leg for leg in some if leg.edge is not None and leg.edge.begun]
        if not known:
            await engine.ping()
        elif False in [await self._ask(leg, leg.edge) for leg in known]:
            for leg in self._in(engine):
                if leg.edge is not None and leg.edge.begun:
                    await self._ask(leg, leg.edge)

    async def _ask(self, leg: EdgeLeg, edge: Edge | None) -> bool:
        """Ask what is known of a leg; False where its call is not known there any more."""
        if edge is None or not edge.begun:
            return True
        try:
            leg.saw(await edge.look())
        except EngineRefusedError:
            leg.lose(edge)
            return False
        except EngineLostError:
            return True  # whoever watches over it tells the legs
        except MediaError as error:
            log.warning("rtpengine answers strangely", code=error.code)
        return True

    # Sound that need not come to us

    def _changed(self, leg: EdgeLeg) -> None:
        """Look anew which way a leg's sound is to go."""
        peer = leg.peer
        if leg.closed:
            self._legs.discard(leg)
            leg.peer = None
            if peer is not None:
                peer.peer = None
        together = peer is not None and leg.peer is peer and _alone(leg, peer)
        if together and peer is not None and leg.joined is not peer:
            asyncio.get_running_loop().call_later(SETTLED_S, self._join, leg, peer)
            return
        for each in {leg, peer or leg, leg.joined or leg}:
            if not together:
                each.joined = None
            # Where it is to go is read when it is done: whatever is told last holds.
            if each.edge is not None and each.edge.last is not None:
                self._spawn(each.steer())

    def _join(self, a: EdgeLeg, b: EdgeLeg) -> None:
        if not a.closed and not b.closed and a.peer is b and _alone(a, b):
            a.joined, b.joined = b, a
            for leg in (a, b):
                self._spawn(leg.steer())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a leg was left as it was", kind=type(error).__name__)


def _alone(a: EdgeLeg, b: EdgeLeg) -> bool:
    """Tell whether rtpengine can pass the sound of two on by itself: nobody else listens, and they speak alike."""
    if a.needed or b.needed or a.edge is None or b.edge is None or a.edge.engine is not b.edge.engine:
        return False
    return a.edge.spoken is not None and a.edge.spoken == b.edge.spoken
