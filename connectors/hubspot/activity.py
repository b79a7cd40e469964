"""A contact with somebody as a call or a communication: what was given, and nothing besides.

Property names and values as HubSpot's guides of the calls and communications APIs list them.
"""

from datetime import UTC

from connectors.api import CommunicationFacts, Identifier
from connectors.hubspot.person import SYSTEM, is_id

PHONE = "PHONE"
"v3 ParticipationMode of a call; anything else that comes here is a text."

CALLS = "calls"
COMMUNICATIONS = "communications"

LENGTH = 65_536
"Characters of a property's value at most."


def contact_of(ids: tuple[Identifier, ...]) -> str | None:
    """Return the first contact of the CRM among `ids`; the chart's own numbers stay at home."""
    return next((one.value for one in ids if one.system == SYSTEM and is_id(one.value)), None)


def activity_of(said: CommunicationFacts) -> tuple[str, dict[str, str]]:
    """Return which kind of object tells of `said`, and its properties."""
    at = said.sent_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if said.medium == PHONE:
        return CALLS, {"hs_timestamp": at} | _call(said)
    way = "received" if said.inbound else "sent"
    lines = [f"Text message {way}", *filter(None, (said.topic, said.phone, said.body))]
    return COMMUNICATIONS, {
        "hs_timestamp": at,
        "hs_communication_channel_type": "SMS",
        "hs_communication_logged_from": "CRM",
        "hs_communication_body": "\n".join(lines)[:LENGTH],
    }


def _call(said: CommunicationFacts) -> dict[str, str]:
    call = {
        "hs_call_title": (said.topic or "Phone call")[:LENGTH],
        "hs_call_direction": "INBOUND" if said.inbound else "OUTBOUND",
        "hs_call_status": "COMPLETED" if said.seconds is not None else "NO_ANSWER",
    }
    if said.seconds is not None:
        call["hs_call_duration"] = str(said.seconds * 1000)  # milliseconds
    if said.phone:
        call["hs_call_from_number" if said.inbound else "hs_call_to_number"] = said.phone
    if said.body:
        call["hs_call_body"] = said.body[:LENGTH]
    return call
