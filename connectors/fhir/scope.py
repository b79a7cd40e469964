"""Which system scopes to ask for, and in which of SMART's two ways of writing them (SMART App Launch 2.x, scopes).

    v1  system/Appointment.read system/Appointment.write
    v2  system/Appointment.rus                              a part of c r u d s, in this order

No more is asked for than the settings' feed and the connector's own scopes need: what nobody asked for cannot leak.
"""

from collections.abc import Collection, Mapping
from typing import Literal

from connectors.api import Scope
from connectors.fhir.settings import FhirSettings

Style = Literal["v1", "v2"]

Needs = Mapping[str, str]
"Resource types to the interactions that they are needed for, of c, r, u, d and s."

_ORDER = "cruds"

_LOOKED_AT: Mapping[str, Scope] = {
    "Patient": Scope.PATIENT_IDENTITY,
    "RelatedPerson": Scope.PATIENT_CONTACT,
    "AllergyIntolerance": Scope.CHART_SUMMARY,
    "CareTeam": Scope.CHART_SUMMARY,
    "Condition": Scope.CHART_SUMMARY,
    "Consent": Scope.CHART_SUMMARY,
    "Coverage": Scope.CHART_SUMMARY,
    "Encounter": Scope.CHART_SUMMARY,
    "MedicationRequest": Scope.CHART_SUMMARY,
    "ServiceRequest": Scope.CHART_SUMMARY,
    "Task": Scope.CHART_SUMMARY,
    "Communication": Scope.CHART_SUMMARY,
}

_WITH_APPOINTMENTS = ("Appointment", "Location", "Practitioner", "Schedule", "Slot")


def needs(settings: FhirSettings, scopes: Collection[Scope]) -> Needs:
    """Return what a connection reads and writes, by its settings and the connector's scopes."""
    found = {kind: "rs" for kind, scope in _LOOKED_AT.items() if scope in scopes}
    vendor = settings.vendor
    if Scope.APPOINTMENTS in scopes and "appointments" in settings.feed:
        found |= dict.fromkeys(_WITH_APPOINTMENTS, "rs")
        if settings.callback_url is not None and vendor.subscription != "no":
            found["Subscription"] = "crus"
    if Scope.APPOINTMENT_STATUS_WRITE in scopes and vendor.write_back != "none":
        found["Appointment"] = "rs" if vendor.write_back == "response" else "rus"
        if vendor.write_back in {"auto", "response"}:
            found["AppointmentResponse"] = "crs"
    if Scope.COMMUNICATION_WRITE in scopes and vendor.communication != "no":
        found["Communication"] = "crs"  # it is searched for our key before it is created
    return found


def style(settings: FhirSettings, supported: Collection[str], capabilities: Collection[str]) -> Style:
    """Return how the server wants its scopes, as far as the profile does not say.

    `supported` and `capabilities` are `scopes_supported` and `capabilities` of its smart-configuration.
    """
    if settings.vendor.scopes != "auto":
        return settings.vendor.scopes
    listed = [_parsed(one)[1] for one in supported if one.startswith("system/")]
    if any(_letters(said) for said in listed):
        return "v2"
    if listed or "permission-v2" not in capabilities:
        return "v1"  # what was published before SMART 2 says nothing of versions
    return "v2"


def asked(needed: Needs, style: Style, supported: Collection[str]) -> str:
    """Return the `scope` of a token request: `needed`, without what the server says that it does not know.

    A server that lists no system scopes is asked for all of it; so is one that lists none of it.
    """
    known = [_parsed(one) for one in supported if one.startswith("system/")]
    held = {kind: _held(kind, wanted, known, style) for kind, wanted in needed.items()} if known else {}
    told = {kind: letters for kind, letters in held.items() if letters} or needed
    return " ".join(one for kind in sorted(told) for one in _written(kind, told[kind], style))


def _written(kind: str, letters: str, style: Style) -> list[str]:
    if style == "v2":
        return [f"system/{kind}.{''.join(letter for letter in _ORDER if letter in letters)}"]
    words = [("read", "rs"), ("write", "cud")]
    return [f"system/{kind}.{word}" for word, any_of in words if set(any_of) & set(letters)]


def _parsed(scope: str) -> tuple[str, str]:
    """Return resource type and permissions of a scope such as system/Observation.rs?category=laboratory."""
    kind, _, said = scope.removeprefix("system/").partition("?")[0].partition(".")
    return kind, said


def _letters(said: str) -> bool:
    return bool(said) and set(said) <= set(_ORDER)


def _held(kind: str, wanted: str, known: list[tuple[str, str]], style: Style) -> str:
    """Return the part of `wanted` that the server knows of."""
    held: set[str] = set()
    for type_, said in known:
        if type_ not in {kind, "*"}:
            continue
        if style == "v2":
            held |= set(said) if _letters(said) else set(_ORDER) if said == "*" else set()
        else:
            held |= {"read": set("rs"), "write": set("cud"), "*": set(_ORDER)}.get(said, set())
    return "".join(letter for letter in wanted if letter in held)
