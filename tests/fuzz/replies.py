"""What receivers answer over MLLP: an acknowledgment, or patients; read or dropped, and told by codes alone."""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from connectors.hl7v2.link import CONDITIONS, REFUSED, error_of, reply_of
from connectors.hl7v2.query import patients_in

AT = datetime(2026, 3, 2, 14, 0, tzinfo=UTC)
PLACE = re.compile(r"([A-Z][A-Z0-9]{2}-[0-9]{1,2})?")
TEXTS = {*CONDITIONS.values(), REFUSED, "answered AE", "answered AR", "answered CE", "answered CR"}


def one(data: bytes) -> None:
    """Take `data` for a frame from a receiver."""
    reply = reply_of(data)
    if reply is None:
        return
    assert PLACE.fullmatch(reply.field)
    error = error_of(reply)
    assert error is None or str(error).partition(" (")[0] in TEXTS
    for facts in patients_in(reply.message, at=AT, zone=ZoneInfo("America/New_York"), region="US"):
        assert facts.ids
