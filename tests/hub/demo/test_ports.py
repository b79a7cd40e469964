"""Ports that sandboxes and tests are given: free, and nobody else's while they are kept."""

import itertools
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hub.demo import ports
from hub.demo.ports import HOST, free_media_port, free_port, is_free, listens

ASKS = "from hub.demo import ports; ports.PORTS = {}, {}; print(ports.free_port(), flush=True); input()"
_NARROW = itertools.count(32_700, 10)
"Above the range that others are given from, below the kernel's; each test has ten of its own."

pytestmark = pytest.mark.xdist_group("ports")


@contextmanager
def narrowed(monkeypatch: pytest.MonkeyPatch, count: int) -> Iterator[range]:
    """Have no more than `count` ports to give."""
    first = next(_NARROW)
    monkeypatch.setattr(ports, "PORTS", (first, first + count))
    yield range(first, first + count)


def test_a_port_is_free_for_both_transports() -> None:
    port = free_port()
    assert ports.PORTS[0] <= port < ports.PORTS[1]
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            probe.bind((HOST, port))


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_port_that_somebody_has_for_either_transport_is_not_given(
    monkeypatch: pytest.MonkeyPatch, kind: socket.SocketKind
) -> None:
    with narrowed(monkeypatch, 2) as both, socket.socket(socket.AF_INET, kind) as somebody:
        somebody.bind((HOST, both[0]))
        assert not is_free(both[0])
        assert free_port() == both[1]


def test_what_another_process_was_given_is_its_own_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with narrowed(monkeypatch, 2) as both:
        command = [sys.executable, "-c", ASKS.format(both[0], both[1])]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert int(other.stdout.readline()) == both[0]
            assert free_port() == both[1]
            other.communicate("\n")
        assert free_port() == both[0]


def test_the_same_port_is_given_again_only_after_many_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "KEPT", 2)
    with narrowed(monkeypatch, 3):
        given = [free_port() for _ in range(9)]
    assert given[:3] == given[3:6] == given[6:]
    assert len(set(given)) == 3


def test_a_phone_has_eight_ports_in_a_row_for_its_media() -> None:
    first = free_media_port()
    assert first % 2 == 0
    assert all(is_free(port) for port in range(first, first + ports.MEDIA_PORTS))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as somebody:
        somebody.bind((HOST, first + 5))
        assert not is_free(first + 5)


def test_whether_somebody_listens_is_told_without_taking_the_port() -> None:
    port = free_port()
    assert not listens(port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.bind((HOST, port))
        assert listens(port)
        assert not listens(port, "tcp")
    with socket.socket() as door:
        door.bind((HOST, port))
        assert not listens(port, "tcp")
        door.listen()
        assert listens(port, "tcp")
    assert not listens(port, "tcp")
