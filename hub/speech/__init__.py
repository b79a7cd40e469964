"""What was said, as words: one interface to the engines that write it down, each in a process of its own.

The sound goes to that process through a pipe and the words come back the same way: nothing of either touches a disk,
and an engine's memory is gone when it is done. No engine fetches anything: the model lies where the operator put it.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from hub.errors import ChartlineError
from hub.g711 import Pcm

LEAST_S = 60.0
"How long the shortest sound may take, the loading of a model included."

FACTOR = 10.0
"How many times its own length a sound may take."


class TranscriptionError(ChartlineError):
    """Nothing was written down; `reason` says why, and never what was said."""

    code = "not-transcribed"
    status = 503

    def __init__(self, reason: str) -> None:
        super().__init__(f"the engine wrote nothing down: {reason}")
        self.reason = reason


class Word(msgspec.Struct, frozen=True, array_like=True):
    """One word of what was said."""

    text: str
    start: float
    "Seconds from the beginning of the sound."

    end: float
    confidence: float
    "0 to 1, as the engine says; 0 where it does not know."

    speaker: str = ""
    "caller or agent; empty where only one was heard."


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine, and the model that it works with."""

    name: str
    model: Path | None = None


def transcribe(pcm: Pcm, language: str, engine: Engine, *, speaker: str = "") -> list[Word]:
    """Return the words of a sound of 8,000 samples a second; blocks until they are there.

    Raises:
        TranscriptionError: with the reason `engine-missing`, `model-missing`, `language`, `too-long` or `failed`.
    """
    command = [
        sys.executable,
        "-m",
        "hub.speech",
        engine.name,
        language,
        *([str(engine.model)] if engine.model else []),
    ]
    seconds = len(pcm) / 8000
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter, and names of the policy
            command,
            input=pcm.tobytes(),
            capture_output=True,
            timeout=LEAST_S + FACTOR * seconds,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        raise TranscriptionError("too-long") from None
    try:
        answer = msgspec.json.decode(done.stdout, type=Answer)
    except msgspec.DecodeError:
        raise TranscriptionError("failed") from None
    if answer.reason:
        raise TranscriptionError(answer.reason)
    return [msgspec.structs.replace(word, speaker=speaker) for word in answer.words]


class Answer(msgspec.Struct, frozen=True):
    """What the engine's process says at its end."""

    words: list[Word] = []
    reason: str = ""


def in_order(*spoken: Sequence[Word]) -> list[Word]:
    """Return what several people said in the order in which they said it."""
    return sorted((word for words in spoken for word in words), key=lambda word: word.start)
