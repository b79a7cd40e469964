"""Tones that a caller knows: the beep before a message, ringing, busy (ITU-T E.180; North American plan)."""

import numpy as np

from hub.audio import tone
from hub.g711 import RATE, Pcm
from media.sound import Sound


def _cadence(sound: Pcm, seconds: float) -> Sound:
    whole = np.zeros(round(seconds * RATE), np.int16)
    whole[: len(sound)] = sound
    return Sound.of(whole)


BEEP = Sound.of(tone(1000, seconds=0.4, level=-15))
"Before a message is recorded."

RINGBACK = _cadence(tone(440, 480, seconds=2, level=-19), 6)
"To be looped: two seconds of ringing, four of silence."

BUSY = _cadence(tone(480, 620, seconds=0.5, level=-24), 1)
"To be looped."
