"""Who picked up a call that the house makes by itself: a person, or a machine that takes a message after its beep.

A person says a word or two and waits; a machine has a greeting. The times are those that Asterisk's AMD() has proven.
The beep is looked for on its own, from the first frame to the last, for the verdict may be wrong.
"""

from collections import deque
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from hub.g711 import RATE, Pcm
from media.hearing.activity import FRAME_S, HANGOVER_S, Activity, level_db

INITIAL_SILENCE_S = 2.5
"Who has said nothing at all by then is nobody that can be told apart."

GREETING_S = 1.5
"Of speech without a pause to be answered in: longer is a machine's."

AFTER_GREETING_S = 0.8
"Of silence behind a few words: somebody waits for an answer."

TOTAL_S = 5.0
WORD_S = 0.1
"Shorter sounds are clicks, and no words."

PHRASES = 4
"More than so many, each behind a pause, and still nothing to answer to."

LONGEST_BEEP_S = 3.0
SHORTEST_BEEP_S = 0.15
LOWEST_HZ, HIGHEST_HZ = 400.0, 2000.0
PURITY = 0.8
"Of a beep's power that is in one tone."

LEAST_BEEP_DB = -40.0
"To full scale."

HUSH_S = 0.2
"Of quiet behind a tone that make it the beep: music and the tones of a dead number go on."

HUSH_DB = 15.0
"By which that quiet is below the tone."

_LOOK = 3
"Frames of one spectrum: 60 ms, 16.7 Hz a bin."

_SPREAD = 2
"Bins either side of a peak that a Hann window spills its power into."

_WANDER_HZ = 20.0
"A tone stays where it is; a voice that is as pure does not."


class Verdict(StrEnum):
    """Who picked up."""

    HUMAN = "human"
    MACHINE = "machine"
    UNKNOWN = "unknown"
    "To be spoken to like a person, with an ear for a beep."


class Finding(NamedTuple):
    """A verdict and how it was come to."""

    verdict: Verdict
    reason: str
    "A code: short-greeting, long-greeting, many-phrases, beep, nothing-said or undecided."


class Beep:
    """Looks for one pure tone with quiet behind it."""

    def __init__(self) -> None:
        self._frames: deque[Pcm] = deque(maxlen=_LOOK)
        self._window = np.hanning(_LOOK * round(FRAME_S * RATE)).astype(np.float32)
        self._hz = 0.0
        self._tone_s = self._quiet_s = 0.0
        self._level_db = 0.0
        self.sounding = False
        "Whether a tone is heard now."

    def heard(self, frame: Pcm) -> bool:
        """Take the next 20 ms; return whether a beep has just been over for `HUSH_S`."""
        self._frames.append(frame)
        hz = self._tone()
        self.sounding = hz > 0
        if hz:
            same = self._tone_s > 0 and abs(hz - self._hz) <= _WANDER_HZ and not self._quiet_s
            self._tone_s = self._tone_s + FRAME_S if same else (_LOOK - 1) * FRAME_S
            self._level_db = max(self._level_db, level_db(frame)) if same else level_db(frame)
            self._hz, self._quiet_s = hz, 0.0
            return False
        if not SHORTEST_BEEP_S <= self._tone_s <= LONGEST_BEEP_S:
            self._tone_s = self._quiet_s = 0.0
            return False
        if level_db(frame) > self._level_db - HUSH_DB:
            # The tone's last frame is part of a look that is no tone any more; what is louder for longer is no quiet.
            self._quiet_s -= FRAME_S
            if self._quiet_s < -_LOOK * FRAME_S:
                self._tone_s = self._quiet_s = 0.0
            return False
        self._quiet_s = max(self._quiet_s, 0.0) + FRAME_S
        if self._quiet_s < HUSH_S:
            return False
        self._tone_s = self._quiet_s = 0.0
        return True

    def _tone(self) -> float:
        """Return the frequency of the tone that fills the last looks, 0 where there is none."""
        if len(self._frames) < _LOOK:
            return 0.0
        pcm = np.concatenate(self._frames)
        if level_db(pcm) < LEAST_BEEP_DB:
            return 0.0
        power = np.square(np.abs(np.fft.rfft(pcm.astype(np.float32) * self._window)))
        peak = int(power[1:].argmax()) + 1
        hz = peak * RATE / len(pcm)
        total = float(power.sum())
        share = float(power[max(peak - _SPREAD, 0) : peak + _SPREAD + 1].sum()) / total if total else 0.0
        return hz if share >= PURITY and LOWEST_HZ <= hz <= HIGHEST_HZ else 0.0


class Screening:
    """Listens to a far end from the moment it picks up; a few operations and one small FFT for each 20 ms."""

    def __init__(self) -> None:
        self.finding: Finding | None = None
        "None until it can be told; stays as it is then."

        self.beeped = False
        "Whether a beep was heard, and is over."

        self.silent_s = 0.0
        "Since anything was last said, or since the beginning."

        self._activity = Activity()
        self._beep = Beep()
        self._passed_s = self._said_s = self._phrase_s = 0.0
        self._phrases = 0

    def heard(self, frame: Pcm) -> None:
        """Take the next 20 ms, linear."""
        self._passed_s += FRAME_S
        speaking = self._activity.heard(frame)
        if self._beep.heard(frame):
            self.beeped = True
        self.silent_s = 0.0 if speaking else self.silent_s + FRAME_S
        if self.finding is None:
            self._weigh(speaking and not self._beep.sounding)

    def _weigh(self, speaking: bool) -> None:
        if self.beeped:
            self.finding = Finding(Verdict.MACHINE, "beep")
            return
        if speaking:
            self._phrase_s += FRAME_S
        elif self._phrase_s:
            self._end_phrase()
        said = self._said_s + max(self._phrase_s - HANGOVER_S, 0.0)
        if said > GREETING_S:
            self.finding = Finding(Verdict.MACHINE, "long-greeting")
        elif self._phrases > PHRASES:
            self.finding = Finding(Verdict.MACHINE, "many-phrases")
        elif self._phrases and not self._phrase_s and self.silent_s + HANGOVER_S >= AFTER_GREETING_S:
            self.finding = Finding(Verdict.HUMAN, "short-greeting")
        elif not self._phrases and not self._phrase_s and self._passed_s >= INITIAL_SILENCE_S:
            self.finding = Finding(Verdict.UNKNOWN, "nothing-said")
        elif self._passed_s >= TOTAL_S:
            self.finding = Finding(Verdict.UNKNOWN, "undecided")

    def _end_phrase(self) -> None:
        said, self._phrase_s = self._phrase_s - HANGOVER_S, 0.0
        if said >= WORD_S:
            self._phrases += 1
            self._said_s += said
