"""Sound as files and as figures: WAV both ways, resampling, pure tones, and which tones a piece of sound holds.

WAV is read and written here because prompts and players meet in it; G.711 itself is `hub.g711`.
"""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub.errors import UsageError
from hub.g711 import RATE, Codec, Pcm, decode

LINEAR, ALAW, ULAW = 1, 6, 7
"Format tags of a WAV file's `fmt ` chunk."

_LAWS = {ALAW: Codec.PCMA, ULAW: Codec.PCMU}
_TAGS = {codec: tag for tag, codec in _LAWS.items()}
_EXTENSIBLE = 0xFFFE
_WINDOW = 1024
"Samples of one spectrum: 128 ms at 8 kHz, 7.8 Hz a bin."

_SPREAD = 3
"Bins either side of a peak that a Hann window spills its power into."


class AudioError(UsageError):
    """These bytes are not sound that can be played here."""

    code = "audio-invalid"


@dataclass(frozen=True, slots=True)
class Wave:
    """What a WAV file holds, mixed to one channel."""

    pcm: Pcm
    rate: int
    "Samples a second."

    ulaw: bytes | None
    "The coded bytes as they lie in the file, where it is mono mu-law; playing them loses nothing."

    @property
    def seconds(self) -> float:
        """Return how long it is."""
        return len(self.pcm) / self.rate


@dataclass(frozen=True, slots=True)
class Peak:
    """One tone in a piece of sound."""

    hz: float
    share: float
    "Of the sound's whole power, 0 to 1."


def wav(pcm: Pcm, rate: int = RATE) -> bytes:
    """Return a 16-bit linear WAV file; `pcm` is one channel, or an array of (samples, channels)."""
    channels = 1 if pcm.ndim == 1 else pcm.shape[1]
    return _riff(LINEAR, channels, rate, 2, pcm.astype("<i2", copy=False).tobytes())


def wav_coded(coded: bytes, codec: Codec) -> bytes:
    """Return a mono WAV file of G.711 bytes, 8 kHz."""
    return _riff(_TAGS[codec], 1, RATE, 1, coded)


def _riff(tag: int, channels: int, rate: int, width: int, data: bytes) -> bytes:
    block = channels * width
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * block, block, width * 8)
    if tag != LINEAR:
        # A law's `fmt ` chunk carries the size of an empty extension, and a `fact` chunk the count of samples.
        form += struct.pack("<H", 0)
    chunks = _chunk(b"fmt ", form)
    if tag != LINEAR:
        chunks += _chunk(b"fact", struct.pack("<I", len(data) // block))
    return _chunk(b"RIFF", b"WAVE" + chunks + _chunk(b"data", data))


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1)


def read_wav(data: bytes) -> Wave:
    """Read a WAV file: 8- or 16-bit linear, mu-law or A-law, any rate and number of channels.

    Raises:
        AudioError: no WAV, cut off before its samples begin, or in a coding that is not one of these.
    """
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise AudioError("not a WAV file")
    form: tuple[int, ...] | None = None
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + size]
        if name == b"fmt " and len(body) >= 16:
            form = struct.unpack("<HHIIHH", body[:16])
            if form[0] == _EXTENSIBLE and len(body) >= 26:
                form = (int.from_bytes(body[24:26], "little"), *form[1:])
        elif name == b"data":
            return _samples(form, body)
        at += 8 + size + (size & 1)
    raise AudioError("a WAV file without samples")


def _samples(form: tuple[int, ...] | None, body: bytes) -> Wave:
    if form is None:
        raise AudioError("a WAV file that does not say its format")
    tag, channels, rate, _, _, bits = form
    if not 1 <= channels <= 8 or not 1000 <= rate <= 192_000:
        raise AudioError(f"a WAV file of {channels} channels at {rate} Hz")
    if tag in _LAWS and bits == 8:
        pcm = decode(_LAWS[tag], body)
    elif tag == LINEAR and bits == 16:
        pcm = np.frombuffer(body[: len(body) & ~1], "<i2").astype(np.int16)
    elif tag == LINEAR and bits == 8:
        pcm = (np.frombuffer(body, np.uint8).astype(np.int16) - 128) << 8
    else:
        raise AudioError(f"a WAV file of format {tag} with {bits} bits; 16-bit linear, mu-law or A-law is needed")
    if channels > 1:
        whole = len(pcm) - len(pcm) % channels
        pcm = pcm[:whole].reshape(-1, channels).mean(axis=1).astype(np.int16)
    as_it_lies = body if tag == ULAW and channels == 1 and rate == RATE else None
    return Wave(pcm, rate, as_it_lies)


def resample(pcm: Pcm, source: int, target: int) -> Pcm:
    """Return a whole clip at `target` samples a second; what that rate cannot hold is left out, not folded back."""
    if source == target or not len(pcm):
        return pcm
    # Silence behind the clip keeps its end from ringing into its beginning, and makes the length one of small factors.
    padded = -(-(len(pcm) + source // 10) // source) * source
    length = padded // source * target
    spectrum = np.fft.rfft(pcm.astype(np.float64), padded)
    kept = np.zeros(length // 2 + 1, np.complex128)
    bins = min(len(kept), len(spectrum))
    kept[:bins] = spectrum[:bins]
    resampled = np.fft.irfft(kept, length) * (length / padded)
    return linear(resampled[: round(len(pcm) * target / source)])


def linear(samples: NDArray[Any]) -> Pcm:
    """Return samples on the 16-bit scale, rounded and clipped."""
    clipped: Pcm = np.clip(np.rint(samples), -32768, 32767).astype(np.int16)
    return clipped


def tone(*hz: float, seconds: float, level: float = -12.0, rate: int = RATE) -> Pcm:
    """Return pure tones together, each at `level` dB to full scale, faded over 5 ms so that nothing clicks."""
    at = np.arange(round(seconds * rate)) / rate
    wave = sum((np.sin(2 * np.pi * each * at) for each in hz), np.zeros(len(at)))
    fade = np.minimum(1, np.minimum(at, seconds - at) / 0.005)
    return linear(wave * fade * 32767 * 10 ** (level / 20))


def level_of(pcm: Pcm) -> float:
    """Return the level in dB against a square wave at full scale; -120 for silence."""
    power = float(np.mean(np.square(pcm.astype(np.float64)))) if len(pcm) else 0.0
    return max(-120.0, 10 * float(np.log10(max(power, 1e-12) / 32768**2)))


def frequencies(pcm: Pcm, rate: int = RATE, share: float = 0.05) -> list[Peak]:
    """Return the tones that hold at least `share` of the sound's power, the strongest first.

    Power is averaged over the whole of `pcm`, which must be one channel and last 128 ms; shorter or silent sound
    has none. Tones less than about 50 Hz apart are seen as one.
    """
    count = len(pcm) // _WINDOW
    if count == 0:
        return []
    frames = pcm[: count * _WINDOW].reshape(count, _WINDOW).astype(np.float64) * np.hanning(_WINDOW)
    power = np.mean(np.abs(np.fft.rfft(frames, axis=1)) ** 2, axis=0)
    power[:_SPREAD] = 0.0
    total = float(power.sum())
    if total < _WINDOW**2:
        return []
    peaks = [
        peak for at in range(_SPREAD, len(power) - _SPREAD) if (peak := _peak(power, at, total, rate)).share >= share
    ]
    return sorted(peaks, key=lambda peak: -peak.share)


def _peak(power: NDArray[np.float64], at: int, total: float, rate: int) -> Peak:
    around = power[at - _SPREAD : at + _SPREAD + 1]
    if power[at] < around.max() or not power[at]:
        return Peak(0.0, 0.0)
    centre = float(np.dot(around, np.arange(at - _SPREAD, at + _SPREAD + 1)) / around.sum())
    return Peak(centre * rate / _WINDOW, float(around.sum()) / total)
