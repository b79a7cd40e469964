"""Setting the end of a container whose writer a crash ended."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from hub.errors import ConflictError, NotFoundError
from hub.security.container.layout import FIELDS, RECOVERED, Cipher, ContainerWriteError, head_of
from hub.security.container.reader import Reader
from hub.security.container.writer import sync_directory, write_all


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was found in a container that had no end."""

    size: int
    "Bytes of plain text that are authentic, and are sealed now."

    lost: int
    "Bytes of the file that were behind them and are not authentic."

    kept: Path | None
    "Where those bytes lie now, unless they were just the rest of one write cut short."


def recover(path: Path, key: bytes, aad: bytes) -> Recovery:
    """Seal the authentic prefix of a container that a crash left without an end; one that has its end stays as it is.

    For files that the record says were being written, never for one that was sealed before: there a missing end
    means that somebody shortened it. What it does is the caller's to audit.

    Raises:
        NotFoundError: there is no such file.
        ConflictError: its writer is alive.
        ContainerError: damaged at its header or end, or of another key or object.
        ContainerWriteError: the disk does not take it.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFoundError("no such media container") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with Reader(path, key, aad, unsealed=True) as reader:
            if reader.sealed:
                return Recovery(reader.size, 0, None)
            kept = None if reader.torn else _kept_aside(fd, reader, path)
            _seal(fd, reader, Cipher(key, os.pread(fd, FIELDS, 0), aad))
            sync_directory(path)
            return Recovery(reader.size, reader.layout.size - reader.end, kept)
    except BlockingIOError:
        raise ConflictError("the container is still being written") from None
    except OSError as error:
        raise ContainerWriteError(os.strerror(error.errno or 0)) from error
    finally:
        os.close(fd)


def _seal(fd: int, reader: Reader, cipher: Cipher) -> None:
    # The end's plain text is empty and what it binds follows from the segments alone, so a recovery that itself is cut
    # short and done again seals the same bytes under the same nonce; the flag keeps that nonce apart from the writer's.
    head = head_of(RECOVERED, 0)
    os.ftruncate(fd, reader.end)
    os.lseek(fd, 0, os.SEEK_END)
    write_all(fd, head + cipher.seal(reader.segments, RECOVERED, head + reader.table(), b""))
    os.fsync(fd)


def _kept_aside(fd: int, reader: Reader, path: Path) -> Path:
    aside = path.with_name(f"{path.name}.damaged")
    copy = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        at = reader.end
        while block := os.pread(fd, 1 << 20, at):
            write_all(copy, block)
            at += len(block)
        os.fsync(copy)
    finally:
        os.close(copy)
    return aside
