"""Telephone numbers as people write them: to E.164, and back to every way that a server may have stored them in."""

import re
from dataclasses import dataclass
from functools import lru_cache

import phonenumbers

LONGEST = 250
"Characters of what may be a number; more is none."

_SEPARATORS = str.maketrans("", "", "()-. ")


@lru_cache(maxsize=4096)
def e164(text: str, region: str) -> str | None:
    """Return a number that could be dialled, in E.164, or None; `region` (ISO 3166) reads one without a country code.

    Possible is enough: the numbers of test systems are possible and never valid. A number that can be dialled only
    inside its own area is None, because nobody knows the area. An extension is left out: no carrier can reach it.
    """
    if len(text) > LONGEST:
        return None
    if (number := _plain(text.translate(_SEPARATORS), region)) is not None:
        return number or None
    try:
        parsed = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if phonenumbers.is_possible_number_with_reason(parsed) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    return str(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))


def ways_of_writing(phone: str) -> tuple[str, str, str, str]:
    """Return how people and programs write an E.164 number: itself, digits, with dashes, with parentheses.

    Outside of North America the last two are the way of the number's country. What is no number stays as it is.
    """
    try:
        parsed = phonenumbers.parse(phone, None)
    except phonenumbers.NumberParseException:
        return (phone,) * 4
    digits = str(phonenumbers.national_significant_number(parsed))
    if parsed.country_code == 1 and len(digits) == 10:
        area, exchange, line = digits[:3], digits[3:6], digits[6:]
        return phone, digits, f"{area}-{exchange}-{line}", f"({area}) {exchange}-{line}"
    national = str(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL))
    return phone, digits, national, national


def _plain(digits: str, region: str) -> str | None:
    """Return what the library makes of a number in plain form, at a twentieth of its price; else None.

    That is ten digits where the trunk prefix is 1 (North America), with the country code or without, and a number with
    its prefix where that is 0. An empty string is a number that nobody can dial from elsewhere: fewer digits than that.
    """
    if not digits.isascii():
        return None
    if len(digits) == 12 and digits.startswith("+1") and digits[2] > "1" and digits[2:].isdigit():
        return digits
    if not digits.isdigit():
        return None
    plan = _plan(region)
    if plan is None:
        return None
    if plan.country == 1:
        if len(digits) < 10:
            return ""
        if len(digits) == 11 and digits[0] == "1" and digits[1] > "1":
            return f"+{digits}"
        return f"+1{digits}" if digits[0] > "1" and len(digits) == 10 else None
    if digits[0] == "0" and len(digits) - 1 in plan.lengths and not plan.abroad.match(digits):
        return f"+{plan.country}{digits[1:]}"
    return None


@dataclass(frozen=True, slots=True)
class _Plan:
    """A numbering plan whose trunk prefix just falls away."""

    country: int
    lengths: frozenset[int]
    abroad: re.Pattern[str]
    "How a number begins that is dialled abroad, or that keeps its zero."


@lru_cache(maxsize=16)
def _plan(region: str) -> _Plan | None:
    told = phonenumbers.PhoneMetadata.metadata_for_region(region)
    if told is None or told.country_code is None or told.general_desc is None or told.national_prefix_transform_rule:
        return None
    trunk = "1" if told.country_code == 1 else "0"
    if told.national_prefix != trunk or (told.national_prefix_for_parsing or "").partition("|")[0] != trunk:
        return None
    abroad = re.compile(f"00|{told.international_prefix or '00'}")
    return _Plan(told.country_code, frozenset(told.general_desc.possible_length), abroad)
