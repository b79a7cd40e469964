"""G.711: the two laws that telephony samples are coded with, and the way between them (ITU-T G.711).

A sample is 13 (A-law) or 14 (mu-law) significant bits in one byte, 8,000 a second. Linear values are 16-bit signed, the
law's own bits shifted up, so full scale is about 32,000 in both.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.int16]
"Linear samples, 8,000 a second unless said otherwise."

RATE = 8000
"Samples a second."

BIAS = 132
"Mu-law's bias of 33 on 14 bits, on the 16-bit scale."

CLIP = 32635
"The largest magnitude that mu-law can hold once the bias is added."


class Codec(IntEnum):
    """A law, numbered by its static RTP payload type (RFC 3551 section 6)."""

    PCMU = 0
    PCMA = 8

    @property
    def silence(self) -> int:
        """Return the byte that codes the quietest positive value."""
        return 0xFF if self is Codec.PCMU else 0xD5


def _ulaw_to_linear() -> Pcm:
    code = ~np.arange(256) & 0xFF
    magnitude = (((code & 0x0F) << 3) + BIAS << (code >> 4 & 7)) - BIAS
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _alaw_to_linear() -> Pcm:
    code = np.arange(256) ^ 0x55
    segment = code >> 4 & 7
    magnitude = ((code & 0x0F) << 4) + np.where(segment > 0, 0x108, 8) << np.maximum(segment - 1, 0)
    signed: Pcm = np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)
    return signed


def _linear_to_ulaw() -> NDArray[np.uint8]:
    linear = np.arange(65536).astype(np.uint16).view(np.int16).astype(np.int32)
    biased = np.minimum(np.abs(linear), CLIP) + BIAS
    segment = np.floor(np.log2(biased)).astype(np.int32) - 7
    code: NDArray[np.int32] = np.where(linear < 0, 0x80, 0) | segment << 4 | biased >> segment + 3 & 0x0F
    return (~code & 0xFF).astype(np.uint8)


def _linear_to_alaw() -> NDArray[np.uint8]:
    linear = np.arange(65536).astype(np.uint16).view(np.int16).astype(np.int32) >> 3
    magnitude = np.where(linear < 0, -linear - 1, linear)
    segment = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1))).astype(np.int32) - 4, 0)
    code = segment << 4 | magnitude >> np.maximum(segment, 1) & 0x0F
    return (code ^ np.where(linear < 0, 0x55, 0xD5)).astype(np.uint8)


_LINEAR = {Codec.PCMU: _ulaw_to_linear(), Codec.PCMA: _alaw_to_linear()}
_CODED = {Codec.PCMU: _linear_to_ulaw(), Codec.PCMA: _linear_to_alaw()}


def decode(codec: Codec, coded: bytes | bytearray | memoryview) -> Pcm:
    """Return the linear value of each byte."""
    return _LINEAR[codec][np.frombuffer(coded, np.uint8)]


def encode(codec: Codec, pcm: Pcm) -> bytes:
    """Return the byte nearest to each linear value."""
    return _CODED[codec][np.ascontiguousarray(pcm).view(np.uint16)].tobytes()


def _table(source: Codec, target: Codec) -> bytes:
    return encode(target, _LINEAR[source])


_TABLES = {(a, b): _table(a, b) for a in Codec for b in Codec if a is not b}


def table_between(source: Codec, target: Codec) -> bytes | None:
    """Return the `bytes.translate` table from `source` to `target`, through the linear value; None for one law."""
    return _TABLES.get((source, target))


def convert(coded: bytes, source: Codec, target: Codec) -> bytes:
    """Return `coded` in the other law; unchanged when it is the same."""
    table = table_between(source, target)
    return coded if table is None else coded.translate(table)
