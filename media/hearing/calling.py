"""A fax machine that calls: half a second of 1,100 Hz, every three and a half seconds (CNG of ITU-T T.30)."""

import numpy as np

from hub.g711 import RATE, Pcm

CNG_HZ = 1100.0
"The calling tone, which may be off by 38 Hz."

FRAME = 160
"Samples of one look: 20 ms."

SHORTEST, LONGEST = 19, 30
"Looks in a row that find it: 0.5 s, give or take 15 %, less those at its two ends."

SHARE = 0.6
"Of a look's power that the tone has to hold."

LEAST_DB = -43.0
"To full scale; what is weaker may be crosstalk."

_HZ = (CNG_HZ - 27, CNG_HZ, CNG_HZ + 27)
"One look tells frequencies 50 Hz apart, so the ends of what is allowed are looked for on their own."


_ANGLES = 2 * np.pi * np.outer(_HZ, np.arange(FRAME) / RATE)
_FILTERS = np.concatenate((np.cos(_ANGLES), np.sin(_ANGLES))).astype(np.float32)
_LEAST_POWER = (32768 * 10 ** (LEAST_DB / 20)) ** 2 / 2


def calls(frame: Pcm) -> bool:
    """Tell whether 20 ms are filled by the calling tone."""
    wide = frame.astype(np.float32)
    power = float(np.dot(wide, wide)) / FRAME
    if power < _LEAST_POWER:
        return False
    parts = np.square(_FILTERS @ wide).reshape(2, -1)
    # The power of a tone is 2 |X|^2 / N^2, where X is its correlation over N samples.
    return float((parts[0] + parts[1]).max()) * (2 / FRAME**2) >= SHARE * power


class Calling:
    """Listens to one leg. A tone that goes on for longer is another's: a dial tone, an answering modem."""

    def __init__(self) -> None:
        self._run = 0

    def heard(self, frame: Pcm) -> bool:
        """Take the next 20 ms; return whether a calling tone has just ended."""
        if calls(frame):
            self._run += 1
            return False
        run, self._run = self._run, 0
        return SHORTEST <= run <= LONGEST
