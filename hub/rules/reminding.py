"""When a patient is reminded of a visit: offsets, quiet hours and caps, all on the patient's own clock.

The plan is not kept anywhere: it follows from the visit, what was taken and what was sent, each time it is asked.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from hub.rules.offset import Offset
from hub.settings.practice import Practice, Reminder
from hub.settings.value import Hours

DAY_CAP: Final = 1
"Texts to one number in a day of its own calendar (47 CFR 64.1200(a)(9)(iv))."

WEEK_CAP: Final = 3
"Texts to one number in any seven days (47 CFR 64.1200(a)(9)(iv))."

REMINDED: Final = frozenset({"booked"})
"FHIR R4 Appointment.status of a visit that will take place and that nobody has come to yet."

CLOSED: Final = frozenset({"not-booked", "opted-out", "confirmed", "over"})
"Why a visit gets no reminder any more."

_WEEK: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Visit:
    """What reminding knows of an appointment."""

    starts_at: datetime
    status: str
    known_at: datetime
    "Since when it is booked for this time and texts are wanted: a step that was due before is not made up for."

    confirmed: bool = False
    opted_out: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One text of the plan."""

    name: str
    'Reminder and offset: "visit-3d".'

    at: datetime
    "When it may be sent, UTC: not before it is due, not in quiet hours, not over a cap."

    due_at: datetime
    "When its offset falls, UTC."

    reminder: str
    "The reminder in practice.toml whose text it carries."


def closed(visit: Visit, now: datetime) -> str | None:
    """Return why the visit gets no reminder any more, as one of `CLOSED`; None while it gets some."""
    if visit.status not in REMINDED:
        return "not-booked"
    if visit.opted_out:
        return "opted-out"
    if visit.confirmed:
        return "confirmed"
    return "over" if now >= visit.starts_at else None


def next_step(
    visit: Visit,
    taken: Collection[str],
    policy: Practice | Sequence[Reminder],
    now: datetime,
    zone: ZoneInfo,
    sent: Sequence[datetime] = (),
) -> Step | None:
    """Return the next text for a visit, or None where none is left.

    `taken` names the steps that were sent or given up, for this time of the visit; `sent` has the instants of all
    reminders to the same number, for whichever visit; `zone` is the patient's. A step that is overtaken by a later
    one before it can be sent is left out, so a quiet night, an outage or a cap ends in one text, not in a burst.

    It is right to send a step exactly when this names it and its `at` has come: ask again at the moment of sending.
    """
    if closed(visit, now) is not None:
        return None
    reminders = policy.reminders if isinstance(policy, Practice) else policy
    steps = sorted(_steps(visit, reminders, zone), key=lambda step: (step[0].due_at, step[0].name))
    last_taken = max((step.due_at for step, _ in steps if step.name in taken), default=visit.known_at)
    open_steps = [
        (step, at)
        for step, hours in steps
        if step.name not in taken
        and step.due_at >= last_taken
        and step.due_at > visit.known_at
        and (at := _release(max(step.due_at, now), hours, zone, sent, visit.starts_at)) is not None
    ]
    for index, (step, at) in enumerate(open_steps):
        if not any(later.due_at <= at for later, _ in open_steps[index + 1 :]):
            return replace(step, at=at)
    return None


def in_hours(at: datetime, hours: Hours, zone: ZoneInfo) -> bool:
    """Return whether `at` is within `hours` on the clock of `zone`."""
    return hours.start <= at.astimezone(zone).time() < hours.end


def full(at: datetime, zone: ZoneInfo, sent: Sequence[datetime]) -> bool:
    """Return whether a number has had its texts of this day of `zone`, or of seven days; `sent` has them."""
    return _uncapped(at, zone, sent) != at


def _steps(visit: Visit, reminders: Sequence[Reminder], zone: ZoneInfo) -> Iterator[tuple[Step, Hours]]:
    for reminder in reminders:
        for written in reminder.offsets:
            due = Offset.parse(written).before(visit.starts_at, zone)
            yield Step(f"{reminder.name}{written}", due, due, reminder.name), reminder.hours


def _release(
    earliest: datetime, hours: Hours, zone: ZoneInfo, sent: Sequence[datetime], before: datetime
) -> datetime | None:
    """Return the first instant from `earliest` on that hours and caps allow; None where the visit comes first."""
    at = earliest
    while at < before:
        opened = _opening(at, hours, zone)
        allowed = _uncapped(opened, zone, sent)
        if allowed == at:
            return at
        at = allowed
    return None


def _opening(at: datetime, hours: Hours, zone: ZoneInfo) -> datetime:
    """Return the first instant from `at` on that is within `hours`."""
    local = at.astimezone(zone)
    day = local.date()
    if local.time() >= hours.end:
        day += timedelta(days=1)
    elif local.time() >= hours.start:
        return at
    return datetime.combine(day, hours.start, zone).astimezone(UTC)


def _uncapped(at: datetime, zone: ZoneInfo, sent: Sequence[datetime]) -> datetime:
    """Return `at`, or the first later instant at which neither cap is reached."""
    day = at.astimezone(zone).date()
    if sum(then.astimezone(zone).date() == day for then in sent) >= DAY_CAP:
        return datetime.combine(day + timedelta(days=1), datetime.min.time(), zone).astimezone(UTC)
    recent = sorted(then for then in sent if at - _WEEK < then <= at)
    if len(recent) >= WEEK_CAP:
        return recent[-WEEK_CAP] + _WEEK
    return at
