"""Calls that this side makes to a phone on a wire that only remembers."""

from typing import Any

from media.sip.digest import Authority
from media.sip.message import Request, Response
from media.sip.outgoing import Outgoing
from media.sip.uri import Address, Uri
from tests.media.sip.line import PHONE, SECRETS, Clock, Line, answer, offer, reply

PHONE_URI = Uri.parse("sip:101@203.0.113.9:5062")
FROM = Address.parse('"Front desk" <sip:+12125550100@192.0.2.1>')
ANSWER = bytes(answer())


def calling(line: Line, target: Uri = PHONE_URI, **options: Any) -> tuple[Outgoing, Request]:
    """Make a call; return the leg and its INVITE as the phone reads it."""
    leg = line.endpoint.call(target, offer(), from_=FROM, **options)
    (message,) = line.take()
    return leg, message


def talking(line: Line) -> tuple[Outgoing, Request]:
    """Make a call that the phone answers."""
    leg, message = calling(line)
    line.put(reply(message, 200, body=ANSWER), PHONE)
    return leg, message


def challenged(message: Request, status: int = 401, **options: Any) -> Response:
    """Return how a trunk asks for a name and password."""
    authority = Authority("trunk", SECRETS.get, Clock(), **options)
    response = reply(message, status)
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    response.headers[name] = authority.challenges(message)
    return response
