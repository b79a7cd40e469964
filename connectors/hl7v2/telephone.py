"""Read telephone numbers from XTN fields (HL7 v2.5.1 section 2.A.89): E.164, or nothing."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import phonenumbers

from connectors.api import Phone
from connectors.hl7v2.er7 import Composite
from connectors.hl7v2.field import date_of

_NO_TELEPHONE = frozenset({"NET", "INTERNET", "X.400", "FX", "MD", "BP", "BPN"})
"Uses and equipment (HL7 tables 0201, 0202) that nobody can talk or text to."

_USES = {
    "PRN": "home",
    "ORN": "home",
    "HOME": "home",
    "WPN": "work",
    "WORK": "work",
    "BUSINESS": "work",
    "VHN": "temp",
    "PRS": "mobile",
    "CELL": "mobile",
    "MOBILE": "mobile",
}
"HL7 table 0201, and words that senders write in its place, to FHIR R4 ContactPoint.use."

_SEPARATORS = str.maketrans("", "", "()-. ")


@lru_cache(maxsize=1024)
def e164_of(text: str, region: str) -> str | None:
    """Return a number that could be dialled, in E.164, or None; `region` reads one without a country code.

    Possible is enough: the numbers of test systems are possible and never valid. A number that can be dialled only
    inside its own area is None, because nobody knows the area.
    """
    if (number := _national(text.translate(_SEPARATORS), region)) is not None:
        return number or None
    try:
        parsed = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if phonenumbers.is_possible_number_with_reason(parsed) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def _national(digits: str, region: str) -> str | None:
    """Return what the library makes of a number in plain national form, at a twentieth of its price; else None.

    That is ten digits where the trunk prefix is 1 (North America), and a number with its prefix where that is 0. An
    empty string is a number that nobody can dial from elsewhere: fewer digits than that.
    """
    if not (digits.isascii() and digits.isdigit()):
        return None
    plan = _plan(region)
    if plan is None:
        return None
    if plan.country == 1:
        if len(digits) < 10:
            return ""
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


def number_of(xtn: Composite, region: str) -> str | None:
    """Return the number: unformatted (XTN.12), as written (XTN.1), or put together from XTN.5 to XTN.7.

    The extension (XTN.8) is left out: no carrier can reach it.
    """
    for place in (12, 1):
        written = xtn[place]
        if written and (number := e164_of(written, region)):
            return number
    local = xtn[7]
    if not local:
        return None
    country = xtn[5].lstrip("+")
    return e164_of(f"+{country}{xtn[6]}{local}" if country else f"{xtn[6]}{local}", region)


def phones_of(fields: Iterable[tuple[list[Composite], str]], region: str, day: date) -> tuple[Phone, ...]:
    """Return the numbers of several fields, each with the use that it has where XTN.2 names none.

    In the order of the message, unless XTN.18 says otherwise; a number that ended before `day` (XTN.14) is old.
    """
    phones: dict[str, Phone] = {}
    for composites, use in fields:
        for xtn in composites:
            code, equipment = xtn[2].upper(), xtn[3].upper()
            if code in _NO_TELEPHONE or equipment in _NO_TELEPHONE:
                continue
            number = number_of(xtn, region)
            if number is not None and number not in phones:
                use_of = "mobile" if equipment == "CP" else _USES.get(code, use)
                order, ended = xtn[18], xtn[14]
                if ended and (last := date_of(ended)) is not None and last < day:
                    use_of = "old"
                rank = max(int(order), 1) if order.isascii() and order.isdigit() else len(phones) + 1
                phones[number] = Phone(e164=number, use=use_of, rank=rank)
    return tuple(phones.values())
