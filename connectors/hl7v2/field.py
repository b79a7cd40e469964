"""Read HL7 v2 data types as the values of facts (HL7 v2.5.1 chapter 2A); what cannot be read is None, never a guess."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo

from connectors.api import Identifier
from connectors.hl7v2.er7 import Composite

_LONGEST_OFFSET = timedelta(hours=14)

_MINUTES = {
    **dict.fromkeys(("", "m", "min", "mins", "minute", "minutes"), 1.0),
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1 / 60),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 60.0),
}
"Minutes in each unit that senders write for a duration; SCH-10 has no table of its own."

LONGEST_MINUTES = 24 * 60
"A visit that is said to last longer is taken to be a mistake."

_URN = {"ISO": "urn:oid:", "UUID": "urn:uuid:", "GUID": "urn:uuid:", "URI": "", "URL": ""}
"Universal id types (HL7 table 0301) that make a URI, and what stands before the id."


def offset_of(text: str) -> timezone | None:
    """Return the offset that a time stamp ends with, such as -0500."""
    sign = max(text.find("+"), text.find("-"))
    digits = text[sign + 1 :]
    if sign < 0 or len(digits) != 4 or not (digits.isascii() and digits.isdigit()) or digits[2] > "5":
        return None
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    if offset > _LONGEST_OFFSET:
        return None
    return timezone(-offset if text[sign] == "-" else offset)


def instant_of(text: str, zone: tzinfo) -> datetime | None:
    """Return a TS or DTM value, YYYYMMDDHH[MM[SS[.S[S[S[S]]]]]][+/-ZZZZ], as UTC.

    `zone` reads a value without an offset. A mere date is no instant.
    """
    digits, given, fraction = text, zone, ""
    if len(text) != 14:
        sign = max(text.find("+"), text.find("-"))
        if sign >= 0:
            offset = offset_of(text)
            if offset is None:
                return None
            digits, given = text[:sign], offset
        digits, _, fraction = digits.partition(".")
        if len(digits) not in (10, 12, 14) or not (fraction == "" or (fraction.isascii() and fraction.isdigit())):
            return None
        digits = digits.ljust(14, "0")
    if not (digits.isascii() and digits.isdigit()):
        return None
    try:
        at = datetime.fromisoformat(f"{digits[:8]}T{digits[8:]}")
        if fraction:
            at = at.replace(microsecond=int(fraction[:6].ljust(6, "0")))
        return at.replace(tzinfo=given).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def sender_zone(stamp: str, zone: tzinfo) -> tzinfo:
    """Return the zone for times of a message that come without an offset, from its MSH-7 and the source's own zone.

    An offset in MSH-7 holds for the whole message. Where it is the one that `zone` has at that moment, `zone` itself
    is meant: the visit may fall on the other side of a change to or from daylight saving time.
    """
    offset = offset_of(stamp) if len(stamp) > 14 else None
    if offset is None:
        return zone
    at = instant_of(stamp, offset)
    if at is not None and at.astimezone(zone).utcoffset() == offset.utcoffset(None):
        return zone
    return offset


def date_of(text: str) -> date | None:
    """Return the day that a DT, TS or DTM value begins with; a bare year or month is None."""
    digits = text[:8]
    if len(digits) < 8 or not (digits.isascii() and digits.isdigit()):
        return None
    try:
        return date.fromisoformat(digits)
    except ValueError:
        return None


def minutes_of(amount: str, unit: str) -> int | None:
    """Return a duration in minutes; None where the unit is not known or the amount makes no sense."""
    factor = _MINUTES.get(unit.strip().lower())
    if factor is None:
        return None
    try:
        minutes = round(float(amount) * factor)
    except (ValueError, OverflowError):
        return None
    return minutes if 0 < minutes <= LONGEST_MINUTES else None


def assigner_of(authority: Sequence[str]) -> str:
    """Return an assigning authority (HD) as one string: a URI where its universal id makes one, else its namespace."""
    if len(authority) < 2:
        return authority[0]
    namespace, universal, kind = [*authority, ""][:3]
    prefix = _URN.get(kind.upper()) if universal else None
    return namespace or universal if prefix is None else prefix + universal


def entity_identifier(ei: Composite, kind: str) -> Identifier | None:
    """Return an entity identifier (EI); `kind` is its code in HL7 table 0203."""
    value = ei[1].strip()
    if not value:
        return None
    return Identifier(system=assigner_of((ei[2], ei[3], ei[4])), value=value, type=kind)


def words_of(cwe: Composite) -> str | None:
    """Return what a coded element (CWE, CE) says to a reader: its text, otherwise its code."""
    return cwe[2] or cwe[9] or cwe[1] or None


def person_of(xcn: Composite) -> str | None:
    """Return the name of a person with an id (XCN), given name first."""
    return " ".join(part for part in (xcn[3], xcn[2]) if part) or None


def place_of(pl: Composite) -> str | None:
    """Return what a person location (PL) says to a reader: its description, otherwise facility, building, unit."""
    parts = [pl[9]] if pl[9] else dict.fromkeys(part for part in (pl[4], pl[7], pl[1]) if part)
    return ", ".join(parts) or None
