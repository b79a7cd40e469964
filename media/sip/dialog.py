"""Dialogs: who talks to whom, in which order, by which way (RFC 3261 section 12)."""

import secrets
import socket
from dataclasses import dataclass, field

from media.errors import ProtocolError
from media.sip.header import COOKIE
from media.sip.hop import DEFAULT_PORTS, Hop
from media.sip.message import Headers, Request, Response
from media.sip.uri import Address, Uri

DialogKey = tuple[str, str, str]
"Call-ID, our tag, the peer's tag (RFC 3261 section 12)."


def new_branch() -> str:
    """Return a branch that no other transaction has (RFC 3261 section 8.1.1.7)."""
    return COOKIE + secrets.token_hex(10)


def new_tag() -> str:
    """Return a tag; RFC 3261 section 19.3 asks for at least 32 random bits."""
    return secrets.token_hex(6)


def new_call_id() -> str:
    """Return a Call-ID; it names no host, so that it says nothing about the network."""
    return secrets.token_hex(16)


@dataclass(slots=True)
class Dialog:
    """One dialog as this end sees it."""

    call_id: str
    local: str
    "Our From or To value, tag included."

    remote: str
    "The peer's, tag included."

    local_tag: str
    remote_tag: str
    target: str
    "The peer's Contact URI: what requests are addressed to."

    fallback: Hop
    "Where the peer's last message came from: used where the next hop has a host name or lies behind NAT."

    routes: list[str] = field(default_factory=list)
    "Route values, nearest hop first."

    sequence: int = 0
    "The CSeq number of our latest request."

    remote_sequence: int = -1
    "The CSeq number of the peer's latest request; -1 before the first."

    secure: bool = False
    "True where a sips URI was called: ours must be one too."

    hidden: bool = False
    "True where the peer's Contact is an address that only its own network knows."

    @property
    def key(self) -> DialogKey:
        """What a request of the peer names this dialog by."""
        return self.call_id, self.local_tag, self.remote_tag

    @classmethod
    def of_request(cls, invite: Request, tag: str, source: Hop) -> "Dialog":
        """Return the dialog that an INVITE opens at the side that is called (RFC 3261 section 12.1.1).

        Raises:
            ProtocolError: there is not exactly one Contact, or a Record-Route that cannot be read.
        """
        contact = _contact_of(invite) if invite.contacts or not _is_old(invite) else _caller_of(invite)
        dialog = cls(
            invite.call_id,
            f"{invite.headers['To'][0]};tag={tag}",
            invite.headers["From"][0],
            tag,
            invite.from_tag,
            str(contact),
            source,
            _routes_of(invite),
            remote_sequence=invite.sequence,
        )
        dialog.hidden = is_hidden(invite, contact, source)
        dialog.secure = _is_sips(invite.uri)
        return dialog

    @classmethod
    def of_response(cls, invite: Request, response: Response, destination: Hop) -> "Dialog":
        """Return the dialog that a 2xx opens at the side that calls (RFC 3261 section 12.1.2).

        Raises:
            ProtocolError: no To, not exactly one Contact, or a Record-Route that cannot be read.
        """
        remote = response.get("To")
        if not remote:
            raise ProtocolError("no To")
        return cls(
            invite.call_id,
            invite.headers["From"][0],
            remote,
            invite.from_tag,
            response.to_tag,
            str(_contact_of(response)),
            destination,
            _routes_of(response)[::-1],
            sequence=invite.sequence,
            secure=_is_sips(invite.uri),
        )

    def in_order(self, request: Request) -> bool:
        """Tell whether the peer's request is newer than its last one, and note it (RFC 3261 section 12.2.2)."""
        if request.sequence <= self.remote_sequence:
            return False
        self.remote_sequence = request.sequence
        return True

    def refresh(self, message: Request | Response, source: Hop) -> None:
        """Take the target of a re-INVITE or of its 2xx (RFC 3261 section 12.2.1.2 and 12.2.2)."""
        contacts = message.contacts
        if len(contacts) == 1:
            self.target = str(contacts[0].uri)
            if isinstance(message, Request):
                self.fallback = source
                self.hidden = is_hidden(message, contacts[0].uri, source)

    def request(self, method: str, via: str, *, sequence: int | None = None) -> Request:
        """Return the next request of this side; ACK takes the `sequence` of its INVITE (RFC 3261 section 12.2.1.1)."""
        if sequence is None:
            self.sequence += 1
            sequence = self.sequence
        uri, routes = self.target, self.routes
        if routes and not _loose(routes[0]):
            # A strict router wants itself in the Request-URI and the target last (RFC 3261 section 12.2.1.1).
            uri, routes = str(Address.parse(routes[0]).uri), [*routes[1:], f"<{self.target}>"]
        headers: Headers = {"Via": [via]}
        headers["Max-Forwards"] = ["70"]
        if routes:
            headers["Route"] = routes
        headers |= {"From": [self.local], "To": [self.remote], "Call-ID": [self.call_id]}
        headers["CSeq"] = [f"{sequence} {method}"]
        return Request(method, uri, headers)

    def hop(self) -> Hop:
        """Return where the next request goes: the first route, or else the target.

        A host name is not looked up in the middle of a call: the peer's last address stands for it.
        """
        uri = Address.parse(self.routes[0]).uri if self.routes else Uri.parse(self.target)
        if self.hidden and not self.routes:
            return self.fallback
        return reach(uri, self.fallback)


def is_numeric(host: str) -> bool:
    """Tell whether `host` is an IP address rather than a name, which the socket would stop to look up."""
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except (OSError, ValueError):
        return False
    return True


def reach(uri: Uri, known: Hop) -> Hop:
    """Return where a request to a peer's `uri` goes, whose last message came from `known`.

    A name is not looked up: `known` stands for it. Where the peer opened a connection from that very host, requests
    take it: behind a firewall there is no other way (RFC 5626 section 1), and a phone has no certificate to be called
    by. A URI without a transport then means that connection's, or that of the very address we have called.
    """
    hop = uri.hop
    if not is_numeric(hop.host) or known.transport == "ws":  # nobody can connect to a page
        return known
    if known.host != hop.host or not known.reliable:
        return hop
    implied = (known.flow or known.port == hop.port) and uri.scheme == "sip" and "transport" not in uri.params
    if implied or hop.transport == known.transport:
        return Hop(hop.host, hop.port, known.transport, known.flow, known.name)
    return hop


def is_hidden(request: Request, contact: Uri, source: Hop) -> bool:
    """Tell whether the peer is behind NAT: it calls itself by the address in its Contact, and came from another."""
    via = request.via
    host, port = via.host.strip("[]"), via.port or DEFAULT_PORTS.get(source.transport, 0)
    # Without rport a peer may well listen on another port than the one it sends from (RFC 3581 section 3).
    moved = host != source[0] or ("rport" in via.params and port != source[1])
    return moved and contact.hop[:2] == (host, port)


def _is_sips(uri: str) -> bool:
    return uri[:5].lower() == "sips:"


def _contact_of(message: Request | Response) -> Uri:
    contacts = message.contacts
    if len(contacts) != 1:
        raise ProtocolError("not exactly one Contact", spec="RFC 3261 section 8.1.1.8")
    uri = contacts[0].uri
    if uri.scheme not in ("sip", "sips"):
        raise ProtocolError("Contact is no SIP URI", spec="RFC 3261 section 8.1.1.8")
    return uri


def _is_old(invite: Request) -> bool:
    """Tell whether a peer from before RFC 3261 sent it, when a Contact could be left out."""
    return not invite.via.branch.startswith(COOKIE)


def _caller_of(invite: Request) -> Uri:
    """Return the URI in From, which stands for a Contact that is left out (RFC 2543 section 6.13)."""
    return Address.parse(invite.headers["From"][0]).uri


def _routes_of(message: Request | Response) -> list[str]:
    """Return the Record-Route values; read here, so that the way is sure when the BYE needs it."""
    routes = message.all("Record-Route")
    for route in routes:
        Address.parse(route)
    return routes


def _loose(route: str) -> bool:
    return "lr" in Address.parse(route).uri.params
