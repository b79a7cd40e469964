"""Build HL7 v2 messages in ER7, the delimited encoding (HL7 v2.5.1 section 2.5): what `er7` reads, the other way.

A field is a string, a tuple of components, or a list of repetitions of either; a component is a string, or a tuple of
subcomponents. Everything is text as it is meant: escaping is done here, and so is leaving out what is empty at the end.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from uuid import UUID

from connectors.api import Identifier, RejectedError
from connectors.hl7v2.charset import codec_of
from connectors.hl7v2.er7 import NULL, STANDARD, Delimiters, escape

Component = str | tuple[str, ...]
Composite = str | tuple[Component, ...]
Field = Composite | list[Composite]
Fields = Mapping[int, Field]
"Fields by their numbers in the standard; those that are left out are empty."

UTF_8 = "UNICODE UTF-8"
"HL7 table 0211; from v2.3.1 on."

_MARKS = Delimiters()
_LONGEST_ID = 20
"Characters of MSH-10 up to v2.5.1."


@dataclass(frozen=True, slots=True)
class Header:
    """What the messages to one receiver have in common (MSH, HL7 v2.5.1 section 2.15.9)."""

    sending_application: str
    "MSH-3 and the three after it: a namespace, or namespace^universal id^type."

    sending_facility: str
    receiving_application: str
    receiving_facility: str
    processing: str = "P"
    "MSH-11 (HL7 table 0103): P production, T training, D debugging."

    version: str = "2.5.1"
    accept: str = ""
    "MSH-15 (HL7 table 0155); with an empty MSH-16 it is original mode."

    application: str = ""
    "MSH-16."

    charset: str = ""
    "MSH-18 (HL7 table 0211); where it is empty, ASCII, and UTF-8 for what is not ASCII."

    def older_than(self, version: str) -> bool:
        """Whether the receiver's version is older than `version`."""
        return _ordered(self.version) < _ordered(version)


@dataclass(frozen=True, slots=True)
class Draft:
    """A message without its header."""

    type: tuple[str, str, str]
    "MSH-9: message code, trigger event, message structure."

    segments: Sequence[tuple[str, Fields]]


def message(header: Header, draft: Draft, *, control_id: str, at: datetime, zone: tzinfo) -> bytes:
    """Return the message, segments ended with CR; `at` is said with the offset of `zone`.

    Raises:
        RejectedError: the receiver's character set has no way to say it.
    """
    body = "".join(f"{segment(name, fields)}\r" for name, fields in draft.segments)
    # MSH-9.3 exists from v2.3.1 on; before that a strict receiver takes it for a fault.
    kind = draft.type[:2] if header.older_than("2.3.1") else draft.type
    msh: dict[int, Field] = {
        3: _hd(header.sending_application),
        4: _hd(header.sending_facility),
        5: _hd(header.receiving_application),
        6: _hd(header.receiving_facility),
        7: stamp(at, zone),
        9: kind,
        10: control_id,
        11: header.processing,
        12: header.version,
        15: header.accept,
        16: header.application,
    }
    codec = codec_of(header.charset) or "ascii"
    if header.charset:
        msh[18] = header.charset
    elif not f"{body}{_heading(msh)}".isascii():
        msh[18], codec = UTF_8, "utf-8"
    try:
        return f"{_heading(msh)}\r{body}".encode(codec)
    except UnicodeEncodeError:
        pass
    raise RejectedError("character-not-in-charset", field="MSH-18")


def segment(name: str, fields: Fields) -> str:
    """Return a segment without its terminator."""
    texts = [_field(fields.get(number, "")) for number in range(1, max(fields, default=0) + 1)]
    return _joined(_MARKS.field, [name, *texts])


def stamp(at: datetime, zone: tzinfo) -> str:
    """Return an instant as DTM, with its offset in `zone`."""
    return at.astimezone(zone).strftime("%Y%m%d%H%M%S%z")


def entity(identifier: Identifier) -> Composite:
    """Return an identifier as EI: the inverse of `field.entity_identifier`."""
    system = identifier.system
    for prefix, kind in (("urn:oid:", "ISO"), ("urn:uuid:", "UUID")):
        if system.startswith(prefix):
            return (identifier.value, "", system.removeprefix(prefix), kind)
    if ":" in system:
        return (identifier.value, "", system, "URI")
    return (identifier.value, system)


def control_id_of(key: str) -> str:
    """Return MSH-10 for what `key` stands for: the same key has the same id for ever, in every process."""
    return base64.b32encode(hashlib.sha256(key.encode()).digest()).decode()[:_LONGEST_ID]


def made_at(key: str, now: datetime) -> datetime:
    """Return when what `key` stands for was made, so that MSH-7 is the same however often it is built.

    A UUID of version 7 says it (RFC 9562 section 5.7); of any other key nobody knows more than that it is `now`.
    """
    try:
        uuid = UUID(key)
    except ValueError:
        return now
    if uuid.version != 7:
        return now
    return datetime.fromtimestamp((uuid.int >> 80) / 1000, UTC)


def _heading(msh: Fields) -> str:
    # MSH-1 is the separator itself and MSH-2 is never escaped, so they stand in the place of what is joined.
    return f"MSH|{STANDARD}{segment('', msh).removeprefix('||')}"


def _field(value: Field) -> str:
    if isinstance(value, list):
        return _joined(_MARKS.repetition, [_composite(part) for part in value])
    return _composite(value)


def _composite(value: Composite) -> str:
    if isinstance(value, str):
        return _text(value)
    return _joined(_MARKS.component, [_component(part) for part in value])


def _component(value: Component) -> str:
    if isinstance(value, str):
        return _text(value)
    return _joined(_MARKS.subcomponent, [_text(part) for part in value])


def _text(value: str) -> str:
    # Two quotation marks alone would delete what the receiver has (section 2.5.3).
    return "\\X2222\\" if value == NULL else escape(value)


def _joined(mark: str, parts: list[str]) -> str:
    return mark.join(parts).rstrip(mark)


def _hd(text: str) -> Composite:
    return tuple(text.split("^"))


def _ordered(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
