"""What is heard when somebody, or something, picks up: made by the programs that speak, and by arithmetic."""

import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from hub.audio import linear, read_wav, resample, tone
from hub.g711 import RATE, Codec, Pcm, decode, encode
from media.rtp import FRAME
from tests.peers import missing

VOICES = [("flite", voice, pace) for voice in ("slt", "kal", "rms", "awb") for pace in ("0.8", "1.0", "1.3")] + [
    ("espeak-ng", voice, pace) for voice in ("en-us", "en-us+f3", "en-gb+m3") for pace in ("130", "165", "200")
]
"Program, voice, and how fast: of flite's paces the smaller is the faster."

PEOPLE = [
    "Hello?",
    "Yes?",
    "Hi, this is Dana.",
    "Hello, who is this?",
    "Sample residence.",
    "Good morning.",
]
MACHINES = [
    "Hi, you have reached Dana Sample. I cannot come to the phone right now. Please leave a message after the tone.",
    "The person you are calling is not available. At the tone, please record your message.",
    "Hello, we are not home. Leave your name and number and we will call you back.",
    "Your call has been forwarded to an automatic voice message system.",
]


@cache
def said(text: str, program: str = "flite", voice: str = "slt", pace: str = "1.0") -> Pcm:
    """Return a text as a voice says it; a second of silence where it cannot speak here."""
    if missing(program):
        return quiet(1)
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory, "said.wav")
        command = {
            "flite": ["flite", "-voice", voice, "--setf", f"duration_stretch={pace}", "-t", text, "-o", str(out)],
            "espeak-ng": ["espeak-ng", "-v", voice, "-s", pace, "-w", str(out), text],
        }[program]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
        wave = read_wav(out.read_bytes())
    return resample(wave.pcm, wave.rate, RATE)


def quiet(seconds: float) -> Pcm:
    return np.zeros(round(seconds * RATE), np.int16)


def noise(seconds: float, level: float) -> Pcm:
    random = np.random.default_rng(5)
    return linear(random.normal(0, 32768 * 10 ** (level / 20), round(seconds * RATE)))


def beep(hz: float = 1000, seconds: float = 0.4, level: float = -15) -> Pcm:
    return tone(hz, seconds=seconds, level=level)


def on_the_line(*parts: Pcm, level: float = -60, codec: Codec = Codec.PCMU) -> Pcm:
    """Return sounds one behind the other, over the noise of a line, as G.711 carries them; whole frames."""
    whole = np.concatenate(parts).astype(np.int32)
    whole += noise(len(whole) / RATE + 1, level)[: len(whole)]
    coded = encode(codec, linear(whole.astype(np.float64)))
    return decode(codec, coded[: len(coded) // FRAME * FRAME])
