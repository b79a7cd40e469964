"""A contact with somebody as a Task that is over (Object Reference, Task): what was given, and nothing besides."""

from typing import Any
from zoneinfo import ZoneInfo

from connectors.api import CommunicationFacts, Identifier
from connectors.salesforce.person import SYSTEM, is_id

PHONE = "PHONE"
"v3 ParticipationMode of a call; anything else that comes here is a text."

SUBJECT_LENGTH = 255
DESCRIPTION_LENGTH = 32_000

_LINKS = {f"{SYSTEM}Contact": "WhoId", f"{SYSTEM}Lead": "WhoId", f"{SYSTEM}Account": "WhatId"}
"Which reference names the record: WhoId takes contacts and leads, WhatId takes accounts."


def link_of(ids: tuple[Identifier, ...]) -> dict[str, str]:
    """Return the reference to the first record of the CRM among `ids`; the chart's own numbers stay at home."""
    for one in ids:
        if one.system in _LINKS and is_id(one.value):
            return {_LINKS[one.system]: one.value}
    return {}


def task_of(said: CommunicationFacts, key: str, link: dict[str, str], *, status: str, zone: ZoneInfo) -> dict[str, Any]:
    """Return the Task for `said`; days and hours are those of the practice's `zone`."""
    call = said.medium == PHONE
    at = said.sent_at.astimezone(zone)
    kind = "phone call" if call else "text message"
    lines = [f"{'Inbound' if said.inbound else 'Outbound'} {kind}, {at:%Y-%m-%d %H:%M %Z}"]
    if said.phone:
        lines.append(said.phone)
    if said.body:
        lines.append(said.body)
    task: dict[str, Any] = {
        "Subject": (said.topic or kind.capitalize())[:SUBJECT_LENGTH],
        "Status": status,
        "ActivityDate": at.date().isoformat(),
        "TaskSubtype": "Call" if call else "Task",
        "CallObject": key,
        "Description": "\n".join(lines)[:DESCRIPTION_LENGTH],
    }
    if call:
        task["CallType"] = "Inbound" if said.inbound else "Outbound"
    if call and said.seconds is not None:
        task["CallDurationInSeconds"] = said.seconds
    return task | link


WRITTEN = (
    *("Subject", "Status", "ActivityDate", "TaskSubtype", "CallObject", "Description"),
    *("CallType", "CallDurationInSeconds", "WhoId", "WhatId"),
)
"Every field that is written; `check` looks for each."
