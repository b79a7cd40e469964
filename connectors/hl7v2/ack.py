"""Answer a message: the general acknowledgment, original and enhanced mode (HL7 v2.5.1 sections 2.9.2, 2.9.3, 2.13.1).

Built from the header's bytes as they came, so that a sender sees its own names and control id unchanged, whatever its
character set and delimiters.
"""

import itertools
import re
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from connectors.api import RejectedError
from connectors.hl7v2.er7 import STANDARD, delimiters_of


class Code(StrEnum):
    """MSA-1 (HL7 table 0008)."""

    ACCEPT = "AA"
    "Stored; not to be sent again."

    ERROR = "AE"
    "Not stored; to be sent again."

    REJECT = "AR"
    "Never to be stored as it is."

    COMMIT_ACCEPT = "CA"
    COMMIT_ERROR = "CE"
    COMMIT_REJECT = "CR"


COMMIT = {Code.ACCEPT: Code.COMMIT_ACCEPT, Code.ERROR: Code.COMMIT_ERROR, Code.REJECT: Code.COMMIT_REJECT}
"What the accept acknowledgment of enhanced mode says in place of an application acknowledgment."


class Header(NamedTuple):
    """The first MSH segment of a frame."""

    separator: bytes
    fields: list[bytes]
    "MSH itself at 0, MSH-2 at 1: a field stands at one less than its number. Long enough for MSH-16."

    @property
    def control_id(self) -> str:
        """MSH-10, or an empty string."""
        return self.fields[9].decode("latin-1").strip()

    @property
    def sender(self) -> tuple[str, str]:
        """MSH-3.1 and MSH-4.1, the sending application and facility, in any character set."""
        component = self.fields[1][:1] or b"^"
        application, facility = (field.split(component)[0].strip() for field in self.fields[2:4])
        return application.decode("utf-8", "replace"), facility.decode("utf-8", "replace")

    def answers(self, code: Code) -> tuple[Code, ...]:
        """Return the acknowledgments that the sender waits for, in order.

        In original mode (MSH-15 and MSH-16 empty) that is the application's; an acknowledgment itself is not
        acknowledged then, or two systems that both did would never end. In enhanced mode it is the accept
        acknowledgment where MSH-15 asks for it, and then, of a message that was accepted, the application's where
        MSH-16 does: what is stored is all that this application does with a message while its sender waits.
        """
        accept, application = (_condition(self.fields[number]) for number in (14, 15))
        if not accept and not application:
            return () if self.fields[8].split(self.fields[1][:1] or b"^")[0].strip() == b"ACK" else (code,)
        if not _wanted(accept, code):
            return (code,) if _wanted(application, code) else ()
        also = code is Code.ACCEPT and _wanted(application, code)
        return (COMMIT[code], code) if also else (COMMIT[code],)


def _condition(field: bytes) -> bytes:
    said = field.strip().upper()
    return b"" if said == b'""' else said


def _wanted(condition: bytes, code: Code) -> bool:
    """Return whether a condition of HL7 table 0155 is met; one that is no part of it is taken for AL."""
    if condition in (b"", b"NE"):
        return False
    accepted = code is Code.ACCEPT
    return {b"ER": not accepted, b"SU": accepted}.get(condition, True)


_STANDARD = STANDARD.encode()

_BEGINS = re.compile(rb"(?:\A[\x00 \t\r\n\xef\xbb\xbf]*|[\r\n])(?=MSH)")


def header_of(frame: bytes) -> Header:
    """Return the header; standard delimiters and nothing else where there is none."""
    start = 0
    if not frame.startswith(b"MSH"):
        begin = _BEGINS.search(frame)
        start = begin.end() if begin else len(frame)
    separator = frame[start + 3 : start + 4]
    if not separator or not 0x20 < separator[0] < 0x7F or separator.isalnum() or separator in _STANDARD:
        return Header(b"|", [b"MSH", _STANDARD, *[b""] * 14])
    ends = [end for end in (frame.find(b"\r", start), frame.find(b"\n", start)) if end >= 0]
    fields = frame[start : min(ends, default=len(frame))].split(separator, 16)
    if fields[1] != _STANDARD and not _usable(separator, fields[1]):
        fields[1] = _STANDARD  # so that at least the answer can be read
    return Header(separator, fields + [b""] * (16 - len(fields)))


def _usable(separator: bytes, encoding: bytes) -> bool:
    """Return whether an answer in these delimiters says what it is to say: letters would split its codes."""
    if any(chr(one).isalnum() for one in encoding):
        return False
    try:
        delimiters_of((separator + encoding).decode("latin-1"))
    except RejectedError:
        return False
    return True


def control_id_of(frame: bytes) -> str:
    """Return MSH-10, or an empty string."""
    return header_of(frame).control_id


class Answers:
    """Makes acknowledgments, each with a control id of its own."""

    def __init__(self) -> None:
        prefix = secrets.token_hex(4)
        self._ids: Iterator[str] = (f"{prefix}{number:08X}" for number in itertools.count(1))

    def to(self, header: Header, code: Code, at: datetime, reason: str = "") -> bytes:
        """Return the acknowledgment of a message, unframed; `reason` is a code, never anything from the message."""
        separator, field = header
        component = field[1][:1]
        event = field[8].split(component)[1:2] if component else []
        kind = component.join([b"ACK", *event, b"ACK"]) if event and event[0] else b"ACK"
        stamp = at.astimezone(UTC).strftime("%Y%m%d%H%M%S+0000").encode()
        msh = [b"MSH", field[1], field[4], field[5], field[2], field[3], stamp, b"", kind, next(self._ids).encode()]
        msa = [b"MSA", code.encode(), field[9], *([reason.encode()] if reason else [])]
        said = b"\r".join([separator.join([*msh, field[10] or b"P", field[11] or b"2.5.1"]), separator.join(msa), b""])
        return said.replace(b"\x0b", b"") if b"\x0b" in said else said  # it would begin a frame within the frame
