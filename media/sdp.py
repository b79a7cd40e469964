"""Session descriptions (RFC 8866); what two of them agree on is settled in `media.offer`.

Parsing keeps what an offer/answer exchange reads and every other attribute as text; `Session.parse(bytes(s)) == s`.
Connection and direction lines of the session level are moved into each media section that has none of its own.
"""

import secrets
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise

from media.errors import ProtocolError

MAX_BYTES = 16_384
MAX_MEDIA = 16
MAX_FORMATS = 64
PTIME_MS = 20
EVENT = "telephone-event"
"RFC 4733: digits as packets of their own."

PROTOCOL = "RTP/AVP"

_SHORT = 64
"Characters of what is said of a codec that are remembered."


class Direction(StrEnum):
    """Who sends, as the side that wrote the description sees it (RFC 3264 section 5.1)."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    @property
    def sends(self) -> bool:
        """Whether the side that wrote this sends."""
        return self in (Direction.SENDRECV, Direction.SENDONLY)

    @property
    def receives(self) -> bool:
        """Whether the side that wrote this wants to receive."""
        return self in (Direction.SENDRECV, Direction.RECVONLY)

    @classmethod
    def of(cls, *, sends: bool, receives: bool) -> "Direction":
        """Return the direction with these two properties."""
        if sends:
            return cls.SENDRECV if receives else cls.SENDONLY
        return cls.RECVONLY if receives else cls.INACTIVE


_DIRECTIONS = {each.value: each for each in Direction}


@dataclass(frozen=True, slots=True)
class Codec:
    """One payload type of a media section."""

    payload_type: int
    name: str
    "As written; empty for a dynamic type without rtpmap. Compare with `is_named`."

    rate: int
    "RTP clock, Hz."

    channels: int = 1
    fmtp: str = ""

    def is_named(self, name: str) -> bool:
        """Tell whether this is that encoding; names know no case (RFC 8866 section 6.6)."""
        return self.name.lower() == name.lower()

    def is_like(self, other: "Codec") -> bool:
        """Tell whether this is that encoding with that clock, under whatever number."""
        return self.is_named(other.name) and (self.rate, self.channels) == (other.rate, other.channels)

    def __str__(self) -> str:
        return f"{self.name}/{self.rate}" + (f"/{self.channels}" if self.channels != 1 else "")


PCMU = Codec(0, "PCMU", 8000)
PCMA = Codec(8, "PCMA", 8000)
EVENTS = Codec(101, EVENT, 8000, fmtp="0-15")

_STATIC = {
    codec.payload_type: codec
    for codec in (PCMU, Codec(3, "GSM", 8000), Codec(4, "G723", 8000), PCMA, Codec(9, "G722", 8000))
} | {13: Codec(13, "CN", 8000), 18: Codec(18, "G729", 8000)}
"Types with a meaning of their own (RFC 3551 section 6)."


@dataclass(frozen=True, slots=True)
class Media:
    """One m= section."""

    kind: str
    port: int
    "0 means refused, or stopped (RFC 3264 sections 6 and 8.2)."

    protocol: str
    address: str
    "Where this side wants its packets: an IP address, or a host name; empty where nothing was said."

    codecs: tuple[Codec, ...] = ()
    "In order of preference; empty unless the protocol is a kind of RTP."

    formats: tuple[str, ...] = ()
    "The format list of any other protocol."

    direction: Direction = Direction.SENDRECV
    ptime: int | None = None
    "Milliseconds of audio in a packet that this side wants."

    attributes: tuple[str, ...] = ()
    "Every other a= line, without `a=`."

    @property
    def held(self) -> bool:
        """Whether the address says that nothing may be sent (the hold of RFC 2543, which RFC 3264 8.4 still reads)."""
        return self.address in ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to

    def codec(self, name: str, rate: int = 8000, channels: int = 1) -> Codec | None:
        """Return the first codec of that name with that clock, Hz, or None."""
        for codec in self.codecs:
            if codec.is_named(name) and (codec.rate, codec.channels) == (rate, channels):
                return codec
        return None


@dataclass(frozen=True, slots=True)
class Origin:
    """The o= line: names a session and counts its versions."""

    session_id: str
    version: str
    address: str
    username: str = "-"

    @classmethod
    def new(cls, address: str) -> "Origin":
        """Return the origin of a new session."""
        return cls(str(secrets.randbits(48)), "1", address)

    def next(self) -> "Origin":
        """Return the origin of the next version: one more (RFC 3264 section 8)."""
        return replace(self, version=str(int(self.version) + 1))


@dataclass(frozen=True, slots=True)
class Session:
    """One session description."""

    origin: Origin
    media: tuple[Media, ...] = ()
    name: str = "-"
    attributes: tuple[str, ...] = field(default=())
    "The a= lines of the session level but direction, without `a=`."

    @classmethod
    def parse(cls, data: bytes) -> "Session":
        """Parse a description.

        Raises:
            ProtocolError: no v=0, no o=, or a line that cannot be read.
        """
        if len(data) > MAX_BYTES:
            raise ProtocolError("a session description this long is none")
        text = data.decode("utf-8", "surrogateescape")
        lines = [line.rstrip("\r") for line in text.split("\n")]
        while lines and not lines[-1]:
            lines.pop()
        if not lines or lines[0] != "v=0" or any(line[1:2] != "=" or "\r" in line for line in lines):
            raise ProtocolError("not a session description", spec="RFC 8866 section 5")
        starts = [place for place, line in enumerate(lines) if line.startswith("m=")]
        if len(starts) > MAX_MEDIA:
            raise ProtocolError("too many media sections")
        head = _Section(lines[1 : starts[0] if starts else None])
        if head.origin is None:
            raise ProtocolError("no o=", spec="RFC 8866 section 5.2")
        media = tuple(_media_of(lines[start:end], head) for start, end in pairwise([*starts, len(lines)]))
        return cls(head.origin, media, head.name, tuple(head.attributes))

    def __bytes__(self) -> bytes:
        origin = self.origin
        owner = f"o={origin.username} {origin.session_id} {origin.version} {_connection(origin.address)}"
        lines = ["v=0", owner, f"s={self.name}"]
        # A section without an address would inherit the shared one.
        shared = self.media[0].address if self.media and all(media.address for media in self.media) else ""
        if shared:
            lines.append(f"c={_connection(shared)}")
        lines.append("t=0 0")
        lines += [f"a={text}" for text in self.attributes]
        for media in self.media:
            lines += _media_lines(media, shared)
        return ("\r\n".join(lines) + "\r\n").encode("utf-8", "surrogateescape")

    @property
    def audio(self) -> Media | None:
        """The first audio section that is in use."""
        return next((media for media in self.media if media.kind == "audio" and media.port), None)


class _Section:
    """The lines of one level, sorted by what they are."""

    def __init__(self, lines: list[str]) -> None:
        self.origin: Origin | None = None
        self.name = "-"
        self.address: str | None = None
        self.direction: Direction | None = None
        self.ptime: int | None = None
        self.maps: dict[str, str] = {}
        self.fmtps: dict[str, str] = {}
        self.attributes: list[str] = []
        for line in lines:
            kind, value = line[0], line[2:]
            if kind == "a":
                self._attribute(value)
            elif kind == "c":
                self.address = _address_of(value.split(" "))
            elif kind == "s":
                self.name = value
            elif kind == "o":
                words = value.split(" ")
                if len(words) != 6 or not (words[2].isascii() and words[2].isdigit() and len(words[2]) <= 32):
                    raise ProtocolError("o= cannot be read", spec="RFC 8866 section 5.2")
                self.origin = Origin(words[1], words[2], _address_of(words[3:]), words[0])

    def _attribute(self, text: str) -> None:
        name, _, value = text.partition(":")
        if name in ("rtpmap", "fmtp"):
            kind, _, rest = value.partition(" ")
            (self.maps if name == "rtpmap" else self.fmtps).setdefault(kind, rest.strip())
        elif name == "ptime":
            # Some write it as a decimal fraction; what cannot be read says nothing.
            whole = value.partition(".")[0].strip()
            self.ptime = int(whole) or None if whole.isascii() and whole.isdigit() and len(whole) <= 4 else None
        elif text in _DIRECTIONS:
            self.direction = _DIRECTIONS[text]
        else:
            self.attributes.append(text)


def _address_of(words: list[str]) -> str:
    if len(words) != 3 or words[0] != "IN" or words[1] not in ("IP4", "IP6"):
        raise ProtocolError("not an internet address", spec="RFC 8866 section 5.7")
    address = words[2].partition("/")[0]  # a multicast address carries its time to live
    if not address or (":" in address) != (words[1] == "IP6"):
        raise ProtocolError("not an internet address", spec="RFC 8866 section 5.7")
    return address


def _connection(address: str) -> str:
    return f"IN {'IP6' if ':' in address else 'IP4'} {address}"


def _media_of(lines: list[str], head: _Section) -> Media:
    words = lines[0][2:].split()
    if len(words) < 4 or len(words) - 3 > MAX_FORMATS:
        raise ProtocolError("m= cannot be read", spec="RFC 8866 section 5.14")
    kind, port, protocol, formats = words[0], words[1].partition("/")[0], words[2], words[3:]
    if not (port.isascii() and port.isdigit() and len(port) <= 5) or int(port) > 65535:
        raise ProtocolError("m= has no port", spec="RFC 8866 section 5.14")
    own = _Section(lines[1:])
    is_rtp = "RTP/" in protocol
    return Media(
        kind,
        int(port),
        protocol,
        own.address if own.address is not None else head.address or "",
        tuple(_codec_of(text, own) for text in formats) if is_rtp else (),
        () if is_rtp else tuple(formats),
        own.direction or head.direction or Direction.SENDRECV,
        own.ptime or head.ptime,
        tuple(own.attributes),
    )


def _codec_of(text: str, section: _Section) -> Codec:
    if not (text.isascii() and text.isdigit() and len(text) <= 3) or int(text) > 127:
        raise ProtocolError("not a payload type", spec="RFC 3551 section 6")
    text = str(int(text))  # a zero before it makes no other type of it
    said, fmtp = section.maps.get(text, ""), section.fmtps.get(text, "")
    # The same few codecs stand in every description; what is longer than any of them is not worth keeping.
    read = _known_codec if len(said) + len(fmtp) <= _SHORT else _codec
    return read(int(text), said, fmtp)


def _codec(number: int, said: str, fmtp: str) -> Codec:
    name, rate, channels = [*said.split("/"), "", ""][:3]
    stated = channels.isascii() and channels.isdigit() and len(channels) <= 3
    if not (name and rate.isascii() and rate.isdigit() and len(rate) <= 6):
        # One that cannot be read says nothing: it may well be of a section or type that nobody takes.
        known = _STATIC.get(number, Codec(number, "", 0))
        return replace(known, fmtp=fmtp) if fmtp else known
    return Codec(number, name, int(rate), int(channels) if stated else 1, fmtp)


_known_codec = lru_cache(1024)(_codec)


def _media_lines(media: Media, shared: str) -> list[str]:
    formats = [str(codec.payload_type) for codec in media.codecs] or list(media.formats)
    lines = [f"m={media.kind} {media.port} {media.protocol} {' '.join(formats)}"]
    if media.address and media.address != shared:
        lines.append(f"c={_connection(media.address)}")
    for codec in media.codecs:
        if codec.name:
            lines.append(f"a=rtpmap:{codec.payload_type} {codec}")
        if codec.fmtp:
            lines.append(f"a=fmtp:{codec.payload_type} {codec.fmtp}")
    if media.ptime:
        lines.append(f"a=ptime:{media.ptime}")
    lines.append(f"a={media.direction}")
    return lines + [f"a={text}" for text in media.attributes]
