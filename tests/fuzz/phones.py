"""Telephone numbers: whatever was typed in is a number that could be dialled or none, as the library has it."""

import re

import phonenumbers

from connectors.fhir.telecom import phones
from connectors.telephone import LONGEST, e164

REGIONS = ("US", "GB", "DE", "ZZ", "")

NUMBER = re.compile(r"\+[1-9][0-9]{1,16}")
"The library knows numbers of up to 17 digits after the country code; E.164 has 15 in all."

NORTH_AMERICAN = re.compile(r"\+1[2-9][0-9]{9}")


def one(data: bytes) -> None:
    """Read each line of `data` as a number."""
    for line in data.split(b"\n")[:50]:
        for text in {line.decode(errors="replace"), line.decode("latin-1")}:
            _number(text)


def _number(text: str) -> None:
    for region in REGIONS:
        number = e164(text, region)
        assert number == _by_the_library(text, region)
        told = [said["e164"] for said in phones({"system": "phone", "value": text}, region, "2026-11-23")]
        assert told == ([] if number is None else [number])
        if number is not None:
            assert NUMBER.fullmatch(number)
            # Elsewhere a number with too many zeros before it loses one more of them at each reading.
            assert e164(number, region) == number or not NORTH_AMERICAN.fullmatch(number)


def _by_the_library(text: str, region: str) -> str | None:
    if len(text) > LONGEST:
        return None
    try:
        parsed = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if phonenumbers.is_possible_number_with_reason(parsed) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    return str(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))
