"""Writing a container: append only, once, and never again after a failure."""

import fcntl
import hashlib
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Self

from hub.security.container.layout import (
    LAST,
    MORE,
    OPENING,
    OPENING_INDEX,
    SEGMENT,
    Cipher,
    ContainerWriteError,
    Header,
    head_of,
)


class Writer:
    """Writes one container, once: a file that exists is refused, and after a failed write there is no going on.

    Not for two threads at a time. As a context manager it seals at the end of the block, and abandons (leaves an
    authentic prefix) on an exception.
    """

    def __init__(self, path: Path, key: bytes, aad: bytes, *, lane_id: bytes) -> None:
        """Make the file (mode 0600), lock it for as long as it is written, and write its header.

        Raises:
            ContainerWriteError: it exists, or the disk does not take it.
        """
        header = bytes(Header(lane_id, secrets.token_bytes(32), secrets.token_bytes(7)))
        self.path = path
        self.size = 0
        "Bytes of plain text taken so far, flushed or not."
        self._cipher = Cipher(key, header, aad)
        self._pending = bytearray()
        self._index = 0
        self._table = hashlib.sha256()
        self._fd = -1
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            sync_directory(path)
        except OSError as error:
            raise self._broken(error) from error
        self._put(header + self._cipher.seal(OPENING_INDEX, OPENING, header, b""))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take `data`; full segments go to the disk, the rest waits for `flush`.

        Raises:
            ContainerWriteError: the disk does not take it, or the container is closed.
        """
        self._pending += data
        self.size += len(data)
        full = len(self._pending) // SEGMENT * SEGMENT
        for at in range(0, full, SEGMENT):
            self._segment(MORE, self._pending[at : at + SEGMENT])
        del self._pending[:full]

    def flush(self, *, durable: bool = False) -> None:
        """Write what waits as a segment of its own; it outlives this process, with `durable` a loss of power too.

        Raises:
            ContainerWriteError: the disk does not take it, or the container is closed.
        """
        if self._pending:
            self._segment(MORE, self._pending)
            self._pending = bytearray()
        if durable:
            try:
                os.fdatasync(self._descriptor())
            except OSError as error:
                raise self._broken(error) from error

    def close(self) -> None:
        """Flush, set the end, and return once all of it is durable; closing twice is once.

        Raises:
            ContainerWriteError: the disk does not take it.
        """
        if self._fd < 0:
            return
        self.flush()
        self._segment(LAST, b"")
        self.flush(durable=True)
        self.abandon()

    def abandon(self) -> None:
        """Close the file without an end: what was flushed is an authentic prefix, for `recover`."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _segment(self, flag: int, plain: bytes | bytearray) -> None:
        index, head = self._index, head_of(flag, len(plain))
        if index >= OPENING_INDEX:
            self.abandon()
            raise ContainerWriteError("the container has no indices left")
        # Spent before it is used: whatever fails below, no other bytes are ever sealed under this index.
        self._index += 1
        bound = head if flag == MORE else head + self._table.digest()
        self._table.update(head)
        self._put(head + self._cipher.seal(index, flag, bound, plain))

    def _put(self, data: bytes) -> None:
        try:
            write_all(self._descriptor(), data)
        except OSError as error:
            raise self._broken(error) from error

    def _descriptor(self) -> int:
        if self._fd < 0:
            raise ContainerWriteError("the container is closed")
        return self._fd

    def _broken(self, error: OSError) -> ContainerWriteError:
        self.abandon()
        return ContainerWriteError(os.strerror(error.errno or 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`, however many pieces the system takes it in."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_directory(path: Path) -> None:
    """Make the name of `path` durable."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
