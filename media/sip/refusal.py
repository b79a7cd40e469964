"""Answers to requests that break the rules: what can be read of them goes back (RFC 3261 section 8.2.6)."""

import re
from collections.abc import Callable
from contextlib import suppress

from media.errors import ProtocolError
from media.sip.hop import Hop
from media.sip.message import Headers, MalformedError, Request, Response, parse
from media.sip.status import reason_of

_COPIED = ("From", "To", "Call-ID", "CSeq")
_LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*:(?:[^\r\n]|\r\n[ \t])*", re.IGNORECASE)


def refusal_of(error: MalformedError, source: Hop, tag_of: Callable[..., str]) -> tuple[bytes, Hop] | None:
    """Return the answer and where it goes; None where nobody waits for one.

    `tag_of` makes the tag of To from what tells requests apart.
    """
    request = error.message
    if not isinstance(request, Request) or request.method == "ACK" or "Via" not in request.headers:
        return None
    back = source
    try:
        request.stamp(source)
        back = request.back
    except ProtocolError:
        # Of another version even Via may read otherwise; what is no Via at all is nobody's.
        if not request.headers["Via"][0].upper().startswith("SIP"):
            return None
    tag = tag_of(request.call_id, request.get("From"), request.get("CSeq"))
    return bytes(_answer(request, error.reply, tag)), back


def _answer(request: Request, status: int, tag: str) -> Response:
    fields: Headers = {"Via": request.headers["Via"]}
    fields |= {name: request.headers[name][:1] for name in _COPIED if name in request.headers}
    with suppress(ProtocolError):  # a To that cannot be read is not written to either
        if "To" in fields and not request.to_tag:
            fields["To"] = [f"{fields['To'][0]};tag={tag}"]
    return Response(status, reason_of(status), fields)


def headless(head: bytes, status: int) -> MalformedError:
    """Return what is wrong with a request whose body was not read: it is refused with `status`.

    Raises:
        ProtocolError: its header cannot be read either.
    """
    # No length is believed: the body is not here.
    return MalformedError("not whole", message=parse(_LENGTH.sub(b"", head)), reply=status)
