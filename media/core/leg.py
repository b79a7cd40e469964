"""One party's sound in a media core process, as the signalling process sees it; it outlives that process.

The leg remembers what it was told. When its core dies it gets a place in another and is told there again; only its far
end must then be made a new offer (`watch`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from media.core import wire
from media.core.continuation import continued, section_of
from media.core.process import CoreLostError, Process
from media.dtmf import Presses
from media.errors import MediaError
from media.hearing.machine import Finding, Verdict
from media.leg import DIGITS, LegClosedError, LegStats
from media.relay import Wanted
from media.sdp import Direction, Session
from media.sound import Sound

log = structlog.get_logger()

Spawn = Callable[[Coroutine[Any, Any, None]], None]
Tell = Callable[[Process], None]
Named = Callable[[Process, Sound], int]
"Returns the number under which a core knows a sound, which it is told where it does not."


NOTHING = LegStats(packets=0, lost=0, loss=0.0, jitter_ms=0.0, sent=0, unsent=0, refused=0, strange=0, protection="rtp")
"Of a leg that has heard nothing."


class RemoteLeg:
    """A `relay.Leg`; made by `CoreRelay`. For one event loop, not thread-safe."""

    def __init__(self, number: int, wanted: Wanted, named: Named, spawn: Spawn, closed: "Callable[[RemoteLeg], None]"):
        self.number = number
        self.wanted = wanted
        self.family = number
        "Shared with the legs that it is likely to be bridged to: they move together."

        self.on_gone: Callable[[], None] | None = None
        "Told once when the far end has left by itself."

        self.on_lost: Callable[[], None] | None = None
        "Told once when the far end will never be heard: its handshake failed."

        self.digits: asyncio.Queue[str] = asyncio.Queue(DIGITS)
        self.protection = wanted.least
        self.core: Process | None = None
        "Where its sound is; None while it moves, and once that is over."

        self.peer: RemoteLeg | None = None
        self.moving = False
        self.closed = False
        self.final: asyncio.Future[LegStats] = asyncio.get_running_loop().create_future()
        "What is known of its sound at its end."

        self._presses = Presses()
        self._named = named
        self._spawn = spawn
        self._on_closed = closed
        self._stats = NOTHING
        self._refused: MediaError | None = None
        self._behind: Tell | None = None
        self._foreground: dict[int, bool] = {}
        "Requests that play something, and whether a key cuts them short."

        self._placed, self._agreed = asyncio.Event(), asyncio.Event()
        self._agreed.set()
        self._stale = False
        "Whether the far end was told of a place that is no more."

        self._moves = 0
        self._moved: Callable[[], Awaitable[None]] | None = None
        self._following = False
        self._said: Session | None = None
        self._offered_by: Process | None = None
        self._section = 0
        self._via: str | None = None

    # What the signalling says

    async def offer(self, direction: Direction = Direction.SENDRECV) -> Session:
        """Return our offer: the first, or the next version of what was said.

        Raises:
            LegClosedError: it was closed.
        """
        said, self._offered_by = await self._ask(lambda request: wire.Offer(request, self.number, direction))
        self.protection = said.protection
        session, self._section = continued(wire.session_of(said.session), self._said, offer=True)
        self._said = session
        return session

    async def answer(self, offer: Session, *, via: str | None = None) -> Session:
        """Follow the peer's offer and return the answer; `via` is the IP address that its signalling comes from.

        Raises:
            UnacceptableError: nothing in it that can be spoken; the leg goes on as it was.
            LegClosedError: it was closed.
        """
        self._via = via or self._via
        described = wire.said(offer)
        said, _ = await self._ask(lambda request: wire.Answer(request, self.number, described, self._via))
        self.protection = said.protection
        self._said, _ = continued(wire.session_of(said.session), self._said, offer=False)
        self._fresh()
        return self._said

    async def settle(self, answer: Session, *, via: str | None = None) -> None:
        """Follow the peer's answer to our latest offer; one that named a place which is no more has nothing to settle.

        Raises:
            UnacceptableError: it takes nothing of the offer.
            LegClosedError: it was closed.
        """
        self._via = via or self._via
        core = await self.home()
        if self._offered_by is not None and self._offered_by is not core:
            return
        described = wire.said(section_of(answer, self._section))
        try:
            settled = await core.ask(lambda request: wire.Settle(request, self.number, described, self._via))
        except CoreLostError:
            return
        self.protection = settled.protection
        if self.core is core:
            self._fresh()

    # What it plays

    async def play(self, sound: Sound, *, barge_in: bool = False) -> bool:
        """Play a sound and return True when it is over; behind what is being played already.

        With `barge_in` a key cuts it short, also one that waits in `digits` already; then False comes back. A task that
        is cancelled here stops the sound. A sound that a core took with it is played again from its beginning.

        Raises:
            LegClosedError: the leg was closed meanwhile.
        """
        if barge_in and not self.digits.empty():
            return False

        def tell(core: Process) -> Callable[[int], wire.Command]:
            name = self._named(core, sound)
            return lambda request: wire.Play(request, self.number, name, barge_in)

        return await self._perform(tell, barge_in=barge_in)

    async def press(self, keys: str) -> None:
        """Press keys for the far end to hear as telephone events; silence where it agreed on none.

        Raises:
            ProtocolError: not keys.
            LegClosedError: the leg was closed meanwhile.
        """
        await self._perform(lambda _: lambda request: wire.Press(request, self.number, keys), barge_in=False)

    def loop(self, sound: Sound) -> None:
        """Play a sound over and over whenever nothing else is; ends when the leg is bridged."""
        self._play_behind(lambda core: core.tell(wire.Loop(self.number, self._named(core, sound))))

    def hold_music(self) -> None:
        """Play the practice's hold music like `loop`."""
        self._play_behind(lambda core: core.tell(wire.Music(self.number)))

    def quiet(self) -> None:
        """Send silence whenever nothing else is played."""
        self._play_behind(self._silence)

    def _silence(self, core: Process) -> None:
        core.tell(wire.Quiet(self.number))

    def _play_behind(self, tell: Tell) -> None:
        if self.closed:
            return
        self._behind = tell
        if self.core is not None:
            tell(self.core)

    async def _perform(self, tell: Callable[[Process], Callable[[int], wire.Command]], *, barge_in: bool) -> bool:
        return (await self._do(tell, barge_in=barge_in)).whole

    async def _do(self, tell: Callable[[Process], Callable[[int], wire.Command]], *, barge_in: bool) -> wire.Done:
        while True:
            core = await self.home()
            if not self._agreed.is_set():
                await self._agreed.wait()
                continue
            try:
                number, answer = core.request(tell(core))
                self._foreground[number] = barge_in
                try:
                    done: wire.Done = await core.answer(number, answer)
                finally:
                    del self._foreground[number]
            except CoreLostError:
                self._forsake(core)
                continue
            return done

    # What it listens for; each raises LegClosedError where the leg is closed meanwhile

    async def silence(self, seconds: float) -> None:
        """Return once the far end has not spoken for `seconds`; in another core it is counted anew."""
        await self._perform(
            lambda _: lambda request: wire.Listen(request, self.number, "silence", seconds), barge_in=False
        )

    async def fax(self) -> None:
        """Return once a fax machine is heard calling."""
        await self._listen("fax")

    async def picked_up(self) -> Finding:
        """Return who picked up, by what is heard from now on; in another core that begins anew."""
        return (await self._listen("picked-up")).finding or Finding(Verdict.UNKNOWN, "undecided")

    async def beep(self) -> None:
        """Return once the beep of a machine that takes messages is over."""
        await self._listen("beep")

    async def _listen(self, what: wire.Heard, seconds: float = 0.0) -> wire.Done:
        return await self._do(
            lambda _: lambda request: wire.Listen(request, self.number, what, seconds), barge_in=False
        )

    # Where it is

    def watch(self, moved: Callable[[], Awaitable[None]]) -> None:
        """Call `moved` when the far end is to be made a new offer, at once where that is so already."""
        if self.closed:
            return
        self._moved = moved
        if self._stale and self.core is not None:
            self._follow()

    def arrive(self, core: Process) -> None:
        """Be in a core from now on."""
        if self.closed:
            core.tell(wire.Close(self.number))
            return
        self.core = core
        if self._behind is not None:
            self._behind(core)
        self._placed.set()
        if self._stale:
            self._follow()

    def displace(self) -> None:
        """Be in no core until `arrive`."""
        self.core = None
        self._moves += 1
        self._placed.clear()
        if self._said is not None:
            self._stale = True
        if self._stale and self._moved is not None:
            self._agreed.clear()

    def _follow(self) -> None:
        if self._moved is not None and not self._following:
            self._following = True
            self._agreed.clear()
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
            # Also where it failed: what waits is then played to nobody, and whoever waits for it goes on.
            self._agreed.set()

    def _fresh(self) -> None:
        self._stale = False
        self._agreed.set()

    async def home(self) -> Process:
        """Return the core it is in, or will be in.

        Raises:
            NoPortError: none has room for it.
            LegClosedError: it is closed.
        """
        while self.core is None:
            if self.closed:
                break
            await self._placed.wait()
        if self._refused is not None:
            raise self._refused
        if self.closed or self.core is None:
            raise LegClosedError("the leg is closed")
        return self.core

    async def _ask(self, make: Callable[[int], wire.Command]) -> tuple[Any, Process]:
        while True:
            core = await self.home()
            try:
                said = await core.ask(make)
                if self.core is core:  # else it has moved meanwhile
                    return said, core
            except CoreLostError:
                self._forsake(core)
            except LegClosedError as closed:
                raise self._refused or closed from None

    def _forsake(self, core: Process) -> None:
        # The relay has heard of it before; a leg that is in it still would ask it for ever.
        if self.core is core:
            raise LegClosedError("the leg is closed")

    def join(self, peer: "RemoteLeg") -> None:
        """Hear `peer` from now on; for the relay, which tells the core."""
        self.peer, self._behind = peer, None

    def part(self) -> None:
        """Hear silence from now on; for the relay, which tells the core."""
        self.peer, self._behind = None, None if self.closed else self._silence

    # What its core tells

    def pressed(self, key: str, *, signalled: bool = True) -> None:
        """Take a key that the far end pressed, as its signalling or its core tells; of both, it counts once."""
        if not self._presses.fresh(key, signalled=signalled, now=asyncio.get_running_loop().time()):
            return
        if self.digits.full():
            self.digits.get_nowait()
        self.digits.put_nowait(key)
        if self.core is not None:
            for number in [number for number, barge_in in self._foreground.items() if barge_in]:
                self.core.cut(number, wire.Done(number, whole=False))

    def figures(self, stats: LegStats) -> None:
        """Take what is known of its sound."""
        self._stats = stats
        self.protection = stats.protection

    # Its end

    @property
    def stats(self) -> LegStats:
        """What is known of its sound, a few seconds old at most; `CoreRelay.last_stats` asks for what is known now."""
        return self._stats

    def close(self) -> None:
        """Give it up; what is being played ends with `LegClosedError`. Closing twice is once."""
        if self.closed:
            return
        core = self.core
        if core is not None:
            core.mention(wire.Close(self.number))
        self._end(core)
        if core is None:
            self.over()

    def leave(self, *, lost: bool) -> None:
        """Take it that the core has closed it: its far end is gone, or `lost` before it could be heard."""
        if not self.closed:
            tell = self.on_lost if lost else self.on_gone
            self._end(self.core)
            if tell is not None:
                tell()

    def strand(self, error: MediaError) -> None:
        """Take it that no core has room for it: whoever asks it something, or watches it, hears why."""
        self._refused, moved = error, self._moved
        self.close()
        if moved is not None:
            self._spawn(self._tell_end(moved))

    def over(self) -> None:
        """Take it that nothing more will be known of its sound."""
        self.core = None
        if not self.final.done():
            self.final.set_result(self._stats)

    def _end(self, core: Process | None) -> None:
        self.closed = True
        if core is not None:
            for number in list(self._foreground):
                core.cut(number, LegClosedError("the leg was closed"))
        self._placed.set()
        self._agreed.set()
        # Who is told of something holds the leg, and it them: no ring is left that only the collector would break.
        self._behind = self._moved = self.on_gone = self.on_lost = None
        self._on_closed(self)

    async def _tell_end(self, moved: Callable[[], Awaitable[None]]) -> None:
        try:
            await moved()
        except Exception as error:
            log.error("far end not told of a move", kind=type(error).__name__)
