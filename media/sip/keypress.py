"""What comes as INFO from a phone: digits (application/dtmf-relay, application/dtmf), what a record button needs."""

from media.errors import ProtocolError
from media.sip.message import Request

RELAY_TYPE = "application/dtmf-relay"
PLAIN_TYPE = "application/dtmf"
TYPES = (RELAY_TYPE, PLAIN_TYPE)

RECORD = "Record"
"Header by which desk phones ask that a call be recorded or not, in an INFO without a body; no standard has it."

RECORDING_TYPE = "application/x-chartline-recording"
"""Of an empty INFO by which a phone asks to be told from now on whether a call is recorded, and of those that tell it.

What is told is `Keeping.standing` (docs/reference/sip.md).
"""

_KEYS = frozenset("0123456789*#ABCD")
_NUMBERS = {"10": "*", "11": "#", "12": "A", "13": "B", "14": "C", "15": "D"}
"Events by their numbers, as some phones write them (RFC 4733 section 3.2)."


def key_of(content_type: str, body: bytes) -> str:
    """Return the key that an INFO body presses; empty for a signal that is no key, such as a flash.

    Raises:
        ProtocolError: no signal in it.
    """
    text = body.decode("ascii", "replace").strip()
    if content_type == RELAY_TYPE:
        lines = [line.partition("=") for line in text.splitlines()]
        text = next((value.strip() for name, _, value in lines if name.strip().lower() == "signal"), "")
    if not text:
        raise ProtocolError("INFO without a signal")
    key = _NUMBERS.get(text, text).upper()
    return key if key in _KEYS else ""


def recording_asked(request: Request) -> bool | None:
    """Return whether an INFO asks that the call be recorded; None where it says nothing of that."""
    return {"on": True, "off": False}.get((request.get(RECORD) or "").strip().lower())
