"""Hold music that is this project's own: four bars of soft chords, worked out from sines, that loop without a seam."""

import numpy as np
from numpy.typing import NDArray

from hub.audio import linear
from hub.g711 import RATE, Pcm

SECONDS = 15
"Of four bars of eight notes: 64 beats a minute."

CHORDS = ((0, 4, 7, 11, 14), (-3, 0, 4, 7, 12), (5, 9, 12, 16, 19), (-5, -1, 5, 9, 14))
"Cmaj9, Am7, Fmaj9, G9: one a bar, in semitones above middle C."

PATTERN = (0, 2, 3, 4, 3, 2, 4, 1)
"Which note of its chord each eighth of a bar is."

MELODY = {0: 16, 3: 14, 6: 12, 8: 12, 11: 16, 14: 19, 16: 21, 19: 19, 22: 16, 24: 17, 27: 14, 30: 11}
"Semitones above middle C, by eighth."

_EIGHTH = SECONDS * RATE // 32
_MIDDLE_C = 261.63


def compose() -> Pcm:
    """Return the music, 8,000 samples a second."""
    whole = np.zeros(SECONDS * RATE)
    for bar, chord in enumerate(CHORDS):
        for eighth, note in enumerate(PATTERN):
            _play(whole, 8 * bar + eighth, chord[note], 1.2, 0.5)
        for note in chord[:3]:
            _play(whole, 8 * bar, note, 3.5, 0.45)
    for eighth, note in MELODY.items():
        _play(whole, eighth, note, 2.0, 0.7)
    return linear(whole * (0.22 * 32767 / np.abs(whole).max() * 2))


def _play(whole: NDArray[np.float64], eighth: int, note: int, seconds: float, strength: float) -> None:
    at = np.arange(round(seconds * RATE)) / RATE
    hz = _MIDDLE_C * 2 ** (note / 12)
    # A struck bar: the octave fades faster than the note, and 8 ms of onset keep it from clicking.
    body = np.sin(2 * np.pi * hz * at) * np.exp(-2.2 * at) + 0.25 * np.sin(4 * np.pi * hz * at) * np.exp(-6 * at)
    body *= strength * np.minimum(1, at / 0.008) * np.minimum(1, (seconds - at) / 0.05)
    # What rings on beyond the end rings into the beginning: that is the loop.
    where = (eighth * _EIGHTH + np.arange(len(body))) % len(whole)
    np.add.at(whole, where, body)
