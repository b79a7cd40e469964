"""Numbers as people write them, to E.164 and back: what the library says, at less than its price."""

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.telephone import e164, ways_of_writing

PLANS = [
    "US",
    "CA",
    "PR",
    "JM",
    "GB",
    "FR",
    "DE",
    "IE",
    "AU",
    "BR",
    "MX",
    "IT",
    "IL",
    "TW",
    "UY",
    "ZA",
    "PH",
    "IN",
    "ZZ",
]


def library(written: str, region: str) -> str | None:
    """Return what phonenumbers makes of a number, by the long way."""
    try:
        parsed = phonenumbers.parse(written, region)
    except phonenumbers.NumberParseException:
        return None
    if phonenumbers.is_possible_number_with_reason(parsed) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    return str(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))


@pytest.mark.parametrize(
    "written",
    ["+1 212 555 0111", "2125550111", "212-555-0111", "(212) 555-0111", "1 212 555 0111", "212.555.0111 x5"],
)
def test_a_number_is_the_same_however_it_is_written(written: str) -> None:
    assert e164(written, "US") == "+12125550111"


@pytest.mark.parametrize("written", ["", "none", "12", "1" * 30, "555-0111", "9" * 100_000, "\ud800", "+", "+1"])
def test_what_is_no_number_is_none(written: str) -> None:
    assert e164(written, "US") is None


@given(
    st.sampled_from(PLANS),
    st.text("0123456789", min_size=3, max_size=14),
    st.sampled_from(["", "0", "00", "1", "011", "+", "+1", "+44"]),
)
def test_the_short_cut_says_what_the_library_says(region: str, digits: str, prefix: str) -> None:
    text = prefix + digits
    assert e164.__wrapped__(text, region) == library(text, region)


@given(
    st.sampled_from(PLANS),
    st.from_regex(r"(\+?1)?[ .-]?\(?[0-9]{3}\)?[ .-]?[0-9]{3}[ .-]?[0-9]{4}( ?x[0-9]{1,4})?", fullmatch=True),
)
def test_however_digits_are_grouped(region: str, written: str) -> None:
    assert e164.__wrapped__(written, region) == library(written, region)


@given(st.sampled_from(PLANS), st.text("0123456789()-. +xX#abcé", max_size=20))
def test_any_text_is_a_number_or_none(region: str, text: str) -> None:
    assert e164.__wrapped__(text, region) == library(text, region)


def test_a_number_is_written_in_four_ways() -> None:
    ways = ("+12125550111", "2125550111", "212-555-0111", "(212) 555-0111")
    assert ways_of_writing("+12125550111") == ways
    assert ways_of_writing("+442079460018")[:2] == ("+442079460018", "2079460018")
    assert set(ways_of_writing("anonymous")) == {"anonymous"}


@given(st.integers(2, 9), st.integers(0, 99), st.integers(0, 9_999_999))
def test_every_way_of_writing_is_read_as_the_number(first: int, area: int, rest: int) -> None:
    number = f"+1{first}{area:02}{rest:07}"
    assert {e164(written, "US") for written in ways_of_writing(number)} == {number}
