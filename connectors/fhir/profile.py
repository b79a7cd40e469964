"""How servers of one make differ, as data: profiles.toml, read once, each statement with the page it was taken from.

Three say what a server can do, and each wins over the one before: the profile's "yes" or "no" over nothing, what the
server's CapabilityStatement declares over the profile's "auto", and what the operator wrote (`override`) over both.

    settings.vendor.usable("last_updated", declared)
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Usable = Literal["auto", "yes", "no"]
"`auto`: as the CapabilityStatement declares."

Actor = Literal["location", "practitioner", "patient"]

PhoneFormat = Literal["e164", "digits", "dashes", "parentheses"]
"+12125550111, 2125550111, 212-555-0111, (212) 555-0111."

GENERIC = "generic"
"The profile of a server of which nothing is known but that it speaks FHIR R4."


class Profile(BaseModel):
    """What is known of one make of server. Whoever asks the server asks here first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    "What the vendor calls it."

    sources: dict[str, str] = {}
    "For each field that the profile sets, the page that says so."

    last_updated: Usable = "auto"
    "Appointment?_lastUpdated, and Patient?_lastUpdated. In `auto` it is tried, and checked by Bundle.link[self]."

    subscription: Usable = "auto"
    "A topic-based Subscription on R4 (Subscriptions R5 Backport): a hint to read, never what is believed."

    export: Usable = "auto"
    "Bulk Data $export at the system or a Group, with _since."

    appointment_search: Usable = "auto"
    """Whether Appointments can be searched for more than one patient at all; "no": only by what SIU messages,
    Subscriptions or exports name."""

    appointment_needs: tuple[Actor, ...] = ()
    "An Appointment search must name one of these; empty where a date will do."

    window_closed: bool = False
    "An Appointment search by date needs both ends of the span."

    patient_search: Usable = "auto"
    "Whether Patient can be searched without naming anybody, as the feed's `patients` does."

    include_patient: Usable = "auto"
    "Appointment?_include=Appointment:patient. In `auto` it is sent; a server that ignores it does no harm."

    phone_parameter: Literal["phone", "telecom", ""] = "phone"
    "The Patient search parameter that takes a number alone; empty where none does."

    phone_formats: tuple[PhoneFormat, ...] = ("e164", "digits", "dashes", "parentheses")
    "Ways of writing a number that are asked for, one request each."

    page_size: int | None = Field(None, ge=1)
    "The largest `_count` that is taken; None where any is."

    write_back: Literal["auto", "patch", "put", "response", "none"] = "auto"
    "How an Appointment's status is set: JSON Patch, PUT, an AppointmentResponse, or not at all."

    accepted_confirms: bool = False
    """Whether the status "accepted" of the patient in an Appointment says that the patient confirmed. Many servers
    write it on every visit that is booked; where that is believed, nobody is reminded."""

    conditional_create: Usable = "auto"
    "If-None-Exist (FHIR R4 http.html#ccreate)."

    communication: Usable = "auto"
    """Whether a Communication can be created with what we know of a contact. In `auto` it is tried, whatever is
    declared."""

    scopes: Literal["auto", "v1", "v2"] = "auto"
    "Which scopes are asked for: system/Appointment.read, or system/Appointment.rs; `auto`: as discovery says."

    headers: dict[str, str] = {}
    "Sent with every request."

    parameters: tuple[str, ...] = ()
    "Search parameters that every search must carry; the operator gives them values (`search_parameters`)."

    probe: str = "Patient?_summary=count"
    "What `check` asks for, which needs the credentials and reads nobody; empty where getting a token must do."

    patient_url: str = ""
    """A patient's page for the agent's browser; `{id}` is the Patient's logical id, `{origin}` where the base URL
    is."""

    @model_validator(mode="after")
    def _sourced(self) -> "Profile":
        unknown = self.sources.keys() - type(self).model_fields.keys()
        if unknown:
            raise ValueError(f"sources for no field: {', '.join(sorted(unknown))}")
        return self

    def usable(self, field: str, declared: bool) -> bool:
        """Return whether what `field` stands for is to be used, where the server declares `declared`."""
        said = getattr(self, field)
        return declared if said == "auto" else bool(said == "yes")

    def altered(self, override: Mapping[str, Any]) -> "Profile":
        """Return this profile with what the operator knows better.

        Raises:
            ValueError: unknown keys or values; it repeats no value.
        """
        own = override.keys() & {"title", "sources", "patient_url"}  # the last is a setting: no host that we reach
        if own:
            raise ValueError(f"not to be overridden: {', '.join(sorted(own))}")
        try:
            return Profile.model_validate(self.model_dump() | dict(override))
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=False, include_input=False)
            said = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults)
        raise ValueError(said)


@cache
def profiles() -> Mapping[str, Profile]:
    """Return every profile of profiles.toml by its name."""
    written = tomllib.loads(files(__package__).joinpath("profiles.toml").read_text(encoding="utf-8"))
    return {name: Profile.model_validate(rows) for name, rows in written.items()}
