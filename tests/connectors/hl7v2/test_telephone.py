"""Telephone numbers as senders write them."""

from datetime import date

import pytest

from connectors.hl7v2.encoding import Delimiters, Encoding
from connectors.hl7v2.er7 import Composite
from connectors.hl7v2.telephone import number_of, phones_of
from tests.connectors.hl7v2.sample import siu

ENCODING = Encoding(siu().decode(), Delimiters(), "")
DAY = date(2026, 3, 2)


def xtn(text: str) -> Composite:
    return Composite(text, ENCODING)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(207)555-0142^PRN^PH", "+12075550142"),
        ("207-555-0142", "+12075550142"),
        ("2075550142", "+12075550142"),
        ("1-207-555-0142", "+12075550142"),
        ("+1 207 555 0142", "+12075550142"),
        ("(207)555-0142X123", "+12075550142"),
        ("^PRN^PH^^1^207^5550142", "+12075550142"),
        ("^PRN^PH^^^207^5550142^77", "+12075550142"),
        ("^PRN^PH^^+1^207^555-0142", "+12075550142"),
        ("^^PH^^44^20^79460000", "+442079460000"),
        ("(207)555-0199^PRN^PH^^1^207^5550142^^^^^(207)555-0142", "+12075550142"),
        ("(207)555-0142^PRN^PH^^^^^^^^^x", "+12075550142"),
        ("555-0142", None),
        ("^NET^Internet^ana@example.org", None),
        ("DeIdentified", None),
        ("", None),
    ],
)
def test_numbers(text: str, expected: str | None) -> None:
    assert number_of(xtn(text), "US") == expected


def phones(*texts: str, use: str = "home") -> list[tuple[str, str, int]]:
    found = phones_of([([xtn(text) for text in texts], use)], "US", DAY)
    return [(phone.e164, phone.use, phone.rank) for phone in found]


def test_uses_and_ranks() -> None:
    assert phones("207-555-0142^PRN^PH", "207-555-0143^^CP", "207-555-0144^WPN", "207-555-0145") == [
        ("+12075550142", "home", 1),
        ("+12075550143", "mobile", 2),
        ("+12075550144", "work", 3),
        ("+12075550145", "home", 4),
    ]


@pytest.mark.parametrize("kind", ["NET", "WPN^FX", "BPN^PH", "PRN^BP", "PRN^MD", "NET^Internet", "x^internet"])
def test_what_nobody_can_talk_or_text_to_is_left_out(kind: str) -> None:
    assert phones(f"207-555-0142^{kind}") == []


def test_the_sender_s_order_counts_where_it_gives_one() -> None:
    ordered = "207-555-0142" + "^" * 17
    assert phones(f"{ordered}2", f"{ordered.replace('0142', '0143')}1", f"{ordered.replace('0142', '0144')}x") == [
        ("+12075550142", "home", 2),
        ("+12075550143", "home", 1),
        ("+12075550144", "home", 3),
    ]


def test_a_number_that_ended_is_old() -> None:
    ended = "207-555-0142" + "^" * 13
    assert phones(f"{ended}20250101", f"{ended.replace('0142', '0143')}20270101") == [
        ("+12075550142", "old", 1),
        ("+12075550143", "home", 2),
    ]


def test_a_number_that_is_said_twice_counts_once() -> None:
    assert phones("207-555-0142^^CP", "(207) 555 0142^WPN") == [("+12075550142", "mobile", 1)]
