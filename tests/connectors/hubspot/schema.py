"""The request schemas of HubSpot's published OpenAPI documents that are in use (Contacts, Calls, 2026-03), and the
properties of the objects as the guides of its developer documentation list them."""

import re
from typing import Any

Shape = dict[str, Any]
"Type of each property of an object; `!` behind a name says that it is required."

FILTER: Shape = {
    "propertyName!": str,
    "operator!": {
        "BETWEEN",
        "CONTAINS_TOKEN",
        "EQ",
        "GT",
        "GTE",
        "HAS_PROPERTY",
        "IN",
        "LT",
        "LTE",
        "NEQ",
        "NOT_CONTAINS_TOKEN",
        "NOT_HAS_PROPERTY",
        "NOT_IN",
    },
    "value": str,
    "highValue": str,
    "values": [str],
}
SEARCH: Shape = {  # PublicObjectSearchRequest
    "after!": str,
    "filterGroups!": [{"filters!": [FILTER]}],
    "limit!": int,
    "properties!": [str],
    "sorts!": [str],
    "query": str,
}
UPSERT: Shape = {  # BatchInputSimplePublicObjectBatchInputUpsert
    "inputs!": [{"id!": str, "idProperty": str, "objectWriteTraceId": str, "properties!": {"*": str}}]
}

_INSTANT = r"\d{13}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"
_STATUS = "BUSY|CALLING_CRM_USER|CANCELED|COMPLETED|CONNECTING|FAILED|IN_PROGRESS|NO_ANSWER|QUEUED|RINGING"
PROPERTIES: dict[str, dict[str, str]] = {
    "calls": {
        "hs_timestamp": _INSTANT,
        "hs_call_title": ".*",
        "hs_call_body": "(?s).*",
        "hs_call_direction": "INBOUND|OUTBOUND",
        "hs_call_duration": r"\d+",
        "hs_call_from_number": ".*",
        "hs_call_to_number": ".*",
        "hs_call_status": _STATUS,
        "hubspot_owner_id": r"\d+",
    },
    "communications": {
        "hs_timestamp": _INSTANT,
        "hs_communication_channel_type": "WHATS_APP|LINKEDIN_MESSAGE|SMS",
        "hs_communication_logged_from": "CRM",
        "hs_communication_body": "(?s).*",
        "hubspot_owner_id": r"\d+",
    },
}
"What a value of a property looks like; anything else is read-only or unknown."

REQUIRED = {
    "calls": {"hs_timestamp"},
    "communications": {"hs_timestamp", "hs_communication_channel_type", "hs_communication_logged_from"},
}

CONTACT = {
    "firstname",
    "lastname",
    "email",
    "phone",
    "mobilephone",
    "hs_object_id",
    "hs_searchable_calculated_phone_number",
    "hs_searchable_calculated_mobile_number",
}


def faults(value: Any, shape: Any, path: str = "") -> list[str]:
    """Return where `value` is not of `shape`."""
    if isinstance(shape, set):
        return [] if isinstance(value, str) and value in shape else [path]
    if isinstance(shape, type):
        good = isinstance(value, shape) and not (shape is int and isinstance(value, bool))
        return [] if good else [path]
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [path]
        return [one for at, inner in enumerate(value) for one in faults(inner, shape[0], f"{path}[{at}]")]
    if not isinstance(value, dict):
        return [path]
    if "*" in shape:
        return [one for name, inner in value.items() for one in faults(inner, shape["*"], f"{path}.{name}")]
    known = {name.rstrip("!"): inner for name, inner in shape.items()}
    found = [f"{path}.{name}" for name in shape if name.endswith("!") and name[:-1] not in value]
    found += [f"{path}.{name}" for name in value if name not in known]
    return found + [
        one for name, inner in value.items() if name in known for one in faults(inner, known[name], f"{path}.{name}")
    ]


def wrong(kind: str, properties: dict[str, str], custom: str, *, creating: bool) -> list[tuple[str, str]]:
    """Return each property that is unknown, read-only, of a wrong value or missing, with the code for it."""
    known = PROPERTIES[kind] | {custom: ".*"}
    found = [(name, "PROPERTY_DOESNT_EXIST") for name in properties if name not in known]
    found += [
        (name, "INVALID_OPTION")
        for name, value in properties.items()
        if name in known and re.fullmatch(known[name], value) is None
    ]
    missing = REQUIRED[kind] - properties.keys() if creating else set()
    return found + [(name, "REQUIRED_PROPERTY") for name in sorted(missing)]


def searchable(written: str | None, *, country: bool) -> str:
    """Return what HubSpot makes of a number, so that it can be searched for: digits."""
    digits = re.sub(r"\D", "", written or "")
    return digits[1:] if len(digits) == 11 and digits.startswith("1") and not country else digits
