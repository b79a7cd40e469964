"""G.722 and Opus to mu-law and back, 20 ms at a time (ITU-T G.722, RFC 6716); what is lost on the way is concealed.

For a worker thread: FFmpeg lets go of the interpreter's lock while it works. A coder is opened with its first packet.
"""

from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from hub.g711 import RATE, Codec, Pcm, decode, encode
from media.rtp import FRAME

MADE = {"G722/8000": 16_000, "OPUS/48000/2": 48_000}
"The encodings that can be heard and made here, with the samples a second that their decoders give."

DECAY = 0.5
"Of the level, by which each frame that is made up is quieter than the one before."

BIT_RATE = 24_000
"Of Opus: what comes from G.711 has nothing above 4 kHz to be carried."

_TAPS = 16
"Of the low-pass filter, on each side of a sample of the lower rate."


def _low_pass(ratio: int) -> NDArray[np.float32]:
    at = np.arange(-_TAPS * ratio, _TAPS * ratio + 1)
    kernel = np.sinc(at * 0.92 / ratio) * np.hamming(len(at))
    scaled: NDArray[np.float32] = (kernel / kernel.sum()).astype(np.float32)
    return scaled


class Decimator:
    """Takes samples at a multiple of 8,000 a second down to that; what 4 kHz cannot hold is left out."""

    def __init__(self, ratio: int) -> None:
        self._ratio = ratio
        self._kernel = _low_pass(ratio)
        self._rest = np.zeros(len(self._kernel) - 1, np.float32)

    def __call__(self, samples: Pcm) -> Pcm:
        """Return the next samples; `samples` are a multiple of the ratio."""
        wide = np.concatenate((self._rest, samples.astype(np.float32)))
        self._rest = wide[len(wide) - len(self._kernel) + 1 :]
        low = sliding_window_view(wide, len(self._kernel))[:: self._ratio] @ self._kernel
        taken: Pcm = np.clip(np.rint(low), -32768, 32767).astype(np.int16)
        return taken


class Doubler:
    """Brings samples from 8,000 a second to 16,000."""

    def __init__(self) -> None:
        self._kernel = 2 * _low_pass(2)
        self._rest = np.zeros(len(self._kernel) - 1, np.float32)

    def __call__(self, samples: Pcm) -> Pcm:
        """Return twice as many."""
        wide = np.zeros(len(self._rest) + 2 * len(samples), np.float32)
        wide[: len(self._rest)] = self._rest
        wide[len(self._rest) :: 2] = samples
        self._rest = wide[len(wide) - len(self._rest) :]
        made: Pcm = np.clip(np.rint(np.convolve(wide, self._kernel, "valid")), -32768, 32767).astype(np.int16)
        return made


class Decoder:
    """What one far end says, as mu-law."""

    def __init__(self, encoding: str) -> None:
        """Take one of `MADE`."""
        self._rate = MADE[encoding]
        self._name = _NAMES[encoding]
        self._context: Any = None
        self._decimate = Decimator(self._rate // RATE)
        self._last: Pcm = np.zeros(FRAME, np.int16)

    def decode(self, payload: bytes | None) -> bytes:
        """Return what a packet says, or make 20 ms up in place of one that is lost or cannot be read."""
        pcm = self._read(payload) if payload else None
        if pcm is None:
            # The last 20 ms over again, quieter each time: a gap that is short is not heard as one.
            pcm = (self._last * DECAY).astype(np.int16)
        if len(pcm) >= FRAME:
            self._last = pcm[-FRAME:]
        return encode(Codec.PCMU, pcm)

    def _read(self, payload: bytes) -> Pcm | None:
        if self._context is None:
            context: Any = av.CodecContext.create(self._name, "r")
            context.sample_rate, context.layout = self._rate, "mono"
            context.open()
            self._context = context
        try:
            frames = self._context.decode(av.Packet(payload))
        except FFmpegError:
            return None
        heard = [frame.to_ndarray().reshape(-1) for frame in frames]
        return self._decimate(np.concatenate(heard)) if heard else None


class Encoder:
    """What one far end is to hear, from mu-law."""

    def __init__(self, encoding: str) -> None:
        """Take one of `MADE`."""
        self._name = _NAMES[encoding]
        # Opus takes 8,000 samples a second as they are.
        self._double = Doubler() if self._name == "g722" else None
        self._rate = 2 * RATE if self._double else RATE
        self._context: Any = None
        self._at = 0
        self._rest = b""

    def encode(self, ulaw: bytes) -> list[bytes]:
        """Return the packets of 20 ms each that are full with these samples."""
        self._rest += ulaw
        packets = []
        while len(self._rest) >= FRAME:
            pcm, self._rest = decode(Codec.PCMU, self._rest[:FRAME]), self._rest[FRAME:]
            packets += self._packets(pcm if self._double is None else self._double(pcm))
        return packets

    def _packets(self, pcm: Pcm) -> list[bytes]:
        if self._context is None:
            context: Any = av.CodecContext.create(self._name, "w")
            context.sample_rate, context.layout, context.format = self._rate, "mono", "s16"
            context.time_base = Fraction(1, self._rate)
            if self._double is None:
                context.bit_rate = BIT_RATE
                context.options = {"application": "voip", "frame_duration": "20", "fec": "1", "packet_loss": "5"}
            context.open()
            self._context = context
        frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = self._rate, self._at, Fraction(1, self._rate)
        self._at += len(pcm)
        return [bytes(packet) for packet in self._context.encode(frame)]


_NAMES = {"G722/8000": "g722", "OPUS/48000/2": "libopus"}


def span_of(encoding: str, payload: bytes) -> int:
    """Return how many milliseconds a packet lasts; 20 where it does not say anything sensible."""
    if encoding == "G722/8000":
        return max(len(payload) // 8, 1)
    if not payload:
        return 20
    # RFC 6716 section 3.1: the configuration of the first byte names the frames, its last two bits their count.
    config, code = payload[0] >> 3, payload[0] & 3
    if config < 12:
        frame_us = (10_000, 20_000, 40_000, 60_000)[config % 4]
    elif config < 16:
        frame_us = (10_000, 20_000)[config % 2]
    else:
        frame_us = (2_500, 5_000, 10_000, 20_000)[config % 4]
    count = (1, 2, 2, payload[1] & 0x3F if len(payload) > 1 else 1)[code]
    return max(min(frame_us * count // 1000, 120), 1)
