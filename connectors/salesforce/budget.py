"""The org's daily API requests, of which a share is left to others (REST API Developer Guide, Limit Info header)."""

import re
from datetime import datetime, timedelta

from connectors.api import RateLimitedError
from connectors.salesforce.refusal import PAUSE

_USAGE = re.compile(r"(?:^|[;,\s])api-usage=(\d{1,18})/(\d{1,18})")


class Budget:
    """What `Sforce-Limit-Info` said last."""

    def __init__(self, reserve: float) -> None:
        """Take the share that is left to others, 0 to 1."""
        self._reserve = reserve
        self._until: datetime | None = None

    def ask(self, now: datetime) -> None:
        """Return if a request may go out; while the budget is spent, one goes out every quarter of an hour to see.

        Raises:
            RateLimitedError: others need what is left.
        """
        if self._until is None:
            return
        if now < self._until:
            raise RateLimitedError((self._until - now).total_seconds())
        self._until = now + timedelta(seconds=PAUSE)

    def note(self, header: str, now: datetime) -> None:
        """Read the header of an answer; one without figures changes nothing."""
        if (said := _USAGE.search(header)) is None:
            return
        used, limit = int(said[1]), int(said[2])
        spent = limit - used < self._reserve * limit
        self._until = now + timedelta(seconds=PAUSE) if spent else None
