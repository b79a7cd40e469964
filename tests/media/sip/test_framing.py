"""Messages cut out of a stream: split anywhere, several at once, between pings, and without an end."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.sip.message import parse
from media.sip.transport.framing import MAX_HEAD, PING, Framer, FramingError
from tests.media.sip.line import invite, request

ONE = bytes(invite())
TWO = bytes(request("OPTIONS"))
STREAM = ONE + TWO + PING + ONE + b"\r\n" + TWO
FRAMES = [ONE, TWO, PING, ONE, TWO]


def fed(*pieces: bytes) -> list[bytes]:
    framer = Framer()
    return [frame for piece in pieces for frame in framer.feed(piece)]


def test_several_messages_in_one_segment() -> None:
    assert fed(STREAM) == FRAMES


def test_a_message_byte_by_byte() -> None:
    assert fed(*(STREAM[place : place + 1] for place in range(len(STREAM)))) == FRAMES


@pytest.mark.parametrize("place", range(1, len(ONE + TWO), 7))
def test_a_message_cut_in_two_anywhere(place: int) -> None:
    assert fed((ONE + TWO)[:place], (ONE + TWO)[place:]) == [ONE, TWO]


@settings(max_examples=200)
@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_however_a_stream_is_cut_the_same_messages_come_out(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    assert fed(*(STREAM[start:end] for start, end in pairwise(places))) == FRAMES


def test_what_has_begun_is_waited_for_and_what_is_whole_is_not() -> None:
    framer = Framer()
    seen = [(framer.waits, list(framer.feed(piece)), framer.waits) for piece in (ONE[:-1], ONE[-1:])]
    assert seen == [(False, [], True), (True, [ONE], False)]


def test_two_empty_lines_are_a_ping_and_one_is_nothing() -> None:
    assert fed(b"\r\n") == []
    assert fed(b"\r", b"\n", b"\r", b"\n") == [PING]
    assert fed(b"\r\n\r\n\r\n\r\n\r\n" + TWO) == [PING, PING, TWO]
    assert fed(b"\r\n" + TWO + b"\r\n" + TWO) == [TWO, TWO]


@pytest.mark.parametrize(
    "field",
    [b"content-length: 4", b"l:4", b"L : 4", b"CONTENT-LENGTH:\t4", b"Content-Length:\r\n 4", b"Content-Length: 004"],
)
def test_every_spelling_of_the_length_counts(field: bytes) -> None:
    message = b"MESSAGE sip:a@b SIP/2.0\r\n" + field + b"\r\n\r\nbody"
    assert fed(message + TWO) == [message, TWO]


def test_the_same_length_twice_is_one_and_a_body_that_holds_another_is_a_body() -> None:
    twice = b"MESSAGE sip:a@b SIP/2.0\r\nContent-Length: 25\r\nl: 25\r\n\r\n\r\nContent-Length: 99\r\n\r\nx"
    assert fed(twice + TWO) == [twice, TWO]


@pytest.mark.parametrize(
    ("field", "status"),
    [
        (b"X: y", 400),
        (b"Content-Length: ", 400),
        (b"Content-Length: -1", 400),
        (b"Content-Length: 4 4", 400),
        (b"Content-Length: 0x4", 400),
        ("Content-Length: ٤".encode(), 400),
        (b"Content-Length: 4\r\nl: 5", 400),
        (b"Content-Length: 65536", 513),
        (b"Content-Length: 99999999999999999999", 513),
    ],
)
def test_a_message_without_a_length_ends_the_stream(field: bytes, status: int) -> None:
    head = b"MESSAGE sip:a@b SIP/2.0\r\n" + field + b"\r\n\r\n"
    framer = Framer()
    frames = framer.feed(TWO + head + b"more")
    assert next(frames) == TWO
    with pytest.raises(FramingError) as caught:
        next(frames)
    assert (caught.value.reply, caught.value.head) == (status, head)


def test_a_header_without_an_end_is_refused_and_what_came_of_it_can_be_answered() -> None:
    start = bytes(request("OPTIONS")).partition(b"Content-Length")[0]
    line = b"X: " + b"y" * 1000 + b"\r\n"
    with pytest.raises(FramingError) as caught:
        fed(start, *[line] * (MAX_HEAD // 900))
    assert caught.value.reply == 513
    assert len(caught.value.head) <= MAX_HEAD + 4
    assert parse(caught.value.head).call_id == "call-1"


def test_a_stream_that_is_no_sip_at_all_is_refused() -> None:
    with pytest.raises(FramingError):
        fed(b"GET / HTTP/1.1\r\nHost: sip.example\r\n\r\n")
    with pytest.raises(FramingError):
        fed(b"\x16\x03\x01" + b"x" * (MAX_HEAD + 1))
