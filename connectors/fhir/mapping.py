"""What a FHIR R4 resource says, as facts: Patient, Appointment and Task."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from connectors.api import (
    AppointmentFacts,
    AppointmentStatus,
    Identifier,
    MergeFacts,
    PatientFacts,
    RequestFacts,
    Version,
)
from connectors.fhir.reading import (
    APPOINTMENT_ID,
    NEVER,
    PATIENT_ID,
    TASK_ID,
    Resource,
    codes,
    contained,
    day,
    first_words,
    fit_for_us,
    identifiers,
    inner,
    instant,
    items,
    person_name,
    phones,
    reference,
    text,
    version_of,
    words,
)
from connectors.fhir.settings import FhirSettings

Find = Callable[[str], Resource | None]
"Returns the resource that a relative reference such as Patient/42 names, if it came along."

_STATUS = {status.value.replace("-", ""): status for status in AppointmentStatus} | {
    "canceled": AppointmentStatus.CANCELLED,
}

_DONE = {"completed", "cancelled", "rejected", "failed", "entered-in-error"}
"FHIR R4 task-status codes after which nobody works on it; the others are open."

_GENDERS = {"male", "female", "other", "unknown"}


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads resources of one connection."""

    settings: FhirSettings
    zone: tzinfo
    region: str
    read_at: datetime

    def patient(self, resource: Resource) -> PatientFacts:
        """Return what a Patient says (FHIR R4 Patient)."""
        family, given = person_name(resource.get("name"))
        address = next(iter(items(resource.get("address"))), {})
        gender = text(resource.get("gender"))
        return PatientFacts(
            ids=self._patient_ids(resource),
            version=version_of(resource, self.zone, self.read_at),
            family=family,
            given=given,
            birth_date=day(resource.get("birthDate")),
            sex=gender if gender in _GENDERS else None,
            phones=tuple(phones(resource.get("telecom"), self.region, self.zone, self.read_at)),
            language=_language(resource.get("communication")),
            postal_code=text(address.get("postalCode")),
            state=text(address.get("state")),
            deceased=_deceased(resource),
            active=resource.get("active") if isinstance(resource.get("active"), bool) else None,
        )

    def merge(self, resource: Resource) -> MergeFacts | None:
        """Return the merge that a Patient tells of: inactive, and replaced by another (FHIR R4 Patient.link)."""
        for link in items(resource.get("link")):
            survivor = reference(link.get("other"), "Patient")
            if survivor and link.get("type") == "replaced-by" and resource.get("active") is False:
                return MergeFacts(
                    survivor=patient_stub(survivor),
                    merged=self._patient_ids(resource),
                    version=version_of(resource, self.zone, self.read_at),
                )
        return None

    def appointment(self, resource: Resource, find: Find = lambda _: None) -> AppointmentFacts | None:
        """Return what an Appointment says (FHIR R4 Appointment); None if its status is no status.

        A patient who did not come along is told by id alone, as a statement that is older than any other.
        """
        status = _STATUS.get(str(resource.get("status")).lower().replace("-", "").replace("_", ""))
        own = text(resource.get("id"))
        ids = (
            *((Identifier(system=APPOINTMENT_ID, value=own),) if own else ()),
            *identifiers(resource.get("identifier")),
        )
        if status is None or not ids:
            return None
        starts_at = instant(resource.get("start"), self.zone)
        return AppointmentFacts(
            ids=ids,
            version=version_of(resource, self.zone, self.read_at),
            status=status,
            starts_at=starts_at,
            minutes=_minutes(resource, starts_at, instant(resource.get("end"), self.zone)),
            patient=self._patient_of(resource, find),
            practitioner=_actor(resource, find, "Practitioner", "PractitionerRole"),
            location=_actor(resource, find, "Location"),
            type=words(resource.get("appointmentType")) or first_words(resource.get("serviceType")),
            reason=first_words(resource.get("reasonCode")),
        )

    def request(self, resource: Resource) -> RequestFacts | None:
        """Return what a Task asks for (FHIR R4 Task); None where it is not for a patient."""
        own, patient = text(resource.get("id")), reference(resource.get("for"), "Patient")
        if own is None or patient is None:
            return None
        return RequestFacts(
            ids=(Identifier(system=TASK_ID, value=own), *identifiers(resource.get("identifier"))),
            version=version_of(resource, self.zone, self.read_at),
            patient_ids=(Identifier(system=PATIENT_ID, value=patient),),
            kind=self.request_kind(resource),
            status="done" if text(resource.get("status")) in _DONE else "open",
        )

    def request_kind(self, task: Resource) -> str:
        """Return refill, referral or other."""
        said = codes(task.get("code"))
        title = (words(task.get("code")) or "").lower()
        wanted = self.settings.refill_codes
        if said & set(wanted) or any(code.replace("-", " ") in title for code in wanted):
            return "refill"
        return "referral" if "referral" in said or "referral" in title else "other"

    def _patient_ids(self, resource: Resource) -> tuple[Identifier, ...]:
        own = text(resource.get("id"))
        named = [
            found
            for found in identifiers(resource.get("identifier"))
            if fit_for_us(found, self.settings.patient_identifier_systems)
        ]
        return (*((Identifier(system=PATIENT_ID, value=own),) if own else ()), *named)

    def _patient_of(self, resource: Resource, find: Find) -> PatientFacts | None:
        for actor in actors(resource):
            if person := reference(actor, "Patient"):
                came = find(f"Patient/{person}")
                return self.patient(came) if came else patient_stub(person)
            inside = contained(resource, actor)
            if inside and inside.get("resourceType") == "Patient":
                # A contained resource has no id outside of its container (FHIR R4 references.html#contained).
                said = self.patient({**inside, "id": None})
                return said if said.ids else None
        return None


def actors(appointment: Resource) -> list[Any]:
    """Return the actors of an Appointment's participants."""
    return [participant.get("actor") for participant in items(appointment.get("participant"))]


def patient_stub(person: str) -> PatientFacts:
    """Return a patient of whom nothing is known but the id."""
    return PatientFacts(ids=(Identifier(system=PATIENT_ID, value=person),), version=Version(at=NEVER, tag=""))


def _language(communications: Any) -> str | None:
    said = sorted(items(communications), key=lambda one: one.get("preferred") is not True)
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


def _minutes(resource: Resource, starts_at: datetime | None, ends_at: datetime | None) -> int | None:
    said = resource.get("minutesDuration")
    if isinstance(said, int) and not isinstance(said, bool) and said > 0:
        return said
    if starts_at is None or ends_at is None or ends_at <= starts_at:
        return None
    return int((ends_at - starts_at).total_seconds() // 60)


def _actor(resource: Resource, find: Find, *kinds: str) -> str | None:
    for actor in actors(resource):
        inside = contained(resource, actor)
        for kind in kinds:
            known = reference(actor, kind)
            if known is None and inner(actor, "type") != kind and (inside or {}).get("resourceType") != kind:
                continue
            came = inside or (find(f"{kind}/{known}") if known else None) or {}
            if name := text(inner(actor, "display")) or _called(came):
                return name
    return None


def _called(resource: Resource) -> str | None:
    name = resource.get("name")
    if isinstance(name, str):
        return text(name)
    family, given = person_name(name)
    return " ".join(part for part in (given, family) if part) or None
