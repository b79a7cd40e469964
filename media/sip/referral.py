"""What a transfer says: Refer-To, Replaces, Event, Subscription-State, message/sipfrag (RFC 3515, 3891, 3420, 6665)."""

from dataclasses import dataclass, replace
from urllib.parse import quote, unquote_to_bytes

from media.errors import ProtocolError
from media.sip.header import Params, build_params, is_token, parse_params
from media.sip.status import reason_of
from media.sip.uri import Address, Uri

EVENT = "refer"
FRAGMENT_TYPE = "message/sipfrag"

_SAFE = "-_.!~*'()/[]:+$"
"What stands unescaped in a header of a URI (RFC 3261 section 25.1, hnv-unreserved and unreserved)."


@dataclass(frozen=True, slots=True)
class Replaces:
    """A Replaces value: the dialog that a new call takes the place of (RFC 3891 section 6.1)."""

    call_id: str
    to_tag: str
    "The tag of the side that is asked to replace it."

    from_tag: str
    early_only: bool = False
    "Only while it has not been answered."

    @classmethod
    def parse(cls, value: str) -> "Replaces":
        """Parse a Replaces value.

        Raises:
            ProtocolError: no Call-ID, or not both tags.
        """
        call_id, _, tail = value.partition(";")
        call_id, params = call_id.strip(), parse_params(tail)
        to_tag, from_tag = params.get("to-tag"), params.get("from-tag")
        if not call_id or " " in call_id or to_tag is None or from_tag is None:
            raise ProtocolError("Replaces names no dialog", spec="RFC 3891 section 6.1")
        return cls(call_id, to_tag, from_tag, "early-only" in params)

    def __str__(self) -> str:
        early = ";early-only" if self.early_only else ""
        return f"{self.call_id};to-tag={self.to_tag};from-tag={self.from_tag}{early}"


@dataclass(frozen=True, slots=True)
class ReferTo:
    """A Refer-To value: whom to call, and in whose place (RFC 3515 section 2.1, RFC 3891 section 4)."""

    target: Uri
    "Without the headers it carried: of them only Replaces is obeyed."

    replaces: Replaces | None = None
    method: str = "INVITE"

    @classmethod
    def parse(cls, value: str) -> "ReferTo":
        """Parse a Refer-To value.

        Raises:
            ProtocolError: no URI, or a Replaces in it that cannot be read.
        """
        uri = Address.parse(value).uri
        target = replace(uri, headers="", params={name: text for name, text in uri.params.items() if name != "method"})
        found = [text for name, text in _headers_of(uri) if name.lower() == "replaces"]
        if len(found) > 1:
            raise ProtocolError("Replaces comes twice", spec="RFC 3891 section 3")
        return cls(target, Replaces.parse(found[0]) if found else None, (uri.params.get("method") or "INVITE").upper())

    def __str__(self) -> str:
        uri = self.target
        if self.method != "INVITE":
            uri = replace(uri, params={**uri.params, "method": self.method})
        if self.replaces is not None:
            uri = replace(uri, headers=f"Replaces={quote(str(self.replaces), safe=_SAFE)}")
        return f"<{uri}>"


def _headers_of(uri: Uri) -> list[tuple[str, str]]:
    pairs = [part.partition("=") for part in uri.headers.split("&") if part]
    return [(name, unquote_to_bytes(text).decode("utf-8", "surrogateescape")) for name, _, text in pairs]


@dataclass(frozen=True, slots=True)
class Event:
    """An Event value (RFC 6665 section 8.2.1)."""

    package: str
    id: str = ""
    "Which of several subscriptions in one dialog: of a REFER its CSeq number (RFC 3515 section 2.4.6)."

    @classmethod
    def parse(cls, value: str) -> "Event":
        """Parse an Event value.

        Raises:
            ProtocolError: no name of a package.
        """
        package, _, tail = value.partition(";")
        package = package.strip().lower()
        if not is_token(package):
            raise ProtocolError("Event names no package", spec="RFC 6665 section 8.2.1")
        return cls(package, (parse_params(tail).get("id") or "") if tail else "")

    def __str__(self) -> str:
        return f"{self.package}{build_params({'id': self.id} if self.id else {})}"


@dataclass(frozen=True, slots=True)
class Subscription:
    """A Subscription-State value (RFC 6665 section 8.2.3)."""

    state: str
    "Lower case: active, pending, terminated."

    seconds: int | None = None
    "How long it still lasts."

    reason: str = ""

    @classmethod
    def parse(cls, value: str) -> "Subscription":
        """Parse a Subscription-State value.

        Raises:
            ProtocolError: no state.
        """
        state, _, tail = value.partition(";")
        state = state.strip().lower()
        if not is_token(state):
            raise ProtocolError("Subscription-State names no state", spec="RFC 6665 section 8.2.3")
        params = parse_params(tail) if tail else {}
        expires = params.get("expires") or ""
        seconds = int(expires) if expires.isascii() and expires.isdigit() and len(expires) <= 10 else None
        return cls(state, seconds, params.get("reason") or "")

    def __str__(self) -> str:
        params: Params = {} if self.seconds is None else {"expires": str(self.seconds)}
        if self.reason:
            params["reason"] = self.reason
        return f"{self.state}{build_params(params)}"


def parse_fragment(body: bytes) -> int:
    """Return the status that a message/sipfrag body tells (RFC 3515 section 2.4.5).

    Raises:
        ProtocolError: it does not begin with a status line.
    """
    first = body.lstrip(b"\r\n").split(b"\n", 1)[0].decode("utf-8", "surrogateescape").rstrip("\r")
    version, _, rest = first.partition(" ")
    status = rest[:3]
    known = len(status) == 3 and status.isascii() and status.isdigit() and "100" <= status < "700"
    if version != "SIP/2.0" or not known or rest[3:4] not in ("", " "):
        raise ProtocolError("no status line in the fragment", spec="RFC 3515 section 2.4.5")
    return int(status)


def fragment(status: int) -> bytes:
    """Return the message/sipfrag body that tells a status: the inverse of `parse_fragment`."""
    return f"SIP/2.0 {status} {reason_of(status)}\r\n".encode()
