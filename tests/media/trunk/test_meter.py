"""What calls to the outside come to, on a clock that is turned by hand."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from hub.rules.dialling import Usage
from hub.settings import load
from media.trunk.meter import Meter, cost_of

POLICY = load('[practice]\nname = "Harbor"\ntimezone = "America/New_York"\n[dialling]\ndaily_cost = 10\n')
ONE, TWO = UUID(int=1), UUID(int=2)


class Day:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 4, 22, 0, tzinfo=UTC)
        "Five in the afternoon in New York."

        self.meter = Meter(lambda: self.now, lambda: POLICY)

    def passes(self, **time: float) -> None:
        self.now += timedelta(**time)


def test_calls_are_counted_by_extension_while_they_go_on_and_while_they_are_recent() -> None:
    day = Day()
    day.meter.begin(ONE, "101", Decimal(1))
    day.passes(seconds=61)
    day.meter.begin(TWO, "101", Decimal(1))
    assert day.meter.usage("101") == Usage(2, 2, 1, 2, Decimal(0))
    assert day.meter.usage("102") == Usage(2, 0, 0, 0, Decimal(0))
    day.meter.end(ONE)
    day.meter.end(TWO)
    day.passes(hours=1)
    assert day.meter.usage("101") == Usage()


def test_a_call_costs_from_its_answer_each_minute_that_was_begun() -> None:
    day = Day()
    day.meter.begin(ONE, "101", Decimal("0.50"))
    day.passes(minutes=3)
    assert day.meter.spent == 0
    day.meter.answered(ONE)
    day.passes(seconds=61)
    assert day.meter.spent == Decimal("1.00")
    day.meter.end(ONE)
    day.meter.end(ONE)
    assert day.meter.spent == Decimal("1.00")


def test_what_is_left_of_the_day_is_shared_by_the_calls_that_go_on() -> None:
    day = Day()
    day.meter.restore(Decimal(4))
    assert day.meter.seconds_left() == float("inf")
    for call in (ONE, TWO):
        day.meter.begin(call, "101", Decimal(1))
        day.meter.answered(call)
    assert day.meter.seconds_left() == 180.0
    day.passes(minutes=3)
    assert day.meter.seconds_left() == 0.0


def test_a_day_begins_at_the_practice_s_midnight() -> None:
    day = Day()
    day.meter.restore(Decimal(4))
    assert day.meter.day_began_at() == datetime(2026, 3, 4, 5, 0, tzinfo=UTC)
    day.passes(hours=6, minutes=59)
    assert day.meter.spent == 4
    day.passes(minutes=1)
    assert day.meter.spent == 0


@pytest.mark.parametrize(("seconds", "cost"), [(0, 0), (1, 2), (60, 2), (60.5, 4), (3600, 120)])
def test_minutes_are_rounded_up(seconds: float, cost: int) -> None:
    assert cost_of(Decimal(2), timedelta(seconds=seconds)) == cost
