"""What else stands in the sandbox's records: relatives, schedules, encounters, referrals, consents, labels."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from connectors.sandbox.people import People, Person, Visit
from connectors.sandbox.relation import Relation, relations

Resource = dict[str, Any]

CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
_ROLE = "http://terminology.hl7.org/CodeSystem/v3-RoleCode"
_ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
_SCOPE = "http://terminology.hl7.org/CodeSystem/consentscope"
_CATEGORY = "http://loinc.org"


def stamp(at: datetime) -> str:
    """Return a FHIR instant."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def is_restricted(people: People, person: Person) -> bool:
    """Whether the chart is closed to all but named people: one person's is, who gave no number."""
    return person == next((one for one in people.persons if one.phone is None), None)


def label() -> Resource:
    """Return the meta of a closed chart (FHIR R4 security-labels.html)."""
    return {"security": [{"system": CONFIDENTIALITY, "code": "R", "display": "restricted"}]}


def around(people: People) -> Iterator[Resource]:
    """Yield what hangs on the practice's people and visits."""
    for relation in relations(people):
        yield _related(relation)
    for doctor in people.practitioners:
        yield {
            "resourceType": "Schedule",
            "id": f"{doctor.id}-s",
            "active": True,
            "actor": [
                {"reference": f"Practitioner/{doctor.id}", "display": f"{doctor.given} {doctor.family} MD"},
                {"reference": f"Location/{people.places[0].id}", "display": people.places[0].name},
            ],
        }
    for visit in people.visits:
        yield slot(visit)
        if visit.status == "fulfilled":
            yield _encounter(visit)
    for number, person in enumerate(people.persons):
        if person.problems and number % 3 == 0:
            yield _referral(person)
        yield _consent(person, permits=number % 7 != 0)


def slot(visit: Visit) -> Resource:
    """Return the time that a visit takes of its practitioner's day."""
    return {
        "resourceType": "Slot",
        "id": f"{visit.id}-t",
        "schedule": {"reference": f"Schedule/{visit.practitioner.id}-s"},
        "status": "busy",
        "start": stamp(visit.starts_at),
        "end": stamp(visit.starts_at + timedelta(minutes=visit.minutes)),
    }


def _related(relation: Relation) -> Resource:
    return {
        "resourceType": "RelatedPerson",
        "id": relation.id,
        "active": True,
        "patient": {"reference": f"Patient/{relation.person.id}"},
        "relationship": [
            {"coding": [{"system": _ROLE, "code": relation.code, "display": relation.word}], "text": relation.word}
        ],
        "name": [{"family": relation.person.family, "given": [relation.given]}],
        "telecom": [{"system": "phone", "value": relation.phone, "use": "mobile"}],
    }


def _encounter(visit: Visit) -> Resource:
    ended_at = visit.starts_at + timedelta(minutes=visit.minutes)
    return {
        "resourceType": "Encounter",
        "id": f"{visit.id}-e",
        "status": "finished",
        "class": {"system": _ACT, "code": "AMB", "display": "ambulatory"},
        "type": [{"text": visit.type}],
        "subject": {"reference": f"Patient/{visit.person.id}"},
        "period": {"start": stamp(visit.starts_at), "end": stamp(ended_at)},
        "appointment": [{"reference": f"Appointment/{visit.id}"}],
    }


def _referral(person: Person) -> Resource:
    return {
        "resourceType": "ServiceRequest",
        "id": f"{person.id}-q1",
        "status": "active",
        "intent": "order",
        "code": {"text": "Referral to a specialist"},
        "subject": {"reference": f"Patient/{person.id}"},
    }


def _consent(person: Person, *, permits: bool) -> Resource:
    return {
        "resourceType": "Consent",
        "id": f"{person.id}-k1",
        "status": "active",
        "scope": {"coding": [{"system": _SCOPE, "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": _CATEGORY, "code": "59284-0"}], "text": "Reminders by text message"}],
        "patient": {"reference": f"Patient/{person.id}"},
        "provision": {"type": "permit" if permits else "deny"},
    }
