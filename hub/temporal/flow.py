"""Names, ids and start values of the workflows, for packages that start them without importing them.

Everything here is readable in Temporal's history: ids, names of the policy, codes and times, never a person's data.
"""

from dataclasses import dataclass
from enum import StrEnum

TASK_QUEUE = "chartline"
"Where the flows and all activities run that talk to no carrier."


VOICE_QUEUE = "chartline-voice"
"Where reminders that are called wait: an activity of it lasts as long as its call."


class Flow(StrEnum):
    """The workflow types (docs/reference/flows.md)."""

    CALL = "CallFlow"
    APPOINTMENT = "AppointmentFlow"
    FEED = "FeedFlow"
    DELIVERY = "DeliveryFlow"
    TEXT = "TextFlow"
    UPKEEP = "UpkeepFlow"
    WRITEBACK = "WritebackFlow"


class Says(StrEnum):
    """The signals and updates that flows take."""

    PLAN = "plan"
    "CallFlow, update: the plan of the call."

    ENDED = "ended"
    "CallFlow, signal: the call is over, its row says how."

    CHANGED = "changed"
    "AppointmentFlow, signal: look at the row again."

    ANSWERED = "answered"
    "AppointmentFlow, signal: the patient answered; carries the kind of the reply."

    WAKE = "wake"
    "FeedFlow, signal: there are new rows."


UPKEEP_ID = "upkeep"


@dataclass(frozen=True, slots=True)
class CallStart:
    """What a CallFlow begins with: ids and codes only."""

    call_id: str
    did: str = ""
    "The practice's own number that was dialled (E.164)."

    match: str = "none"
    "none, one, many or restricted."

    patients: tuple[str, ...] = ()
    "Ids of those whom the number belongs to."


@dataclass(frozen=True, slots=True)
class DeliveryStart:
    """One event for one webhook."""

    event_id: str
    delivery_id: str


@dataclass(frozen=True, slots=True)
class TextStart:
    """One text that belongs to no reminder."""

    kind: str
    "missed-call, help, stopped or started."

    object_id: str
    "The call, or the message that it answers."

    carrier: str
    "Name of the connection that sends it."


@dataclass(frozen=True, slots=True)
class UpkeepStart:
    """What a sweep knows of the one before."""

    policy: int = 0
    "The version that was in force: visits ahead are told when it changes."


def call_flow_id(call_id: str) -> str:
    """Return the id of a call's flow."""
    return f"call-{call_id}"


def appointment_flow_id(appointment_id: str) -> str:
    """Return the id of an appointment's flow."""
    return f"appointment-{appointment_id}"


def feed_flow_id(connection: str) -> str:
    """Return the id of a connection's flow."""
    return f"feed-{connection}"


def carrier_queue(connection: str) -> str:
    """Return the task queue on which texts of this carrier wait for their turn."""
    return f"carrier-{connection}"
