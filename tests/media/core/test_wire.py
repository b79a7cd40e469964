"""What processes say to each other: whole, cut anywhere, and nonsense."""

import asyncio
import socket
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.core import link, wire
from media.core.link import Link
from media.core.wire import Unpacker, packed
from media.errors import ProtocolError
from media.hearing.machine import Finding, Verdict
from media.leg import LegStats
from media.offer import offer_audio
from media.recorder import Recorded
from media.relay import Wanted
from media.sdp import Direction, Session

OFFER = offer_audio(("192.0.2.7", 4000))
STATS = LegStats(10, 1, 0.1, 2.5, 9, 0, 0, 0, "sdes-srtp")
ORDERS: list[wire.Command] = [
    wire.Begin("127.0.0.1", 20_000, 20_999, b"\xff" * 160),
    wire.Place(7, Wanted()),
    wire.Allocate(1, 7, Wanted(kind="browser", secure=True, least="dtls-srtp")),
    wire.Offer(2, 7, Direction.SENDONLY),
    wire.Answer(3, 7, OFFER, "192.0.2.7"),
    wire.Answer(3, 7, bytes(OFFER), None),
    wire.Settle(4, 7, OFFER, None),
    wire.Learn(1, b"\x00\xff"),
    wire.Forget(1),
    wire.Play(5, 7, 1, True),
    wire.Press(6, 7, "12#"),
    wire.Withdraw(6),
    wire.Loop(7, 1),
    wire.Music(7),
    wire.Quiet(7),
    wire.Bridge(7, 8),
    wire.Unbridge(7),
    wire.Record(9, "media/one.clm", b"k" * 32, b"a", b"l", [7, 8]),
    wire.Seal(9),
    wire.Pause(9, True),
    wire.Look(7, 7),
    wire.Close(7),
    wire.Ping(0),
    wire.Listen(8, 7, "fax"),
    wire.Listen(9, 7, "silence", 5.0),
]
REPORTS: list[wire.Report] = [
    wire.Ready(1),
    wire.Done(1, False),
    wire.Done(1, finding=Finding(Verdict.HUMAN, "short-greeting")),
    wire.Described(2, OFFER, "rtp"),
    wire.Settled(3, "dtls-srtp"),
    wire.Refused(4, "media-unacceptable", "no codec in common"),
    wire.Digit(7, "#"),
    wire.Ended(9, Recorded("failed", 1.5, "no space left")),
    wire.Seen(5, STATS),
    wire.Figures([(7, STATS), (8, replace(STATS, rtt_ms=12.5))]),
    wire.Unplaced(7, "no-rtp-port", "every RTP port is in use"),
    wire.Gone(7, STATS),
]


@pytest.mark.parametrize(
    ("kinds", "messages"), [(wire.Command, ORDERS), (wire.Report, REPORTS)], ids=["orders", "reports"]
)
def test_every_message_arrives_as_it_was_sent_however_it_is_cut(kinds: Any, messages: list[Any]) -> None:
    data = b"".join(packed(message) for message in messages)
    assert Unpacker(kinds).messages(data) == messages
    for size in (1, 3, 7, 100):
        unpacker = Unpacker(kinds)
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert [message for piece in pieces for message in unpacker.messages(piece)] == messages


def test_every_kind_of_message_is_tried_here() -> None:
    assert {type(order) for order in ORDERS} == set(wire.Command.__args__)
    assert {type(report) for report in REPORTS} == set(wire.Report.__args__)


@given(st.binary(max_size=60))
def test_nonsense_is_refused_and_repeats_nothing_of_what_was_said(body: bytes) -> None:
    refused: ProtocolError | None = None
    try:
        found = Unpacker(wire.Command).messages(len(body).to_bytes(4) + body)
    except ProtocolError as error:
        refused, found = error, []
    assert (len(found) == 1) is (refused is None)
    if refused is not None:
        assert (refused.__cause__, str(refused)) == (None, "a message between processes that is none")


def test_a_length_that_no_message_has_is_refused_before_it_is_read() -> None:
    with pytest.raises(ProtocolError, match="too long"):
        Unpacker(wire.Command).messages(b"\xff\xff\xff\xff")


def test_a_description_that_is_no_unicode_goes_as_bytes() -> None:
    strange = Session.parse(bytes(OFFER) + b"a=label:\xff\xfe\r\n")
    described = wire.said(strange)
    assert isinstance(described, bytes)
    (message,) = Unpacker(wire.Command).messages(packed(wire.Answer(1, 2, described, None)))
    assert wire.session_of(message.offer) == strange
    assert wire.said(OFFER) is OFFER


def test_keys_and_digits_are_not_shown() -> None:
    record = wire.Record(9, "one.clm", b"secret of 32 bytes, none of yours", b"aad", b"lane", [7])
    assert repr(record) == "Record(9)"
    assert repr(wire.Digit(7, "5")) == "Digit(7)"


class Ends:
    """A link and, at the other end, a socket."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.ended = asyncio.Event()
        self.ours, self.theirs = socket.socketpair()
        self.theirs.settimeout(5)
        self.ours.setblocking(False)
        self.link = Link(wire.Report, self.heard.append, self.ended.set)

    async def __aenter__(self) -> "Ends":
        await asyncio.get_running_loop().create_unix_connection(lambda: self.link, sock=self.ours)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.link.close()
        async with asyncio.timeout(20):
            await self.ended.wait()
        self.theirs.close()


async def test_what_is_said_in_one_turn_goes_out_at_once_and_in_order() -> None:
    async with Ends() as ends:
        for number in range(3):
            ends.link.say(wire.Quiet(number))
        ends.theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            ends.theirs.recv(1)
        await asyncio.sleep(0)
        data = ends.theirs.recv(1000)
        assert Unpacker(wire.Command).messages(data) == [wire.Quiet(0), wire.Quiet(1), wire.Quiet(2)]


async def test_what_is_mentioned_goes_in_its_order_with_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "IDLE_S", 60)
    async with Ends() as ends:
        ends.link.mention(wire.Quiet(0))
        await asyncio.sleep(0)
        ends.theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            ends.theirs.recv(1)
        ends.link.say(wire.Quiet(1))
        await asyncio.sleep(0)
        assert Unpacker(wire.Command).messages(ends.theirs.recv(1000)) == [wire.Quiet(0), wire.Quiet(1)]


async def test_what_is_mentioned_goes_by_itself_before_long() -> None:
    async with Ends() as ends:
        for number in range(3):
            ends.link.mention(wire.Quiet(number))
        ends.theirs.setblocking(False)
        async with asyncio.timeout(20):
            data = await asyncio.get_running_loop().sock_recv(ends.theirs, 1000)
        assert Unpacker(wire.Command).messages(data) == [wire.Quiet(0), wire.Quiet(1), wire.Quiet(2)]


async def test_the_other_side_that_talks_nonsense_is_given_up() -> None:
    async with Ends() as ends:
        ends.theirs.sendall(packed(wire.Done(1)) + b"\x00\x00\x00\x01\x00")
        async with asyncio.timeout(20):
            await ends.ended.wait()
        assert ends.heard == []
        ends.link.say(wire.Ping(1))  # said to nobody
    assert ends.link.heard_at > 0


async def test_the_other_side_that_reads_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "BACKLOG", 1 << 20)
    async with Ends() as ends:
        async with asyncio.timeout(20):
            while not ends.ended.is_set():
                ends.link.say(wire.Learn(1, bytes(1 << 16)))
                await asyncio.sleep(0)
