"""The load on relays: it loses nothing itself, counts what comes back, and sees what is lost or changed."""

import socket
import time
from collections.abc import Iterator

import pytest

from tests.bench._datagram import Inbox, Volley, roomy
from tests.bench.relaying import Carried, by_rtpengine, carried, itself

HOST = "127.0.0.1"
SECONDS = 0.4
FRAMES = 20

pytestmark = pytest.mark.xdist_group("relaying")


@pytest.fixture
def line() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        roomy(made)
        made.bind((HOST, 0))
        yield made


def test_one_packet_goes_to_every_place_and_is_timed(line: socket.socket) -> None:
    inbox = Inbox(line)
    packet = bytearray(b"RTP header.." + time.time_ns().to_bytes(8, "little") + b"sound")
    assert Volley(line, [line.getsockname()] * 70, packet).send() == 70
    assert inbox.read() == 70
    waits = inbox.waits_ns(70)
    assert all(0 <= wait < 1_000_000_000 for wait in waits)
    assert waits == sorted(waits)
    assert {inbox.datagram(number) for number in range(70)} == {bytes(packet)}
    assert inbox.source(69) == line.getsockname()[1]
    assert inbox.read() == 0


def test_what_is_sent_may_change_between_two_volleys(line: socket.socket) -> None:
    inbox, packet = Inbox(line), bytearray(20)
    volley = Volley(line, [line.getsockname()], packet)
    for text in (b"one".ljust(20), b"two".ljust(20)):
        packet[:] = text
        assert volley.send() == 1
        assert inbox.read() == 1
        assert inbox.datagram(0) == text


def whole(done: Carried, calls: int) -> bool:
    assert (done.due, done.sent) == (2 * calls * FRAMES, 2 * calls * FRAMES)
    assert done.lost == 0
    return True


def test_the_load_loses_nothing_itself() -> None:
    done = itself(20, SECONDS)
    assert whole(done, 20)
    assert done.p99_ms < 100


@pytest.mark.parametrize("kind", ["uvloop", "plain", "recorded", "srtp", "browser"])
def test_every_packet_comes_back_from_every_kind_of_relay(kind: str) -> None:
    done = carried(kind, 3, SECONDS)
    assert whole(done, 3)
    assert done.cpu_s > 0


@pytest.mark.peer("rtpengine")
def test_every_packet_comes_back_from_rtpengine() -> None:
    assert whole(by_rtpengine(3, SECONDS), 3)


def test_what_does_not_come_back_or_comes_as_another_is_lost() -> None:
    counted = {"due": 100, "sent": 100, "received": 97, "wrong": 2, "calls": 5}
    made = Carried(**counted, p99_ms=1.0, cpu_s=0.2, kb_a_call=1.0, seconds=2.0, load_share=0.1)
    assert made.lost == 5
    assert made.cpu_ms == pytest.approx(20.0)
