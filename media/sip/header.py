"""What stands inside header fields: lists, parameters, quoted strings, tags, Via and CSeq (RFC 3261 section 25.1)."""

import re
from dataclasses import dataclass, field
from functools import lru_cache

from media.errors import ProtocolError
from media.sip.hop import DEFAULT_PORTS, Hop

COOKIE = "z9hG4bK"
"Every branch made under RFC 3261 begins with it (section 8.1.1.7)."

MAX_SEQUENCE = 2**31
"CSeq numbers lie below this (RFC 3261 section 8.1.1.5)."

Params = dict[str, str | None]
"Parameters in their order, names in lower case; the value None stands for a bare name, quotes are kept."

_SHORT = 64
"Characters of a host with its port that are remembered."

_BLANKED = dict.fromkeys((*range(32), 127), " ")
_BARE = str.maketrans("", "", "-.!%*_+`'~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def is_token(text: str) -> bool:
    """Tell whether `text` is a token: no space, no separator, not empty."""
    return bool(text) and not text.translate(_BARE)


def cut(value: str, separator: str) -> list[str]:
    """Split at each `separator` outside quotes and angle brackets; the parts are stripped.

    Raises:
        ProtocolError: a quote or an angle bracket is not closed.
    """
    if '"' not in value and "<" not in value:
        return [part.strip() for part in value.split(separator)]
    special = _specials(separator)
    parts: list[str] = []
    start, place, bracketed = 0, 0, False
    while (found := special.search(value, place)) is not None:
        at, char = found.start(), found[0]
        place = at + 1
        if char == "<":
            bracketed = True
        elif char == ">":
            bracketed = False
        elif bracketed:
            continue
        elif char == '"':
            place = _quote_end(value, at) + 1
        else:
            parts.append(value[start:at].strip())
            start = place
    if bracketed:
        raise ProtocolError("an angle bracket is not closed")
    parts.append(value[start:].strip())
    return parts


@lru_cache(8)
def _specials(separator: str) -> re.Pattern[str]:
    return re.compile(f'["<>{re.escape(separator)}]')


def _quote_end(value: str, start: int) -> int:
    """Return where the quoted string that opens at `start` closes."""
    place = start
    while (place := value.find('"', place + 1)) >= 0:
        first = place
        while value[first - 1] == "\\":  # the opening quote is none
            first -= 1
        if (place - first) % 2 == 0:
            return place
    raise ProtocolError("a quote is not closed")


def split_list(value: str) -> list[str]:
    """Split a comma list; empty elements are dropped.

    Raises:
        ProtocolError: a quote or an angle bracket is not closed.
    """
    if "," not in value:
        return [value] if value else []
    return [part for part in cut(value, ",") if part]


def quote(text: str) -> str:
    """Return `text` as a quoted string; control characters become spaces, so that it cannot end the line."""
    clean = text.translate(_BLANKED)
    return '"' + clean.replace("\\", "\\\\").replace('"', '\\"') + '"'


def unquote(text: str) -> str:
    """Return what a quoted string says; other text comes back as it is.

    Raises:
        ProtocolError: the closing quote is missing or not at the end.
    """
    if not text.startswith('"'):
        return text
    if _quote_end(text, 0) != len(text) - 1:
        raise ProtocolError("text follows a quoted string")
    inner = text[1:-1]
    if "\\" not in inner:
        return inner
    chars, place = [], 0
    while place < len(inner):
        place += inner[place] == "\\"
        chars.append(inner[place])
        place += 1
    return "".join(chars)


def legible(text: str) -> str:
    """Return text of a message as Unicode that can be kept: where it is no UTF-8 it is taken for Latin-1.

    RFC 3261 section 25.1 knows UTF-8 alone; carriers send names as older networks have them.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape").decode("latin-1")
    return text


def parse_params(text: str) -> Params:
    """Parse `a=b;c;d="e"`; of a name that comes twice the first counts.

    Raises:
        ProtocolError: a name is missing, or a quote is not closed.
    """
    params: Params = {}
    for part in cut(text, ";") if '"' in text else text.split(";"):
        name, equals, value = part.partition("=")
        name = name.strip().lower()
        if not name:
            if not part.strip():
                continue
            raise ProtocolError("a parameter has no name")
        params.setdefault(name, value.strip() if equals else None)
    return params


def build_params(params: Params) -> str:
    """Return `;a=b;c`: the inverse of `parse_params` with a semicolon before each."""
    return "".join([f";{name}" if value is None else f";{name}={value}" for name, value in params.items()])


def tag_of(value: str) -> str:
    """Return the tag of a From or To value, or an empty string.

    Raises:
        ProtocolError: a quote or an angle bracket is not closed.
    """
    head, usual, tag = value.rpartition(">;tag=")
    if usual and head and tag and ";" not in tag and '"' not in tag and value.count('"') % 2 == 0:
        return tag.strip()  # nearly always it stands alone behind the bracket
    # Without brackets a parameter belongs to the header, not to the URI (RFC 3261 section 20.10).
    rest = value[value.rfind(">") + 1 :] if "<" in value else value
    if '"' in rest or value.count('"') % 2:
        # A quoted parameter, in which that bracket may have stood.
        rest = "".join(f";{part}" for part in cut(value, ";")[1:])
    return parse_params(rest.partition(";")[2]).get("tag") or ""


def parse_sequence(value: str) -> tuple[int, str]:
    """Parse a CSeq value into its number and method (RFC 3261 section 20.16).

    Raises:
        ProtocolError: no number below 2**31, or no method.
    """
    number, _, method = value.replace("\t", " ").partition(" ")
    method = method.strip()
    if not (number.isascii() and number.isdigit()) or len(number) > 10 or not is_token(method):
        raise ProtocolError("CSeq is not a number and a method", spec="RFC 3261 section 20.16")
    if int(number) >= MAX_SEQUENCE:
        raise ProtocolError("CSeq is too large", spec="RFC 3261 section 8.1.1.5")
    return int(number), method


def parse_hostport(text: str) -> tuple[str, int | None]:
    """Parse `host`, `host:port` or `[v6]:port`; the host comes back in lower case, brackets kept.

    Raises:
        ProtocolError: no host, a character that no host has, or a port outside 1 to 65535.
    """
    # The same few peers stand in every message; what is longer than any of them is not worth keeping.
    return _known_hostport(text) if len(text) <= _SHORT else _hostport(text)


def _hostport(text: str) -> tuple[str, int | None]:
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        host += bracket
        plain = host[1:-1].replace(":", "").replace(".", "")
        if not (bracket and plain.isascii() and plain.isalnum()) or (rest and not rest.startswith(":")):
            raise ProtocolError("not an IPv6 reference")
        port_text, colon = rest[1:], rest[:1]
    else:
        host, colon, port_text = text.partition(":")
        if not host.replace(".", "").replace("-", "").replace("_", "").isalnum() or not host.isascii():
            raise ProtocolError("not a host name")
    if not colon:
        return host.lower(), None
    if not (port_text.isascii() and port_text.isdigit() and len(port_text) <= 5) or not 0 < int(port_text) <= 65535:
        raise ProtocolError("not a port")
    return host.lower(), int(port_text)


_known_hostport = lru_cache(4096)(_hostport)


@dataclass(frozen=True, slots=True)
class Via:
    """One Via value: the hop that a response goes back to (RFC 3261 section 20.42)."""

    transport: str
    "Upper case: UDP, TCP, TLS, WS, WSS."

    host: str
    port: int | None
    params: Params = field(default_factory=dict)

    @classmethod
    def parse(cls, value: str) -> "Via":
        """Parse one Via value.

        Raises:
            ProtocolError: not SIP/2.0 over a transport, no host, or a bad port.
        """
        head, _, tail = value.partition(";")
        if ";;" in value or value.endswith(";"):
            raise ProtocolError("a parameter of Via is empty", spec="RFC 3261 section 25.1")
        if head.startswith("SIP/2.0/UDP "):
            transport, sent_by = "UDP", head[12:]
        else:
            protocol, version, rest = ([part.strip() for part in head.split("/")] + ["", ""])[:3]
            transport, _, sent_by = rest.replace("\t", " ").partition(" ")
            if protocol.upper() != "SIP" or version != "2.0" or not is_token(transport):
                raise ProtocolError("Via is not SIP/2.0", spec="RFC 3261 section 20.42")
            transport = transport.upper()
        host, port = parse_hostport(sent_by.replace(" ", "").replace("\t", ""))
        return cls(transport, host, port, parse_params(tail) if tail else {})

    def __str__(self) -> str:
        port = "" if self.port is None else f":{self.port}"
        return f"SIP/2.0/{self.transport} {self.host}{port}{build_params(self.params)}"

    @property
    def branch(self) -> str:
        """The transaction's id; empty where a peer older than RFC 3261 gave none."""
        return self.params.get("branch") or ""

    @property
    def sent_by(self) -> str:
        """Host and port as the sender wrote them."""
        return self.host if self.port is None else f"{self.host}:{self.port}"

    def stamped(self, source: Hop) -> "Via":
        """Return this hop with where its request really came from (RFC 3261 section 18.2.1, RFC 3581 section 4)."""
        host, port = source[0], source[1]
        if "rport" in self.params:
            return Via(self.transport, self.host, self.port, {**self.params, "rport": str(port), "received": host})
        if self.host.strip("[]") == host and "received" not in self.params:
            return self
        # A sender that fills in `received` itself must not steer our answers to a third party.
        return Via(self.transport, self.host, self.port, {**self.params, "received": host})

    def back_to(self, source: Hop) -> Hop:
        """Return where a response goes to a request that came from `source`; call it on a stamped Via.

        Over UDP to the port it came from, if asked (RFC 3581 section 4). Otherwise over its connection, and if that
        is gone to the port where the sender says that it listens (RFC 3261 section 18.2.2).
        """
        host = self.params.get("received") or self.host.strip("[]")
        rport = None if source.reliable else self.params.get("rport")
        port = int(rport) if rport else self.port or DEFAULT_PORTS.get(source.transport, 0)
        return Hop(host, port, source.transport, source.flow)
