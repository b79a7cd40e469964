"""Which numbers call for help: those of the practice's region, however somebody in a hurry dials them."""

import phonenumbers

HABITS = ("0", "8", "9", "00", "1")
"What people press before an outside number, out of habit; 47 CFR 9.16(b)(1) asks that none be needed."


def emergency_of(dialled: str, region: str, prefix: str = "") -> str:
    """Return the emergency number that somebody means who dials this, or an empty string.

    Dialled as it is, after the practice's own `prefix`, or after one that people know from elsewhere.
    """
    for lead in dict.fromkeys(("", prefix, *HABITS)):
        number = dialled.removeprefix(lead)
        if lead in HABITS and lead != prefix and len(number) < 3:
            continue  # in France 915 is rather a colleague than 15 after a 9
        if dialled == lead + number and phonenumbers.is_emergency_number(number, region):
            return number
    return ""
