"""Whether somebody speaks: the level of each 20 ms against what the line is like when nobody does."""

import numpy as np

from hub.g711 import Pcm

FRAME_S = 0.02

QUIETEST_DB = -60.0
"Of a line: less than this is as good as nothing."

ABOVE_DB = 10.0
"By which a voice stands above the line's own noise."

LEAST_DB = -50.0
"Of a voice, to full scale; G.711 can hardly carry less."

HANGOVER_S = 0.2
"What lies between two syllables belongs to speech."

_RISE_DB = 0.02
"By which the noise is taken to grow with each frame that is louder: 1 dB a second."


def level_db(pcm: Pcm) -> float:
    """Return the level of some samples, in dB to full scale."""
    if not len(pcm):
        return -96.0
    wide = pcm.astype(np.float32)
    return 10 * float(np.log10(max(float(np.dot(wide, wide)) / len(wide), 1.0) / 32768**2))


class Activity:
    """Listens to one leg. Loud noise that stays is learned to be the line's within half a minute."""

    def __init__(self) -> None:
        self.speaking = False
        "Whether somebody does now."

        self.spoken_s = 0.0
        "How long somebody has spoken in all."

        self.silent_s = 0.0
        "Since somebody last did, or since the beginning."

        self._noise_db = LEAST_DB
        self._left_s = 0.0

    def heard(self, pcm: Pcm) -> bool:
        """Take the next 20 ms; return whether they belong to speech."""
        level = max(level_db(pcm), QUIETEST_DB)
        loud = level >= max(self._noise_db + ABOVE_DB, LEAST_DB)
        # Down at once, up slowly: pauses between words show what the line is like.
        self._noise_db = level if level < self._noise_db else min(level, self._noise_db + _RISE_DB)
        self._left_s = HANGOVER_S if loud else self._left_s - FRAME_S
        self.speaking = self._left_s > 0
        if self.speaking:
            self.spoken_s += FRAME_S
            self.silent_s = 0.0
        else:
            self.silent_s += FRAME_S
        return self.speaking
