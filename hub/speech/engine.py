"""The engines: each takes 16,000 samples a second and gives words; what one needs is imported when it is asked."""

import io
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from hub.g711 import Pcm
from hub.speech import TranscriptionError, Word

RATE = 16_000
"Samples a second that both engines listen to."

_NOISES = ("<", "[", "(")
"How pocketsphinx's fillers begin: silence, breath, a cough; and a `(2)` behind a word names a pronunciation."


def whisper(pcm: Pcm, language: str, model: Path | None) -> list[Word]:
    """Write down with faster-whisper, in any language of its model.

    Raises:
        TranscriptionError: engine-missing, model-missing.
    """
    if model is None or not (model / "model.bin").exists():
        raise TranscriptionError("model-missing")
    engine = _imported("faster_whisper").WhisperModel(
        str(model), device="cpu", compute_type="int8", local_files_only=True
    )
    sound = pcm.astype(np.float32) / 32768
    segments, _ = engine.transcribe(sound, language=language, word_timestamps=True, condition_on_previous_text=False)
    return [
        Word(
            word.word.strip(), round(float(word.start), 2), round(float(word.end), 2), round(float(word.probability), 3)
        )
        for segment in segments
        for word in segment.words or ()
    ]


def pocketsphinx(pcm: Pcm, language: str, model: Path | None) -> list[Word]:
    """Write down with pocketsphinx: small, and no match for whisper; English where no model is given.

    It is as sure of what it mishears as of the rest, so every word gets confidence 0: all of them are doubtful.

    Raises:
        TranscriptionError: engine-missing, language.
    """
    sphinx = _imported("pocketsphinx")
    if model is None and language.partition("-")[0] != "en":
        raise TranscriptionError("language")
    own = {} if model is None else {"hmm": str(model / "hmm"), "lm": str(model / "lm.bin"), "dict": str(model / "dict")}
    decoder = sphinx.Decoder(samprate=RATE, loglevel="FATAL", **own)
    frame = 1 / decoder.config["frate"]
    words = []
    for segment in sphinx.Segmenter(sample_rate=RATE).segment(io.BytesIO(pcm.tobytes())):
        decoder.start_utt()
        decoder.process_raw(segment.pcm, full_utt=True)
        decoder.end_utt()
        if decoder.hyp() is None:
            continue
        for heard in decoder.seg():
            if not heard.word.startswith(_NOISES):
                start, end = heard.start_frame * frame, (heard.end_frame + 1) * frame
                began = float(segment.start_time)
                words.append(Word(heard.word.partition("(")[0], round(began + start, 2), round(began + end, 2), 0.0))
    return words


ENGINES: dict[str, Callable[[Pcm, str, Path | None], list[Word]]] = {"whisper": whisper, "pocketsphinx": pocketsphinx}
"By the name that `[speech]` gives."


def _imported(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise TranscriptionError("engine-missing") from None
