"""Answer a message: the general acknowledgment in original mode (HL7 v2.5.1 sections 2.9.2 and 2.13.1).

Built from the header's bytes as they came, so that a sender sees its own names and control id unchanged, whatever its
character set and delimiters.
"""

import itertools
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple


class Code(StrEnum):
    """MSA-1 (HL7 table 0008)."""

    ACCEPT = "AA"
    "Stored; not to be sent again."

    ERROR = "AE"
    "Not stored; to be sent again."

    REJECT = "AR"
    "Never to be stored as it is."


class Header(NamedTuple):
    """The first MSH segment of a frame."""

    separator: bytes
    fields: list[bytes]
    "MSH itself at 0, MSH-2 at 1: a field stands at one less than its number. Long enough for MSH-12."

    @property
    def control_id(self) -> str:
        """MSH-10, or an empty string."""
        return self.fields[9].decode("latin-1").strip()


def header_of(frame: bytes) -> Header:
    """Return the header; standard delimiters and nothing else where there is none."""
    start = 0 if frame.startswith(b"MSH") else frame.find(b"MSH")
    separator = frame[start + 3 : start + 4] if start >= 0 else b""
    if not separator or not 0x20 < separator[0] < 0x7F or separator.isalnum():
        return Header(b"|", [b"MSH", b"^~\\&", *[b""] * 10])
    ends = [end for end in (frame.find(b"\r", start), frame.find(b"\n", start)) if end >= 0]
    fields = frame[start : min(ends, default=len(frame))].split(separator, 12)
    return Header(separator, fields + [b""] * (12 - len(fields)))


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
        return b"\r".join([separator.join([*msh, field[10] or b"P", field[11] or b"2.5.1"]), separator.join(msa), b""])
