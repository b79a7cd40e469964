"""Read telephone numbers from XTN fields (HL7 v2.5.1 section 2.A.89): E.164, or nothing."""

from collections.abc import Iterable
from datetime import date

from connectors.api import Phone, e164
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


def number_of(xtn: Composite, region: str) -> str | None:
    """Return the number: unformatted (XTN.12), as written (XTN.1), or put together from XTN.5 to XTN.7.

    The extension (XTN.8) is left out: no carrier can reach it.
    """
    for place in (12, 1):
        written = xtn[place]
        if written and (number := e164(written, region)):
            return number
    local = xtn[7]
    if not local:
        return None
    country = xtn[5].lstrip("+")
    return e164(f"+{country}{xtn[6]}{local}" if country else f"{xtn[6]}{local}", region)


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
