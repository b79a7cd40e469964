"""Times, durations, ids and words of HL7 v2 data types."""

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.hl7v2.encoding import Delimiters, Encoding
from connectors.hl7v2.er7 import Composite
from connectors.hl7v2.field import (
    assigner_of,
    date_of,
    instant_of,
    minutes_of,
    offset_of,
    person_of,
    place_of,
    sender_zone,
    words_of,
)
from connectors.hl7v2.language import language_of
from tests.connectors.hl7v2.sample import NEW_YORK, siu

ENCODING = Encoding(siu().decode(), Delimiters(), "")


def composite(text: str) -> Composite:
    return Composite(text, ENCODING)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20260310143000", datetime(2026, 3, 10, 18, 30, tzinfo=UTC)),  # after the change of 8 March
        ("20260302143000", datetime(2026, 3, 2, 19, 30, tzinfo=UTC)),  # before it
        ("202603021430", datetime(2026, 3, 2, 19, 30, tzinfo=UTC)),
        ("2026030214", datetime(2026, 3, 2, 19, 0, tzinfo=UTC)),
        ("20260302143000-0800", datetime(2026, 3, 2, 22, 30, tzinfo=UTC)),
        ("202603021430+0215", datetime(2026, 3, 2, 12, 15, tzinfo=UTC)),
        ("20260302143000.1234-0800", datetime(2026, 3, 2, 22, 30, 0, 123400, tzinfo=UTC)),
        ("20260302143059.5", datetime(2026, 3, 2, 19, 30, 59, 500000, tzinfo=UTC)),
        ("20261101013000", datetime(2026, 11, 1, 5, 30, tzinfo=UTC)),  # happens twice: the first is meant
        ("20260308023000", datetime(2026, 3, 8, 7, 30, tzinfo=UTC)),  # does not happen: as if the clocks stood still
    ],
)
def test_instants(text: str, expected: datetime) -> None:
    assert instant_of(text, NEW_YORK) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        '""',
        "20260302",
        "202603",
        "2026",
        "20261302143000",
        "20260230143000",
        "20260302253000",
        "2026030214300",
        "20260302143000-9900",
        "20260302143000-08",
        "20260302143000+0860",
        "20260302143000.x",
        "2026-03-02T14:30:00",
        "\uff12\uff10\uff12\uff1660302143000",
        "00000000000000",
        "tomorrow at ten",
    ],
)
def test_what_is_no_instant_is_none(text: str) -> None:
    assert instant_of(text, NEW_YORK) is None


@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), st.integers(-14 * 60, 14 * 60))  # noqa: DTZ001
def test_an_instant_with_an_offset_is_that_instant(at: datetime, offset: int) -> None:
    zone = timezone(timedelta(minutes=offset))
    text = at.replace(tzinfo=zone).strftime("%Y%m%d%H%M%S%z").rjust(19, "0")
    assert instant_of(text, NEW_YORK) == at.replace(microsecond=0, tzinfo=zone)


@given(st.text(st.sampled_from("0123456789.+-^ "), max_size=24))
def test_any_text_is_an_instant_or_none(text: str) -> None:
    found = instant_of(text, NEW_YORK)
    assert found is None or found.tzinfo is UTC
    assert date_of(text) is None or isinstance(date_of(text), date)
    assert offset_of(text) is None or isinstance(offset_of(text), timezone)


def test_the_source_s_zone_is_kept_where_its_offset_is_the_one_of_the_header() -> None:
    zone = sender_zone("20260302090000-0500", NEW_YORK)
    assert instant_of("20260310143000", zone) == datetime(2026, 3, 10, 18, 30, tzinfo=UTC)


def test_another_offset_in_the_header_holds_for_the_whole_message() -> None:
    zone = sender_zone("20260302090000-0800", NEW_YORK)
    assert instant_of("20260310143000", zone) == datetime(2026, 3, 10, 22, 30, tzinfo=UTC)


@pytest.mark.parametrize("stamp", ["20260302090000", "", "20260302090000-9999"])
def test_without_an_offset_the_source_s_zone_holds(stamp: str) -> None:
    assert sender_zone(stamp, ZoneInfo("Europe/Paris")) == ZoneInfo("Europe/Paris")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("19790515", date(1979, 5, 15)),
        ("19790515103000-0500", date(1979, 5, 15)),
        ("197905", None),
        ("1979", None),
        ("19791315", None),
        ("DeIdentified", None),
        ('""', None),
    ],
)
def test_dates(text: str, expected: date | None) -> None:
    assert date_of(text) == expected


@pytest.mark.parametrize(
    ("amount", "unit", "expected"),
    [
        ("30", "min", 30),
        ("30", "", 30),
        ("15", "m", 15),
        ("1.5", "HR", 90),
        ("900", "s", 15),
        ("60", "sec", 1),
        ("30", "furlong", None),
        ("0", "min", None),
        ("-5", "min", None),
        ("2000", "min", None),
        ("nan", "min", None),
        ("inf", "min", None),
        ("half", "min", None),
        ("", "min", None),
    ],
)
def test_durations(amount: str, unit: str, expected: int | None) -> None:
    assert minutes_of(amount, unit) == expected


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        ([""], ""),
        (["HARBOR"], "HARBOR"),
        (["HARBOR", "2.16.840.1", "ISO"], "urn:oid:2.16.840.1"),
        (["", "2.16.840.1", "ISO"], "urn:oid:2.16.840.1"),
        (["", "https://harbor.example/mrn", "URI"], "https://harbor.example/mrn"),
        (["HARBOR", "20D1", "CLIA"], "HARBOR"),
        (["", "20D1", "CLIA"], "20D1"),
        (["HARBOR", ""], "HARBOR"),
    ],
)
def test_an_assigner_is_a_uri_where_its_universal_id_makes_one(authority: list[str], expected: str) -> None:
    assert assigner_of(authority) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FU^Follow-up^L", "Follow-up"),
        ("FU", "FU"),
        ("^Consult", "Consult"),
        ("", None),
        ("^^^^^^^^as said", "as said"),
    ],
)
def test_words(text: str, expected: str | None) -> None:
    assert words_of(composite(text)) == expected


def test_people_and_places() -> None:
    assert person_of(composite("12^Okafor&van^Ngozi^X^^Dr")) == "Ngozi Okafor"
    assert person_of(composite("12")) is None
    assert place_of(composite("EAST^2^^HARBOR MAIN&x^^^WING B")) == "HARBOR MAIN, WING B, EAST"
    assert place_of(composite("OFFICE^^^OFFICE")) == "OFFICE"
    assert place_of(composite("EAST^^^^^^^^Second floor")) == "Second floor"
    assert place_of(composite("")) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("es", "es"),
        ("SPA^Spanish^ISO639", "es"),
        ("^Spanish", "es"),
        ("EN^ENGLISH^HL70296", "en"),
        ("en-US", "en"),
        ("ara^^HL70296^eng^English-us", "ar"),
        ("x99^^L^eng^English", "en"),
        ("ENGLISH", "en"),
        ("zh_TW", "zh"),
        ("Klingon", None),
        ("1201", None),
        ("", None),
    ],
)
def test_languages(text: str, expected: str | None) -> None:
    assert language_of(composite(text)) == expected
