"""Who may call for a patient (FHIR R4 RelatedPerson and Patient.contact)."""

from collections.abc import Callable, Iterator
from datetime import datetime, tzinfo
from typing import Any

from connectors.api import RelatedFacts
from connectors.fhir.reading import (
    PATIENT_ID,
    Fields,
    Resource,
    codes,
    first_words,
    fit_for_us,
    identifiers,
    items,
    over,
    person_name,
    reference,
    text,
    version_fields,
)
from connectors.fhir.telecom import phones

RELATED_ID = "fhir/RelatedPerson"
"Identifier.system of a RelatedPerson's logical id."

CONTACT_ID = "fhir/Patient.contact"
"Identifier.system of a contact that stands in the Patient: the patient's logical id and its place there, from 1."

_NOBODY = frozenset({"e", "f", "i", "s"})
"HL7 table 0131 (v2-0131): employer, federal agency, insurance company, state agency; nobody who calls for a patient."

_RELATED: Callable[[Fields], RelatedFacts] = RelatedFacts.__pydantic_validator__.validate_python


def related_of(resource: Resource, *, zone: tzinfo, region: str, read_at: datetime, today: str) -> RelatedFacts | None:
    """Return what a RelatedPerson says; None where it is nobody's, or has no id."""
    patient = reference(resource.get("patient"), "Patient")
    own = text(resource.get("id"))
    ids = [found for found in identifiers(resource.get("identifier")) if fit_for_us(found, ())]
    if own:
        ids.insert(0, {"system": RELATED_ID, "value": own})
    if patient is None or not ids:
        return None
    said = resource.get("active")
    active = False if over(resource.get("period"), today) else said if isinstance(said, bool) else None
    return _RELATED(
        _person(resource, region, today)
        | {
            "ids": ids,
            "version": version_fields(resource, zone, read_at),
            "patient_ids": ({"system": PATIENT_ID, "value": patient},),
            "active": active,
        }
    )


def contacts_of(
    patient: Resource, *, zone: tzinfo, region: str, read_at: datetime, today: str
) -> Iterator[RelatedFacts]:
    """Yield the contacts of a Patient that are people, by their place; then that the place after the last is empty.

    A contact has no id of its own, and a list that became shorter would leave its last one behind.
    """
    own = text(patient.get("id"))
    said = patient.get("contact")
    if own is None or not said:
        return
    contacts = items(said)
    version = version_fields(patient, zone, read_at)
    for place, contact in enumerate([*contacts, {}], start=1):
        fields = _person(contact, region, today)
        roles = {code for concept in items(contact.get("relationship")) for code in codes(concept)}
        named = bool(fields["phones"] or fields["family"] or fields["given"])
        person = named and not (roles and roles <= _NOBODY)
        yield _RELATED(
            (fields if person else {})
            | {
                "ids": ({"system": CONTACT_ID, "value": f"{own}/{place}"},),
                "version": version,
                "patient_ids": ({"system": PATIENT_ID, "value": own},),
                "active": person and not over(contact.get("period"), today),
            }
        )


def _person(said: Any, region: str, today: str) -> Fields:
    family, given = person_name(said.get("name"), today)
    return {
        "family": family,
        "given": given,
        "relationship": first_words(said.get("relationship")),
        "phones": tuple(phones(said.get("telecom"), region, today)),
    }
