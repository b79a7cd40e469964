"""Text to speech by programs that the machine may have: piper with a model of the operator's, flite, espeak-ng.

They run as programs of their own. What they are given is played to every caller, but for the day and hour of a visit in
a reminder that is called: it names nobody, and lies in a file only while it is being said.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from hub.audio import AudioError, level_of, linear, read_wav, resample
from hub.errors import UnavailableError
from hub.g711 import RATE, Pcm

LEVEL = -20.0
"Of what is said, in dB to full scale: all voices are equally loud."

_TIMEOUT_S = 30
_WINDOW = 80
_QUIET = 200
_MARGIN = 480

ESPEAK_VOICES = {"en": "en-us", "es": "es-419"}
"Where a language alone does not say which of its accents."


class SpeechError(UnavailableError):
    """The program that speaks is absent, or failed."""

    code = "speech-unavailable"


@dataclass(frozen=True, slots=True)
class Voice:
    """Who says it."""

    program: str
    name: str
    version: str
    model: Path | None = None

    def __str__(self) -> str:
        return f"{self.program} {self.version} {self.name}"


def voice_for(language: str, models: Mapping[str, Path] = MappingProxyType({})) -> Voice | None:
    """Return the voice that this machine has for a language, None when it has none.

    `models` are piper's, by language; without one English is flite's, and every other language espeak-ng's.
    """
    model = models.get(language)
    if model is not None and model.exists() and shutil.which("piper"):
        return Voice("piper", model.stem, _version("piper"), model)
    if language == "en" and shutil.which("flite"):
        return Voice("flite", "slt", _version("flite"))
    if shutil.which("espeak-ng"):
        return Voice("espeak-ng", ESPEAK_VOICES.get(language, language), _version("espeak-ng"))
    return None


def say(text: str, voice: Voice) -> Pcm:
    """Return what `voice` makes of a text: 8,000 samples a second, at the common level, silence cut off its ends.

    Raises:
        SpeechError: the program failed, or said nothing.
    """
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory, "text"), Path(directory, "said.wav")
        source.write_text(spoken(text))
        command = {
            "piper": ["piper", "--model", str(voice.model), "--output_file", str(target)],
            "flite": ["flite", "-voice", voice.name, "-f", str(source), "-o", str(target)],
            "espeak-ng": ["espeak-ng", "-v", voice.name, "-s", "165", "-f", str(source), "-w", str(target)],
        }[voice.program]
        try:
            with source.open("rb") as words:  # piper reads them there
                subprocess.run(  # noqa: S603 - no shell, and the text lies in a file
                    command, check=True, capture_output=True, timeout=_TIMEOUT_S, stdin=words
                )
            wave = read_wav(target.read_bytes())
        except (OSError, subprocess.SubprocessError, AudioError) as error:
            raise SpeechError(f"{voice.program} did not say it ({type(error).__name__})") from error
    return _levelled(_trimmed(resample(wave.pcm, wave.rate, RATE)), voice)


def spoken(text: str) -> str:
    """Return a text as it is to be read out: 911 and telephone numbers digit by digit."""
    return re.sub(r"\b(911|\d{7,})\b", lambda number: " ".join(number[0]), text)


def _version(program: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - one of three fixed names
            [program, "--version"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return found[0] if found else "unknown"


def _trimmed(pcm: Pcm) -> Pcm:
    windows = np.abs(pcm[: len(pcm) // _WINDOW * _WINDOW].reshape(-1, _WINDOW)).max(axis=1)
    loud = np.flatnonzero(windows > _QUIET)
    if not len(loud):
        return pcm[:0]
    return pcm[max(0, loud[0] * _WINDOW - _MARGIN) : (loud[-1] + 1) * _WINDOW + _MARGIN]


def _levelled(pcm: Pcm, voice: Voice) -> Pcm:
    if not len(pcm):
        raise SpeechError(f"{voice.program} said nothing")
    gain = 10 ** ((LEVEL - level_of(pcm)) / 20)
    peak = float(np.abs(pcm.astype(np.int32)).max()) * gain
    return linear(pcm * gain * min(1.0, 30000 / peak))
