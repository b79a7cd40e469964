"""When people are to be reminded, worked out a second time: minute by minute, from the page and not from the code.

docs/reference/reminders.md says the rules. Nothing of `hub` is used here, and nothing is planned ahead: at each minute
it is asked anew who is to be written to now.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

MINUTE, DAY, WEEK = timedelta(minutes=1), timedelta(days=1), timedelta(days=7)
OPENS, CLOSES = time(9), time(20)

STEPS = ("visit-3d", "visit-1d", "visit-2h")


@cache
def due(step: str, starts_at: datetime, zone: ZoneInfo) -> datetime:
    """Return when a step falls due: days on the wall clock of the patient, hours as they pass."""
    if step == "visit-2h":
        return starts_at.astimezone(UTC) - timedelta(hours=2)  # within one zone Python counts on the wall clock
    days = {"visit-3d": 3, "visit-1d": 1}[step]
    wall = starts_at.astimezone(zone).replace(tzinfo=None) - timedelta(days=days)
    return wall.replace(tzinfo=zone).astimezone(UTC)


def awake(at: datetime, zone: ZoneInfo) -> bool:
    return OPENS <= at.astimezone(zone).time() < CLOSES


def full(at: datetime, zone: ZoneInfo, sent: Sequence[datetime]) -> bool:
    """Whether a number had its one text of the day, or its three of seven days."""
    today = at.astimezone(zone).date()
    return any(then.astimezone(zone).date() == today for then in sent) or sum(at - WEEK < x <= at for x in sent) >= 3


@dataclass(slots=True)
class Visit:
    """What is known of a visit at one minute."""

    number: str
    zone: ZoneInfo
    starts_at: datetime
    since: datetime | None
    "Since when it is booked for this time; None while it is off."

    confirmed: bool = False
    reachable: bool = True
    done: set[tuple[datetime, str]] = field(default_factory=set)

    def step(self, now: datetime) -> str | None:
        """Return the latest step that has fallen due since it was booked, unless it was taken."""
        if (
            self.since is None
            or self.confirmed
            or not self.reachable
            or not self.starts_at - 4 * DAY < now < self.starts_at
        ):
            return None
        begun = {step: at for step in STEPS if self.since < (at := due(step, self.starts_at, self.zone)) <= now}
        last = max(begun, key=begun.__getitem__, default=None)
        return None if last is None or (self.starts_at, last) in self.done else last


@dataclass(frozen=True, slots=True)
class Text:
    """One text that must go out."""

    at: datetime
    number: str
    visit: str
    step: str
    starts_at: datetime


@dataclass(slots=True)
class World:
    """Every visit by name, and the numbers that want no texts."""

    visits: dict[str, Visit] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    down: bool = False
    "The carrier takes nothing."

    sent: dict[str, list[datetime]] = field(default_factory=dict)
    "By number."

    def texts_of(self, minute: datetime) -> Iterator[Text]:
        """Send what is to be sent in this minute."""
        ready: dict[str, list[str]] = {}
        for name, visit in self.visits.items():
            sent = self.sent.get(visit.number, ())
            if visit.step(minute) is None or visit.number in self.silent or self.down:
                continue
            if awake(minute, visit.zone) and not full(minute, visit.zone, sent):
                ready.setdefault(visit.number, []).append(name)
        for number, (name, *others) in ready.items():
            assert not others, f"at {minute} it is open whether {number} hears of {name} or of {others}"
            visit = self.visits[name]
            step = visit.step(minute)
            assert step is not None
            visit.done.add((visit.starts_at, step))
            self.sent.setdefault(number, []).append(minute)
            yield Text(minute, number, name, step, visit.starts_at)


def excused(starts_at: datetime, step: str, zone: ZoneInfo, sent: Sequence[datetime], off_at: datetime) -> bool:
    """Whether a step that was never sent could not be: at each moment until the next one it was night, or full.

    `sent` has the texts to the number; the visit was off from `off_at` on. What ends a night or a full day does so at
    an opening, or seven days after a text; so only then, and when the step falls due, there could have been room.
    """
    begins = due(step, starts_at, zone)
    later = [at for other in STEPS if (at := due(other, starts_at, zone)) > begins]
    ends = min([*later, starts_at, off_at])
    days = range((ends - begins).days + 2)
    first = begins.astimezone(zone).date()
    openings = [datetime.combine(first + day * DAY, OPENS, zone).astimezone(UTC) for day in days]
    moments = [at for at in (begins, *openings, *(then + WEEK for then in sent)) if begins <= at < ends]
    return all(
        not awake(at, zone) or full(at, zone, [then for then in sent if then <= at + 5 * MINUTE]) for at in moments
    )


def minutes(starts: Iterable[datetime]) -> Iterator[datetime]:
    """Yield every minute in which somebody may be written to: the four days before each visit."""
    spans = sorted((at - 4 * DAY, at) for at in starts)
    now = spans[0][0]
    for begin, end in spans:
        now = max(now, begin)
        while now < end:
            yield now
            now += MINUTE
