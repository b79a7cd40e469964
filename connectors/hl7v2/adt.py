"""Read patient administration messages (ADT, HL7 v2.5.1 chapter 3): who the patients are, and which two are one."""

from connectors.api import Change, Identifier, MergeFacts, RejectedError
from connectors.hl7v2.er7 import Message, Segment
from connectors.hl7v2.nk1 import related_of
from connectors.hl7v2.pid import MOST_PATIENTS, Reading, patient_of, person_identifier

TELLS = frozenset({"A01", "A02", "A03", "A04", "A05", "A06", "A07", "A08", "A28", "A31"})
"""Trigger events whose PID is a snapshot of the patient: visits begin, move, change and end (A01 to A07), a patient is
registered (A04, A28) or updated (A08, A31). What they say of the visit is of no use here and is not read."""

MERGES = frozenset({"A18", "A30", "A34", "A36", "A39", "A40", "A47"})
"""Trigger events after which the patient of MRG is the one of PID: A40 from v2.3.1 on, the others before; A47 corrects
an identifier of one patient, who is known by the old one here."""

LINKS = {"A24": "patients-linked", "A37": "patients-unlinked"}
"""Trigger events that say that two records belong together, or no longer, and leave both as they are. Nothing here
keeps that: it may mean one person, or a mother and her child. A person decides."""


def read(message: Message, event: str, reading: Reading) -> list[Change]:
    """Return what an ADT message says of patients; nothing for events that move beds, accounts and visits.

    Raises:
        RejectedError: a segment or an identifier that the event cannot be without is missing, or nothing here can
            keep what it says.
    """
    if event in TELLS:
        pid = message.segment("PID")
        if pid is None:
            raise RejectedError("segment-missing", field="PID")
        patient = patient_of(pid, reading, message.segment("PD1"))
        return [patient, *related_of(message, patient, reading)] if message.has("NK1") else [patient]
    if event in MERGES:
        return [_merge(pid, mrgs, reading) for pid, mrgs in _merges(message)]
    if event in LINKS:
        raise RejectedError(LINKS[event], field="MSH-9")
    return []


def _merges(message: Message) -> list[tuple[Segment, list[Segment]]]:
    """Return each PID with every MRG that follows it: a message may merge several patients, and several into one."""
    groups: list[tuple[Segment, list[Segment]]] = []
    for segment in message.lines():
        if segment.name == "PID":
            groups.append((segment, []))
        elif segment.name == "MRG" and groups:
            groups[-1][1].append(segment)
    if not groups:
        raise RejectedError("segment-missing", field="PID")
    if len(groups) > MOST_PATIENTS:
        raise RejectedError("too-many-patients", field="PID")
    if not all(mrgs for _, mrgs in groups):
        raise RejectedError("segment-missing", field="MRG")
    return groups


def _merge(pid: Segment, mrgs: list[Segment], reading: Reading) -> MergeFacts:
    survivor = patient_of(pid, reading)
    kept = frozenset(survivor.ids)
    merged = []
    for mrg in mrgs:
        prior = [found for found in _prior(mrg) if found not in kept]
        if not prior:
            raise RejectedError("patient-id-missing", field="MRG-1")
        merged += prior
    return MergeFacts(survivor=survivor, merged=tuple(dict.fromkeys(merged)), version=reading.version)


def _prior(mrg: Segment) -> tuple[Identifier, ...]:
    """Return whom MRG names: MRG-1, and MRG-2 and MRG-4, which older versions have, as PID-2 and PID-4 are read."""
    said = mrg.composites(1)
    ids = [found for cx in said if (found := person_identifier(cx)) is not None]
    for number in (2, 4):
        for cx in mrg.composites(number):
            found = person_identifier(cx)
            if found is not None and (not said or found.system):
                ids.append(found)
    return tuple(dict.fromkeys(ids))
