"""The clock on the wall of a patient's home, as far as the address tells it."""

import re
from collections.abc import Mapping

ZIP = re.compile(r"\d{5}(-?\d{4})?")

_STATES: Mapping[str, str] = {
    "America/New_York": "CT DC DE GA MA MD ME NC NH NJ NY OH PA RI SC VA VT WV",
    "America/Chicago": "AL AR IA IL LA MN MO MS OK WI",
    "America/Denver": "CO MT NM UT WY",
    "America/Los_Angeles": "CA WA",
    "Pacific/Honolulu": "HI",
    "America/Puerto_Rico": "PR",
    "America/St_Thomas": "VI",
    "Pacific/Guam": "GU MP",
    "Pacific/Pago_Pago": "AS",
}
"States and territories that keep one time by law."

_DIVIDED: Mapping[str, str] = {
    "AK": "America/Anchorage America/Adak",
    "AZ": "America/Phoenix America/Denver",
    "FL": "America/New_York America/Chicago",
    "ID": "America/Boise America/Los_Angeles",
    "IN": "America/Indiana/Indianapolis America/Chicago",
    "KS": "America/Chicago America/Denver",
    "KY": "America/New_York America/Chicago",
    "MI": "America/Detroit America/Menominee",
    "ND": "America/Chicago America/Denver",
    "NE": "America/Chicago America/Denver",
    "NV": "America/Los_Angeles America/Denver",
    "OR": "America/Los_Angeles America/Boise",
    "SD": "America/Chicago America/Denver",
    "TN": "America/Chicago America/New_York",
    "TX": "America/Chicago America/Denver",
}
"""States that 49 CFR part 71 divides, and Arizona, part of which changes its clocks: the clock of most people first.
The two are never more than an hour apart."""

ZONES: Mapping[str, tuple[str, ...]] = {
    **{state: (zone,) for zone, states in _STATES.items() for state in states.split()},
    **{state: tuple(zones.split()) for state, zones in _DIVIDED.items()},
}


def zones_of(state: str | None, postal_code: str | None) -> tuple[str, ...]:
    """Return the IANA zones that a United States address may be in, the likeliest first; none for any other address.

    A postal code that is no ZIP code says that the letters mean a state of another country.
    """
    if state is None or (postal_code and not ZIP.fullmatch(postal_code.strip())):
        return ()
    return ZONES.get(state.strip().upper(), ())
