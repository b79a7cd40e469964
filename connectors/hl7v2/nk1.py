"""Read next of kin (NK1, HL7 v2.5.1 section 3.4.5): who may call for a patient."""

from collections.abc import Sequence

from connectors.api import Identifier, PatientFacts, RelatedFacts
from connectors.hl7v2.er7 import Message, Segment
from connectors.hl7v2.field import date_of, words_of
from connectors.hl7v2.pid import Reading, name_of, person_identifier
from connectors.hl7v2.telephone import phones_of

SYSTEM = "hl7v2/NK1"
"Assigner of the ids that are made up here: senders number relations by their place in the message (NK1-1)."

_TELEPHONES = ((5, ""), (6, "work"), (40, ""))
"Fields with telephone numbers, and their use where XTN.2 names none; NK1-40 from v2.7 on."

_SELF = frozenset({"SEL", "SELF", "18"})
"The patient (HL7 table 0063, and what X12 writes for it)."


def related_of(message: Message, patient: PatientFacts, reading: Reading) -> list[RelatedFacts]:
    """Return the relations of the one patient of a message, each with all that is said of it.

    A relation keeps its id as long as its sender numbers it alike, or names it by an id of its own (NK1-33).
    """
    told: dict[tuple[Identifier, ...], RelatedFacts] = {}
    for place, nk1 in enumerate(message.segments("NK1"), 1):
        facts = _related(nk1, place, patient, reading)
        if facts is not None:
            told.setdefault(facts.ids, facts)
    return list(told.values())


def _related(nk1: Segment, place: int, patient: PatientFacts, reading: Reading) -> RelatedFacts | None:
    name = name_of(nk1, 2)
    relation = nk1.composite(3)
    phones = phones_of(
        [(nk1.composites(number), use) for number, use in _TELEPHONES], reading.region, reading.version.at.date()
    )
    gone = nk1.deleted(2)
    if {relation[1].strip().upper(), relation[2].strip().upper()} & _SELF or not (name[1] or name[2] or phones or gone):
        return None
    ended = date_of(nk1.value(9))
    return RelatedFacts(
        ids=(_identifier(nk1.value(1).strip() or str(place), nk1, patient.ids),),
        version=reading.version,
        patient_ids=patient.ids,
        family=name[1] or None,
        given=name[2] or None,
        relationship=words_of(relation),
        phones=phones,
        active=not gone and (ended is None or ended >= reading.version.at.date()),
    )


def _identifier(number: str, nk1: Segment, patient_ids: Sequence[Identifier]) -> Identifier:
    """Return the patient's first id with the relation's own (NK1-33), otherwise with its number.

    Not the relation's own alone: a mother is next of kin of each of her children.
    """
    patient = patient_ids[0]
    for cx in nk1.composites(33):
        own = person_identifier(cx)
        if own is not None and own.system:
            number = f"{own.system}/{own.type}/{own.value}"
            break
    return Identifier(system=SYSTEM, value=f"{patient.system}/{patient.type}/{patient.value}/{number}")
