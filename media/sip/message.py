"""SIP requests and responses: bytes in, bytes out (RFC 3261 sections 7 and 25).

Header fields stay text until someone asks: `via`, `sequence`, `from_tag` and the like are read on first use.
`parse(bytes(message)) == message`; compact names, folded lines and name case are normalised on the way in.
Content-Length is not kept among the header fields: it is checked when parsing and written when building.
"""

from collections.abc import Iterable, Mapping

from media.errors import ProtocolError
from media.sip.header import Via, is_token, parse_sequence, split_list, tag_of
from media.sip.hop import Hop
from media.sip.status import reason_of
from media.sip.uri import Address, Uri

MAX_BYTES = 65_535
MAX_FIELDS = 200
MAX_FORWARDS = 70

Headers = dict[str, list[str]]
"Header fields by canonical name, in order of first appearance; the order of one name's values is kept."

_COMPACT = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
}
_ODD = ["Call-ID", "CSeq", "MIME-Version", "Min-SE", "RAck", "RSeq", "SIP-ETag", "SIP-If-Match", "WWW-Authenticate"]
_ODD += ["P-Called-Party-ID"]
_USUAL = ["Accept", "Allow", "Authorization", "Contact", "Content-Length", "Content-Type", "Expires", "From"]
_USUAL += ["Max-Forwards", "Proxy-Authorization", "Record-Route", "Require", "Route", "Supported", "To", "User-Agent"]
_USUAL += ["Date", "P-Asserted-Identity", "Privacy", "Reason", "Refer-To", "Session-Expires", "Subject", "Via"]
_CANONICAL = {name: name for name in [*_ODD, *_USUAL]}
_CANONICAL |= {name.lower(): name for name in [*_ODD, *_USUAL]}
_CANONICAL |= _COMPACT | {short.upper(): name for short, name in _COMPACT.items()}

_SINGLE = ("From", "To", "Call-ID", "CSeq", "Max-Forwards")
"A request that carries one of these twice means two things (RFC 3261 section 7.3.1)."


_NOWHERE = Hop("", 0)


class MalformedError(ProtocolError):
    """A message that breaks RFC 3261; `message` is what could be read of it, so that a 400 can go back."""

    def __init__(self, what: str, *, message: "Message | None" = None, reply: int = 400) -> None:
        super().__init__(what, spec="RFC 3261")
        self.message = message
        self.reply = reply
        "The SIP status that says the same: 400, or 505 for another version."


class Message:
    """What requests and responses share."""

    __slots__ = ("_from_tag", "_sequence", "_to_tag", "_via", "body", "headers", "source")

    def __init__(self, headers: Headers, body: bytes = b"") -> None:
        self.headers = headers
        self.body = body
        self.source = _NOWHERE
        "Where it came from, once it is stamped."

        self._via: Via | None = None
        self._sequence: tuple[int, str] | None = None
        self._from_tag: str | None = None
        self._to_tag: str | None = None

    def get(self, name: str) -> str | None:
        """Return the first value of `name` (its canonical spelling), as it was written."""
        values = self.headers.get(name)
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """Return every value of `name`, comma lists split.

        Raises:
            ProtocolError: a quote or an angle bracket is not closed.
        """
        values = self.headers.get(name)
        if not values:
            return []
        if len(values) == 1 and "," not in values[0]:
            return values[:] if values[0] else []
        return [part for value in values for part in split_list(value)]

    @property
    def via(self) -> Via:
        """The topmost Via.

        Raises:
            ProtocolError: there is none, or it cannot be read.
        """
        if self._via is None:
            values = self.all("Via")
            if not values:
                raise ProtocolError("no Via")
            self._via = Via.parse(values[0])
        return self._via

    def stamp(self, source: Hop) -> None:
        """Write where the message really came from into the topmost Via (RFC 3261 section 18.2.1, RFC 3581)."""
        values = self.all("Via")
        self.source = source
        self._via = self.via.stamped(source)
        self.headers["Via"] = [str(self._via), *values[1:]]

    def retrace(self, vias: list[str]) -> None:
        """Put other values in the place of all Via."""
        self.headers["Via"] = vias
        self._via = None

    @property
    def sequence(self) -> int:
        """The number in CSeq."""
        return self._cseq()[0]

    @property
    def sequence_method(self) -> str:
        """The method in CSeq."""
        return self._cseq()[1]

    def _cseq(self) -> tuple[int, str]:
        if self._sequence is None:
            self._sequence = parse_sequence(self.get("CSeq") or "")
        return self._sequence

    @property
    def call_id(self) -> str:
        """The Call-ID; empty where there is none."""
        return self.get("Call-ID") or ""

    @property
    def from_tag(self) -> str:
        """The tag in From; empty where there is none."""
        if self._from_tag is None:
            self._from_tag = tag_of(self.get("From") or "")
        return self._from_tag

    @property
    def to_tag(self) -> str:
        """The tag in To; empty outside a dialog."""
        if self._to_tag is None:
            self._to_tag = tag_of(self.get("To") or "")
        return self._to_tag

    @property
    def contacts(self) -> list[Address]:
        """The Contact values, without `*`."""
        return [Address.parse(value) for value in self.all("Contact") if value != "*"]

    def accepts(self, kind: str) -> bool:
        """Tell whether the sender reads bodies of that type (RFC 3261 section 20.1); one that says nothing does."""
        if "Accept" not in self.headers:
            return True
        named = {value.partition(";")[0].strip().lower() for value in self.all("Accept")}
        return not named.isdisjoint((kind, f"{kind.partition('/')[0]}/*", "*/*"))

    @property
    def content_type(self) -> str:
        """Type and subtype of the body in lower case; empty where none is named."""
        return (self.get("Content-Type") or "").partition(";")[0].strip().lower()

    def _build(self, start: str) -> bytes:
        lines = [start]
        for name, values in self.headers.items():
            lines += [f"{name}: {value}" for value in values]
        text = "\r\n".join(lines)
        # A line break inside a value would begin a header of its own: nothing we were handed may do that.
        breaks = len(lines) - 1
        if text.count("\n") != breaks or text.count("\r") != breaks:
            raise ProtocolError("a line break inside a header field")
        tail = f"\r\nContent-Length: {len(self.body)}\r\n\r\n"
        return (text + tail).encode("utf-8", "surrogateescape") + self.body


class Request(Message):
    """A SIP request."""

    __slots__ = ("method", "uri")

    def __init__(self, method: str, uri: str, headers: Headers, body: bytes = b"") -> None:
        super().__init__(headers, body)
        self.method = method
        self.uri = uri
        "The Request-URI as written."

    def __bytes__(self) -> bytes:
        return self._build(f"{self.method} {self.uri} SIP/2.0")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Request):
            return NotImplemented
        mine, theirs = (self.method, self.uri, self.headers), (other.method, other.uri, other.headers)
        return mine == theirs and self.body == other.body

    __hash__ = None  # type: ignore[assignment] # a message changes: the transaction layer stamps its Via

    @property
    def back(self) -> Hop:
        """Where its response goes; only a stamped request knows."""
        return self.via.back_to(self.source)

    @property
    def target(self) -> Uri:
        """The Request-URI, read.

        Raises:
            ProtocolError: it is no URI.
        """
        return Uri.parse(self.uri)

    @property
    def max_forwards(self) -> int:
        """Hops left; 70 where the request does not say (RFC 3261 section 8.1.1.6)."""
        value = self.get("Max-Forwards")
        if value is None:
            return MAX_FORWARDS
        if not (value.isascii() and value.isdigit() and len(value) <= 9) or int(value) > 255:
            raise ProtocolError("Max-Forwards is not 0 to 255")
        return int(value)

    def check(self) -> None:
        """Check what every request must carry (RFC 3261 section 8.1.1).

        Raises:
            MalformedError: something is missing, double, or unreadable; it carries this request.
        """
        try:
            for name in _SINGLE:
                values = self.headers.get(name)
                if values is None:
                    if name != "Max-Forwards":  # RFC 2543 had none
                        raise ProtocolError(f"no {name}")
                elif len(values) != 1 or not values[0]:
                    raise ProtocolError(f"{name} is empty or comes twice")
            if self.sequence_method != self.method:
                raise ProtocolError("CSeq names another method")
            _ = (self.via, self.from_tag, self.to_tag, self.max_forwards)
        except ProtocolError as error:
            raise MalformedError(str(error), message=self) from error

    def respond(
        self,
        status: int,
        reason: str = "",
        *,
        to_tag: str = "",
        headers: Mapping[str, Iterable[str]] | None = None,
        body: bytes = b"",
    ) -> "Response":
        """Return a response to this request (RFC 3261 section 8.2.6); `to_tag` is added where To has none."""
        mine = self.headers
        to = mine["To"]
        if to_tag and not self.to_tag:
            to = [f"{to[0]};tag={to_tag}"]
        fields: Headers = {"Via": mine["Via"], "From": mine["From"], "To": to}
        fields |= {"Call-ID": mine["Call-ID"], "CSeq": mine["CSeq"]}
        # Record-Route makes the dialog's route: it goes back in what may make a dialog (RFC 3261 section 12.1.1).
        if 100 < status < 300 and "Record-Route" in mine:
            fields["Record-Route"] = mine["Record-Route"]
        if status == 100 and "Timestamp" in mine:
            fields["Timestamp"] = mine["Timestamp"]
        for name, values in (headers or {}).items():
            fields[name] = list(values)
        return Response(status, reason or reason_of(status), fields, body)


class Response(Message):
    """A SIP response."""

    __slots__ = ("reason", "status")

    def __init__(self, status: int, reason: str, headers: Headers, body: bytes = b"") -> None:
        super().__init__(headers, body)
        self.status = status
        self.reason = reason

    def __bytes__(self) -> bytes:
        return self._build(f"SIP/2.0 {self.status} {self.reason}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Response):
            return NotImplemented
        mine, theirs = (self.status, self.reason, self.headers), (other.status, other.reason, other.headers)
        return mine == theirs and self.body == other.body

    __hash__ = None  # type: ignore[assignment] # as for a request


def parse(data: bytes) -> Request | Response:
    """Parse one datagram or one framed message.

    Bytes after Content-Length are dropped (RFC 3261 section 18.3).

    Raises:
        MalformedError: not SIP, not complete, too large, or not SIP/2.0; of a request it carries what was read.
    """
    if len(data) > MAX_BYTES:
        raise MalformedError("too large")
    head, end, body = data.lstrip(b"\r\n").partition(b"\r\n\r\n")
    if not end:
        raise MalformedError("the header does not end")
    text = head.decode("utf-8", "surrogateescape")
    lines = text.split("\r\n")
    breaks = len(lines) - 1
    # A quoted pair may stand for a zero byte (RFC 3261 section 25.1); nothing else may.
    if text.count("\n") != breaks or text.count("\r") != breaks or ("\0" in text and "\0" in text.replace("\\\0", "")):
        raise MalformedError("a control character inside a line")
    if breaks > MAX_FIELDS:
        raise MalformedError("too many header fields")
    if "\r\n " in text or "\r\n\t" in text:
        lines = _unfold(lines)
    message, version = _start(lines[0])
    _fields(message, lines[1:])
    if not version:
        raise MalformedError("a space where none may stand in the request line", message=message)
    if version != "SIP/2.0":
        raise MalformedError("another version of SIP", message=message, reply=505)
    _body(message, body)
    return message


def _unfold(lines: list[str]) -> list[str]:
    """Join continuation lines to the line before them (RFC 3261 section 7.3.1)."""
    joined = lines[:1]
    for line in lines[1:]:
        if line[:1] in (" ", "\t") and len(joined) > 1:
            joined[-1] = f"{joined[-1].rstrip()} {line.strip()}"
        else:
            joined.append(line)
    return joined


def _start(line: str) -> tuple[Request | Response, str]:
    """Return the message that a start line begins, and its version; none where spaces spoil a request line."""
    first, _, rest = line.partition(" ")
    second, _, third = rest.partition(" ")
    if first == "SIP/2.0":
        if not (len(second) == 3 and second.isascii() and second.isdigit() and "100" <= second < "700"):
            raise MalformedError("not a status line")
        return Response(int(second), third, {}), first
    if third.startswith("SIP/") and " " not in third and second and is_token(first):
        return Request(first, second, {}), third
    uri, _, version = rest.strip(" ").rpartition(" ")
    if version.startswith("SIP/") and uri and is_token(first):
        return Request(first, uri.strip(" "), {}), ""
    raise MalformedError("not a start line")


def _fields(message: Message, lines: list[str]) -> None:
    headers = message.headers
    for line in lines:
        name, colon, value = line.partition(":")
        key = _CANONICAL.get(name) or _canonical(name)
        if not colon or not key:
            raise MalformedError("not a header field", message=message)
        values = headers.get(key)
        if values is None:
            headers[key] = [value.strip(" \t")]
        else:
            values.append(value.strip(" \t"))


def _canonical(name: str) -> str:
    """Return the one spelling of a header field's name; empty where it is none."""
    name = name.rstrip(" \t")
    if not is_token(name):
        return ""
    lower = name.lower()
    return _CANONICAL.get(lower) or lower.title()


def _body(message: Message, body: bytes) -> None:
    values = message.headers.pop("Content-Length", None)
    if values is None:
        message.body = body
        return
    if len(set(values)) != 1 or not (values[0].isascii() and values[0].isdigit()) or len(values[0]) > 7:
        raise MalformedError("Content-Length is not one number", message=message)
    length = int(values[0])
    if length > len(body):
        raise MalformedError("the body is cut short", message=message)
    message.body = body[:length] if length < len(body) else body
