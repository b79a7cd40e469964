"""The sandbox's people as FHIR R4 resources."""

from collections.abc import Iterator
from datetime import timedelta

from connectors.sandbox.people import (
    FILLER_SYSTEM,
    MRN_SYSTEM,
    PLACER_SYSTEM,
    People,
    Person,
    Practitioner,
    Refill,
    Visit,
)
from connectors.sandbox.record import Resource, around, is_restricted, label, stamp

_CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
_ALLERGY = "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical"
_TYPE = "http://terminology.hl7.org/CodeSystem/v2-0203"


def resources(people: People) -> Iterator[Resource]:
    """Yield everything that the server holds at its start."""
    for practitioner in people.practitioners:
        yield {
            "resourceType": "Practitioner",
            "id": practitioner.id,
            "name": [{"family": practitioner.family, "given": [practitioner.given], "suffix": ["MD"]}],
        }
    for place in people.places:
        yield {"resourceType": "Location", "id": place.id, "name": place.name, "status": "active"}
    for person in people.persons:
        yield patient(person) | ({"meta": label()} if is_restricted(people, person) else {})
        yield from _chart(person, people.practitioners[0])
    for visit in people.visits:
        yield appointment(visit)
    for refill in people.refills:
        yield _task(refill)
    yield from around(people)


def patient(person: Person) -> Resource:
    """Return the Patient of a person."""
    found: Resource = {
        "resourceType": "Patient",
        "id": person.id,
        "active": True,
        "identifier": [
            {"type": {"coding": [{"system": _TYPE, "code": "MR"}]}, "system": MRN_SYSTEM, "value": person.mrn}
        ],
        "name": [{"use": "official", "family": person.family, "given": [person.given]}],
        "gender": person.sex,
        "birthDate": person.birth_date.isoformat(),
        "deceasedBoolean": person.deceased,
        "communication": [
            {"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": person.language}]}, "preferred": True}
        ],
    }
    if person.written:
        found["telecom"] = [{"system": "phone", "value": person.written, "use": "mobile"}]
    return found


def appointment(visit: Visit) -> Resource:
    """Return the Appointment of a visit."""
    doctor = visit.practitioner
    return {
        "resourceType": "Appointment",
        "id": visit.id,
        "identifier": [
            {"system": PLACER_SYSTEM, "value": visit.placer},
            {"system": FILLER_SYSTEM, "value": visit.filler},
        ],
        "status": visit.status,
        "appointmentType": {"text": visit.type},
        "reasonCode": [{"text": visit.reason}],
        "start": stamp(visit.starts_at),
        "end": stamp(visit.starts_at + timedelta(minutes=visit.minutes)),
        "minutesDuration": visit.minutes,
        "slot": [{"reference": f"Slot/{visit.id}-t"}],
        "participant": [
            {"actor": {"reference": f"Patient/{visit.person.id}"}, "status": "needs-action"},
            {
                "actor": {"reference": f"Practitioner/{doctor.id}", "display": f"{doctor.given} {doctor.family} MD"},
                "status": "accepted",
            },
            {"actor": {"reference": f"Location/{visit.place.id}", "display": visit.place.name}, "status": "accepted"},
        ],
    }


def _chart(person: Person, doctor: Practitioner) -> Iterator[Resource]:
    who = {"reference": f"Patient/{person.id}"}
    for number, (code, words) in enumerate(person.problems, start=1):
        yield {
            "resourceType": "Condition",
            "id": f"{person.id}-c{number}",
            "clinicalStatus": {"coding": [{"system": _CLINICAL, "code": "active"}]},
            "code": {"coding": [{"system": "http://snomed.info/sct", "code": code, "display": words}], "text": words},
            "subject": who,
        }
    for number, (substance, sign, risk) in enumerate(person.allergies, start=1):
        yield {
            "resourceType": "AllergyIntolerance",
            "id": f"{person.id}-i{number}",
            "clinicalStatus": {"coding": [{"system": _ALLERGY, "code": "active"}]},
            "criticality": risk,
            "code": {"text": substance},
            "patient": who,
            "reaction": [{"manifestation": [{"text": sign}]}],
        }
    for number, drug in enumerate(person.drugs, start=1):
        yield {
            "resourceType": "MedicationRequest",
            "id": f"{person.id}-m{number}",
            "status": "active",
            "intent": "order",
            "medicationCodeableConcept": {"text": drug},
            "subject": who,
            "dosageInstruction": [{"text": "once daily"}],
        }
    yield from _circumstances(person, doctor)


def _circumstances(person: Person, doctor: Practitioner) -> Iterator[Resource]:
    """Yield who pays and who cares."""
    who = {"reference": f"Patient/{person.id}"}
    yield {
        "resourceType": "Coverage",
        "id": f"{person.id}-v1",
        "status": "active",
        "beneficiary": who,
        "payor": [{"display": person.payor}],
    }
    yield {
        "resourceType": "CareTeam",
        "id": f"{person.id}-t1",
        "status": "active",
        "subject": who,
        "participant": [
            {
                "role": [{"text": "Primary care physician"}],
                "member": {
                    "reference": f"Practitioner/{doctor.id}",
                    "display": f"{doctor.given} {doctor.family} MD",
                },
            }
        ],
    }


def _task(refill: Refill) -> Resource:
    return {
        "resourceType": "Task",
        "id": refill.id,
        "status": "requested",
        "intent": "order",
        "code": {"coding": [{"code": "refill-request", "display": "Refill request"}], "text": "Refill request"},
        "description": refill.drug,
        "for": {"reference": f"Patient/{refill.person.id}"},
        "authoredOn": stamp(refill.asked_at),
    }


__all__ = ["Resource", "appointment", "patient", "resources", "stamp"]
