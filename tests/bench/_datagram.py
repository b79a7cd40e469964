"""Many UDP datagrams by one system call: sendmmsg and recvmmsg of Linux, for load that must cost little itself.

What is sent is one packet for a whole list of places, or one for each, again and again; what is received comes with the
kernel's own time of its arrival (SO_TIMESTAMPNS), so that whoever reads late measures right all the same.
"""

import ctypes
import os
import shutil
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

PRIORITY = 50
BATCH = 512
SLOT = 512
"Bytes kept of a datagram, the bytes before it included."

BEFORE = 4
"Bytes left free before each datagram: what stands 12 bytes after its start can then be read as a 64-bit number."

CONTROL = 32
"CMSG_SPACE of one struct timespec."

_SO_TIMESTAMPNS = 35
_ROOM = 1 << 25
_SO_RCVBUFFORCE, _SO_SNDBUFFORCE = 33, 32


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Msghdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iov", ctypes.POINTER(_Iovec)),
        ("iov_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Mmsghdr(ctypes.Structure):
    _fields_ = (("header", _Msghdr), ("length", ctypes.c_uint))


_libc = ctypes.CDLL(None, use_errno=True)


def sockaddr(address: tuple[str, int]) -> bytes:
    """Return a struct sockaddr_in."""
    family = socket.AF_INET.to_bytes(2, "little")
    return family + address[1].to_bytes(2) + socket.inet_aton(address[0]) + bytes(8)


class Volley:
    """One packet for many places, or one for each; `packet` may be written between two calls of `send`."""

    def __init__(
        self, line: socket.socket, places: Sequence[tuple[str, int]], packet: bytearray, *, each: int = 0
    ) -> None:
        """Take the socket, where to, and what; with `each`, every place's own so many bytes of it, in their order."""
        self._fd = line.fileno()
        self._held = (ctypes.c_char * len(packet)).from_buffer(packet)
        self._iovecs = (_Iovec * len(places))()
        self._names = ctypes.create_string_buffer(b"".join(map(sockaddr, places)), 16 * len(places))
        self._messages = (_Mmsghdr * len(places))()
        self.count = len(places)
        for number, (message, iovec) in enumerate(zip(self._messages, self._iovecs, strict=True)):
            iovec.base = ctypes.addressof(self._held) + each * number
            iovec.length = each or len(packet)
            message.header.name = ctypes.addressof(self._names) + 16 * number
            message.header.name_length = 16
            message.header.iov = ctypes.pointer(iovec)
            message.header.iov_count = 1

    def send(self) -> int:
        """Send it to all; return how many the system took."""
        return max(int(_libc.sendmmsg(self._fd, self._messages, self.count, socket.MSG_DONTWAIT)), 0)


class Inbox:
    """Reads a socket in batches; the views hold what the last `read` brought."""

    def __init__(self, line: socket.socket) -> None:
        self._fd = line.fileno()
        line.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._data = ctypes.create_string_buffer(BATCH * SLOT)
        self._names = ctypes.create_string_buffer(BATCH * 16)
        self._control = ctypes.create_string_buffer(BATCH * CONTROL)
        self._iovecs = (_Iovec * BATCH)()
        self._messages = (_Mmsghdr * BATCH)()
        for number, (message, iovec) in enumerate(zip(self._messages, self._iovecs, strict=True)):
            iovec.base = ctypes.addressof(self._data) + number * SLOT + BEFORE
            iovec.length = SLOT - BEFORE
            message.header.name = ctypes.addressof(self._names) + number * 16
            message.header.name_length = 16
            message.header.iov = ctypes.pointer(iovec)
            message.header.iov_count = 1
            message.header.control = ctypes.addressof(self._control) + number * CONTROL
            message.header.control_length = CONTROL
        # The kernel writes lengths into the headers; this brings them back.
        self._fresh = bytes(self._messages)
        self._bytes, self._sources = memoryview(self._data).cast("B"), memoryview(self._names).cast("B")
        self._words, self._halves = self._bytes.cast("Q"), self._bytes.cast("H")
        self._times = memoryview(self._control).cast("B").cast("q")

    def read(self) -> int:
        """Read what waits, at most `BATCH` datagrams; return how many."""
        ctypes.memmove(self._messages, self._fresh, len(self._fresh))
        return max(int(_libc.recvmmsg(self._fd, self._messages, BATCH, socket.MSG_DONTWAIT, None)), 0)

    def heads(self, count: int) -> list[int]:
        """Return the first two bytes of each datagram, as this machine orders the bytes of a number."""
        return self._halves[BEFORE // 2 : count * (SLOT // 2) : SLOT // 2].tolist()

    def waits_ns(self, count: int) -> list[int]:
        """Return for each datagram the time from the stamp in it, 12 bytes after its start, to its arrival."""
        stamps = self._words[2 : 2 + count * (SLOT // 8) : SLOT // 8].tolist()
        end = count * (CONTROL // 8)
        seconds, nanos = self._times[2:end:4].tolist(), self._times[3:end:4].tolist()
        return [
            second * 1_000_000_000 + nano - stamp for second, nano, stamp in zip(seconds, nanos, stamps, strict=True)
        ]

    def arrived_ns(self, number: int) -> int:
        """Return when one datagram came, in nanoseconds of the wall clock."""
        return self._times[4 * number + 2] * 1_000_000_000 + self._times[4 * number + 3]

    def source(self, number: int) -> int:
        """Return the port that one datagram came from."""
        return int.from_bytes(self._sources[16 * number + 2 : 16 * number + 4])

    def datagram(self, number: int) -> bytes:
        """Return one datagram."""
        at = number * SLOT + BEFORE
        return bytes(self._bytes[at : at + self._messages[number].length])


def roomy(line: socket.socket) -> None:
    """Give a socket 32 MiB of buffers where this user may, else what anybody may have."""
    for forced, usual in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            line.setsockopt(socket.SOL_SOCKET, forced, _ROOM)
        except PermissionError:
            line.setsockopt(socket.SOL_SOCKET, usual, _ROOM)


def first_in_line(pid: int = 0) -> bool:
    """Let a process, with all its threads, run before all that share its core; False where this user may not.

    SCHED_FIFO: threads that it starts later do so too.
    """
    threads = [int(each.name) for each in Path(f"/proc/{pid or 'self'}/task").iterdir()]
    try:
        for thread in threads:
            with suppress(ProcessLookupError):  # it has ended
                os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except (AttributeError, PermissionError):
        return False
    return True


def ahead() -> list[str]:
    """Return what starts a program so, before its own command; nothing where this user may not."""
    return ["chrt", "-f", str(PRIORITY)] if os.geteuid() == 0 and shutil.which("chrt") else []
