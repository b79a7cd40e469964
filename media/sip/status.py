"""Status codes: what they say to a peer, and what they mean for a call (RFC 3261 section 21)."""

from enum import StrEnum

REASONS = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    182: "Queued",
    183: "Session Progress",
    200: "OK",
    202: "Accepted",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    305: "Use Proxy",
    380: "Alternative Service",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    410: "Gone",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    469: "Bad Info Package",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    485: "Ambiguous",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    500: "Server Internal Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
}

_CLASS = {1: "Progress", 2: "OK", 3: "Redirected", 4: "Request Failed", 5: "Server Failed", 6: "Global Failure"}


def reason_of(status: int) -> str:
    """Return the standard's phrase for a status code."""
    return REASONS.get(status) or _CLASS[status // 100]


class Cause(StrEnum):
    """Why a leg ended, as the Call row and the reports say it."""

    HANGUP = "hangup"
    "The peer sent BYE."

    CLOSED = "closed"
    "This side sent BYE, or refused the call."

    CANCELLED = "cancelled"
    "Withdrawn before an answer: a caller gave up, or this side stopped ringing."

    NO_ANSWER = "no-answer"
    "It rang, and nobody answered in time."

    BUSY = "busy"
    REFUSED = "refused"
    "A person pressed the button that says no."

    UNREACHABLE = "unreachable"
    "Nothing answered at that address, or nothing is registered there."

    DENIED = "denied"
    "The peer would not let this side in."

    UNACCEPTABLE = "unacceptable"
    "No codec or transport in common."

    FAILED = "failed"
    "The peer said that it is broken, or anything without a name of its own."

    LOST = "lost"
    "The peer fell silent in the middle: no ACK for an answer, or it no longer knows the call."


_CAUSES = {
    401: Cause.DENIED,
    403: Cause.DENIED,
    404: Cause.UNREACHABLE,
    407: Cause.DENIED,
    408: Cause.NO_ANSWER,
    410: Cause.UNREACHABLE,
    415: Cause.UNACCEPTABLE,
    480: Cause.NO_ANSWER,
    484: Cause.UNREACHABLE,
    486: Cause.BUSY,
    487: Cause.CANCELLED,
    488: Cause.UNACCEPTABLE,
    600: Cause.BUSY,
    603: Cause.REFUSED,
    604: Cause.UNREACHABLE,
    606: Cause.UNACCEPTABLE,
}


def cause_of(status: int) -> Cause:
    """Return what the final status of an INVITE that failed means for the call."""
    return _CAUSES.get(status, Cause.FAILED)
