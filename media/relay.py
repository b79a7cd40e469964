"""Who carries the sound: the interface that the gateway speaks to, and the driver that is built in.

The gateway asks for a leg for each party, tells it what the signalling agreed on, and bridges two of them.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from hub import tape
from media import recorder
from media.browser.association import all_shut
from media.browser.leg import BrowserLeg
from media.leg import AudioLeg, LegStats
from media.pacer import Pacer
from media.ports import Ports
from media.recorder import Place, Recorded, Recorder
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

    async def stop(self) -> Recorded:
        """Seal it; stopping twice is once."""
        ...


PLAIN = Wanted()
"A leg for a phone or a trunk, with whatever protection can be had."

L = TypeVar("L", bound=Leg)


class RelayEngine(Protocol[L]):
    """What carries the sound of many calls. What does not wait is told, and done in the order of telling."""

    async def allocate(self, wanted: Wanted = PLAIN) -> L:
        """Return a new leg with a port of its own.

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

    async def close(self) -> None:
        """Give all legs up, and seal what is being recorded."""
        ...


class BuiltinRelay:
    """Carries the sound in this process, on the running event loop."""

    def __init__(self, ports: Ports, music: Sound) -> None:
        self._ports = ports
        self._music = music
        self._pacer = Pacer()
        self._legs: set[AudioLeg] = set()
        self._recorder = Recorder()
        # One for all: a packet is read, and passed on or copied, before the loop does anything else.
        self._buffer = bytearray(2048)

    async def allocate(self, wanted: Wanted = PLAIN) -> AudioLeg:
        """Return a new leg.

        Raises:
            NoPortError: none can be had.
        """
        leg: AudioLeg
        if wanted.kind == "browser":
            leg = BrowserLeg(self._ports, self._pacer, self._buffer, self._music, self._forget)
        else:
            leg = AudioLeg(self._ports.take(), self._pacer, self._buffer, self._music, self._forget)
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
        """Record what legs say, the caller's first."""
        recording = self._recorder.record(place)
        for number, leg in zip((tape.CALLER, tape.AGENT), legs, strict=False):
            leg.tap(recording.track(number))
        return recording

    def _forget(self, leg: AudioLeg) -> None:
        self.unbridge(leg)
        self._legs.discard(leg)

    def __len__(self) -> int:
        return len(self._legs)

    async def close(self) -> None:
        """Close all legs, seal what is being recorded, and wait for the disk."""
        for leg in list(self._legs):
            leg.close()
        await all_shut()
        await self._recorder.close()
