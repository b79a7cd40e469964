"""Known numbers in whatever way they are written: found in a text, and written anew."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import phonenumbers
from phonenumbers import PhoneNumberFormat

FORMATS = ("+15554364287", "5554364287", "555-436-4287", "(555) 436-4287")
"The four ways, by the example that names them in a report."


@lru_cache(maxsize=256)
def ways(e164: str) -> tuple[str, str, str, str]:
    """Return how servers write an E.164 number: itself, digits, with dashes, with parentheses.

    Outside of North America the last two are the international and the national way of the number's country.
    """
    number = phonenumbers.parse(e164, None)
    digits = phonenumbers.national_significant_number(number)
    if number.country_code == 1 and len(digits) == 10:
        area, exchange, line = digits[:3], digits[3:6], digits[6:]
        return e164, digits, f"{area}-{exchange}-{line}", f"({area}) {exchange}-{line}"
    international = phonenumbers.format_number(number, PhoneNumberFormat.INTERNATIONAL)
    return e164, digits, international, phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL)


@lru_cache(maxsize=256)
def pattern(e164: str) -> str:
    """Return an expression for an E.164 number in any way of writing."""
    number = phonenumbers.parse(e164, None)
    digits = phonenumbers.national_significant_number(number)
    country = rf"(?:\+?{number.country_code}[\s.\-]*|0)?"
    return rf"(?<![\d+]){country}\(?" + r"[\s().\-]{0,2}".join(digits) + r"(?!\d)"


class Numbers:
    """Numbers that a case knows."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = [(re.compile(pattern(e164)), e164) for e164 in sorted(set(known))]
        self._neutral: dict[str, str] = {}

    def neutral(self, text: str) -> str:
        """Return `text` with each known number as <E.164>, so that ways of writing compare equal."""
        if text not in self._neutral:
            self._neutral[text] = self._neutralised(text)
        return self._neutral[text]

    def _neutralised(self, text: str) -> str:
        for expression, e164 in self._known:
            text = expression.sub(f"<{e164}>", text)
        return text

    def within(self, text: str) -> set[tuple[str, str]]:
        """Return each known number in `text` with the way it is written there."""
        return {(e164, found) for expression, e164 in self._known for found in expression.findall(text)}

    def rewritten(self, text: str, way: int, instead: dict[str, str] | None = None) -> str:
        """Return `text` with each known number in the way of that index; `instead` puts another in its place."""
        for expression, e164 in self._known:
            chosen = ways((instead or {}).get(e164, e164))[way]
            text = expression.sub(chosen.replace("\\", "\\\\"), text)
        return text


def each_text(value: Any, change: Any) -> Any:
    """Return a JSON value with `change` applied to every string in it, names aside."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {name: each_text(one, change) for name, one in value.items()}
    if isinstance(value, list):
        return [each_text(one, change) for one in value]
    return value
