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
"States and territories that keep one time by law; those that 49 CFR part 71 divides are left out on purpose."

ZONES: Mapping[str, str] = {state: zone for zone, states in _STATES.items() for state in states.split()}


def zone_of(state: str | None, postal_code: str | None) -> str | None:
    """Return the IANA zone of a United States address, or None where the state alone does not tell it.

    A postal code that is no ZIP code says that the letters mean a state of another country.
    """
    if state is None or (postal_code and not ZIP.fullmatch(postal_code.strip())):
        return None
    return ZONES.get(state.strip().upper())
