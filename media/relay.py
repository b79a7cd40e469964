"""Who carries the sound: the interface that the gateway speaks to, and the driver that is built in.

The gateway asks for a leg for each party, tells it what the signalling agreed on, and bridges two of them.
"""

import asyncio
from typing import Protocol, TypeVar

from hub.g711 import Codec
from media.latch import Address
from media.leg import AudioLeg, LegStats, Tap
from media.pacer import Pacer
from media.ports import Ports
from media.sound import Sound


class Leg(Protocol):
    """One party's sound, whoever carries it; `AudioLeg` says what each of these does."""

    local: Address
    digits: asyncio.Queue[str]
    protection: str

    @property
    def stats(self) -> LegStats:
        """What is known of its sound so far."""
        ...

    def connect(
        self,
        remote: Address | None,
        codec: Codec,
        event_type: int | None,
        *,
        event_type_in: int | None = None,
        via: str | None = None,
    ) -> None:
        """Speak `codec` with `remote`."""
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

    def tap(self, tap: Tap | None) -> None:
        """Give what is heard to `tap` as well."""
        ...

    def close(self) -> None:
        """Give it up."""
        ...


L = TypeVar("L", bound=Leg)


class RelayEngine(Protocol[L]):
    """What carries the sound of many calls. Only `allocate` waits; the rest is told, and done in that order."""

    async def allocate(self) -> L:
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

    def close(self) -> None:
        """Give all legs up."""
        ...


class BuiltinRelay:
    """Carries the sound in this process, on the running event loop."""

    def __init__(self, ports: Ports, music: Sound) -> None:
        self._ports = ports
        self._music = music
        self._pacer = Pacer()
        self._legs: set[AudioLeg] = set()
        # One for all: a packet is read, and passed on or copied, before the loop does anything else.
        self._buffer = bytearray(2048)

    async def allocate(self) -> AudioLeg:
        """Return a new leg.

        Raises:
            NoPortError: none can be had.
        """
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

    def _forget(self, leg: AudioLeg) -> None:
        self.unbridge(leg)
        self._legs.discard(leg)

    def __len__(self) -> int:
        return len(self._legs)

    def close(self) -> None:
        """Close all legs."""
        for leg in list(self._legs):
            leg.close()
