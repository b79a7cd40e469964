"""Who carries the sound: the interface that the gateway speaks to, and the driver that is built in.

The gateway asks for a leg for each party, tells it what the signalling agreed on, and bridges two of them. The other
driver is `media.core.relay.CoreRelay`: processes of their own, each with the built-in one inside.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from hub import tape
from media import recorder
from media.browser.association import all_shut
from media.browser.leg import BrowserLeg
from media.codec.bench import Bench
from media.hearing.machine import Finding
from media.leg import AudioLeg, LegStats
from media.offer import PASSED_ON
from media.pacer import Pacer
from media.passing import BUFFER_BYTES
from media.phone import PhoneLeg
from media.ports import Ports
from media.recorder import Place, Recorded, Recorder
from media.report import Reporter
from media.sdp import Direction, Session
from media.sound import Sound


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a leg is to be."""

    kind: Literal["sip", "browser"] = "sip"
    secure: bool = False
    "Whether its signalling is encrypted all the way: keys may then stand in the descriptions (RFC 4568 section 5)."

    least: str = "rtp"
    "The least protection that will do; less is refused."


class Leg(Protocol):
    """One party's sound, whoever carries it; `AudioLeg` says what each of these does."""

    digits: asyncio.Queue[str]
    protection: str
    on_gone: Callable[[], None] | None
    on_lost: Callable[[], None] | None

    @property
    def stats(self) -> LegStats:
        """What is known of its sound so far."""
        ...

    async def offer(self, direction: Direction = Direction.SENDRECV) -> Session:
        """Return our offer: the first, or the next version of what was said."""
        ...

    async def answer(self, offer: Session, *, via: str | None = None) -> Session:
        """Follow the peer's offer and return the answer."""
        ...

    async def settle(self, answer: Session, *, via: str | None = None) -> None:
        """Follow the peer's answer to our latest offer."""
        ...

    def pressed(self, key: str) -> None:
        """Take a key that came with the signalling (INFO) like one that is heard."""
        ...

    async def silence(self, seconds: float) -> None:
        """Return once the far end has not spoken for so long, counted from now at the earliest."""
        ...

    async def fax(self) -> None:
        """Return once a fax machine is heard calling."""
        ...

    async def picked_up(self) -> Finding:
        """Return who picked up, by what is heard from now on."""
        ...

    async def beep(self) -> None:
        """Return once the beep of a machine that takes messages is over."""
        ...

    async def play(self, sound: Sound, *, barge_in: bool = False) -> bool:
        """Play a sound; False when a key cut it short."""
        ...

    async def press(self, keys: str) -> None:
        """Press keys for the far end."""
        ...

    def loop(self, sound: Sound) -> None:
        """Play a sound over and over."""
        ...

    def hold_music(self) -> None:
        """Play the practice's hold music."""
        ...

    def quiet(self) -> None:
        """Send silence."""
        ...

    def close(self) -> None:
        """Give it up."""
        ...


class Recording(Protocol):
    """A recording that is being made."""

    ended: asyncio.Future[Recorded]

    @property
    def paused(self) -> bool:
        """Whether it keeps nothing now."""
        ...

    async def stop(self) -> Recorded:
        """Seal it; stopping twice is once."""
        ...

    def pause(self) -> None:
        """Keep nothing of what is heard from now on."""
        ...

    def resume(self) -> None:
        """Go on; what comes stands where the clock says, behind a gap."""
        ...


PLAIN = Wanted()
"A leg for a phone or a trunk, with whatever protection can be had."

L = TypeVar("L", bound=Leg)


class RelayEngine(Protocol[L]):
    """What carries the sound of many calls. What does not wait is told, and done in the order of telling."""

    async def start(self) -> None:
        """Be ready for legs.

        Raises:
            MediaError: it cannot be.
        """
        ...

    async def allocate(self, wanted: Wanted = PLAIN, beside: L | None = None) -> L:
        """Return a new leg with a port of its own; `beside` names one that it is likely to be bridged to.

        Raises:
            NoPortError: none can be had; the call is answered with 503.
        """
        ...

    def bridge(self, a: L, b: L) -> None:
        """Let two legs hear each other; a leg that was bridged before leaves that bridge."""
        ...

    def unbridge(self, leg: L) -> None:
        """Part a leg from the one it hears; both hear silence from then on."""
        ...

    def record(self, place: Place, legs: Sequence[L]) -> Recording:
        """Record what legs say, the caller's first; whether the disk takes it is told by `ended`."""
        ...

    def watch(self, leg: L, moved: Callable[[], Awaitable[None]]) -> None:
        """Call `moved` whenever the leg's sound has another place: its far end is to be made a new offer.

        What was played goes on as soon as the far end's answer is settled.
        """
        ...

    async def last_stats(self, leg: L) -> LegStats:
        """Return what is known of a leg's sound up to this moment, or up to its end."""
        ...

    async def close(self) -> None:
        """Give all legs up, and seal what is being recorded."""
        ...


Relay = RelayEngine[Any]
"Whichever driver there is."


class BuiltinRelay:
    """Carries the sound in this process, on the running event loop."""

    def __init__(self, ports: Ports, music: Sound, *, browser_leg: type[BrowserLeg] = BrowserLeg) -> None:
        self._ports = ports
        self._music = music
        self._browser_leg = browser_leg
        self._pacer = Pacer()
        self._reporter = Reporter(asyncio.get_running_loop())
        self._legs: set[AudioLeg] = set()
        self._recorder = Recorder()
        self._bench = Bench()
        # One for all: a packet is read, and passed on or copied, before the loop does anything else.
        self._buffer = bytearray(BUFFER_BYTES)
        self.on_gone: Callable[[AudioLeg], None] | None = None
        "Called with a leg that was closed, or whose far end left."

    async def start(self) -> None:
        """Nothing is to be done."""

    async def allocate(self, wanted: Wanted = PLAIN, beside: AudioLeg | None = None) -> AudioLeg:  # noqa: ARG002
        """Return a new leg; all of them are beside each other.

        Raises:
            NoPortError: none can be had.
        """
        leg: AudioLeg
        if wanted.kind == "browser":
            leg = self._browser_leg(
                self._ports, self._pacer, self._buffer, self._music, self._forget, reporter=self._reporter
            )
        else:
            leg = PhoneLeg(
                self._ports.take(),
                self._pacer,
                self._buffer,
                self._music,
                self._forget,
                reporter=self._reporter,
                secure=wanted.secure,
                least=wanted.least,
            )
            leg.exchange.otherwise = PASSED_ON
        leg.bench = self._bench
        self._legs.add(leg)
        return leg

    def bridge(self, a: AudioLeg, b: AudioLeg) -> None:
        """Let two legs hear each other; what was looped to them ends."""
        if a is b or a.closed or b.closed or a.peer is b:
            return
        for leg in (a, b):
            self.unbridge(leg)
        a.link(b)
        b.link(a)

    def unbridge(self, leg: AudioLeg) -> None:
        """Part a leg from its peer; both hear silence from then on."""
        peer = leg.peer
        if peer is not None:
            leg.link(None)
            peer.link(None)

    def record(self, place: Place, legs: Sequence[AudioLeg]) -> recorder.Recording:
        """Record what legs say, the caller's first.

        Raises:
            SealedError: one of them cannot be understood.
        """
        for leg in legs:
            leg.understand()
        recording = self._recorder.record(place)
        for number, leg in zip((tape.CALLER, tape.AGENT), legs, strict=False):
            leg.tap(recording.track(number))
        return recording

    def watch(self, leg: AudioLeg, moved: Callable[[], Awaitable[None]]) -> None:
        """Do nothing: a leg stays where it is for as long as this process lives."""

    async def last_stats(self, leg: AudioLeg) -> LegStats:
        """Return what is known of a leg's sound."""
        return leg.stats

    def _forget(self, leg: AudioLeg) -> None:
        self.unbridge(leg)
        self._legs.discard(leg)
        if self.on_gone is not None:
            self.on_gone(leg)

    def __len__(self) -> int:
        return len(self._legs)

    async def close(self) -> None:
        """Close all legs, seal what is being recorded, and wait for the disk."""
        for leg in list(self._legs):
            leg.close()
        await all_shut()
        await self._bench.close()
        await self._recorder.close()
