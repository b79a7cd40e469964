"""RTP packets as bytes, and the counts and the continuity of streams."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.errors import ProtocolError
from media.rtp import FRAME, Outbound, Packet, Reception, ahead, span

FIRST = bytes.fromhex("8080a3f1 0001e240 deadbeef") + b"\xff" * 160
"The first packet of a call in PCMU, as phones send it: marker set, no extension."

EXTENDED = bytes.fromhex("9265a3f2 0001e2e0 deadbeef 00000001 00000002 bede0001 10ff0000") + b"\x03\x0a\x00\xa0"
"Two contributing sources, a one-byte header extension, and a telephone event."

PADDED = bytes.fromhex("a0082710 00000000 00000007") + b"\xd5" * 10 + b"\0\0\0\x04"

packets = st.builds(
    Packet,
    payload_type=st.integers(0, 127),
    marker=st.booleans(),
    sequence=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 0xFFFFFFFF),
    ssrc=st.integers(0, 0xFFFFFFFF),
    payload=st.binary(max_size=200),
    csrcs=st.lists(st.integers(0, 0xFFFFFFFF), max_size=15).map(tuple),
    extension=st.none()
    | st.tuples(st.integers(0, 0xFFFF), st.integers(0, 5).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n))),
)


def test_captured_packets_say_what_they_say() -> None:
    assert Packet.parse(FIRST) == Packet(0, True, 0xA3F1, 123456, 0xDEADBEEF, b"\xff" * 160)
    extended = Packet.parse(EXTENDED)
    assert (extended.payload_type, extended.marker, extended.csrcs) == (101, False, (1, 2))
    assert extended.extension == (0xBEDE, bytes.fromhex("10ff0000"))
    assert extended.payload == b"\x03\x0a\x00\xa0"
    assert Packet.parse(PADDED).payload == b"\xd5" * 10


@pytest.mark.parametrize("data", [FIRST, EXTENDED])
def test_captured_packets_are_built_again_to_the_byte(data: bytes) -> None:
    assert bytes(Packet.parse(data)) == data


@given(packets)
def test_any_packet_survives(packet: Packet) -> None:
    assert Packet.parse(bytes(packet)) == packet


@pytest.mark.parametrize("data", [FIRST[:12], EXTENDED[:-4], PADDED])
def test_a_header_cut_at_any_byte_is_refused(data: bytes) -> None:
    for cut in range(len(data)):
        if data is PADDED and cut >= 12 and data[cut - 1] <= cut - 12 and data[cut - 1]:
            continue
        with pytest.raises(ProtocolError):
            Packet.parse(data[:cut])


@given(st.binary(max_size=64))
def test_no_bytes_do_worse_than_be_refused(data: bytes) -> None:
    try:
        start, end = span(data, len(data))
    except ProtocolError:
        return
    assert 12 <= start <= end <= len(data)
    assert Packet.parse(data).payload == data[start:end]


@pytest.mark.parametrize(("number", "of", "by"), [(5, 3, 2), (3, 5, -2), (1, 0xFFFF, 2), (0xFFFF, 1, -2), (7, 7, 0)])
def test_counters_wrap(number: int, of: int, by: int) -> None:
    assert ahead(number, of) == by


def hear(sequences: list[int], *, ssrc: int = 1, into: Reception | None = None) -> Reception:
    reception = into or Reception()
    for sequence in sequences:
        reception.heard(ssrc, sequence & 0xFFFF, sequence * FRAME & 0xFFFFFFFF, sequence * 0.02)
    return reception


def test_a_stream_without_loss_lost_nothing_across_the_wrap() -> None:
    reception = hear(list(range(65_500, 65_600)))
    assert (reception.packets, reception.expected, reception.lost, reception.loss) == (100, 100, 0, 0.0)


def test_holes_are_counted_and_late_packets_fill_them() -> None:
    assert hear([1, 2, 5, 6]).lost == 2
    assert hear([1, 2, 5, 3, 6]).lost == 1
    assert hear([1, 2, 5, 3, 4, 6]).lost == 0
    assert hear([1, 2, 5, 6]).loss == pytest.approx(2 / 6)


def test_a_repeated_packet_is_no_negative_loss() -> None:
    assert hear([1, 1, 1, 2]).lost == 0


def test_nothing_heard_is_nothing_lost() -> None:
    assert (Reception().expected, Reception().lost, Reception().loss, Reception().jitter_ms) == (0, 0, 0.0, 0.0)


def test_another_source_starts_anew_and_keeps_the_count() -> None:
    reception = hear([1, 2, 4], ssrc=1)
    hear([30_000, 30_001, 30_003], ssrc=2, into=reception)
    assert (reception.packets, reception.expected, reception.lost) == (6, 8, 2)


def test_one_stray_number_is_no_loss_and_a_restart_is_believed_at_the_second_packet() -> None:
    assert hear([1, 2, 40_000, 3, 4]).lost == 0
    restarted = hear([1, 2, 40_000, 40_001, 40_002, 40_004])
    assert restarted.expected == 2 + 4
    assert restarted.packets == 6


def test_even_arrivals_have_no_jitter_and_uneven_ones_have_theirs() -> None:
    assert hear(list(range(200))).jitter_ms == pytest.approx(0, abs=1e-6)
    reception = Reception()
    for number in range(2000):
        # Every other packet is 10 ms late: the difference of transit times is always 10 ms.
        reception.heard(1, number, number * FRAME, number * 0.02 + (0.01 if number % 2 else 0))
    assert reception.jitter_ms == pytest.approx(10, abs=0.1)


def test_a_timestamp_that_wraps_is_no_jitter() -> None:
    reception = Reception()
    for number in range(50):
        reception.heard(1, number, 0xFFFFFFFF - 3000 + number * FRAME & 0xFFFFFFFF, number * 0.02)
    assert reception.jitter_ms == pytest.approx(0, abs=1e-6)


def test_events_do_not_count_as_jitter() -> None:
    reception = Reception()
    for number in range(50):
        reception.heard(1, number, number * FRAME, number * 0.02)
        reception.heard(1, number, 10 * FRAME, number * 0.02 + 0.005, timed=False)
    assert reception.jitter_ms == pytest.approx(0, abs=1e-6)


def test_our_own_frames_follow_on_each_other_and_a_pause_moves_the_timestamp() -> None:
    out = Outbound()
    first = out.next(10.0)
    second = out.next(10.021)
    assert (first[0], second[0]) == (0x80, 0)
    assert ahead(second[1], first[1]) == 1
    assert ahead(second[2], first[2], 32) == FRAME
    later = out.next(12.021)
    assert (later[0], ahead(later[1], second[1])) == (0x80, 1)
    assert ahead(later[2], second[2], 32) == 2 * 8000


def test_frames_made_up_for_keep_their_distance() -> None:
    out = Outbound()
    stamps = [out.next(5.0)[2] for _ in range(4)]
    assert [ahead(b, a, 32) for a, b in pairwise(stamps)] == [FRAME] * 3


def test_a_followed_stream_goes_on_where_ours_stopped() -> None:
    out = Outbound()
    _, sequence, timestamp = out.next(1.0)
    taken = out.follow(77, 50_000, 9_000, 1.02)
    assert taken is not None
    marker, first, stamp = taken
    assert marker == 0x80
    assert ahead(first, sequence) == 1
    assert ahead(stamp, timestamp, 32) == FRAME
    assert out.follow(77, 50_003, 9_000 + 3 * FRAME, 1.08) == (
        0,
        first + 3 & 0xFFFF,
        stamp + 3 * FRAME & 0xFFFFFFFF,
    )
    # Late, but after the taking up: it keeps its place.
    assert out.follow(77, 50_001, 9_000 + FRAME, 1.09) == (0, first + 1 & 0xFFFF, stamp + FRAME & 0xFFFFFFFF)
    # From before it: that number was ours.
    assert out.follow(77, 49_999, 9_000 - FRAME, 1.09) is None
    marker, ours, _ = out.next(1.1)
    assert (marker, ahead(ours, first)) == (0x80, 4)


def test_a_followed_stream_may_last_longer_than_its_counters() -> None:
    out = Outbound()
    numbers = []
    for number in range(70_000):
        header = out.follow(5, number & 0xFFFF, number * FRAME & 0xFFFFFFFF, number * 0.02)
        assert header is not None
        numbers.append(header[1])
    assert all(b - a & 0xFFFF == 1 for a, b in pairwise(numbers))


def test_a_new_source_or_a_leap_is_taken_up_without_a_hole() -> None:
    out = Outbound()
    headers = [
        out.follow(5, 100, 0, 0.0),
        out.follow(6, 9, 777, 0.02),
        out.follow(6, 30_000, 5_000_000, 0.04),
    ]
    assert [header and header[0] for header in headers] == [0x80, 0x80, 0x80]
    assert [ahead(header[1], headers[0][1]) for header in headers if header and headers[0]] == [0, 1, 2]
    assert [ahead(header[2], headers[0][2], 32) for header in headers if header and headers[0]] == [0, 160, 320]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 1), st.integers(0, 4000)), max_size=20))
def test_no_number_that_was_ours_is_anybody_elses(steps: list[tuple[bool, int, int]]) -> None:
    out = Outbound()
    ours: list[int] = []
    theirs: list[int] = []
    for at, (own, ssrc, sequence) in enumerate(steps):
        header = out.next(at * 0.02) if own else out.follow(ssrc, sequence, sequence * FRAME, at * 0.02)
        if header is not None:
            (ours if own else theirs).append(header[1])
    assert len(set(ours)) == len(ours)
    assert not set(ours) & set(theirs)
