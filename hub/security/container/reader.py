"""Reading a container: its end is authenticated on opening, a segment on reading; any place can be sought."""

import hashlib
import io
import os
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub.errors import NotFoundError
from hub.security.container.layout import (
    FIELDS,
    HEAD,
    HEADER,
    LAST,
    MORE,
    OPENING,
    OPENING_INDEX,
    RECOVERED,
    SEGMENT,
    TAG,
    Cipher,
    ContainerError,
    ContainerUnsealedError,
    Header,
    head_of,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a segment lies in the file, as its plain head says."""

    at: int
    flag: int
    length: int
    "Of the plain text."

    @property
    def behind(self) -> int:
        """The byte after its tag."""
        return self.at + HEAD + self.length + TAG


@dataclass(frozen=True, slots=True)
class Layout:
    """The segments that a file seems to hold; believed only once authenticated."""

    places: list[Place]
    "Segments of sound, and the end where there is one."

    size: int
    "Of the file."

    torn: bool
    "The last one is not whole: what is left by a write that a crash cut short."

    @property
    def end(self) -> int:
        """The byte after the last whole segment."""
        return self.places[-1].behind if self.places else HEADER

    @property
    def ended(self) -> bool:
        """Whether there is an end, with nothing behind it."""
        return bool(self.places) and self.places[-1].flag != MORE and self.end == self.size


def layout_of(fd: int) -> Layout:
    """Walk over the heads of an open file."""
    size, at, torn = os.fstat(fd).st_size, HEADER, False
    places: list[Place] = []
    while at < size and (not places or places[-1].flag == MORE):
        head = os.pread(fd, HEAD, at)
        place = Place(at, head[0], int.from_bytes(head[1:]))
        if len(head) == HEAD and not _possible(place):
            break
        if len(head) < HEAD or place.behind > size:
            torn = True
            break
        places.append(place)
        at = place.behind
    return Layout(places, size, torn)


def _possible(place: Place) -> bool:
    if place.flag == MORE:
        return 1 <= place.length <= SEGMENT
    return place.flag in (LAST, RECOVERED) and place.length == 0


class Reader(io.RawIOBase):
    """The plain text of a container as a file that can be read and sought; one segment at a time is in memory.

    Reading raises `ContainerError` where a segment is not authentic.
    """

    def __init__(self, path: Path, key: bytes, aad: bytes, *, unsealed: bool = False) -> None:
        """Open and authenticate the header and the end.

        With `unsealed` a file without an end is taken as well: each of its segments is authenticated, and it ends
        before the first that is not.

        Raises:
            NotFoundError: there is no such file.
            ContainerUnsealedError: it has no end.
            ContainerError: damaged, changed, or sealed by another key or for another object.
        """
        super().__init__()
        self._fd = _opened(path)
        try:
            fields = os.pread(self._fd, HEADER, 0)
            self.header = Header.parse(fields)
            self._cipher = Cipher(key, fields[:FIELDS], aad)
            self._cipher.open(OPENING_INDEX, OPENING, fields[:FIELDS], fields[FIELDS:])
            self.layout = layout_of(self._fd)
            self._places = [place for place in self.layout.places if place.flag == MORE]
            self._cached: tuple[int, bytes] = (-1, b"")
            self._at = 0
            if self.layout.ended:
                self._authenticate_end(self.layout.places[-1])
            elif unsealed:
                self._places = self._authentic()
            else:
                raise _unended(self.layout)
        except BaseException:
            self.close()
            raise
        self._starts = [0]
        for place in self._places:
            self._starts.append(self._starts[-1] + place.length)

    @property
    def size(self) -> int:
        """Bytes of plain text."""
        return self._starts[-1]

    @property
    def sealed(self) -> bool:
        """Whether the file has an end."""
        return self.layout.ended

    @property
    def recovered(self) -> bool:
        """Whether the end was set by a recovery, after a crash."""
        return self.layout.ended and self.layout.places[-1].flag == RECOVERED

    @property
    def end(self) -> int:
        """The byte of the file behind the last segment that can be read."""
        return self._places[-1].behind if self._places else HEADER

    @property
    def torn(self) -> bool:
        """Whether nothing is missing but the end and at most one segment, cut short: what a crash leaves."""
        whole = sum(place.flag == MORE for place in self.layout.places) == len(self.layout.places) == self.segments
        return whole and (self.layout.torn or self.end == self.layout.size)

    @property
    def segments(self) -> int:
        """Segments that can be read."""
        return len(self._places)

    def table(self) -> bytes:
        """Return what the end authenticates: the digest of the heads of all segments."""
        return hashlib.sha256(b"".join(head_of(place.flag, place.length) for place in self._places)).digest()

    def verify(self) -> None:
        """Authenticate every segment.

        Raises:
            ContainerError: the first that is not authentic, by index.
        """
        for index in range(self.segments):
            self._open(index)

    def _authenticate_end(self, place: Place) -> None:
        head = head_of(place.flag, 0)
        tag = os.pread(self._fd, TAG, place.at + HEAD)
        self._cipher.open(self.segments, place.flag, head + self.table(), tag)

    def _authentic(self) -> list[Place]:
        for index in range(self.segments):
            try:
                self._open(index)
            except ContainerError:
                return self._places[:index]
        return self._places

    def _open(self, index: int) -> bytes:
        if self._cached[0] != index:
            place = self._places[index]
            sealed = os.pread(self._fd, place.length + TAG, place.at + HEAD)
            self._cached = index, self._cipher.open(index, MORE, head_of(MORE, place.length), sealed)
        return self._cached[1]

    def readable(self) -> bool:
        """It is, always."""
        return True

    def seekable(self) -> bool:
        """It is, always."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a byte of the plain text."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """Return the byte of the plain text that is read next."""
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer as far as there is plain text."""
        view = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(view) and self._at < self.size:
            index = bisect_right(self._starts, self._at) - 1
            inside = self._at - self._starts[index]
            piece = self._open(index)[inside : inside + len(view) - filled]
            view[filled : filled + len(piece)] = piece
            filled += len(piece)
            self._at += len(piece)
        return filled

    def readall(self) -> bytes:
        """Return all that is left."""
        left = bytearray(max(0, self.size - self._at))
        self.readinto(left)
        return bytes(left)

    def close(self) -> None:
        """Close the file; closing twice is once."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
        super().close()


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFoundError("no such media container") from None


def _unended(layout: Layout) -> ContainerError:
    if layout.torn or layout.end == layout.size:
        return ContainerUnsealedError("the container has no end")
    return ContainerError(f"bytes at {layout.end} belong to no segment")


def read(path: Path, key: bytes, aad: bytes, *, unsealed: bool = False) -> Reader:
    """Open a container for reading; see `Reader`."""
    return Reader(path, key, aad, unsealed=unsealed)


def header_of(path: Path) -> Header:
    """Return the fields at the beginning, not yet authenticated: the lane id says which key to ask for.

    Raises:
        NotFoundError: there is no such file.
        ContainerError: it is no container.
    """
    fd = _opened(path)
    try:
        return Header.parse(os.pread(fd, HEADER, 0))
    finally:
        os.close(fd)


def ended(path: Path) -> bool:
    """Return whether the file seems to have an end; without the key nobody knows.

    Raises:
        NotFoundError: there is no such file.
    """
    fd = _opened(path)
    try:
        return layout_of(fd).ended
    finally:
        os.close(fd)
