"""Keys that are heard as tones in the sound itself, where a far end sends no telephone events (ITU-T Q.23, Q.24).

Each window is correlated with the eight frequencies of the keypad and their neighbours (Goertzel's filters, as one
product of matrices). A key is one that two windows in a row agree on: 40 ms are enough for that, and 20 ms are not.
"""

import numpy as np
from numpy.typing import NDArray

from hub.g711 import RATE, Pcm

LOW_HZ = (697.0, 770.0, 852.0, 941.0)
HIGH_HZ = (1209.0, 1336.0, 1477.0, 1633.0)
"Rows and columns of the keypad (ITU-T Q.23)."

_PAD = ("123A", "456B", "789C", "*0#D")

WINDOW = 205
"Samples: at 8 kHz the eight frequencies then lie near the middle of a bin each."

STEP = 68
"Samples from one window to the next."

OFF = (1.0, 0.99, 1.01)
"A far end's tones may be off by 1.5 % (ITU-T Q.24): each is looked for at its frequency and on both sides of it."

SHARE = 0.7
"Of a window's power that the two tones have to hold; voices spread theirs, and a tone of 20 ms fills no window."

TWIST_DB = 9.0
"By which one tone may be stronger than the other: lines weaken high ones (ITU-T Q.24: 4 to 8 dB)."

LEAST_DB = -42.0
"Of each tone, to full scale; what is weaker may be crosstalk."

_NEEDED = 2
"Windows in a row that agree before a key counts, and that lack it before it is let go."


def _filters() -> NDArray[np.float32]:
    """Return the cosines of all frequencies, then their sines."""
    hz = np.outer(OFF, (*LOW_HZ, *HIGH_HZ)).ravel()
    angles = 2 * np.pi * np.outer(hz, np.arange(WINDOW) / RATE)
    return np.concatenate((np.cos(angles), np.sin(angles))).astype(np.float32)


_FILTERS = _filters()
_LEAST_POWER = (32768 * 10 ** (LEAST_DB / 20)) ** 2 / 2
_TWIST = 10 ** (TWIST_DB / 10)


def key_of(window: NDArray[np.float32]) -> str:
    """Return the key whose two tones fill a window of `WINDOW` samples; empty where none does."""
    power = float(np.dot(window, window)) / WINDOW
    if power < 2 * _LEAST_POWER:
        return ""
    # The power of a tone is 2 |X|^2 / N^2, where X is its correlation over N samples.
    parts = np.square(_FILTERS @ window).reshape(2, len(OFF), -1)
    powers = (parts[0] + parts[1]).max(axis=0) * (2 / WINDOW**2)
    row, column = int(powers[:4].argmax()), int(powers[4:].argmax())
    low, high = float(powers[row]), float(powers[4 + column])
    if min(low, high) < _LEAST_POWER or max(low, high) > _TWIST * min(low, high) or low + high < SHARE * power:
        return ""
    return _PAD[row][column]


class Ear:
    """Listens to one leg; gaps in what it is given are gaps in what it hears."""

    def __init__(self) -> None:
        self._samples = np.zeros(0, np.float32)
        self._candidate = ""
        self._agreed = 0
        self._held = ""
        self._missing = 0

    def heard(self, pcm: Pcm) -> str:
        """Take the next samples, 8,000 a second; return the keys that began to be pressed in them, mostly none."""
        self._samples = np.concatenate((self._samples, pcm.astype(np.float32)))
        found = []
        at = 0
        while at + WINDOW <= len(self._samples):
            found.append(self._next(key_of(self._samples[at : at + WINDOW])))
            at += STEP
        self._samples = self._samples[at:]
        return "".join(found)

    def _next(self, key: str) -> str:
        if key and key == self._held:
            self._missing = 0
            return ""
        self._missing += 1
        if self._missing >= _NEEDED:
            self._held = ""
        self._agreed = self._agreed + 1 if key == self._candidate else 1
        self._candidate = key
        if not key or self._agreed < _NEEDED:
            return ""
        self._held, self._missing = key, 0
        return key
