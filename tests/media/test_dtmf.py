"""Telephone events: each press once, whatever the network repeats, loses or mixes up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.dtmf import APART_S, KEYS, Keypad, Presses, Tone, tones_of
from media.errors import ProtocolError

CAPTURED = [bytes.fromhex(each) for each in ("050a00a0", "050a0140", "050a01e0", "058a0280", "058a0280", "058a0280")]
"Key 5 held for 80 ms, its end three times."


def presses(reports: list[tuple[Tone, int]]) -> list[str]:
    keypad = Keypad()
    return [key for tone, timestamp in reports if (key := keypad.heard(tone, timestamp)) is not None]


def test_a_captured_press_is_read() -> None:
    tones = [Tone.parse(payload) for payload in CAPTURED]
    assert tones[0] == Tone("5", False, 10, 160)
    assert tones[-1] == Tone("5", True, 10, 640)
    assert [bytes(tone) for tone in tones] == CAPTURED


def test_every_key_survives() -> None:
    for code, key in enumerate(KEYS):
        tone = Tone(key, True, 63, 0xFFFF)
        assert bytes(tone)[0] == code
        assert Tone.parse(bytes(tone)) == tone


def test_what_is_no_key_is_refused() -> None:
    for payload in (b"", b"\x05", b"\x05\x0a\x00", b"\x10\x0a\x00\xa0", b"\xff" * 4):
        with pytest.raises(ProtocolError):
            Tone.parse(payload)


def test_several_events_in_one_packet_give_the_first() -> None:
    assert Tone.parse(CAPTURED[0] + CAPTURED[1]) == Tone.parse(CAPTURED[0])


def test_a_press_is_one_key_at_its_first_report() -> None:
    keypad = Keypad()
    assert [keypad.heard(Tone.parse(payload), 8000) for payload in CAPTURED] == ["5"] + [None] * 5


@given(st.permutations(range(6)), st.sets(st.integers(0, 5), max_size=5))
def test_order_loss_and_repetition_make_no_other_press(order: list[int], lost: set[int]) -> None:
    arriving = [index for index in order if index not in lost]
    reports = [(Tone.parse(CAPTURED[index]), 8000) for index in arriving for _ in range(2)]
    assert presses(reports) == ["5"]


def test_the_same_key_twice_is_two_presses_also_when_the_end_was_lost() -> None:
    first = [(tone, 8000) for tone in tones_of("7")]
    second = [(tone, 11_200) for tone in tones_of("7")]
    assert presses(first + second) == ["7", "7"]
    assert presses(first[:2] + second) == ["7", "7"]


def test_a_late_report_of_an_earlier_press_is_none() -> None:
    first = [(tone, 8000) for tone in tones_of("1")]
    second = [(tone, 11_200) for tone in tones_of("2")]
    assert presses([*first[:3], *second, *first[3:]]) == ["1", "2"]


def test_a_key_held_beyond_what_one_event_can_say_is_one_press() -> None:
    reports = [(Tone("3", False, 10, 0xFFFF), 8000), (Tone("3", False, 10, 160), 8000 + 0xFFFF)]
    reports += [(Tone("3", True, 10, 800), 8000 + 0xFFFF)]
    assert presses(reports) == ["3"]


def test_timestamps_that_wrap_keep_presses_apart() -> None:
    near = 0xFFFFFFFF - 100
    assert (
        presses([(Tone("4", True, 10, 800), near), (Tone("4", True, 10, 800), near + 3200 & 0xFFFFFFFF)]) == ["4"] * 2
    )


def test_a_sender_that_restarts_its_clock_is_heard_again() -> None:
    assert presses([(Tone("4", True, 10, 800), 900_000), (Tone("6", True, 10, 800), 100)]) == ["4", "6"]


def test_two_keys_under_one_timestamp_are_both_heard() -> None:
    assert presses([(Tone("4", True, 10, 800), 8000), (Tone("6", True, 10, 800), 8000)]) == ["4", "6"]


def test_a_press_is_reported_each_20_ms_and_its_end_three_times() -> None:
    tones = list(tones_of("#", 100))
    assert [tone.ticks for tone in tones] == [160, 320, 480, 640, 800, 800, 800]
    assert [tone.ended for tone in tones] == [False] * 4 + [True] * 3
    assert {tone.key for tone in tones} == {"#"}


@pytest.mark.parametrize(("key", "milliseconds"), [("", 100), ("12", 100), ("x", 100), ("1", 9000)])
def test_what_cannot_be_pressed_is_refused(key: str, milliseconds: int) -> None:
    with pytest.raises(ProtocolError):
        list(tones_of(key, milliseconds))


def counted(*told: tuple[float, str, str]) -> str:
    """Return the keys that count of what was told: the time in seconds, `rtp` or `info`, the key."""
    presses = Presses()
    return "".join(key for now, way, key in told if presses.fresh(key, signalled=way == "info", now=now))


def test_keys_that_are_typed_faster_than_the_signalling_is_count_once_each() -> None:
    assert counted((0.0, "rtp", "1"), (0.25, "rtp", "2"), (0.3, "info", "1"), (0.55, "info", "2")) == "12"
    assert counted((0.0, "info", "1"), (0.1, "info", "2"), (0.3, "rtp", "1"), (0.4, "rtp", "2")) == "12"
    assert counted((0.0, "rtp", "1"), (0.1, "rtp", "2"), (0.3, "info", "2"), (0.4, "info", "1")) == "12"


def test_the_same_key_twice_both_ways_is_two_presses() -> None:
    assert counted((0.0, "rtp", "1"), (0.2, "rtp", "1"), (0.3, "info", "1"), (0.5, "info", "1")) == "11"
    assert counted((0.0, "rtp", "1"), (0.2, "info", "1"), (0.3, "rtp", "1"), (0.5, "info", "1")) == "11"


@pytest.mark.parametrize("way", ["rtp", "info"])
def test_the_same_key_twice_one_way_is_two_presses(way: str) -> None:
    assert counted((0.0, way, "1"), (0.1, way, "1")) == "11"


def test_a_press_has_a_counterpart_within_a_second_or_none() -> None:
    assert counted((0.0, "rtp", "1"), (APART_S - 0.01, "info", "1")) == "1"
    assert counted((0.0, "rtp", "1"), (APART_S, "info", "1")) == "11"
    assert counted((0.0, "rtp", "1"), (0.9, "rtp", "1"), (1.1, "info", "1"), (1.2, "info", "1")) == "111"


def test_a_flood_of_presses_is_not_remembered() -> None:
    presses = Presses()
    for _ in range(10_000):
        assert presses.fresh("1", signalled=False, now=0.0)
    assert len(presses._alone) <= 64
