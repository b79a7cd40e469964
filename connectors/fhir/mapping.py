"""What a FHIR R4 resource says, as facts: Patient, RelatedPerson, Appointment and Task."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any

import orjson

from connectors.api import (
    AppointmentFacts,
    Change,
    MergeFacts,
    PatientFacts,
    RejectedError,
    RelatedFacts,
    RequestFacts,
    Version,
)
from connectors.fhir.reading import (
    APPOINTMENT_ID,
    NEVER,
    PATIENT_ID,
    TASK_ID,
    Fields,
    Find,
    Resource,
    closed,
    codes,
    day,
    first_words,
    fit_for_us,
    identifiers,
    inner,
    items,
    over,
    person_name,
    reference,
    resolved,
    text,
    version_fields,
    withheld,
    words,
)
from connectors.fhir.related import contacts_of, related_of
from connectors.fhir.settings import FhirSettings
from connectors.fhir.telecom import phones
from connectors.fhir.visit import actors, cast_of, status_of, times_of

_DONE = {"completed", "cancelled", "rejected", "failed", "entered-in-error"}
"FHIR R4 task-status codes after which nobody works on it; the others are open."

_GENDERS = ("male", "female", "other", "unknown")


TOLD = frozenset({"Patient", "RelatedPerson", "Appointment", "Task"})
"Resource types that tell something by themselves."


def told_in(raw: bytes) -> Resource | None:
    """Return the resource of a feed that stands in `raw`; None where that is something else."""
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) and found.get("resourceType") in TOLD else None


def nobody(name: str) -> None:
    """Find nothing: nothing came along."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads resources of one connection."""

    settings: FhirSettings
    zone: tzinfo
    region: str
    read_at: datetime
    today: str = field(init=False)
    "ISO date, in the zone."

    confirms: bool = field(init=False)
    "Whether a patient who is said to have accepted a visit has confirmed it (`Profile.accepted_confirms`)."

    def __post_init__(self) -> None:
        object.__setattr__(self, "confirms", self.settings.vendor.accepted_confirms)
        object.__setattr__(self, "today", self.read_at.astimezone(self.zone).date().isoformat())

    def changes(self, resource: Resource, find: Find = nobody) -> list[Change]:
        """Return all that a resource of a feed says; nothing for the types that only come along."""
        kind = resource.get("resourceType")
        if kind == "Appointment":
            visit = self.appointment(resource, find)
            return [] if visit is None else [visit]
        if kind == "Patient":
            return list(self._person(resource))
        told = self.related(resource) if kind == "RelatedPerson" else None
        asked = self.request(resource) if kind == "Task" else None
        return [fact for fact in (told, asked) if fact is not None]

    def fault(self, resource: Resource) -> RejectedError | None:
        """Return why a resource of a feed says nothing although it should; None where it need not say anything."""
        kind = resource.get("resourceType")
        if kind == "Appointment" and status_of(resource.get("status")) is None:
            return RejectedError("appointment-status-unknown", field="Appointment.status")
        if kind == "Appointment" and not text(resource.get("id")) and not identifiers(resource.get("identifier")):
            return RejectedError("appointment-id-missing", field="Appointment.identifier")
        if kind == "RelatedPerson" and self.related(resource) is None:
            return RejectedError("patient-missing", field="RelatedPerson.patient")
        return None

    def _person(self, resource: Resource) -> Iterator[Change]:
        """Yield the patient before whatever hangs on the patient."""
        if (merge := self.merge(resource)) is not None:
            yield merge
            return
        patient = self.patient(resource)
        yield patient
        yield from self.contacts(resource)
        for link in items(resource.get("link")) if resource.get("link") else ():
            merged = reference(link.get("other"), "Patient")
            if merged and merged != resource.get("id") and link.get("type") == "replaces":
                ids = ({"system": PATIENT_ID, "value": merged},)
                yield MergeFacts.model_validate({"survivor": patient, "merged": ids, "version": patient.version})

    def patient(self, resource: Resource) -> PatientFacts:
        """Return what a Patient says (FHIR R4 Patient)."""
        family, given = person_name(resource.get("name"), self.today)
        address = self._address(resource.get("address"))
        gender, active = resource.get("gender"), resource.get("active")
        return _PATIENT(
            {
                "ids": self._patient_ids(resource),
                "version": version_fields(resource, self.zone, self.read_at),
                "family": family,
                "given": given,
                "birth_date": day(resource.get("birthDate")),
                "sex": gender if gender in _GENDERS else None,
                "phones": tuple(phones(resource.get("telecom"), self.region, self.today)),
                "language": _language(resource.get("communication")),
                "postal_code": text(address.get("postalCode")),
                "state": text(address.get("state")),
                "deceased": _deceased(resource),
                "active": active if isinstance(active, bool) else None,
                "restricted": closed(resource),
            }
        )

    def contacts(self, patient: Resource) -> Iterator[RelatedFacts]:
        """Yield who stands in a Patient as a contact (FHIR R4 Patient.contact)."""
        return contacts_of(patient, zone=self.zone, region=self.region, read_at=self.read_at, today=self.today)

    def related(self, resource: Resource) -> RelatedFacts | None:
        """Return what a RelatedPerson says (FHIR R4 RelatedPerson); None where it is nobody's."""
        return related_of(resource, zone=self.zone, region=self.region, read_at=self.read_at, today=self.today)

    def merge(self, resource: Resource) -> MergeFacts | None:
        """Return the merge that a Patient tells of: replaced by another, and not active (FHIR R4 Patient.link)."""
        if not resource.get("link") or resource.get("active") is True:
            return None
        for link in items(resource.get("link")):
            survivor = reference(link.get("other"), "Patient")
            if survivor and survivor != resource.get("id") and link.get("type") == "replaced-by":
                return MergeFacts.model_validate(
                    {
                        "survivor": stub(survivor),
                        "merged": self._patient_ids(resource),
                        "version": version_fields(resource, self.zone, self.read_at),
                    }
                )
        return None

    def appointment(self, resource: Resource, find: Find = nobody) -> AppointmentFacts | None:
        """Return what an Appointment says (FHIR R4 Appointment); None if its status is no status, or it has no id.

        A patient who did not come along is told by id alone, as a statement that is older than any other. What the
        visit is about stays with the owner where a label withholds it.
        """
        status = status_of(resource.get("status"))
        own, ids = text(resource.get("id")), identifiers(resource.get("identifier"))
        if own:
            ids.insert(0, {"system": APPOINTMENT_ID, "value": own})
        if status is None or not ids:
            return None
        actor, person, confirmed, practitioner, location = cast_of(resource, find)
        starts_at, minutes = times_of(resource, self.zone, find)
        hidden = withheld(resource)
        return _VISIT(
            {
                "ids": ids,
                "version": version_fields(resource, self.zone, self.read_at),
                "status": status,
                "starts_at": starts_at,
                "minutes": minutes,
                "patient": None if actor is None else self._patient_of(resource, actor, person, find),
                "practitioner": practitioner,
                "location": location,
                "type": None if hidden else words(resource.get("appointmentType")) or _kind(resource),
                "reason": None if hidden else first_words(resource.get("reasonCode")),
                "confirmed": confirmed if self.confirms or not confirmed else None,
            }
        )

    def request(self, resource: Resource) -> RequestFacts | None:
        """Return what a Task asks for (FHIR R4 Task); None where it is not for a patient."""
        own, patient = text(resource.get("id")), reference(resource.get("for"), "Patient")
        if own is None or patient is None:
            return None
        return RequestFacts.model_validate(
            {
                "ids": [{"system": TASK_ID, "value": own}, *identifiers(resource.get("identifier"))],
                "version": version_fields(resource, self.zone, self.read_at),
                "patient_ids": ({"system": PATIENT_ID, "value": patient},),
                "kind": self.request_kind(resource),
                "status": "done" if text(resource.get("status")) in _DONE else "open",
            }
        )

    def request_kind(self, task: Resource) -> str:
        """Return refill, referral or other."""
        said = codes(task.get("code"))
        title = (words(task.get("code")) or "").lower()
        wanted = self.settings.refill_codes
        if said & set(wanted) or any(code.replace("-", " ") in title for code in wanted):
            return "refill"
        return "referral" if "referral" in said or "referral" in title else "other"

    def _patient_ids(self, resource: Resource) -> list[Fields]:
        systems = self.settings.patient_identifier_systems
        ids = [found for found in identifiers(resource.get("identifier")) if fit_for_us(found, systems)]
        if own := text(resource.get("id")):
            ids.insert(0, {"system": PATIENT_ID, "value": own})
        return ids

    def _patient_of(self, resource: Resource, actor: Any, person: str, find: Find) -> PatientFacts | Fields | None:
        """Return the patient of a visit: who came along, or who is named by a logical id or an identifier."""
        if person:
            came = find(f"Patient/{person}")
            return stub(person) if came is None else self.patient(came)
        came = resolved(resource, actor, find)
        if came is not None and came.get("resourceType") == "Patient":
            inside = str(inner(actor, "reference")).lstrip().startswith("#")
            # A contained resource has no id outside of its container (FHIR R4 references.html#contained).
            said = self.patient(came | {"id": None} if inside else came)
            return said if said.ids else None
        named = identifiers(inner(actor, "identifier"))
        fit = [one for one in named if fit_for_us(one, self.settings.patient_identifier_systems)]
        return {"ids": fit, "version": _UNTOLD} if fit else None

    def _address(self, addresses: Any) -> Resource:
        """Return the address in use: one at home before any other."""
        if isinstance(addresses, list) and len(addresses) == 1 and isinstance(addresses[0], dict):
            return addresses[0]
        found = [one for one in items(addresses) if one.get("use") != "old" and not over(one.get("period"), self.today)]
        return next((one for one in found if one.get("use") == "home"), found[0] if found else {})


_VISIT: Callable[[Fields], AppointmentFacts] = AppointmentFacts.__pydantic_validator__.validate_python
_PATIENT: Callable[[Fields], PatientFacts] = PatientFacts.__pydantic_validator__.validate_python
"What `model_validate` calls, which costs as much again as half a fact."

_UNTOLD = Version(at=NEVER, tag="")
"The version of a patient who is only named."


def stub(person: str) -> Fields:
    """Return the fields of a patient of whom nothing is known but the id."""
    return {"ids": ({"system": PATIENT_ID, "value": person},), "version": _UNTOLD}


def _kind(appointment: Resource) -> str | None:
    return first_words(appointment.get("serviceType"))


def _language(communications: Any) -> str | None:
    said = items(communications)
    if len(said) > 1:
        said.sort(key=lambda one: one.get("preferred") is not True)
    for one in said:
        for coding in items(inner(one, "language", "coding")):
            if code := text(coding.get("code")):
                return code
    return None


def _deceased(resource: Resource) -> bool | None:
    if text(resource.get("deceasedDateTime")):
        return True
    said = resource.get("deceasedBoolean")
    return said if isinstance(said, bool) else None


__all__ = ["Find", "Reader", "actors", "nobody", "told_in"]
