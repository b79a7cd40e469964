"""Answer a message: the general acknowledgment in original mode (HL7 v2.5.1 sections 2.9.2 and 2.13.1).

Built from the header's bytes as they came, so that a sender sees its own names and control id unchanged, whatever its
character set and delimiters.
"""

import itertools
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum

_PLAIN = [b"MSH", b"^~\\&"]


class Code(StrEnum):
    """MSA-1 (HL7 table 0008)."""

    ACCEPT = "AA"
    "Stored; not to be sent again."

    ERROR = "AE"
    "Not stored; to be sent again."

    REJECT = "AR"
    "Never to be stored as it is."


def header_of(frame: bytes) -> list[bytes]:
    """Return the fields of the first MSH segment, counted from MSH-1 at 0; standard delimiters if there is none."""
    start = 0 if frame.startswith(b"MSH") else frame.find(b"MSH")
    if start < 0 or len(frame) < start + 4 or not 0x20 < frame[start + 3] < 0x7F:
        return _PLAIN
    ends = [end for end in (frame.find(b"\r", start), frame.find(b"\n", start)) if end >= 0]
    return frame[start : min(ends, default=len(frame))].split(frame[start + 3 : start + 4], 18)


def control_id_of(frame: bytes) -> str:
    """Return MSH-10, or an empty string."""
    header = header_of(frame)
    return header[9].decode("latin-1").strip() if len(header) > 9 else ""


class Answers:
    """Makes acknowledgments, each with a control id of its own."""

    def __init__(self) -> None:
        prefix = secrets.token_hex(4)
        self._ids: Iterator[str] = (f"{prefix}{number:08X}" for number in itertools.count(1))

    def to(self, frame: bytes, code: Code, at: datetime, reason: str = "") -> bytes:
        """Return the acknowledgment of `frame`, unframed; `reason` is a code, never anything from the message."""
        header = header_of(frame)
        separator = frame[frame.find(b"MSH") + 3 :][:1] if header is not _PLAIN else b"|"
        field = [*header, *[b""] * 12][:12]
        component = field[1][:1]
        event = field[8].split(component)[1:2] if component else []
        kind = component.join([b"ACK", *event, b"ACK"]) if event and event[0] else b"ACK"
        stamp = at.astimezone(UTC).strftime("%Y%m%d%H%M%S+0000").encode()
        msh = [b"MSH", field[1], field[4], field[5], field[2], field[3], stamp, b"", kind, next(self._ids).encode()]
        msa = [b"MSA", code.encode(), field[9], *([reason.encode()] if reason else [])]
        return b"\r".join([separator.join([*msh, field[10] or b"P", field[11] or b"2.5.1"]), separator.join(msa), b""])
