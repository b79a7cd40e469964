"""Sound to be played: G.711 made ahead, in the law that the listening leg speaks, 20 ms at a time."""

from dataclasses import dataclass
from functools import cached_property

from hub.g711 import Codec, Pcm, convert, encode
from media.rtp import FRAME, RATE


@dataclass(frozen=True)
class Sound:
    """A piece of sound; shared between all who hear it."""

    ulaw: bytes
    "One byte a sample, 8,000 a second."

    @classmethod
    def of(cls, pcm: Pcm) -> "Sound":
        """Return linear samples, 8,000 a second, as sound."""
        return cls(encode(Codec.PCMU, pcm))

    @cached_property
    def _alaw(self) -> bytes:
        return convert(self.ulaw, Codec.PCMU, Codec.PCMA)

    def coded(self, codec: Codec) -> bytes:
        """Return its bytes in that law."""
        return self.ulaw if codec is Codec.PCMU else self._alaw

    @property
    def seconds(self) -> float:
        """Return how long it lasts."""
        return len(self.ulaw) / RATE

    def frame(self, at: int, codec: Codec) -> bytes:
        """Return the 20 ms from sample `at` on; silence behind the end."""
        frame = self.coded(codec)[at : at + FRAME]
        return frame if len(frame) == FRAME else frame + SILENCE[codec][len(frame) :]

    def looped(self, at: int, codec: Codec) -> bytes:
        """Return the 20 ms from sample `at` on of this sound said over and over."""
        coded = self.coded(codec)
        at %= len(coded)
        frame = coded[at : at + FRAME]
        while len(frame) < FRAME:
            frame += coded[: FRAME - len(frame)]
        return frame

    def __add__(self, other: "Sound") -> "Sound":
        return Sound(self.ulaw + other.ulaw)


SILENCE = {codec: bytes((codec.silence,)) * FRAME for codec in Codec}
"20 ms of it."


def pause(seconds: float) -> Sound:
    """Return silence."""
    return Sound(bytes((Codec.PCMU.silence,)) * round(seconds * RATE))
