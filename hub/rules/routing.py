"""Where a call goes: the practice's routes over what may be known of the caller, and the plan that comes of it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Plan(BaseModel):
    """What is to happen to a call: names from the policy and codes, nothing of the patient.

    Where `menu` is set it comes first, and `queue` and `voicemail` are its ways out; otherwise `queue` comes first,
    with `voicemail` as its way out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: int
    "The version of the policy that decided."

    language: str
    menu: str | None = None
    queue: str | None = None
    voicemail: str | None = None
    priority: int = 0
    "Higher is answered first."

    rule: str = "default"
    'The route that said where to: its name, or "route-3" for the third; "default" where none did.'

    fired: tuple[str, ...] = ()
    "Every route that set something, in order."

    reads: tuple[str, ...] = ()
    'The chart fields that the routes read: "patient.appointments.hours_until".'

    faults: tuple[str, ...] = ()
    "The routes that failed and were passed over."

    source: Literal["workflow", "last-good"] = "workflow"
