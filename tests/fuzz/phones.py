"""Telephone numbers: whatever was typed in is a number that could be dialled or none, the same in FHIR and in HL7."""

import re

from connectors.fhir.telecom import e164, phones
from connectors.hl7v2.telephone import e164_of

REGIONS = ("US", "GB", "DE", "ZZ", "")

NUMBER = re.compile(r"\+[1-9][0-9]{1,16}")
"The library knows numbers of up to 17 digits after the country code; E.164 has 15 in all."

NORTH_AMERICAN = re.compile(r"\+1[2-9][0-9]{9}")

LONGEST = 250
"Characters that the library looks at; HL7's reader takes the brackets and hyphens out before."


def one(data: bytes) -> None:
    """Read each line of `data` as a number."""
    for line in data.split(b"\n")[:50]:
        for text in {line.decode(errors="replace"), line.decode("latin-1")}:
            _number(text)


def _number(text: str) -> None:
    for region in REGIONS:
        number = e164(text, region)
        assert number == e164_of(text, region) or len(text) > LONGEST
        told = [said["e164"] for said in phones({"system": "phone", "value": text}, region, "2026-11-23")]
        assert told == ([] if number is None else [number])
        if number is not None:
            assert NUMBER.fullmatch(number)
            # Elsewhere a number with too many zeros before it loses one more of them at each reading.
            assert e164(number, region) == number or not NORTH_AMERICAN.fullmatch(number)
