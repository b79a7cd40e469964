"""RTCP: reports about what was sent and what was heard, and their inverse (RFC 3550 section 6)."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from media.errors import ProtocolError

SENDER, RECEIVER, DESCRIPTION, GOODBYE = 200, 201, 202, 203
"Packet types (section 12.1)."

KINDS = range(192, 224)
"Second bytes that mean RTCP where it shares RTP's port (RFC 5761 section 4)."

CNAME = 1
"The one item that every compound packet must have (section 6.5.1)."

_HEAD = struct.Struct(">BBH")
_INFO = struct.Struct(">QIII")
_BLOCK = struct.Struct(">IIIIII")
_WORD = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Block:
    """What one side says of a stream that it hears (section 6.4.1)."""

    ssrc: int
    fraction: int
    "Lost since the report before, in 256ths."

    lost: int
    "In all; negative where packets came twice."

    highest: int
    "Sequence number, with the cycles in the upper 16 bits."

    jitter: int
    "Timestamp units."

    last: int
    "Middle 32 bits of the NTP time of the last sender report that was heard; 0 where there was none."

    delay: int
    "Since then, in 65,536ths of a second."

    @classmethod
    def parse(cls, data: bytes) -> "Block":
        """Read 24 bytes."""
        ssrc, lost, highest, jitter, last, delay = _BLOCK.unpack(data)
        count = lost & 0xFFFFFF
        return cls(ssrc, lost >> 24, count - ((count & 0x800000) << 1), highest, jitter, last, delay)

    def __bytes__(self) -> bytes:
        lost = max(-0x800000, min(self.lost, 0x7FFFFF)) & 0xFFFFFF
        return _BLOCK.pack(self.ssrc, self.fraction << 24 | lost, self.highest, self.jitter, self.last, self.delay)


@dataclass(frozen=True, slots=True)
class Sent:
    """What a sender says of its own stream (section 6.4.1)."""

    ntp: int
    "64 bits: seconds since 1900 and their fraction."

    timestamp: int
    packets: int
    octets: int
    "Of payload."


@dataclass(frozen=True, slots=True)
class Statement:
    """A sender report, or with no `sent` a receiver report (sections 6.4.1 and 6.4.2)."""

    ssrc: int
    blocks: tuple[Block, ...] = ()
    sent: Sent | None = None

    def __bytes__(self) -> bytes:
        body = _WORD.pack(self.ssrc)
        if self.sent is not None:
            body += _INFO.pack(self.sent.ntp, self.sent.timestamp, self.sent.packets, self.sent.octets)
        body += b"".join(map(bytes, self.blocks))
        return _packed(RECEIVER if self.sent is None else SENDER, len(self.blocks), body)


@dataclass(frozen=True, slots=True)
class Description:
    """The name that a source goes by (section 6.5); of several in one packet, and several items, the CNAMEs."""

    names: tuple[tuple[int, str], ...]
    "SSRC and canonical name."

    def __bytes__(self) -> bytes:
        body = b""
        for ssrc, name in self.names:
            text = name.encode()[:255]
            item = bytes((CNAME, len(text))) + text
            # At least one zero ends the items; the next source begins on a word.
            body += _WORD.pack(ssrc) + item + bytes(4 - len(item) % 4)
        return _packed(DESCRIPTION, len(self.names), body)


@dataclass(frozen=True, slots=True)
class Goodbye:
    """Sources that are heard no more (section 6.6)."""

    ssrcs: tuple[int, ...]

    def __bytes__(self) -> bytes:
        return _packed(GOODBYE, len(self.ssrcs), b"".join(map(_WORD.pack, self.ssrcs)))


Control = Statement | Description | Goodbye


def parse(data: bytes) -> list[Control]:
    """Read a compound packet; kinds that say nothing to us are left out.

    Raises:
        ProtocolError: not what appendix A.2 calls valid, or a part is shorter than it says.
    """
    return list(_parts(data))


def compound(parts: Sequence[Control]) -> bytes:
    """Return one datagram; the first part must be a report, and a description must be there (section 6.1)."""
    return b"".join(map(bytes, parts))


def _parts(data: bytes) -> Iterator[Control]:
    at = 0
    while at < len(data):
        if len(data) - at < 4:
            raise ProtocolError("RTCP is cut short", spec="RFC 3550 section 6.4")
        first, kind, words = _HEAD.unpack_from(data, at)
        end = at + 4 + 4 * words
        if first >> 6 != 2 or end > len(data) or (at == 0 and (kind not in (SENDER, RECEIVER) or first & 0x20)):
            raise ProtocolError("not a compound of RTCP", spec="RFC 3550 appendix A.2")
        stop = end
        if first & 0x20:
            # Only the last may be padded; the padding's last byte counts it.
            stop = end - data[end - 1]
            if end != len(data) or not 4 <= data[end - 1] <= end - at - 4:
                raise ProtocolError("RTCP is padded wrongly", spec="RFC 3550 section 6.4.1")
        part = _part(kind, first & 0x1F, data[at + 4 : stop])
        if part is not None:
            yield part
        at = end
    if at == 0:
        raise ProtocolError("RTCP is empty", spec="RFC 3550 section 6.1")


def _part(kind: int, count: int, body: bytes) -> Control | None:
    if kind in (SENDER, RECEIVER):
        return _statement(kind, count, body)
    if kind == DESCRIPTION:
        return Description(tuple(_names(count, body)))
    if kind == GOODBYE:
        if len(body) < 4 * count:
            raise ProtocolError("a BYE is cut short", spec="RFC 3550 section 6.6")
        return Goodbye(struct.unpack_from(f">{count}I", body))
    return None


def _statement(kind: int, count: int, body: bytes) -> Statement:
    start = 4 + (_INFO.size if kind == SENDER else 0)
    if len(body) < start + 24 * count:
        raise ProtocolError("a report is cut short", spec="RFC 3550 section 6.4")
    sent = Sent(*_INFO.unpack_from(body, 4)) if kind == SENDER else None
    blocks = tuple(Block.parse(body[at : at + 24]) for at in range(start, start + 24 * count, 24))
    return Statement(_WORD.unpack_from(body)[0], blocks, sent)


def _names(count: int, body: bytes) -> Iterator[tuple[int, str]]:
    at = 0
    for _ in range(count):
        if len(body) - at < 8:
            raise ProtocolError("a source's description is cut short", spec="RFC 3550 section 6.5")
        ssrc, name, began, at = _WORD.unpack_from(body, at)[0], None, at, at + 4
        while body[at : at + 1] not in (b"\0", b""):
            item = body[at : at + 2]
            if len(item) < 2 or at + 2 + item[1] > len(body):
                raise ProtocolError("an item is cut short", spec="RFC 3550 section 6.5")
            if item[0] == CNAME and name is None:
                name = body[at + 2 : at + 2 + item[1]].decode(errors="replace")
            at += 2 + item[1]
        # The zero that ends the items, and more up to the next word.
        at = began + (at - began) // 4 * 4 + 4
        if name is not None:
            yield ssrc, name


def _packed(kind: int, count: int, body: bytes) -> bytes:
    return _HEAD.pack(0x80 | count, kind, len(body) // 4) + body
