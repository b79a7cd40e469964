"""What a recording holds inside its sealed container, and how it is made into sound (docs/reference/container.md).

A tape is a head of eight bytes and then one frame for each RTP packet that was heard: who, in which law, when, what.
Frames may lie out of order, overlap or be missing: each says its own place in time.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

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


class TapeError(UsageError):
    """This is not a recording."""

    code = "tape-invalid"


class Source(Protocol):
    """Where a tape is read from: a file, a `container.Reader`, bytes in memory."""

    def read(self, size: int = -1, /) -> bytes | None:
        """Return up to `size` bytes, all that is left by default; empty at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Frame:
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
        frames = list(frames_in(data))
        if len(frames) != 1:
            raise TapeError("not one frame")
        return frames[0]

    def __bytes__(self) -> bytes:
        return _FRAME.pack(self.leg, self.codec, len(self.payload), self.position) + self.payload


def frame_of(leg: int, codec: int, position: int, payload: bytes) -> bytes:
    """Return the bytes of a frame without making one: for the packet path."""
    return _FRAME.pack(leg, codec, len(payload), position) + payload


def frames_in(data: bytes) -> Iterator[Frame]:
    """Yield the frames that stand one behind the other in `data`.

    Raises:
        TapeError: the last one is cut short, or one is of a law that no leg speaks.
    """
    at, size = 0, len(data)
    while at < size:
        if at + _FRAME.size > size:
            raise TapeError("a frame is cut short")
        leg, codec, length, position = _FRAME.unpack_from(data, at)
        at += _FRAME.size
        if at + length > size:
            raise TapeError("a frame is cut short")
        if codec not in (Codec.PCMU, Codec.PCMA):
            raise TapeError(f"a frame of payload type {codec}")
        yield Frame(leg, Codec(codec), position, data[at : at + length])
        at += length


def frames(source: Source) -> Iterator[Frame]:
    """Read a tape and yield its frames in the order in which they were heard.

    A frame cut off by the end of the tape is left out: a recording that a crash ended may stop anywhere.

    Raises:
        TapeError: not a tape, or a version of it that is not known here.
    """
    data = source.read() or b""
    if data[: len(HEAD)] != HEAD:
        raise TapeError("not a recording, or of a later version")
    whole = _whole_frames(data)
    yield from frames_in(data[len(HEAD) : whole])


def _whole_frames(data: bytes) -> int:
    at = len(HEAD)
    while at + _FRAME.size <= len(data):
        behind = at + _FRAME.size + int.from_bytes(data[at + 2 : at + 4])
        if behind > len(data):
            break
        at = behind
    return at


def channels(heard: Iterable[Frame]) -> tuple[Pcm, Pcm]:
    """Return the caller's and the agent's sound, equally long, in step, and silent where nothing was heard."""
    legs: dict[int, tuple[Codec, bytearray]] = {}
    for frame in heard:
        end = frame.position + len(frame.payload)
        if frame.leg not in (CALLER, AGENT) or end > LONGEST_SECONDS * RATE:
            continue
        codec, coded = legs.setdefault(frame.leg, (frame.codec, bytearray()))
        if len(coded) < end:
            coded += bytes([codec.silence]) * (end - len(coded))
        coded[frame.position : end] = convert(frame.payload, frame.codec, codec)
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
