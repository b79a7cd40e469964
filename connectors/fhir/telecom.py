"""Telephone numbers of a FHIR R4 ContactPoint: E.164, or nothing."""

from collections.abc import Iterator
from typing import Any

from connectors.api import e164
from connectors.fhir.reading import over

_RANK_BY_USE = {"mobile": 1, "home": 2, "work": 3}
"Which number is tried first where ContactPoint.rank is silent; any other use comes last."

_LAST = 4

_LARGEST = 2**31 - 1
"Of a positiveInt (FHIR R4 datatypes.html#positiveInt)."


def phones(telecom: Any, region: str, today: str) -> Iterator[dict[str, Any]]:
    """Yield the fields of each `Phone` in use, each number once; `today` is an ISO date.

    Numbers marked old or whose period is over are somebody else's by now.
    """
    seen: set[str] = set()
    for point in telecom if isinstance(telecom, list) else (telecom,):
        if not isinstance(point, dict) or point.get("system") not in _TELEPHONES:
            continue
        said, use = point.get("value"), point.get("use")
        if not isinstance(said, str) or use == "old" or over(point.get("period"), today):
            continue
        number = e164(said, region)
        if number is None or number in seen:
            continue
        seen.add(number)
        use = use.strip() if isinstance(use, str) else ""
        rank = point.get("rank")
        ranked = type(rank) is int and 0 < rank <= _LARGEST  # True is an int, too
        yield {"e164": number, "use": use, "rank": rank if ranked else _RANK_BY_USE.get(use, _LAST)}


_TELEPHONES = ("phone", "sms")
"ContactPoint.system of what can be called or texted."
