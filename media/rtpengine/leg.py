"""A leg whose far end speaks with rtpengine: its sound is made and heard by a leg of ours behind it.

Where no rtpengine is there, our leg speaks with the far end itself, and stays with it until the call's end.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from media.errors import MediaError
from media.hearing.machine import Finding
from media.leg import LegClosedError, LegStats
from media.protection import RANKS
from media.relay import Leg, Wanted
from media.rtpengine.edge import Edge
from media.rtpengine.ng import Engine, EngineLostError, EngineRefusedError
from media.rtpengine.seen import Seen
from media.sdp import Direction, Session
from media.sound import Sound

log = structlog.get_logger()

Spawn = Callable[[Coroutine[Any, Any, None]], None]


class EdgeLeg:
    """A `relay.Leg`; made by `RtpengineRelay`. For one event loop, not thread-safe."""

    def __init__(
        self,
        inner: Leg,
        wanted: Wanted,
        engine: Engine | None,
        pick: Callable[[], Engine | None],
        spawn: Spawn,
        changed: "Callable[[EdgeLeg], None]",
    ) -> None:
        self.inner = inner
        self.wanted = wanted
        self.digits = inner.digits
        self.protection = wanted.least
        self.on_gone: Callable[[], None] | None = None
        "Told once when the far end has left by itself."

        self.on_lost: Callable[[], None] | None = None
        "Told once when a handshake of our own leg with the far end failed; of its own, rtpengine says nothing."

        self.edge = Edge(engine, wanted) if engine is not None else None
        "Where its far end speaks with; None where that is our own leg, or while it moves."

        self.peer: EdgeLeg | None = None
        self.joined: EdgeLeg | None = None
        "Whom its far end is to hear without us."

        self.closed = False
        self.needed = 0
        "How many want its sound to come to our leg: recordings, and what is being played."

        self.seen = Seen()
        "What rtpengine counted, as it last said."

        self.final: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.direct = engine is None
        "Whether our leg speaks with the far end itself."

        self._pick, self._spawn, self._changed = pick, spawn, changed
        self._before = Seen()
        self._said = self._stale = self._following = False
        self._moves = 0
        self._steering = asyncio.Lock()
        self._via: str | None = None
        self._offered_at: Edge | None = None
        self._moved: Callable[[], Awaitable[None]] | None = None
        inner.on_gone, inner.on_lost = self._gone, self._lost

    # What the signalling says

    async def offer(self, direction: Direction = Direction.SENDRECV) -> Session:
        """Return our offer: the first, or the next version of what was said.

        Raises:
            EngineLostError: no rtpengine is there, and what the far end was promised is more than we can do alone.
            LegClosedError: it was closed.
        """
        await self._apart()
        session = await self.inner.offer(direction)
        offered = await self._there(lambda edge: edge.offer(session))
        self._said, self._offered_at = True, self.edge
        return offered or session

    async def answer(self, offer: Session, *, via: str | None = None) -> Session:
        """Follow the peer's offer and return the answer; `via` is the IP address that its signalling comes from.

        Raises:
            UnacceptableError: nothing in it that can be spoken; the leg goes on as it was.
            EngineLostError: as with `offer`.
            LegClosedError: it was closed.
        """

        async def through(edge: Edge) -> Session:
            return await edge.reply(await self.inner.answer(await edge.take(offer, self._via)))

        self._via = via or self._via
        await self._apart()
        answer = await self._there(through) or await self.inner.answer(offer, via=via)
        self._agreed()
        return answer

    async def settle(self, answer: Session, *, via: str | None = None) -> None:
        """Follow the peer's answer to our latest offer; one that named an rtpengine that is no more settles nothing.

        Raises:
            UnacceptableError: it takes nothing of the offer, or less protection than will do.
            LegClosedError: it was closed.
        """
        self._via = via or self._via
        edge = self._offered_at
        if edge is not self.edge:
            self.displaced()
            return
        if edge is None:
            await self.inner.settle(answer, via=via)
            self._agreed()
            return
        await self._apart()
        try:
            heard = await edge.settle(answer, self._via)
        except (EngineLostError, EngineRefusedError) as error:
            self._leave(edge, error)
            return
        await self.inner.settle(heard)
        if self.edge is edge:
            self._agreed()
        else:
            self.displaced()

    async def _there(self, say: Callable[[Edge], Awaitable[Session]]) -> Session | None:
        """Return what an rtpengine makes of a description; None where our leg speaks with the far end itself.

        Raises:
            EngineRefusedError: two of them do not do it, or one twice.
        """
        refused = False
        while (edge := self._home()) is not None:
            try:
                said = await say(edge)
                if self.edge is edge:  # else it was lost as it answered
                    return said
            except EngineLostError as error:
                self._leave(edge, error)
            except EngineRefusedError as error:
                self._leave(edge, error)
                if refused:
                    raise
                refused = True
        return None

    def _agreed(self) -> None:
        self.protection = self.inner.protection if self.edge is None else self.edge.protection
        self._said, self._stale = True, False
        self._changed(self)

    # What it plays

    async def play(self, sound: Sound, *, barge_in: bool = False) -> bool:
        """Play a sound; False when a key cut it short.

        Raises:
            LegClosedError: the leg was closed meanwhile.
        """
        with self._needed():
            return await self.inner.play(sound, barge_in=barge_in)

    async def press(self, keys: str) -> None:
        """Press keys for the far end.

        Raises:
            ProtocolError: not keys.
            LegClosedError: the leg was closed meanwhile.
        """
        self.need(1)
        try:
            await self.steer()
            await self.inner.press(keys)
        finally:
            self.need(-1)

    def pressed(self, key: str) -> None:
        """Take a key that came with the signalling (INFO) like one that is heard."""
        self.inner.pressed(key)

    async def silence(self, seconds: float) -> None:
        """Return once the far end has not spoken for so long, counted from now at the earliest.

        Raises:
            LegClosedError: the leg was closed meanwhile.
        """
        with self._needed():
            await self.inner.silence(seconds)

    async def fax(self) -> None:
        """Return once a fax machine is heard calling.

        Raises:
            LegClosedError: the leg was closed meanwhile.
        """
        with self._needed():
            await self.inner.fax()

    async def picked_up(self) -> Finding:
        """Return who picked up, by what is heard from now on.

        Raises:
            LegClosedError: the leg was closed meanwhile.
        """
        with self._needed():
            return await self.inner.picked_up()

    async def beep(self) -> None:
        """Return once the beep of a machine that takes messages is over.

        Raises:
            LegClosedError: the leg was closed meanwhile.
        """
        with self._needed():
            await self.inner.beep()

    def loop(self, sound: Sound) -> None:
        """Play a sound over and over."""
        self.inner.loop(sound)

    def hold_music(self) -> None:
        """Play the practice's hold music."""
        self.inner.hold_music()

    def quiet(self) -> None:
        """Send silence."""
        self.inner.quiet()

    # Whether its sound comes to our leg

    def need(self, more: int) -> None:
        """Let the sound come to our leg, or for one reason less."""
        self.needed += more
        self._changed(self)

    @contextmanager
    def _needed(self) -> Iterator[None]:
        self.need(1)
        try:
            yield
        finally:
            self.need(-1)

    async def steer(self) -> None:
        """Let the sound go where it is to go by now: to our leg, or to where `joined` comes out of rtpengine."""
        async with self._steering:
            edge, to = self.edge, self.joined.edge if self.joined is not None else None
            if edge is None or self.closed:
                return
            try:
                whole = await edge.turn(edge.own if to is None or to.last is None else to.last.gate)
            except (EngineLostError, EngineRefusedError) as error:
                self._leave(edge, error)
                return
            if not whole:
                log.warning("rtpengine changed what it had said; the far end is told")
                self.displaced()

    async def _apart(self) -> None:
        """Have the sound come to our legs before something new is agreed on."""
        other = self.joined
        if other is not None:
            self.joined = other.joined = None
            await asyncio.gather(self.steer(), other.steer())

    # Where it is

    def watch(self, moved: Callable[[], Awaitable[None]]) -> None:
        """Call `moved` when the far end is to be made a new offer, at once where that is so already."""
        self._moved = moved
        if self._stale:
            self._follow()

    def _home(self) -> Edge | None:
        if self.closed:
            raise LegClosedError("the leg is closed")
        if self.edge is None and not self.direct:
            engine = self._pick()
            if engine is not None:
                self.edge = Edge(engine, self.wanted)
                return self.edge
            promised = self.protection if self._said else self.wanted.least
            if RANKS[promised] > RANKS["rtp"]:
                raise EngineLostError("no rtpengine is there, and nothing less protected will do")
            self.direct = True
        return self.edge

    def _leave(self, edge: Edge, error: MediaError) -> None:
        if self.edge is edge:
            log.warning("leg leaves its rtpengine", code=error.code)
            self.lose(edge)

    def lose(self, edge: Edge) -> None:
        """Take it that an rtpengine, or its call there, is no more."""
        if self.edge is edge and not self.closed:
            self._before, self.edge = self.seen, None
            self._spawn(_end(edge))
            self._changed(self)
            self.displaced()

    def displaced(self) -> None:
        """Take it that what the far end was told is out of date."""
        if self._said and not self.closed:
            self._stale = True
            self._moves += 1
            self._follow()

    def _follow(self) -> None:
        if self._moved is not None and not self._following:
            self._following = True
            self._spawn(self._tell_far_end(self._moved))

    async def _tell_far_end(self, moved: Callable[[], Awaitable[None]]) -> None:
        try:
            tried = -1
            while self._stale and not self.closed and tried != self._moves:
                tried = self._moves
                await moved()
        except Exception as error:
            log.error("far end not told of a move", kind=type(error).__name__)
        finally:
            self._following = False

    # What is known of it, and its end

    @property
    def stats(self) -> LegStats:
        """What is known of its sound so far; a few seconds old at most."""
        if self.direct:
            return self.inner.stats
        return self.seen.over(self.inner.stats, self.protection)

    def saw(self, seen: Seen) -> None:
        """Take what rtpengine counts."""
        self.seen = seen.plus(self._before)

    def close(self) -> None:
        """Give it up; closing twice is once."""
        if not self.closed:
            self._over()
            self.inner.close()

    def _gone(self) -> None:
        if not self.closed:
            self._over()
            if self.on_gone is not None:
                self.on_gone()

    def _lost(self) -> None:
        if not self.closed:
            self._over()
            self.inner.close()
            if self.on_lost is not None:
                self.on_lost()

    def _over(self) -> None:
        self.closed = True
        self._changed(self)
        self._spawn(self._finish())

    async def _finish(self) -> None:
        edge, self.edge = self.edge, None
        if edge is not None:
            seen = await edge.end()
            if seen is not None:
                self.saw(seen)
        self.final.set_result(None)


async def _end(edge: Edge) -> None:
    await edge.end()
