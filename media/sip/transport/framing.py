"""Cuts the bytes of a connection into SIP messages by their Content-Length (RFC 3261 section 18.3); no sockets here."""

import re
from collections.abc import Iterator

from media.errors import ProtocolError
from media.sip.message import MAX_BYTES

MAX_HEAD = 32 << 10
"Bytes from the start line to the empty line."

PING = b"\r\n\r\n"
"What a peer sends between messages to keep its connection open; it waits for `PONG` (RFC 5626 section 4.4.1)."

PONG = b"\r\n"

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*:((?:[^\r\n]|\r\n[ \t])*)", re.IGNORECASE)


class FramingError(ProtocolError):
    """Nobody can tell where the next message of this connection begins; `head` is what was read of this one."""

    def __init__(self, what: str, head: bytes, reply: int) -> None:
        super().__init__(what, spec="RFC 3261 section 18.3")
        self.head = head
        self.reply = reply
        "The SIP status that says the same: 400 or 513."


class Framer:
    """The bytes of one connection that make no whole message yet."""

    __slots__ = ("_blank", "_buffer", "_needed", "_seen")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._needed = 0
        "The length of the message that has begun; 0 until its header is whole."

        self._seen = 0
        "So many bytes hold no end of a header."

        self._blank = 0
        "Empty lines since the last message."

    @property
    def waits(self) -> bool:
        """Whether a message has begun and is not whole."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take what has arrived; yield each message that is whole now, and `PING` where the peer sent one.

        Raises:
            FramingError: a header or body beyond all bounds, or no Content-Length: the connection is of no more use.
        """
        self._buffer += data
        while True:
            if not self._needed:
                if self._skip_blank():
                    yield PING
                    continue
                if not self._measure():
                    return
            if len(self._buffer) < self._needed:
                return
            message = bytes(self._buffer[: self._needed])
            del self._buffer[: self._needed]
            self._needed = self._seen = 0
            yield message

    def _skip_blank(self) -> bool:
        """Drop empty lines before a message (section 7.5); tell whether two of them in a row make a ping."""
        while self._buffer.startswith(b"\r\n"):
            del self._buffer[:2]
            self._blank += 1
            if self._blank == 2:
                self._blank = 0
                return True
        return False

    def _measure(self) -> bool:
        """Find out how long the message is that has begun; False until its header is whole."""
        buffer = self._buffer
        if len(buffer) <= 1:
            return False  # nothing yet, or half an empty line
        self._blank = 0
        end = buffer.find(_END, max(0, self._seen - 3))
        if end > MAX_HEAD or (end < 0 and len(buffer) > MAX_HEAD):
            whole = buffer.rfind(b"\r\n", 0, MAX_HEAD)
            raise FramingError("the header is too long", bytes(buffer[: max(whole, 0)]) + _END, 513)
        if end < 0:
            self._seen = len(buffer)
            return False
        head = bytes(buffer[: end + len(_END)])
        self._needed = len(head) + _length_of(head)
        return True


def _length_of(head: bytes) -> int:
    """Return the Content-Length, which a message in a stream must have."""
    values = {value.strip() for value in _LENGTH.findall(head)}
    value = values.pop() if len(values) == 1 else b""
    if not value.isdigit():
        raise FramingError("Content-Length is not one number", head, 400)
    if len(value) > 9 or len(head) + int(value) > MAX_BYTES:
        raise FramingError("the body is too long", head, 513)
    return int(value)
