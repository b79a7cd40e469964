"""The load on relays: it loses nothing itself, counts what comes back, and sees what is lost or changed."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import closing

import aioice.ice
import pytest

from media.ports import Ports
from media.relay import BuiltinRelay, Wanted
from media.rtp import FRAME
from media.sdp import Session
from media.sound import Sound
from tests.bench import _page
from tests.bench._datagram import Inbox, Volley, roomy
from tests.bench._page import Page
from tests.bench._relay import PAGE, said_of
from tests.bench._rtp_load import EndSender, PageCounter
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


def test_every_place_may_have_a_packet_of_its_own(line: socket.socket) -> None:
    inbox, packets = Inbox(line), bytearray(b"".join(bytes([number]) * 24 for number in range(70)))
    volley = Volley(line, [line.getsockname()] * 70, packets, each=24)
    for first in (0, 100):
        packets[0] = first
        assert volley.send() == 70
        assert inbox.read() == 70
        assert [inbox.datagram(number) for number in range(70)] == [
            bytes(packets[at : at + 24]) for at in range(0, 1680, 24)
        ]
        assert inbox.heads(70) == [first, *(number * 0x101 for number in range(1, 70))]


@pytest.fixture
def page() -> Iterator[Page]:
    made = Page()
    with closing(made.line):
        yield made


def test_a_page_counts_sound_alone_and_sees_what_was_not_made_with_its_keys(page: Page) -> None:
    sender, counter = EndSender(page.line, page.to_itself(3)), PageCounter(page)
    for frame in range(2):
        assert sender.send(frame) == 3
        counter.take()
        assert (counter.received, counter.wrong, len(counter.waits_ns)) == (3 * frame + 3, 0, 3 * frame + 3)
    own = (HOST, page.port)
    for datagram, received, wrong in (
        (b"\x80\xc8" + bytes(40), 6, 0),
        (b"\x00\x01" + bytes(40), 6, 0),
        (b"\x80\x00" + bytes(186), 7, 1),
        (b"\x80\x80" + bytes(186), 8, 2),
    ):
        page.line.sendto(datagram, own)
        counter.take()
        assert (counter.received, counter.wrong, len(counter.waits_ns)) == (received, wrong, 6)


async def test_a_leg_stays_for_as_long_as_its_page_answers_its_checks(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aioice.ice, "CONSENT_INTERVAL", 0.01)
    monkeypatch.setattr(aioice.ice, "CONSENT_FAILURES", 2)
    relay, gone = BuiltinRelay(Ports(HOST, 20_000, 29_999), Sound(b"\xff" * FRAME)), asyncio.Event()
    legs = [await relay.allocate(Wanted(kind="browser")) for _ in range(2)]
    said = []
    for leg in legs:
        leg.on_gone = gone.set
        said.append(said_of(await leg.offer()))
        await leg.settle(Session.parse(PAGE.format(**page.said).encode()))
    tabs = await asyncio.to_thread(page.connect, said)
    assert [tab.port for tab in tabs] == [each["port"] for each in said]
    counter, until = PageCounter(page), time.monotonic() + 1.5
    while time.monotonic() < until:
        counter.take()
        await asyncio.sleep(0.005)  # how often it is read
    assert not gone.is_set()
    async with asyncio.timeout(5):
        await gone.wait()  # as soon as nobody reads
    await relay.close()


def test_a_leg_that_does_not_answer_ends_the_load(
    page: Page, line: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_page, "PATIENCE_S", 0.1)
    with pytest.raises(TimeoutError, match="1 of 1"):
        page.connect([{"port": line.getsockname()[1], **page.said}])


def whole(done: Carried, calls: int) -> bool:
    assert (done.due, done.sent) == (2 * calls * FRAMES, 2 * calls * FRAMES)
    assert done.lost == 0
    return True


@pytest.mark.parametrize("browser", [False, True])
def test_the_load_loses_nothing_itself(browser: bool) -> None:
    done = itself(20, SECONDS, browser=browser)
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
