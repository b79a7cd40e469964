"""What calls to the outside come to: how many go on, how fast they were begun, and what they cost today."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from hub.rules.dialling import Usage
from hub.settings.practice import Practice

_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)


@dataclass(slots=True)
class _Running:
    extension: str
    price: Decimal
    answered_at: datetime | None = None


class Meter:
    """The meter of one media process; `restore` brings back what was spent before it started.

    `now` gives the instance's instant, `policy` the practice whose clock says when a day begins.
    """

    def __init__(self, now: Callable[[], datetime], policy: Callable[[], Practice]) -> None:
        self._now = now
        self._policy = policy
        self._running: dict[UUID, _Running] = {}
        self._begun: dict[str, deque[datetime]] = {}
        self._day = self._today()
        self._spent = Decimal(0)

    def day_began_at(self) -> datetime:
        """Return when the practice's day began."""
        local = self._now().astimezone(self._policy().practice.zone)
        return local.replace(hour=0, minute=0, second=0, microsecond=0)

    def restore(self, spent: Decimal) -> None:
        """Count what calls of this day have cost that this process knows nothing of."""
        self._turn()
        self._spent += spent

    def usage(self, extension: str) -> Usage:
        """Return what was dialled so far, as the rules ask for it."""
        now = self._now()
        own = self._begun.get(extension, ())
        return Usage(
            going_on=len(self._running),
            own_going_on=sum(each.extension == extension for each in self._running.values()),
            last_minute=sum(now - at < _MINUTE for at in own),
            last_hour=sum(now - at < _HOUR for at in own),
            spent=self.spent,
        )

    @property
    def spent(self) -> Decimal:
        """What today's calls cost so far, those that go on included."""
        self._turn()
        return self._spent + sum((self._cost(each) for each in self._running.values()), Decimal(0))

    def begin(self, call_id: UUID, extension: str, price: Decimal) -> None:
        """Count a call that is dialled now; `price` is of a minute."""
        begun = self._begun.setdefault(extension, deque())
        now = self._now()
        while begun and now - begun[0] >= _HOUR:
            begun.popleft()
        begun.append(now)
        self._running[call_id] = _Running(extension, price)

    def answered(self, call_id: UUID) -> None:
        """Let a call cost from now on."""
        self._running[call_id].answered_at = self._now()

    def end(self, call_id: UUID) -> None:
        """Note that a call is over; ending it again changes nothing."""
        call = self._running.pop(call_id, None)
        if call is not None:
            self._turn()
            self._spent += self._cost(call)

    def seconds_left(self) -> float:
        """Return for how long the calls that go on may last together before the day's cap is reached."""
        rate = sum((each.price for each in self._running.values() if each.answered_at is not None), Decimal(0))
        left = self._policy().dialling.daily_cost - self.spent
        if left <= 0:
            return 0.0
        return float(left / rate * 60) if rate else float("inf")

    def _cost(self, call: _Running) -> Decimal:
        """Return what a call costs so far: each minute that was begun."""
        return Decimal(0) if call.answered_at is None else cost_of(call.price, self._now() - call.answered_at)

    def _today(self) -> date:
        return self._now().astimezone(self._policy().practice.zone).date()

    def _turn(self) -> None:
        """Begin anew when the practice's day has changed; calls over midnight are the new day's."""
        today = self._today()
        if today != self._day:
            self._day, self._spent = today, Decimal(0)


def cost_of(price: Decimal, lasted: timedelta) -> Decimal:
    """Return what a call costs by the price of a minute; each minute that was begun counts."""
    minutes = -(-max(lasted, timedelta(0)) // _MINUTE)
    return price * minutes
