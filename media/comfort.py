"""Comfort noise: what a far end that falls silent says of the noise around it, made audible (RFC 3389)."""

from functools import lru_cache

import numpy as np

from hub.g711 import Codec
from media.playback import Piece
from media.rtp import FRAME, RATE
from media.sound import SILENCE, Sound

PAYLOAD_TYPE = 13
"At 8,000 Hz (section 4)."

SILENT = 127
"-dBov: the quietest level there is (section 3.1)."

_QUIETEST = 70
"-dBov; below it nothing is left in 16 bits."


def level_of(payload: bytes) -> int:
    """Return the noise level, -dBov: its first byte (section 3.1); an empty payload is silence."""
    return payload[0] & 0x7F if payload else SILENT


@lru_cache(128)
def noise(level: int) -> Sound:
    """Return two seconds of white noise; the spectrum that a payload may describe is left out (section 3.2)."""
    # 0 dBov is the power of a full-scale square wave (section 3.1).
    samples = np.random.default_rng(level).normal(0.0, 32767 * 10 ** (-level / 20), 2 * RATE)
    return Sound.of(np.clip(samples, -32767, 32767).astype(np.int16))


class Noise:
    """What is heard of a silent far end; a `playback.Background`."""

    def __init__(self, level: int) -> None:
        self._sound = noise(level) if level < _QUIETEST else None
        self._at = 0

    def piece(self, codec: Codec) -> Piece:
        """Return the next 20 ms."""
        if self._sound is None:
            return Piece(SILENCE[codec])
        at, self._at = self._at, self._at + FRAME
        return Piece(self._sound.looped(at, codec))
