"""Ports of loopback for sandboxes and tests: none is given to two processes, or to the kernel's own connections."""

import fcntl
import os
import random
import socket
import tempfile
from collections import deque
from functools import cache
from pathlib import Path

HOST = "127.0.0.1"

PORTS = 30_000, 32_700
"Where `free_port` looks: below the ports that the kernel gives out, above those that sandboxes use for RTP."

KEPT = 200
"Ports of each kind that stay ours after they were given, whether somebody is bound to them at the moment or not."

MEDIA_RANGE = 10_000, 17_000
"Where `free_media_port` looks: below the ports of embedded Temporal servers."

MEDIA_PORTS = 8
"What one sipp may bind: sound and pictures, each with its reports."

_LISTENS = {"udp": "07", "tcp": "0A"}
"How /proc/net writes that a socket waits for anybody (Linux, include/net/tcp_states.h)."


def free_port() -> int:
    """Return a port that is free for UDP and TCP, and stays this process's among all that ask here.

    Not one of those that the kernel gives to outgoing connections: one of these could take it before somebody listens
    there, or while who listens there is being started again.
    """
    return _given(range(*PORTS), 1)


def free_media_port() -> int:
    """Return the first of `MEDIA_PORTS` ports in a row that are free, and stay ours; even (RFC 3550 section 11)."""
    return _given(range(*MEDIA_RANGE, MEDIA_PORTS), MEDIA_PORTS)


def is_free(port: int) -> bool:
    """Tell whether nobody has the port, for UDP or TCP; holds it while it looks."""
    try:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with socket.socket(socket.AF_INET, kind) as probe:
                probe.bind((HOST, port))
    except OSError:
        return False
    return True


def listens(port: int, transport: str = "udp") -> bool:
    """Tell whether somebody listens on the port, without standing in the way of who is about to."""
    for line in Path("/proc/net", transport).read_text().splitlines()[1:]:
        _, local, _, state, *_ = line.split()
        if int(local.rpartition(":")[2], 16) == port and state == _LISTENS[transport]:
            return True
    return False


def _given(ports: range, count: int) -> int:
    """Return the first of `count` free ports in a row; what was given `KEPT` times ago may be anybody's."""
    given = _kept(ports)
    while True:
        port = random.choice(ports)
        if port in given or not _claim(port):
            continue
        if not all(is_free(each) for each in range(port, port + count)):
            fcntl.lockf(_claims(), fcntl.LOCK_UN, 1, port)
            continue
        given.append(port)
        if len(given) > KEPT:
            fcntl.lockf(_claims(), fcntl.LOCK_UN, 1, given.popleft())
        return port


def _claim(port: int) -> bool:
    """Lock a port's byte of the file of claims, which the kernel lets go of when this process ends (fcntl(2))."""
    try:
        fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


@cache
def _kept(ports: range) -> deque[int]:  # noqa: ARG001 - one for each
    return deque()


@cache
def _claims() -> int:
    path = Path(tempfile.gettempdir(), f"chartline-ports-{os.getuid()}")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
