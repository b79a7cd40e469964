"""Read the patient identification segment (PID, HL7 v2.5.1 section 3.4.2) as facts."""

from datetime import tzinfo
from typing import NamedTuple

from connectors.api import Identifier, PatientFacts, RejectedError, Version
from connectors.hl7v2.er7 import Composite, Message, Segment
from connectors.hl7v2.field import assigner_of, date_of, instant_of, sender_zone
from connectors.hl7v2.language import language_of
from connectors.hl7v2.telephone import phones_of

_SEXES = {"M": "male", "F": "female", "O": "other", "A": "other", "N": "other", "U": "unknown"}
"HL7 table 0001 to FHIR R4 administrative-gender."

_CLEARED = {
    5: ("family", "given"),
    7: ("birth_date",),
    8: ("sex",),
    11: ("postal_code", "state"),
    15: ("language",),
    30: ("deceased",),
}
"What a deleted field of PID takes away; telephone numbers stand in several fields."

_NO_PATIENT = frozenset({"SS", "SB", "DL", "PPN", "TAX", "MB", "SN", "AN", "VN"})
"""Identifier types (HL7 table 0203) that do not name one patient, or that the record can do without: a family shares an
account or a policy, a visit ends, and a placeholder for a social security number would make strangers one person."""

_SSN = "urn:oid:2.16.840.1.113883.4.1"
"The social security administration as an assigner."

_TELEPHONES = ((13, "home"), (14, "work"), (40, ""))
"Fields with telephone numbers, and their use where XTN.2 names none; PID-40 from v2.7 on."


MOST_PATIENTS = 1000
"Of one message that books for several patients, or merges several; one with more is a mistake, and would hold up all."


class Reading(NamedTuple):
    """How one message is read."""

    version: Version
    zone: tzinfo
    "For times without an offset."

    region: str
    "For telephone numbers without a country code."


def reading_of(message: Message, *, zone: tzinfo, region: str) -> Reading:
    """Return how to read `message`: its version is MSH-7, named by MSH-10.

    Raises:
        RejectedError: no one can say when it was said.
    """
    stamp = message.header.value(7)
    zone = sender_zone(stamp, zone)
    at = instant_of(stamp.ljust(10, "0") if len(stamp) == 8 else stamp, zone)  # a mere date: its midnight
    if at is None:
        raise RejectedError("message-time-missing" if not stamp else "message-time-invalid", field="MSH-7")
    return Reading(Version(at=at, tag=message.control_id), zone, region)


def patient_of(pid: Segment, reading: Reading, pd1: Segment | None = None) -> PatientFacts:
    """Return what `pid` says, and of the patient's `pd1` whether the chart is closed (PD1-12, section 3.4.10).

    Raises:
        RejectedError: it names no patient.
    """
    patient = patient_in(pid, reading, pd1)
    if patient is None:
        raise RejectedError("patient-id-missing", field="PID-3")
    return patient


def patient_in(pid: Segment, reading: Reading, pd1: Segment | None = None) -> PatientFacts | None:
    """Return what `patient_of` returns; None where `pid` names no patient."""
    ids = identifiers_of(pid)
    if not ids:
        return None
    name = name_of(pid, 5)
    address = pid.composite(11)
    version = reading.version
    return PatientFacts(
        ids=ids,
        version=version,
        family=name[1] or None,
        given=name[2] or None,
        birth_date=date_of(pid.value(7)),
        sex=_SEXES.get(pid.value(8).strip().upper()),
        phones=phones_of(
            [(pid.composites(number), use) for number, use in _TELEPHONES], reading.region, version.at.date()
        ),
        language=language_of(pid.composite(15)) if pid.field(15) else None,
        postal_code=address[5] or None,
        state=address[4] or None,
        deceased=_deceased(pid),
        restricted=None if pd1 is None else _protected(pd1),
        cleared=_cleared(pid),
    )


def identifiers_of(pid: Segment) -> tuple[Identifier, ...]:
    """Return who the patient is to the sender: the repetitions of PID-3, and the older PID-2 and PID-4.

    An id of PID-2 or PID-4 that names no assigner counts only where PID-3 is empty: it would be taken for a PID-3
    of another patient.
    """
    said = pid.composites(3)
    named: dict[tuple[str, str, str], None] = {}
    texts = []
    for cx in said:
        texts.append(cx.text)
        key = _named(cx)
        if key is not None:
            named[key] = None
    for number in (2, 4):
        text = pid.field(number)
        if not text or text in texts:
            continue
        for cx in pid.composites(number):
            key = _named(cx)
            if key is not None and (not said or key[0]):
                named[key] = None
    return tuple([Identifier(system=system, value=value, type=kind) for system, value, kind in named])


def person_identifier(cx: Composite) -> Identifier | None:
    """Return an extended composite id (CX, section 2.A.14) that names one patient, or None."""
    named = _named(cx)
    return None if named is None else Identifier(system=named[0], value=named[1], type=named[2])


def _named(cx: Composite) -> tuple[str, str, str] | None:
    """Return assigner, value and type."""
    value, kind = cx[1].strip(), cx[5]
    if not value or kind.upper() in _NO_PATIENT:
        return None
    system = assigner_of(cx.subs(4))
    return None if system == _SSN else (system, value, kind)


def name_of(segment: Segment, number: int) -> Composite:
    """Return the legal name of a field of names (XPN), otherwise its first."""
    names = segment.composites(number)
    if len(names) == 1:
        return names[0]
    return next((name for name in names if name[7] == "L"), names[0]) if names else segment.composite(number)


def _protected(pd1: Segment) -> bool | None:
    """Return the protection indicator; one that was deleted protects no longer."""
    if len(pd1) < 12:
        return None
    if pd1.deleted(12):
        return False
    said = pd1.value(12).strip().upper()
    return said == "Y" if said in ("Y", "N") else None


def _deceased(pid: Segment) -> bool | None:
    said = pid.value(30).strip().upper()
    if said in ("Y", "N"):
        return said == "Y"
    return True if pid.value(29) else None


_NOTHING: frozenset[str] = frozenset()


def _cleared(pid: Segment) -> frozenset[str]:
    if '""' not in pid.text:
        return _NOTHING
    names = {name for number, cleared in _CLEARED.items() if pid.deleted(number) for name in cleared}
    telephones = [number for number, _ in _TELEPHONES if pid.field(number)]
    if telephones and all(pid.deleted(number) for number in telephones):
        names.add("phones")
    return frozenset(names)
