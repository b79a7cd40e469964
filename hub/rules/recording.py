"""Whether a call may be recorded, and what has to come first: the stricter rule of both parties' places.

Not legal advice. A practice that knows better what holds where it is says so in `[recording]`, only ever stricter.
"""

from enum import StrEnum
from typing import Final

import phonenumbers

from hub.settings.practice import Practice


class Consent(StrEnum):
    """What makes a recording allowed, the stricter last."""

    NOTICE = "notice"
    "The caller was told, and talks on: what the states of the US that ask for everyone's consent take as such."

    OPT_IN = "opt-in"
    "The caller agreed, by a key."


NOTICE_SUFFICES: Final = frozenset({"US", "CA", "PR", "GU", "VI", "AS", "MP", "GB", "AU", "NZ"})
"Places where being told suffices. Everywhere else, and where nobody knows the place, the caller is asked."


def consent_of(practice: Practice, number: str | None) -> Consent:
    """Return what has to come before a recording of a call with `number` (E.164).

    A caller who withholds the number is taken to be where the practice is.
    """
    places = {practice.practice.region, practice.practice.region if number is None else _place_of(number)}
    if Consent(practice.recording.consent) is Consent.OPT_IN or not places <= NOTICE_SUFFICES:
        return Consent.OPT_IN
    return Consent.NOTICE


def recorded(practice: Practice, queue: str | None) -> bool:
    """Return whether the practice wants the talks of a queue recorded, those without a queue for None."""
    settings = None if queue is None else practice.find_queue(queue)
    return practice.recording.calls and (settings is None or settings.record)


def _place_of(number: str) -> str:
    """Return the country of a number; for one of the North American plan that is nobody's yet, the United States."""
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return ""
    return phonenumbers.region_code_for_number(parsed) or phonenumbers.region_code_for_country_code(
        parsed.country_code or 0
    )
