"""What a recording holds inside its sealed container, and how it is made into sound (docs/reference/container.md).

A tape is a head of eight bytes and then one frame for each RTP packet that was heard: who, in which law, when, what.
Frames may lie out of order, overlap or be missing: each says its own place in time.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

import numpy as np

from hub.audio import wav
from hub.errors import UsageError
from hub.g711 import RATE, Codec, Pcm, convert, decode

HEAD = b"CLTAPE\x00\x01"
"Magic and version."

CALLER, AGENT = 0, 1
"Legs: the caller is on the left channel, the agent on the right."

LONGEST_SECONDS = 8 * 3600
"A frame that claims a later place is not believed; no call is longer."

_FRAME = struct.Struct(">BBHI")
_CODECS = {codec.value: codec for codec in Codec}


class TapeError(UsageError):
    """This is not a recording."""

    code = "tape-invalid"


class Source(Protocol):
    """Where a tape is read from: a file, a `container.Reader`, bytes in memory."""

    def read(self, size: int = -1, /) -> bytes | None:
        """Return up to `size` bytes, all that is left by default; empty at the end."""
        ...


class Frame(NamedTuple):
    """What one leg was heard to say in one packet."""

    leg: int
    "CALLER or AGENT."

    codec: Codec
    position: int
    "Samples since the recording began, 8,000 a second."

    payload: bytes
    "One byte a sample."

    @classmethod
    def parse(cls, data: bytes) -> "Frame":
        """Parse one whole frame.

        Raises:
            TapeError: cut short, too long, or of a law that no leg speaks.
        """
        found = list(_frames(data, 0, torn=False))
        if len(found) != 1:
            raise TapeError("not one frame")
        return found[0]

    def __bytes__(self) -> bytes:
        return frame_of(self.leg, self.codec, self.position, self.payload)


def frame_of(leg: int, codec: int, position: int, payload: bytes) -> bytes:
    """Return the bytes of a frame without making one: for the packet path."""
    return _FRAME.pack(leg, codec, len(payload), position) + payload


def frames(source: Source) -> Iterator[Frame]:
    """Read a tape and yield its frames in the order in which they were heard.

    A frame cut off by the end of the tape is left out: a recording that a crash ended may stop anywhere.

    Raises:
        TapeError: not a tape, a version of it that is not known here, or a frame of a law that no leg speaks.
    """
    data = source.read() or b""
    if data[: len(HEAD)] != HEAD:
        raise TapeError("not a recording, or of a later version")
    yield from _frames(data, len(HEAD), torn=True)


def _frames(data: bytes, at: int, *, torn: bool) -> Iterator[Frame]:
    size = len(data)
    while at < size:
        begins = at + _FRAME.size
        leg, law, length, position = _FRAME.unpack_from(data, at) if begins <= size else (0, 0, size, 0)
        at = begins + length
        if at > size:
            if torn:
                return
            raise TapeError("a frame is cut short")
        codec = _CODECS.get(law)
        if codec is None:
            raise TapeError(f"a frame of payload type {law}")
        yield Frame(leg, codec, position, data[begins:at])


def later(heard: Iterable[Frame], seconds: float) -> Iterator[Frame]:
    """Yield frames so much later: those of a part of a call, in their places in the whole."""
    samples = round(seconds * RATE)
    for frame in heard:
        yield frame._replace(position=frame.position + samples)


def channels(heard: Iterable[Frame]) -> tuple[Pcm, Pcm]:
    """Return the caller's and the agent's sound, equally long, in step, and silent where nothing was heard."""
    legs: dict[int, tuple[Codec, bytearray]] = {}
    for frame in heard:
        leg, law, position, payload = frame
        end = position + len(payload)
        if leg not in (CALLER, AGENT) or end > LONGEST_SECONDS * RATE:
            continue
        if leg not in legs:
            legs[leg] = law, bytearray()
        codec, coded = legs[leg]
        if len(coded) < position:
            coded += bytes((codec.silence,)) * (position - len(coded))
        coded[position:end] = payload if law is codec else convert(payload, law, codec)
    length = max((len(coded) for _, coded in legs.values()), default=0)
    return _channel(legs.get(CALLER), length), _channel(legs.get(AGENT), length)


def _channel(leg: tuple[Codec, bytearray] | None, length: int) -> Pcm:
    pcm = np.zeros(length, np.int16)
    if leg is not None:
        pcm[: len(leg[1])] = decode(*leg)
    return pcm


def stereo_wav(source: Source) -> bytes:
    """Return the recording as a 16-bit WAV file: caller left, agent right.

    Raises:
        TapeError: not a tape.
    """
    return wav(np.column_stack(channels(frames(source))))


def mono_wav(source: Source) -> bytes:
    """Return a voicemail as a 16-bit WAV file of the caller alone.

    Raises:
        TapeError: not a tape.
    """
    return wav(channels(frames(source))[0])
