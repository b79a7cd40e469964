"""What a leg is playing: a sound once, a sound over and over, keys pressed; each gives 20 ms when it is asked."""

import asyncio
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from hub.g711 import Codec
from media.dtmf import Tone, tones_of
from media.rtp import FRAME
from media.sound import SILENCE, Sound


class Piece(NamedTuple):
    """What one packet says."""

    payload: bytes
    event: bool = False
    "A telephone event, not sound."

    first: bool = False
    "The first report of an event: the others keep its timestamp."


class Background(Protocol):
    """What is heard while nothing else is."""

    def piece(self, codec: Codec) -> Piece:
        """Return the next 20 ms."""
        ...


class Playback(Protocol):
    """Something that has an end, and somebody who waits for it."""

    done: "asyncio.Future[bool]"
    "True when all of it was played, False when a key cut it short."

    barge_in: bool
    "Whether a key cuts it short."

    def next_piece(self, codec: Codec) -> Piece | None:
        """Return the next 20 ms, None behind the end."""
        ...


class Quiet:
    """Silence, sent rather than left out: it keeps NATs and far ends awake."""

    def piece(self, codec: Codec) -> Piece:
        """Return the next 20 ms."""
        return _SILENT[codec]


class Loop:
    """A sound over and over: hold music, ringing."""

    def __init__(self, sound: Sound) -> None:
        self._sound = sound
        self._at = 0

    def piece(self, codec: Codec) -> Piece:
        """Return the next 20 ms."""
        at, self._at = self._at, self._at + FRAME
        return Piece(self._sound.looped(at, codec))


class Once:
    """A sound, once: a prompt, a beep."""

    def __init__(self, sound: Sound, *, barge_in: bool = False) -> None:
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.barge_in = barge_in
        self._sound = sound
        self._at = 0

    def next_piece(self, codec: Codec) -> Piece | None:
        """Return the next 20 ms, None behind the end."""
        if self._at >= len(self._sound.ulaw):
            return None
        at, self._at = self._at, self._at + FRAME
        return Piece(self._sound.frame(at, codec))


class Press:
    """Keys, one after the other, with 80 ms of silence behind each."""

    PAUSE = 4
    "Frames."

    def __init__(self, keys: str) -> None:
        """Take keys of `dtmf.KEYS`.

        Raises:
            ProtocolError: another one.
        """
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.barge_in = False
        self._pieces = iter([piece for key in keys for piece in (*_reports(tones_of(key)), *[None] * self.PAUSE)])

    def next_piece(self, codec: Codec) -> Piece | None:
        """Return the next 20 ms, None behind the end."""
        for piece in self._pieces:
            return piece or _SILENT[codec]
        return None


def _reports(tones: Iterator[Tone]) -> Iterator[Piece]:
    for index, tone in enumerate(tones):
        yield Piece(bytes(tone), event=True, first=index == 0)


_SILENT = {codec: Piece(silence) for codec, silence in SILENCE.items()}
