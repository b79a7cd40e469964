"""SIP and tel URIs, and the addresses that carry them (RFC 3261 sections 19.1 and 20.10, RFC 3966)."""

from dataclasses import dataclass, field
from urllib.parse import quote as percent
from urllib.parse import unquote_to_bytes

from media.errors import ProtocolError
from media.sip.header import Params, build_params, cut, is_token, parse_hostport, parse_params, unquote
from media.sip.header import quote as quoted
from media.sip.hop import DEFAULT_PORTS, Hop

_USER_SAFE = "-_.!~*'()&=+$,;?/"
"What a user part holds unescaped (RFC 3261 section 25.1, unreserved and user-unreserved)."

_VISUAL = str.maketrans("", "", "-.() ")
"Visual separators in a telephone number (RFC 3966 section 3, and the blank that people type)."


@dataclass(frozen=True, slots=True)
class Uri:
    """A sip, sips or tel URI; of any other scheme the rest stands unread in `user`."""

    scheme: str
    "Lower case."

    user: str
    "Without its percent escapes; of a tel URI the number."

    host: str = ""
    port: int | None = None
    params: Params = field(default_factory=dict)
    headers: str = ""
    "After the question mark, unread: headers of a URI are never obeyed."

    password: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Uri":
        """Parse a URI.

        Raises:
            ProtocolError: no scheme, no host in a sip URI, a bad port, two @ signs.
        """
        scheme, colon, rest = text.partition(":")
        scheme = scheme.lower()
        if not colon or not is_token(scheme) or not rest:
            raise ProtocolError("not a URI", spec="RFC 3261 section 19.1.1")
        if not rest.isprintable() or " " in rest or "<" in rest or ">" in rest or '"' in rest:
            raise ProtocolError("a URI holds a character that it must escape")
        if scheme == "tel":
            number, _, tail = rest.partition(";")
            return cls(scheme, number, params=parse_params(tail) if tail else {})
        if scheme not in ("sip", "sips"):
            return cls(scheme, rest)
        userinfo, at, place = rest.rpartition("@")
        user, with_password, secret = userinfo.partition(":")
        if "@" in userinfo or (at and not user):
            raise ProtocolError("a URI has no user before @, or more than one @")
        place, _, headers = place.partition("?")
        hostport, _, tail = place.partition(";")
        host, port = parse_hostport(hostport)
        return cls(
            scheme,
            _unescaped(user),
            host,
            port,
            parse_params(tail) if tail else {},
            headers,
            _unescaped(secret) if with_password else None,
        )

    def __str__(self) -> str:
        if self.scheme == "tel":
            return f"tel:{self.user}{build_params(self.params)}"
        if not self.host:
            return f"{self.scheme}:{self.user}"
        text = [self.scheme, ":"]
        if self.user:
            text.append(_escaped(self.user))
            if self.password is not None:
                text += [":", _escaped(self.password)]
            text.append("@")
        text.append(self.host if self.port is None else f"{self.host}:{self.port}")
        if self.params:
            text.append(build_params(self.params))
        if self.headers:
            text += ["?", self.headers]
        return "".join(text)

    @property
    def number(self) -> str:
        """The telephone number that the user part is, digits with a leading + where it is global; else empty."""
        number = self.user.partition(";")[0].translate(_VISUAL)
        digits = number[1:] if number.startswith("+") else number
        return number if digits.isascii() and digits.isdigit() else ""

    @property
    def transport(self) -> str:
        """How it asks to be reached, in lower case; TLS for every sips URI (RFC 3261 sections 19.1.1 and 26.2.2)."""
        named = (self.params.get("transport") or "udp").lower()
        if named in ("ws", "wss"):
            return "ws"
        return "tls" if self.scheme == "sips" else named

    @property
    def hop(self) -> Hop:
        """Where a request to this URI goes: host, port and transport (RFC 3261 section 19.1.2)."""
        host, transport = self.params.get("maddr") or self.host, self.transport
        return Hop(host.strip("[]"), self.port or DEFAULT_PORTS.get(transport, 5060), transport)


def _unescaped(text: str) -> str:
    if "%" not in text:
        return text
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def _escaped(text: str) -> str:
    if text.isascii() and text.isalnum():
        return text
    return percent(text, safe=_USER_SAFE, errors="surrogateescape")


@dataclass(frozen=True, slots=True)
class Address:
    """A name-addr with its header parameters: From, To, Contact, Route (RFC 3261 section 20.10)."""

    uri: Uri
    display: str = ""
    params: Params = field(default_factory=dict)

    @classmethod
    def parse(cls, value: str) -> "Address":
        """Parse one From, To, Contact, Route or P-Asserted-Identity value.

        Raises:
            ProtocolError: no URI in it, or something is not closed.
        """
        display, uri, tail = parts_of(value)
        return cls(Uri.parse(uri), display, parse_params(tail) if tail else {})

    def __str__(self) -> str:
        display = f"{quoted(self.display)} " if self.display else ""
        return f"{display}<{self.uri}>{build_params(self.params)}"

    @property
    def tag(self) -> str:
        """The tag of this end of a dialog; empty before there is one."""
        return self.params.get("tag") or ""


def parts_of(value: str) -> tuple[str, str, str]:
    """Split what `Address.parse` takes into the name displayed, its URI and its parameters, these two unread.

    Raises:
        ProtocolError: something is not closed.
    """
    main, bracket, tail = value.strip().rpartition(">")
    if bracket and '"' not in tail:
        main += bracket
        lead, _, tail = tail.partition(";")
        if lead.strip():
            raise ProtocolError("text follows an angle bracket")
    else:
        # No brackets, or a quoted parameter in which that bracket may have stood.
        main, *parts = cut(value.strip(), ";")
        tail = ";".join(parts)
    if not main.endswith(">"):
        return "", main, tail
    display, bracket, uri = main[:-1].rpartition("<")
    if not bracket:
        raise ProtocolError("an angle bracket is not opened")
    return unquote(display.strip()), uri.strip(), tail
