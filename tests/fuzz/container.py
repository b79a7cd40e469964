"""Containers: a file that anybody may have changed is opened or refused, and holds nothing that was not written.

Saved inputs are sealed under the key below, with what `PLAIN` says; what a reader gives of a changed one is a beginning
of it.
"""

import io
import tempfile
from contextlib import suppress
from pathlib import Path

from hub.security.container import read, recover
from hub.security.container.layout import ContainerError
from hub.security.container.reader import ended, header_of
from hub.tape import TapeError, frames

KEY, AAD = bytes(range(32)), b"object of the fuzz target"
PLAIN = bytes(number * 7 & 0xFF for number in range(3000))


def one(data: bytes) -> None:
    """Take `data` for a file, and for a tape."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "tape.clm"
        path.write_bytes(data)
        _opened(path)
    with suppress(TapeError):
        for frame in frames(io.BytesIO(data)):
            assert len(frame.payload) <= len(data)


def _opened(path: Path) -> None:
    with suppress(ContainerError):
        header_of(path)
    sealed = ended(path)
    with suppress(ContainerError), read(path, KEY, AAD) as reader:
        assert sealed
        assert reader.readall() == PLAIN[: reader.size]
        reader.verify()
        assert reader.seek(reader.size // 2) == reader.size // 2
        assert reader.read() == PLAIN[reader.size // 2 : reader.size]
    with suppress(ContainerError):
        with read(path, KEY, AAD, unsealed=True) as reader:
            size = reader.size
            assert reader.readall() == PLAIN[:size]
        _recovered(path, size, sealed)


def _recovered(path: Path, size: int, sealed: bool) -> None:
    """Recover what is left open; then it is sealed, and holds what could be read before."""
    if sealed:
        return
    found = recover(path, KEY, AAD)
    assert found.size == size
    assert ended(path)
    with read(path, KEY, AAD) as reader:
        assert reader.recovered
        assert reader.readall() == PLAIN[:size]
