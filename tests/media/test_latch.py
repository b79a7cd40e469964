"""Symmetric RTP: the far end is found behind its NAT, and nobody else is taken for it."""

from media.latch import EXACT, FAR, FAR_PACKETS, NEAR, Address, Latch, reachable

SIGNALLED: Address = ("198.51.100.7", 4000)
NATTED: Address = ("198.51.100.7", 61_000)
ELSEWHERE: Address = ("203.0.113.66", 4000)
PRIVATE: Address = ("192.168.1.20", 4000)
OURS, THEIRS = 0xAAAA, 0xBBBB


def expecting(address: Address | None, via: str | None = None) -> Latch:
    latch = Latch()
    latch.expect(address, via)
    return latch


def stream(
    latch: Latch, source: Address, *, ssrc: int = OURS, first: int = 0, count: int = 1, at: float = 0.0
) -> list[bool]:
    return [latch.admits(source, ssrc, first + n & 0xFFFF, at + n * 0.02) for n in range(count)]


def test_before_anything_is_heard_packets_go_where_sdp_says() -> None:
    assert expecting(SIGNALLED).remote == SIGNALLED
    assert expecting(None).remote is None


def test_the_signalled_address_is_taken_at_once() -> None:
    latch = expecting(SIGNALLED)
    assert stream(latch, SIGNALLED) == [True]
    assert latch.remote == SIGNALLED


def test_another_port_of_the_signalled_address_is_learned_at_once() -> None:
    latch = expecting(SIGNALLED)
    assert stream(latch, NATTED) == [True]
    assert latch.remote == NATTED


def test_behind_a_nat_the_address_of_the_signalling_is_as_good() -> None:
    latch = expecting(PRIVATE, via=NATTED[0])
    assert stream(latch, NATTED) == [True]
    assert latch.remote == NATTED


def test_an_unknown_address_is_taken_at_its_fifth_packet_in_sequence() -> None:
    latch = expecting(PRIVATE)
    assert stream(latch, ELSEWHERE, count=6) == [False] * (FAR_PACKETS - 1) + [True, True]
    assert latch.remote == ELSEWHERE
    assert latch.refused == FAR_PACKETS - 1


def test_packets_out_of_sequence_are_nobodys_stream() -> None:
    latch = expecting(PRIVATE)
    assert not any(latch.admits(ELSEWHERE, OURS, number * 999 & 0xFFFF, 0.0) for number in range(50))
    assert not any(latch.admits(ELSEWHERE, ssrc, 7, 0.0) for ssrc in range(50))


def test_an_unknown_address_gets_no_sound_that_a_public_one_was_promised() -> None:
    latch = expecting(("8.8.8.8", 4000))
    assert stream(latch, ELSEWHERE, count=FAR_PACKETS)[-1]
    assert latch.remote == ("8.8.8.8", 4000)


def test_once_somebody_is_heard_a_spray_from_elsewhere_is_refused_for_good() -> None:
    latch = expecting(PRIVATE, via=NATTED[0])
    stream(latch, NATTED, count=10)
    assert not any(stream(latch, ELSEWHERE, ssrc=THEIRS, count=500, at=0.2))
    # Not even while the far end is silent for a minute.
    assert not any(stream(latch, ELSEWHERE, ssrc=THEIRS, count=500, at=60))
    assert latch.remote == NATTED
    assert latch.refused == 1000
    assert stream(latch, NATTED, first=10, at=70) == [True]


def test_who_came_first_by_spraying_is_put_out_by_the_signalled_address() -> None:
    latch = expecting(PRIVATE, via=NATTED[0])
    assert stream(latch, ELSEWHERE, ssrc=THEIRS, count=FAR_PACKETS)[-1]
    assert stream(latch, NATTED) == [True]
    assert latch.remote == NATTED
    assert not any(stream(latch, ELSEWHERE, ssrc=THEIRS, first=FAR_PACKETS, count=100, at=5))


def test_many_sources_together_do_not_keep_the_right_one_out() -> None:
    latch = expecting(PRIVATE, via=NATTED[0])
    for number in range(100):
        latch.admits(("203.0.113.1", number), THEIRS + number, number, 0.0)
    assert stream(latch, NATTED) == [True]


def test_a_stream_that_goes_on_from_elsewhere_has_moved() -> None:
    latch = expecting(PRIVATE, via=NATTED[0])
    stream(latch, NATTED, count=50)
    moved: Address = ("198.51.100.99", 33_000)
    assert stream(latch, moved, first=50, count=3, at=1.1) == [False, True, True]
    assert latch.remote == moved


def test_a_copy_of_a_stream_that_is_still_heard_has_not_moved() -> None:
    latch = expecting(SIGNALLED)
    taken = []
    for number in range(100):
        latch.admits(SIGNALLED, OURS, number, number * 0.02)
        taken.append(latch.admits(ELSEWHERE, OURS, number + 1, number * 0.02 + 0.01))
    assert not any(taken)
    assert latch.remote == SIGNALLED


def test_a_moved_stream_must_go_on_where_it_was() -> None:
    latch = expecting(SIGNALLED)
    stream(latch, SIGNALLED, count=50)
    assert not any(stream(latch, ELSEWHERE, first=20_000, count=20, at=1.5))
    assert not any(stream(latch, ELSEWHERE, first=0, count=20, at=1.5))


def test_a_new_stream_from_the_far_end_waits_for_the_old_one_to_be_silent() -> None:
    latch = expecting(SIGNALLED)
    stream(latch, SIGNALLED, count=50)
    assert not any(stream(latch, NATTED, ssrc=THEIRS, count=10, at=1.0))
    assert stream(latch, NATTED, ssrc=THEIRS, first=10, count=3, at=2.5)[-1]
    assert latch.remote == NATTED


def test_a_new_ssrc_from_the_same_source_is_just_heard() -> None:
    latch = expecting(SIGNALLED)
    stream(latch, SIGNALLED)
    assert stream(latch, SIGNALLED, ssrc=THEIRS, first=9_000, count=3) == [True] * 3


def test_a_new_address_from_the_signalling_starts_anew() -> None:
    latch = expecting(SIGNALLED)
    stream(latch, NATTED)
    latch.expect(SIGNALLED)
    assert latch.remote == NATTED
    latch.expect(ELSEWHERE)
    assert latch.remote == ELSEWHERE
    assert stream(latch, ELSEWHERE) == [True]
    assert stream(latch, NATTED, first=1, at=0.02) == [False]


def test_on_hold_nothing_is_sent_and_afterwards_it_goes_on() -> None:
    latch = expecting(SIGNALLED)
    stream(latch, SIGNALLED)
    latch.expect(None)
    assert latch.remote is None
    latch.expect(SIGNALLED)
    assert latch.remote == SIGNALLED


def test_a_place_is_the_nearer_the_more_the_signalling_said_of_it() -> None:
    latch = expecting(PRIVATE, via=NATTED[0])
    assert [latch.rank(each) for each in (PRIVATE, NATTED, SIGNALLED, ELSEWHERE)] == [EXACT, NEAR, NEAR, FAR]
    latch.prove(ELSEWHERE)
    assert latch.rank(ELSEWHERE) == NEAR
    assert expecting(None, via=NATTED[0]).rank(NATTED) == FAR


def test_an_address_that_is_written_otherwise_is_the_same_place() -> None:
    assert reachable(("2001:DB8:0:0::7", 4000)) == ("2001:db8::7", 4000)
