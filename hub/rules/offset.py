"""How long before a visit something is due: "-3d", "-2h", "-30m"."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Self
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class Offset:
    """A span before a visit. Days are days of the calendar, hours and minutes are time that passes."""

    count: int
    unit: str
    "d, h or m."

    longest: ClassVar[timedelta] = timedelta(days=90)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the span that `text` writes.

        Raises:
            ValueError: not a minus, a number and d, h or m; or more than 90 days.
        """
        found = re.fullmatch(r"-([1-9][0-9]{0,4})([dhm])", text)
        if found is None:
            raise ValueError('write a time before the visit, as in "-3d", "-2h" or "-30m"')
        offset = cls(int(found[1]), found[2])
        if offset.length > cls.longest:
            raise ValueError("write at most 90 days before the visit")
        return offset

    def __str__(self) -> str:
        """Return the inverse of `parse`."""
        return f"-{self.count}{self.unit}"

    @property
    def length(self) -> timedelta:
        """The span in time that passes, a day as 24 hours."""
        return self.count * {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}[self.unit]

    def before(self, starts_at: datetime, zone: ZoneInfo) -> datetime:
        """Return the instant (UTC) this long before `starts_at`; three days before 10:00 is 10:00 in `zone`."""
        if self.unit != "d":
            return starts_at.astimezone(UTC) - self.length
        return (starts_at.astimezone(zone) - self.length).astimezone(UTC)
