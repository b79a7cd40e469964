"""What this side can do, as Allow, Supported, Accept and Allow-Events say it: each stands here and nowhere else."""

from functools import lru_cache

from media.sip import keypress, referral, reliable, session_timer
from media.sip.message import Message

SDP_TYPE = "application/sdp"

METHODS = (
    *("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER"),
    *("PRACK", "UPDATE", "REFER", "NOTIFY", "SUBSCRIBE", "INFO"),
)

ALLOW = ", ".join(METHODS)

SUPPORTED = (reliable.TAG, session_timer.TAG, "replaces", "norefersub")
"Option tags: RFC 3262, RFC 4028, RFC 3891, RFC 4488."

SUPPORTED_VALUE = ", ".join(SUPPORTED)

ACCEPT = ", ".join((SDP_TYPE, referral.FRAGMENT_TYPE, *keypress.TYPES))

EVENTS = referral.EVENT
"Events that are told of: only how a transfer goes."


def unsupported(message: Message) -> list[str]:
    """Return the option tags that a message requires and this side does not know (RFC 3261 section 8.2.2.3)."""
    return [tag for tag in message.all("Require") if tag.lower() not in SUPPORTED]


def allowed_by(message: Message) -> frozenset[str] | None:
    """Return the methods that the sender takes; None where it does not say."""
    values = message.headers.get("Allow")
    return None if values is None else _methods_of(",".join(values))


@lru_cache(256)
def _methods_of(value: str) -> frozenset[str]:
    # One phone says the same in every message.
    return frozenset(word.strip().upper() for word in value.split(",") if word.strip())
