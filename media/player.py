"""What a leg plays: sounds one behind the other, something over and over behind them, and keys that are pressed."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque

from hub.g711 import Codec
from media import comfort
from media.errors import MediaError
from media.pacer import Pacer
from media.playback import Background, Loop, Once, Piece, Playback, Press, Quiet
from media.rtp import HEADER, PLAIN, RATE, Outbound
from media.sound import SILENCE, Sound

DIGITS = 64
"Keys that wait to be read; of more, the oldest are forgotten."

_HEAD = HEADER.size


class LegClosedError(MediaError):
    """The leg is gone: its call ended while something was being played."""

    code = "leg-closed"
    status = 410


class Player(ABC):
    """The half of a leg that speaks of itself; packets are made in the buffer that all legs share."""

    # Hundreds of legs take turns: what one packet touches of its leg should lie close together.
    __slots__ = (
        "_background",
        "_buffer",
        "_event_began",
        "_event_out",
        "_foreground",
        "_law",
        "_music",
        "_noisy",
        "_outbound",
        "_pacer",
        "_sends",
        "_type_out",
        "_unsent",
        "_view",
        "_waits",
        "digits",
    )

    def __init__(self, pacer: Pacer, buffer: bytearray, music: Sound) -> None:
        """Take the clock of what is played, and where packets are made."""
        self.digits: asyncio.Queue[str] = asyncio.Queue(DIGITS)
        "Keys the far end presses, each once, when it is pressed."
        self._pacer = pacer
        self._buffer, self._view = buffer, memoryview(buffer)
        self._music = music
        self._law: Codec | None = Codec.PCMU
        # Payload types of what is sent.
        self._type_out = 0
        self._event_out: int | None = None
        self._event_began = 0
        self._sends = False  # nothing is agreed yet, or it is on hold
        self._waits = False  # for keys: what is played waits with it
        self._outbound = Outbound()
        self._unsent = 0
        self._foreground: deque[Playback] = deque()
        self._background: Background | None = None
        self._noisy = False

    @abstractmethod
    def _transmit(self, start: int, end: int) -> None:
        """Send the packet that stands in the shared buffer from `start` to `end`."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether it was closed."""

    @property
    def codec(self) -> Codec:
        """The law it speaks; mu-law for what is made for a leg that can only be passed on to."""
        return self._law or Codec.PCMU

    async def play(self, sound: Sound, *, barge_in: bool = False) -> bool:
        """Play a sound and return True when it is over; behind what is being played already.

        With `barge_in` a key cuts it short, also one that waits in `digits` already; then False comes back. A task that
        is cancelled here stops the sound at once.

        Raises:
            LegClosedError: the leg was closed meanwhile.
        """
        if barge_in and not self.digits.empty():
            return False
        return await self._perform(Once(sound, barge_in=barge_in))

    async def press(self, keys: str) -> None:
        """Press keys for the far end to hear as telephone events; silence where it agreed on none.

        Raises:
            ProtocolError: not keys.
            LegClosedError: the leg was closed meanwhile.
        """
        await self._perform(Press(keys))

    def loop(self, sound: Sound) -> None:
        """Play a sound over and over whenever nothing else is; ends when the leg is bridged."""
        self._behind(Loop(sound))

    def hold_music(self) -> None:
        """Play the practice's hold music like `loop`."""
        self.loop(self._music)

    def quiet(self) -> None:
        """Send silence whenever nothing else is played."""
        self._behind(Quiet())

    def hush(self, level: int) -> None:
        """Send noise of `level`, -dBov, until the peer's far end speaks again (RFC 3389)."""
        if self._background is None:
            self._behind(comfort.Noise(level))
            self._noisy = True

    def send_frame(self, now: float) -> None:
        """Send the next 20 ms of what is played; for the pacer."""
        if self._waits:
            return
        while self._foreground:
            piece = self._foreground[0].next_piece(self.codec)
            if piece is not None:
                self._say(piece, now)
                return
            _finish(self._foreground.popleft(), True)
        if self._background is not None:
            self._say(self._background.piece(self.codec), now)
        else:
            self._pacer.remove(self)

    async def _perform(self, playback: Playback) -> bool:
        if self.closed:
            raise LegClosedError("the leg is closed")
        self._foreground.append(playback)
        self._pacer.add(self)
        try:
            return await playback.done
        finally:
            if playback in self._foreground:
                self._foreground.remove(playback)

    def _behind(self, background: Background | None) -> None:
        self._background = background
        self._noisy = False
        if background is not None and not self.closed:
            self._pacer.add(self)

    def _say(self, piece: Piece, now: float) -> None:
        event = piece.event and self._event_out is not None
        if not self._sends:
            return
        if self._law is None and not event:
            self._voice(SILENCE[self.codec] if piece.event else piece.payload, now)
            return
        marker, sequence, timestamp = self._outbound.next(now)
        payload, payload_type = piece.payload, self._type_out
        if event and self._event_out is not None:
            # All reports of a press carry the moment at which it began.
            self._event_began = timestamp if piece.first else self._event_began
            marker, timestamp, payload_type = 0x80 if piece.first else 0, self._event_began, self._event_out
            # An event beside Opus is counted in Opus's clock.
            payload = payload[:2] + (int.from_bytes(payload[2:]) * self._outbound.clock // RATE).to_bytes(2)
        elif piece.event:
            payload = SILENCE[self.codec]
        HEADER.pack_into(self._buffer, 0, PLAIN, marker | payload_type, sequence, timestamp, self._outbound.ssrc)
        end = _HEAD + len(payload)
        self._buffer[_HEAD:end] = payload
        self._outbound.octets += len(payload)
        self._transmit(0, end)

    @abstractmethod
    def _voice(self, ulaw: bytes, now: float) -> None:
        """Send what was made for a far end that speaks no G.711, if it can be."""

    def _cut_short(self) -> None:
        for playback in [each for each in self._foreground if each.barge_in]:
            self._foreground.remove(playback)
            _finish(playback, False)

    def _stop(self) -> None:
        self._pacer.remove(self)
        while self._foreground:
            playback = self._foreground.popleft()
            if not playback.done.done():
                playback.done.set_exception(LegClosedError("the leg was closed"))


def _finish(playback: Playback, whole: bool) -> None:
    if not playback.done.done():
        playback.done.set_result(whole)
