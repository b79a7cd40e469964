"""What a phone of the practice may dial, and what it costs: denied unless the policy allows it.

Pure: the policy, the number and what was dialled so far go in, a decision comes out. Emergency numbers are let through
before anything else is looked at.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar

import phonenumbers
from phonenumbers import PhoneNumberType

from hub.rules.emergency import emergency_of
from hub.settings.practice import Practice
from hub.settings.telephony import Location

EARTH = "001"
"The region of ranges that belong to no country: satellites and international networks."

_KINDS = frozenset(
    {
        PhoneNumberType.FIXED_LINE,
        PhoneNumberType.MOBILE,
        PhoneNumberType.FIXED_LINE_OR_MOBILE,
        PhoneNumberType.TOLL_FREE,
        PhoneNumberType.VOIP,
    }
)
"What the permission for a country covers; premium, shared-cost, personal, pager and unknown ranges are not in it."

_DIALLED = re.compile(r"\+?[0-9*#]{1,30}")
_VISUAL = str.maketrans("", "", "-.() ")


class Refusal(StrEnum):
    """Why a number may not be dialled; also what the phone is told, and what the log says."""

    NOT_A_NUMBER = "not-a-number"
    NO_TRUNK = "no-trunk"
    COUNTRY = "country-not-allowed"
    KIND = "range-not-allowed"
    "Premium, shared-cost, satellite, or a range that nobody knows."

    LISTED = "number-refused"
    HOURS = "outside-hours"
    BUSY = "too-many-calls"
    HASTE = "too-many-attempts"
    COST = "daily-cost-reached"


@dataclass(frozen=True, slots=True)
class Usage:
    """What was dialled so far: the practice's calls, and those of the extension that dials now."""

    going_on: int = 0
    own_going_on: int = 0
    last_minute: int = 0
    last_hour: int = 0
    "Calls to the outside that this extension began in the minute and in the hour before."

    spent: Decimal = Decimal(0)
    "Today, on the practice's clock, by all extensions."


@dataclass(frozen=True, slots=True)
class Internal:
    """Another phone of the practice."""

    extension: str


@dataclass(frozen=True, slots=True)
class External:
    """A number outside."""

    number: str = field(repr=False)
    "E.164, or a short number as it is dialled."

    price: Decimal = Decimal(0)
    "Of a minute."


@dataclass(frozen=True, slots=True)
class Emergency:
    """A call for help; it costs the practice nothing."""

    number: str
    price: ClassVar[Decimal] = Decimal(0)


Decision = Internal | External | Emergency | Refusal


def decide(practice: Practice, dialled: str, usage: Usage, now: datetime, extensions: Collection[str] = ()) -> Decision:
    """Return what becomes of a call that a phone of the practice dials at `now`.

    `extensions` are phones that exist beside those of the policy's staff.
    """
    number = dialled.translate(_VISUAL)
    dialling = practice.dialling
    if not _DIALLED.fullmatch(number):
        return Refusal.NOT_A_NUMBER
    if emergency := emergency_of(number, practice.practice.region, dialling.outside_prefix):
        return Emergency(emergency)
    if number in extensions or any(person.extension == number for person in practice.staff):
        return Internal(number)
    if not number.startswith("+") and dialling.outside_prefix:
        if not number.startswith(dialling.outside_prefix):
            return Refusal.NOT_A_NUMBER
        number = number.removeprefix(dialling.outside_prefix)
    allowed = _allowed(practice, number)
    if isinstance(allowed, Refusal):
        return allowed
    return within(practice, usage, now) or allowed


def location_of(practice: Practice, extension: str) -> Location | None:
    """Return where a phone stands; None where the policy says of no phone where it is."""
    named = (place for place in practice.locations if extension in place.extensions)
    return next(named, practice.locations[0] if practice.locations else None)


def shown_number(practice: Practice) -> str:
    """Return the number of the practice that those who are called see (E.164); empty where it has none."""
    return practice.dialling.caller_id or (practice.numbers[0].did if practice.numbers else "")


def trunks_for(practice: Practice, *, emergency: bool = False) -> list[str]:
    """Return the trunks that a call to the outside is tried over, in order; every one for a call for help."""
    outward = [trunk.name for trunk in practice.trunks if trunk.servers]
    chosen = [name for name in practice.dialling.trunks if name in outward]
    if emergency:
        return chosen + [name for name in outward if name not in chosen]
    return chosen or outward


def _allowed(practice: Practice, number: str) -> External | Refusal:
    """Return whether a number may be dialled at all."""
    dialling = practice.dialling
    if not trunks_for(practice):
        return Refusal.NO_TRUNK
    if number in dialling.services:
        return External(number, dialling.price_of(number))
    try:
        parsed = phonenumbers.parse(number, practice.practice.region)
    except phonenumbers.NumberParseException:
        return Refusal.NOT_A_NUMBER
    # Possible, not "valid": new ranges are in no list yet. Without its area code a number is possible to nobody here.
    possible = phonenumbers.is_possible_number_with_reason(parsed) == phonenumbers.ValidationResult.IS_POSSIBLE
    if not possible or parsed.extension:
        return Refusal.NOT_A_NUMBER
    e164 = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    return _refused(practice, parsed, e164) or External(e164, dialling.price_of(e164))


def _refused(practice: Practice, parsed: phonenumbers.PhoneNumber, e164: str) -> Refusal | None:
    dialling = practice.dialling
    if e164.startswith(dialling.refused):
        return Refusal.LISTED
    if e164.startswith(dialling.prefixes):
        return None
    region = phonenumbers.region_code_for_number(parsed)
    if region == EARTH:
        return Refusal.KIND
    if region is None:
        # In no country's plan: of one country only where the code is, for +1 is shared with the Caribbean.
        regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(parsed.country_code or 0, ())
        allowed = len(regions) == 1 and regions[0] in dialling.countries
        return Refusal.KIND if allowed else Refusal.COUNTRY
    if region not in dialling.countries:
        return Refusal.COUNTRY
    return None if phonenumbers.number_type(parsed) in _KINDS else Refusal.KIND


def within(practice: Practice, usage: Usage, now: datetime) -> Refusal | None:
    """Return which of the policy's limits is reached, whatever the number; None where none is."""
    dialling = practice.dialling
    clock = now.astimezone(practice.practice.zone).time()
    if dialling.hours is not None and not dialling.hours.start <= clock < dialling.hours.end:
        return Refusal.HOURS
    if usage.going_on >= dialling.concurrent or usage.own_going_on >= dialling.concurrent_each:
        return Refusal.BUSY
    if usage.last_minute >= dialling.per_minute or usage.last_hour >= dialling.per_hour:
        return Refusal.HASTE
    return Refusal.COST if usage.spent >= dialling.daily_cost else None
