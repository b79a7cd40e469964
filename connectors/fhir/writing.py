"""Write back: an appointment's status in the way that the server takes, and a Communication; no repeat doubles them.

patch     JSON Patch with If-Match
put       the whole Appointment with If-Match
response  an AppointmentResponse of the patient: accepted or declined; the server changes its Appointment by itself
none      not by this server's FHIR API
"""

import re
from collections.abc import Sequence
from typing import Literal
from urllib.parse import urlencode

from fhirclient.models.communication import Communication
from fhirclient.models.fhirabstractbase import FHIRValidationError

from connectors.api import (
    FINAL,
    AppointmentStatus,
    CommunicationFacts,
    ConflictError,
    Identifier,
    Receipt,
    RejectedError,
)
from connectors.fhir.capability import Capabilities
from connectors.fhir.client import Client, Read
from connectors.fhir.profile import Profile
from connectors.fhir.reading import Resource, inner, reference, text

KEY_SYSTEM = "urn:chartline:communication"
"Identifier.system of our key on a Communication that we created."

RESPONSE_SYSTEM = "urn:chartline:appointment-response"
"Identifier.system of our key on an AppointmentResponse that we created."

Way = Literal["patch", "put", "response", "none"]

CONFIRMED = "confirmed"
"Not a status: the patient's participant.status becomes accepted (FHIR R4 Appointment.participant.status)."

_MODES = "http://terminology.hl7.org/CodeSystem/v3-ParticipationMode"


async def find(client: Client, kind: str, system: str, ids: Sequence[Identifier]) -> Read | None:
    """Return the resource that `ids` name: by logical id (`system`) first, then by business identifier.

    Raises:
        RejectedError: an identifier names several.
    """
    for one in ids:
        if one.system == system and (found := await client.read(kind, one.value)) is not None:
            return found
    systems = client.settings.systems
    for one in [said.model_copy(update={"system": systems.get(said.system, said.system)}) for said in ids]:
        if one.system == system:
            continue
        token = f"{escaped(one.system)}|{escaped(one.value)}" if one.system else escaped(one.value)
        page = await client.page(kind, (("identifier", token), ("_count", "5")))
        named = [resource for resource in page.matches if _has(resource, one)]
        if len(named) > 1:
            raise RejectedError("identifier-names-several", field=f"{kind}.identifier")
        if named:
            return await client.read(kind, str(named[0].get("id")))  # a search page has no ETag
    return None


def escaped(value: str) -> str:
    """Return `value` as a part of a search parameter (FHIR R4 search.html#escaping)."""
    return re.sub(r"[\\$,|]", r"\\\g<0>", value)


def _has(resource: Resource, wanted: Identifier) -> bool:
    """Whether it carries the identifier: a server that ignores the parameter returns anything."""
    said = resource.get("identifier")
    return any(
        inner(one, "value") == wanted.value and (inner(one, "system") or "") == wanted.system
        for one in (said if isinstance(said, list) else [said])
    )


def operations(appointment: Resource, to: AppointmentStatus | str) -> list[Resource]:
    """Return the JSON Patch (RFC 6902) that brings an Appointment to `to`; empty if it is there already.

    Raises:
        RejectedError: no such status, or no patient to confirm for.
        ConflictError: the appointment is over, so it is not what the patient answered to.
    """
    if to != CONFIRMED and to not in list(AppointmentStatus):
        raise RejectedError("no-such-status", field="Appointment.status")
    now = text(appointment.get("status"))
    if to != CONFIRMED and now == to:
        return []
    if now in FINAL:
        raise ConflictError("the appointment is over")
    if to != CONFIRMED:
        return [{"op": "replace", "path": "/status", "value": str(to)}]
    at, participant = _patient_in(appointment)
    if participant.get("status") == "accepted":
        return []
    return [
        {"op": "test", "path": f"/participant/{at}/actor/reference", "value": participant["actor"]["reference"]},
        {
            "op": "replace" if "status" in participant else "add",
            "path": f"/participant/{at}/status",
            "value": "accepted",
        },
    ]


def _patient_in(appointment: Resource) -> tuple[int, Resource]:
    """Return the participant who is the patient, and where it stands."""
    participants = appointment.get("participant")
    for at, participant in enumerate(participants if isinstance(participants, list) else []):
        if reference(inner(participant, "actor"), "Patient") is not None:
            return at, participant
    raise RejectedError("no-patient-to-confirm-for", field="Appointment.participant")


def applied(appointment: Resource, to: AppointmentStatus | str) -> Resource:
    """Return the whole Appointment as it is to be, for a server that takes no patch."""
    if to != CONFIRMED:
        return appointment | {"status": str(to)}
    participants = list(appointment["participant"])
    at, participant = _patient_in(appointment)
    participants[at] = participant | {"status": "accepted"}
    return appointment | {"participant": participants}


def way_of(vendor: Profile, declared: Capabilities) -> Way:
    """Return how this server takes a status: by its profile or the operator, else by what it declares."""
    if vendor.write_back != "auto":
        return vendor.write_back
    if declared.patches_json:
        return "patch"
    appointment = declared.interactions.get("Appointment", frozenset())
    if "update" in appointment or not appointment:  # who declares nothing at all may take it
        return "put"
    return "response" if "create" in declared.interactions.get("AppointmentResponse", frozenset()) else "none"


async def set_status(
    client: Client,
    capabilities: Capabilities,
    found: Read,
    to: AppointmentStatus | str,
    if_version: str | None,
    key: str,
) -> Receipt:
    """Bring an appointment to `to`; where it is there already, nothing is written.

    A server that keeps no versions gets the write right after the read, without If-Match. The version of the receipt
    is None where the server answers a response: whether it changed its Appointment is not known.

    Raises:
        ConflictError: it changed since `if_version`, or while this was under way.
        RejectedError: the server takes no status, or not this one.
    """
    own = str(found.resource.get("id"))
    patch = operations(found.resource, to)
    if not patch:
        return Receipt(external_id=own, version=found.version)
    if if_version and found.version and if_version != found.version:
        raise ConflictError("it changed since it was read")
    way = way_of(client.settings.vendor, capabilities)
    if way == "none":
        raise RejectedError("write-back-not-supported", field="Appointment.status")
    if way == "response":
        await create_once(client, capabilities, response_of(found.resource, to, key), key, system=RESPONSE_SYSTEM)
        return Receipt(external_id=own)
    etag = found.etag or (f'W/"{found.version}"' if found.version else None)
    if way == "patch":
        written = await client.patch("Appointment", own, patch, if_match=etag)
    else:
        written = await client.update(applied(found.resource, to), if_match=etag)
    return Receipt(external_id=own, version=written.version)


_ANSWERS = {CONFIRMED: "accepted", AppointmentStatus.CANCELLED: "declined"}
"AppointmentResponse.participantStatus (FHIR R4 participationstatus) for what a patient can answer."


def response_of(appointment: Resource, to: AppointmentStatus | str, key: str) -> Resource:
    """Return the patient's AppointmentResponse (FHIR R4) that says `to`.

    Raises:
        RejectedError: a patient cannot answer that, or the appointment has no patient.
    """
    if to not in _ANSWERS:
        raise RejectedError("not-a-patients-answer", field="AppointmentResponse.participantStatus")
    _, participant = _patient_in(appointment)
    return {
        "resourceType": "AppointmentResponse",
        "identifier": [{"system": RESPONSE_SYSTEM, "value": key}],
        "appointment": {"reference": f"Appointment/{appointment.get('id')}"},
        "actor": {"reference": participant["actor"]["reference"]},
        "participantStatus": _ANSWERS[to],
    }


def communication_of(said: CommunicationFacts, patient: str, key: str, *, body: bool) -> Resource:
    """Return a Communication (FHIR R4) in the server's words; its text only with `body`."""
    subject = {"reference": f"Patient/{patient}"}
    resource: Resource = {
        "resourceType": "Communication",
        "identifier": [{"system": KEY_SYSTEM, "value": key}],
        "status": "completed",
        "medium": [{"coding": [{"system": _MODES, "code": said.medium}]}],
        "subject": subject,
        "topic": {"text": said.topic},
        "received" if said.inbound else "sent": said.sent_at.isoformat(timespec="seconds"),
    }
    if said.inbound:
        resource["sender"] = subject
    else:
        resource["recipient"] = [subject]
    if body and said.body:
        resource["payload"] = [{"contentString": said.body}]
    try:
        return dict(Communication(resource, strict=True).as_json())
    except FHIRValidationError:
        pass  # its text quotes the values
    raise RejectedError("not-a-communication", field="Communication")


async def create_once(
    client: Client, capabilities: Capabilities, resource: Resource, key: str, *, system: str = KEY_SYSTEM
) -> Receipt:
    """Create `resource` unless one with our `key` is there (FHIR R4 http.html#ccreate).

    Where the server has no conditional create, it is looked for first, among what the patient has.

    Raises:
        RejectedError: the server takes none of this type.
    """
    kind, vendor = str(resource["resourceType"]), client.settings.vendor
    if kind == "Communication" and vendor.communication == "no":
        raise RejectedError("write-back-not-supported", field=kind)
    ours = Identifier(system=system, value=key)
    token = f"{system}|{escaped(key)}"
    if vendor.usable("conditional_create", kind in capabilities.creates_conditionally):
        written = await client.create(resource, unless=urlencode({"identifier": token}))
        return Receipt(external_id=str(written.resource.get("id")), version=written.version)
    patient = reference(resource.get("subject") or resource.get("actor"), "Patient")
    page = await client.page(kind, (("identifier", token), *((("patient", patient),) if patient else ())))
    found = next((one for one in page.matches if _has(one, ours)), None)
    if found is None:
        written = await client.create(resource)
        return Receipt(external_id=str(written.resource.get("id")), version=written.version)
    return Receipt(external_id=str(found.get("id")), version=inner(found, "meta", "versionId"))
