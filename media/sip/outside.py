"""What is asked outside a call, and which call an INVITE takes the place of (RFC 3261 section 8.2, RFC 3891)."""

from collections.abc import Mapping

from media.errors import ProtocolError
from media.sip import session_timer
from media.sip.capability import ACCEPT, ALLOW, EVENTS, METHODS, SDP_TYPE, SUPPORTED_VALUE, unsupported
from media.sip.dialog import DialogKey
from media.sip.header import is_token
from media.sip.incoming import Incoming
from media.sip.leg import Leg
from media.sip.message import Headers, Request
from media.sip.participant import Participant
from media.sip.referral import EVENT, Event, Replaces

_METHODS = frozenset(METHODS)
_SCHEMES = ("sip", "sips", "tel")


def objection(request: Request, *, merged: bool) -> tuple[int, Headers]:
    """Return what a request is refused with before anyone looks who sent it; status 0 where nothing speaks against it.

    `merged` says that another copy of it is being served (RFC 3261 section 8.2.2.2).
    """
    if request.method not in _METHODS:
        return 405, {"Allow": [ALLOW]}
    if merged:
        return 482, {}
    scheme = request.uri.partition(":")[0].lower()
    if scheme not in _SCHEMES:
        return (416 if is_token(scheme) else 400), {}
    if request.method == "INVITE" and not request.to_tag and not request.max_forwards:
        return 483, {}
    unknown = unsupported(request) if "Require" in request.headers else []
    if unknown:
        return 420, {"Unsupported": unknown}
    return (0 if request.method != "INVITE" or request.accepts(SDP_TYPE) else 406), {}


def invite_objection(request: Request) -> tuple[int, Headers]:
    """Return what the INVITE of somebody who may call is refused with; status 0 where nothing speaks against it."""
    if request.body and request.content_type != SDP_TYPE:
        return 415, {"Accept": [SDP_TYPE]}
    if session_timer.is_too_brief(request):
        return 422, {"Min-SE": [str(session_timer.MIN_SECONDS)]}
    return 0, {}


def answer_outside(request: Request) -> tuple[int, Headers]:
    """Return how a request is answered that opens no call and belongs to none.

    Raises:
        ProtocolError: an Event that cannot be read.
    """
    match request.method:
        case "OPTIONS":
            return 200, {"Allow": [ALLOW], "Accept": [ACCEPT], "Supported": [SUPPORTED_VALUE]}
        case "SUBSCRIBE":
            return 489, {"Allow-Events": [EVENTS]}
        case "NOTIFY" if Event.parse(request.get("Event") or "").package != EVENT:
            return 489, {"Allow-Events": [EVENTS]}
        case "REFER":
            return 403, {}  # who wants somebody called has a call with us
        case _:
            return 481, {}


def find_replaced(request: Request, legs: Mapping[DialogKey, Participant]) -> tuple[int, Leg | None]:
    """Return the leg whose place an INVITE takes, or the status that it is refused with (RFC 3891 section 3).

    Raises:
        ProtocolError: a Replaces that cannot be read, or more than one.
    """
    values = request.headers.get("Replaces")
    if values is None:
        return 0, None
    if len(values) != 1:
        raise ProtocolError("Replaces comes twice", spec="RFC 3891 section 3")
    asked = Replaces.parse(values[0])
    leg = leg_of(asked, legs)
    if leg is None:
        return 481, None
    if leg.ended.done():
        return 603, None
    if leg.established:
        return (486, None) if asked.early_only else (0, leg)
    # An early dialog can be replaced only at the side that began it.
    return (481, None) if isinstance(leg, Incoming) else (0, leg)


def leg_of(replaces: Replaces, legs: Mapping[DialogKey, Participant]) -> Leg | None:
    """Return the leg that a Replaces names, as its peer writes it; None where we have no such call."""
    found = legs.get((replaces.call_id, replaces.to_tag, replaces.from_tag))
    return found if isinstance(found, Leg) else None
