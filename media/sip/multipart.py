"""Bodies of several parts: a session description, and what goes with it (RFC 2046 section 5.1.3, RFC 5621)."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a body."""

    content_type: str
    body: bytes = field(repr=False)
    content_id: str = ""
    "What a `cid:` URI in a header field calls it by; without angle brackets."

    def __bytes__(self) -> bytes:
        named = f"Content-ID: <{self.content_id}>\r\n" if self.content_id else ""
        return f"Content-Type: {self.content_type}\r\n{named}\r\n".encode() + self.body


def mixed(parts: Sequence[Part]) -> tuple[str, bytes]:
    """Return the Content-Type and the body that carry `parts`; a single one stands for itself."""
    if len(parts) == 1 and not parts[0].content_id:
        return parts[0].content_type, parts[0].body
    boundary = secrets.token_hex(16)
    body = b"".join(f"--{boundary}\r\n".encode() + bytes(part) + b"\r\n" for part in parts)
    return f'multipart/mixed;boundary="{boundary}"', body + f"--{boundary}--\r\n".encode()
