"""Which clocks an address may have."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from hub.record.zone import ZONES, zones_of


@pytest.mark.parametrize(
    ("state", "postal_code", "zones"),
    [
        ("NY", "10001", ("America/New_York",)),
        (" ca", "94110-1234", ("America/Los_Angeles",)),
        ("WA", None, ("America/Los_Angeles",)),
        ("TX", "75201", ("America/Chicago", "America/Denver")),
        ("AZ", "85001", ("America/Phoenix", "America/Denver")),
        ("CA", "K1A 0B1", ()),  # of another country, whatever the letters mean there
        ("ON", "M5V 2T6", ()),
        ("NW", "00001", ()),
        ("", "10001", ()),
        (None, "10001", ()),
    ],
)
def test_an_address_has_the_clocks_of_its_state(state: str | None, postal_code: str | None, zones: tuple[str]) -> None:
    assert zones_of(state, postal_code) == zones


def test_every_state_has_a_clock_and_two_are_never_more_than_an_hour_apart() -> None:
    assert len(ZONES) == 50 + 1 + 5  # the District of Columbia, and the territories
    for month in range(1, 13):
        for zones in ZONES.values():
            clocks = [datetime(2026, month, 15, 12, tzinfo=ZoneInfo(zone)).utcoffset() or timedelta() for zone in zones]
            assert max(clocks) - min(clocks) <= timedelta(hours=1)
