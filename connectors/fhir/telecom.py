"""Telephone numbers of a FHIR R4 ContactPoint: E.164, or nothing."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import phonenumbers

from connectors.fhir.reading import over

_RANK_BY_USE = {"mobile": 1, "home": 2, "work": 3}
"Which number is tried first where ContactPoint.rank is silent; any other use comes last."

_LAST = 4

_LARGEST = 2**31 - 1
"Of a positiveInt (FHIR R4 datatypes.html#positiveInt)."

_NORTH_AMERICAN = re.compile(r"\s*(?:(\+1)|1)?[ .-]?\(?([2-9]\d\d)\)?[ .-]?(\d{3})[ .-]?(\d{4})\s*", re.ASCII)
"Ten digits as people group them, with or without the country code; what else there is goes to the library."


@lru_cache(maxsize=4096)
def e164(number: str, region: str) -> str | None:
    """Return a number that could be dialled, in E.164, or None; `region` reads one without a country code.

    Possible is enough: the numbers of test systems are possible and never valid. A number that can be dialled only
    inside its own area is None, because nobody knows the area. An extension is left out: no carrier can reach it.
    """
    plain = _NORTH_AMERICAN.fullmatch(number)
    if plain is not None and (plain[1] or _code(region) == 1):
        return f"+1{plain[2]}{plain[3]}{plain[4]}"
    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return None
    if phonenumbers.is_possible_number_with_reason(parsed) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    return str(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))


@lru_cache(maxsize=16)
def _code(region: str) -> int:
    return int(phonenumbers.country_code_for_region(region))


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
