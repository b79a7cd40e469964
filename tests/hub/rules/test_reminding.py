"""When reminders go out: each once, on the patient's clock, and never when it is no use or no right."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hub.rules.offset import Offset
from hub.rules.reminding import Step, Visit, closed, in_hours, next_step
from hub.settings import Hours
from hub.settings.practice import Reminder
from tests.hub.example import practice

NEW_YORK = ZoneInfo("America/New_York")
TEXT = {"en": "{practice}: {date}. STOP"}
ZONES = [
    "America/New_York",
    "America/Los_Angeles",
    "America/Phoenix",
    "America/Havana",  # changes at midnight
    "America/Sao_Paulo",  # changed at midnight until 2019
    "Africa/Cairo",  # changes at midnight
    "Asia/Tehran",
    "Asia/Kolkata",
    "Australia/Lord_Howe",  # half an hour
    "Pacific/Apia",  # had no 30 December 2011
    "Pacific/Honolulu",
    "Europe/London",
]


def reminder(*offsets: str, name: str = "visit", hours: str = "09:00-20:00") -> Reminder:
    return Reminder(name=name, offsets=offsets or ("-3d", "-1d", "-2h"), text=TEXT, hours=Hours(hours))


def at(text: str, zone: ZoneInfo = NEW_YORK) -> datetime:
    """Read a wall-clock time of `zone`."""
    return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)


def visit(starts: str, *, known: str = "2026-01-01 12:00", zone: ZoneInfo = NEW_YORK) -> Visit:
    return Visit(at(starts, zone), "booked", at(known, zone))


def local(step: Step | None, zone: ZoneInfo = NEW_YORK) -> str | None:
    return None if step is None else f"{step.name} {step.at.astimezone(zone):%Y-%m-%d %H:%M}"


def all_steps(
    of: Visit, rules: list[Reminder], now: datetime, zone: ZoneInfo, sent: list[datetime], late: timedelta = timedelta()
) -> list[Step]:
    """Live through a visit's reminders, each taken `late` after it may be."""
    taken: list[str] = []
    steps: list[Step] = []
    while (step := next_step(of, taken, rules, now, zone, sent)) is not None:
        now = step.at + late
        again = next_step(of, taken, rules, now, zone, sent)
        if again is None or again.at > now:
            continue
        steps.append(replace(again, at=now))
        taken.append(again.name)
        sent = [*sent, now]
    return steps


def test_reminders_go_out_before_the_visit_each_once() -> None:
    steps = all_steps(visit("2026-06-12 14:30"), [reminder()], at("2026-06-01 12:00"), NEW_YORK, [])
    assert [local(step) for step in steps] == [
        "visit-3d 2026-06-09 14:30",
        "visit-1d 2026-06-11 14:30",
        "visit-2h 2026-06-12 12:30",
    ]


def test_the_policy_itself_can_be_asked() -> None:
    step = next_step(visit("2026-06-12 14:30"), [], practice(), at("2026-06-01 12:00"), NEW_YORK)
    assert local(step) == "visit-3d 2026-06-09 14:30"
    assert step is not None
    assert step.reminder == "visit"


@pytest.mark.parametrize(
    ("starts", "offset", "expected"),
    [
        ("2026-06-12 07:30", "-1d", "visit-1d 2026-06-11 09:00"),  # held until the morning
        ("2026-06-12 20:30", "-1d", "visit-1d 2026-06-12 09:00"),  # held overnight, still of use
        ("2026-06-12 20:00", "-1d", "visit-1d 2026-06-12 09:00"),  # 20:00 is quiet already
        ("2026-06-12 19:59", "-1d", "visit-1d 2026-06-11 19:59"),
        ("2026-06-12 09:00", "-1d", "visit-1d 2026-06-11 09:00"),
        ("2026-06-12 10:00", "-2h", "visit-2h 2026-06-12 09:00"),
        ("2026-06-12 08:30", "-2h", None),  # held past the visit: dropped
        ("2026-06-12 09:00", "-2h", None),
        ("2026-06-12 09:01", "-2h", "visit-2h 2026-06-12 09:00"),
        ("2026-06-12 00:30", "-30m", None),
    ],
)
def test_quiet_hours_hold_and_an_overtaking_visit_drops(starts: str, offset: str, expected: str | None) -> None:
    assert local(next_step(visit(starts), [], [reminder(offset)], at("2026-06-01 12:00"), NEW_YORK)) == expected


def test_a_reminder_may_have_hours_of_its_own() -> None:
    early = reminder("-1d", hours="08:00-21:00")
    assert local(next_step(visit("2026-06-12 20:30"), [], [early], at("2026-06-01 12:00"), NEW_YORK)) == (
        "visit-1d 2026-06-11 20:30"
    )


def test_hours_are_the_patients_and_not_the_practices() -> None:
    honolulu = ZoneInfo("Pacific/Honolulu")
    starts = at("2026-06-12 14:30")  # 08:30 in Honolulu
    step = next_step(
        Visit(starts, "booked", at("2026-06-01 12:00")), [], [reminder("-1d")], at("2026-06-01 12:00"), honolulu
    )
    assert local(step, honolulu) == "visit-1d 2026-06-11 09:00"


@pytest.mark.parametrize(
    ("zone", "starts", "offset", "expected"),
    [
        # clocks go forward on 8 March 2026 and back on 1 November in New York: days are of the calendar, hours pass
        ("America/New_York", "2026-03-09 10:00", "-3d", "visit-3d 2026-03-06 10:00"),
        ("America/New_York", "2026-11-02 10:00", "-1d", "visit-1d 2026-11-01 10:00"),
        ("America/New_York", "2026-03-08 12:00", "-12h", "visit-12h 2026-03-08 09:00"),
        ("America/New_York", "2026-11-01 12:00", "-26h", "visit-26h 2026-10-31 11:00"),
        ("America/New_York", "2026-03-08 20:00", "-26h", "visit-26h 2026-03-07 17:00"),
        ("Europe/London", "2026-03-30 11:00", "-2d", "visit-2d 2026-03-28 11:00"),
        ("Europe/London", "2026-10-26 11:00", "-25h", "visit-25h 2026-10-25 10:00"),
        ("Australia/Lord_Howe", "2026-10-05 09:15", "-24h", "visit-24h 2026-10-04 09:15"),
        ("Pacific/Apia", "2011-12-31 12:00", "-1d", None),  # there was no 30 December
        ("Pacific/Apia", "2011-12-31 12:00", "-2d", "visit-2d 2011-12-29 12:00"),
        ("America/Phoenix", "2026-03-09 10:00", "-3d", "visit-3d 2026-03-06 10:00"),
    ],
)
def test_clock_changes_move_no_reminder_of_days(zone: str, starts: str, offset: str, expected: str | None) -> None:
    where = ZoneInfo(zone)
    known = at("2011-12-01 12:00") if "2011" in starts else at("2026-01-01 12:00")
    one = Visit(at(starts, where), "booked", known)
    step = next_step(one, [], [reminder(offset)], known, where)
    assert local(step, where) == expected


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"status": "cancelled"}, "not-booked"),
        ({"status": "fulfilled"}, "not-booked"),
        ({"status": "noshow"}, "not-booked"),
        ({"status": "arrived"}, "not-booked"),
        ({"status": "entered-in-error"}, "not-booked"),
        ({"status": "proposed"}, "not-booked"),
        ({"confirmed": True}, "confirmed"),
        ({"opted_out": True}, "opted-out"),
        ({"starts_at": at("2026-06-01 11:00")}, "over"),
    ],
)
def test_nothing_is_sent_for_a_visit_that_needs_no_reminder(change: dict[str, object], why: str) -> None:
    now = at("2026-06-01 12:00")
    one = replace(visit("2026-06-12 14:30"), **change)  # type: ignore[arg-type]
    assert closed(one, now) == why
    assert next_step(one, [], [reminder()], now, NEW_YORK) is None


def test_a_visit_booked_late_gets_only_what_is_due_after_booking() -> None:
    booked = visit("2026-06-12 14:30", known="2026-06-11 16:00")
    steps = all_steps(booked, [reminder()], at("2026-06-11 16:00"), NEW_YORK, [])
    assert [local(step) for step in steps] == ["visit-2h 2026-06-12 12:30"]


def test_an_outage_ends_in_one_text_and_not_in_a_burst() -> None:
    steps = all_steps(visit("2026-06-12 14:30"), [reminder()], at("2026-06-11 18:00"), NEW_YORK, [])
    assert [local(step) for step in steps] == ["visit-1d 2026-06-11 18:00", "visit-2h 2026-06-12 12:30"]


def test_a_step_that_a_later_one_overtakes_overnight_is_left_out() -> None:
    rules = [reminder("-12h", "-2h")]
    steps = all_steps(visit("2026-06-12 10:30"), rules, at("2026-06-01 12:00"), NEW_YORK, [])
    assert [local(step) for step in steps] == ["visit-2h 2026-06-12 09:00"]


def test_a_step_given_up_is_not_made_up_for() -> None:
    step = next_step(visit("2026-06-12 14:30"), ["visit-1d"], [reminder()], at("2026-06-01 12:00"), NEW_YORK)
    assert local(step) == "visit-2h 2026-06-12 12:30"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([], "visit-1d 2026-06-11 14:30"),
        (["2026-06-11 09:30"], "visit-1d 2026-06-12 09:00"),  # one a day
        (["2026-06-11 00:30"], "visit-1d 2026-06-12 09:00"),
        (["2026-06-10 23:30"], "visit-1d 2026-06-11 14:30"),
        (["2026-06-05 10:00", "2026-06-08 10:00", "2026-06-10 10:00"], "visit-1d 2026-06-12 10:00"),  # three a week
        (["2026-06-04 10:00", "2026-06-08 10:00", "2026-06-10 10:00"], "visit-1d 2026-06-11 14:30"),
        (["2026-06-06 10:00", "2026-06-08 10:00", "2026-06-10 19:00"], None),  # only after the visit
    ],
)
def test_caps_hold_a_text_and_the_visit_drops_it(sent: list[str], expected: str | None) -> None:
    history = [at(each) for each in sent]
    step = next_step(visit("2026-06-12 14:30"), [], [reminder("-1d")], at("2026-06-11 12:00"), NEW_YORK, history)
    assert local(step) == expected


def test_two_reminders_of_one_visit_share_the_caps() -> None:
    rules = [reminder("-1d"), reminder("-25h", name="second")]
    steps = all_steps(visit("2026-06-12 14:30"), rules, at("2026-06-01 12:00"), NEW_YORK, [])
    assert [local(step) for step in steps] == ["second-25h 2026-06-11 13:30", "visit-1d 2026-06-12 09:00"]


@pytest.mark.parametrize("text", ["-3d", "-1d", "-48h", "-30m", "-90d"])
def test_offsets_are_read_and_written(text: str) -> None:
    assert str(Offset.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "3d", "-3", "-0d", "-3w", "-1.5h", "+3d", "-91d", "-2161h", " -3d", "-٣d", "-3d\n"]
)
def test_other_offsets_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^write "):
        Offset.parse(text)


offsets = st.lists(
    st.one_of(
        st.integers(1, 10).map(lambda count: f"-{count}d"),
        st.integers(1, 72).map(lambda count: f"-{count}h"),
        st.integers(1, 300).map(lambda count: f"-{count}m"),
    ),
    min_size=1,
    max_size=5,
    unique=True,
)
hours = st.sampled_from(["09:00-20:00", "08:00-21:00", "10:00-18:00", "12:00-12:30"])
zones = st.sampled_from(ZONES).map(ZoneInfo)
instants = st.datetimes(datetime(2010, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
spans = st.timedeltas(timedelta(minutes=1), timedelta(days=20))


@settings(deadline=None, max_examples=200)
@given(
    zones, instants, spans, offsets, hours, st.timedeltas(timedelta(), timedelta(hours=30)), st.lists(spans, max_size=4)
)
def test_no_reminder_in_quiet_hours_nor_after_the_visit_nor_over_a_cap(
    zone: ZoneInfo,
    known: datetime,
    until: timedelta,
    when: list[str],
    span: str,
    late: timedelta,
    before: list[timedelta],
) -> None:
    one = Visit(known + until, "booked", known)
    rules = [reminder(*when, hours=span)]
    history = [known - each for each in before]
    steps = all_steps(one, rules, known, zone, history, late)
    assert len({step.name for step in steps}) == len(steps) <= len(when)
    sent = list(history)
    for step in steps:
        assert known < step.due_at <= step.at < one.starts_at
        assert in_hours(step.at, Hours(span), zone)
        assert step.at.astimezone(zone).date() not in {then.astimezone(zone).date() for then in sent}
        assert sum(step.at - timedelta(days=7) < then for then in sent) < 3
        sent.append(step.at)
    assert [step.due_at for step in steps] == sorted(step.due_at for step in steps)


@settings(deadline=None, max_examples=100)
@given(
    zones,
    instants,
    spans,
    offsets,
    st.sampled_from([{"status": "cancelled"}, {"confirmed": True}, {"opted_out": True}]),
    st.integers(0, 3),
)
def test_no_reminder_after_a_cancel_a_confirmation_or_an_opt_out(
    zone: ZoneInfo, known: datetime, until: timedelta, when: list[str], change: dict[str, object], after: int
) -> None:
    one = Visit(known + until, "booked", known)
    rules = [reminder(*when)]
    steps = all_steps(one, rules, known, zone, [])
    assume(len(steps) > after)
    now = steps[after].at
    taken = [step.name for step in steps[:after]]
    due = next_step(one, taken, rules, now, zone, [step.at for step in steps[:after]])
    assert due is not None
    assert next_step(replace(one, **change), taken, rules, now, zone) is None  # type: ignore[arg-type]


@settings(deadline=None, max_examples=200)
@given(zones, st.dates(date(2010, 1, 1), date(2029, 12, 31)), st.times(time(9), time(19, 59)), st.integers(1, 30))
def test_days_before_keep_the_hour_on_the_wall(zone: ZoneInfo, day: date, hour: time, days: int) -> None:
    starts = datetime.combine(day, hour, zone)
    assume(starts.astimezone(UTC).astimezone(zone).time() == hour)
    due = Offset(days, "d").before(starts, zone).astimezone(zone)
    assert due.time() == hour
    assert due.date() == day - timedelta(days=days) or zone.key == "Pacific/Apia"


@settings(deadline=None, max_examples=100)
@given(zones, instants, spans, offsets)
def test_a_plan_is_the_same_however_often_it_is_asked(
    zone: ZoneInfo, known: datetime, until: timedelta, when: list[str]
) -> None:
    one = Visit(known + until, "booked", known)
    rules = [reminder(*when)]
    step = next_step(one, [], rules, known, zone)
    if step is not None:
        middle = known + (step.at - known) / 2
        assert next_step(one, [], rules, middle, zone) == step == next_step(one, [], rules, step.at, zone)
