"""Read patient administration messages (ADT, HL7 v2.5.1 chapter 3): who the patients are, and which two are one."""

from connectors.api import Change, MergeFacts, RejectedError
from connectors.hl7v2.er7 import Message, Segment
from connectors.hl7v2.pid import Reading, patient_of, person_identifier

TELLS = frozenset({"A01", "A02", "A03", "A04", "A05", "A06", "A07", "A08", "A28", "A31"})
"""Trigger events whose PID is a snapshot of the patient: visits begin, move, change and end (A01 to A07), a patient is
registered (A04, A28) or updated (A08, A31). What they say of the visit is of no use here and is not read."""

MERGES = frozenset({"A18", "A34", "A36", "A40"})
"Trigger events that fold the patient of MRG-1 into that of PID-3; A40 from v2.3.1 on, the others before."


def read(message: Message, event: str, reading: Reading) -> list[Change]:
    """Return what an ADT message says of patients; nothing for events that move beds, accounts and visits.

    Raises:
        RejectedError: a segment or an identifier that the event cannot be without is missing.
    """
    if event in TELLS:
        pid = message.segment("PID")
        if pid is None:
            raise RejectedError("segment-missing", field="PID")
        return [patient_of(pid, reading)]
    if event in MERGES:
        return [_merge(pid, mrg, reading) for pid, mrg in _pairs(message)]
    return []


def _pairs(message: Message) -> list[tuple[Segment, Segment]]:
    """Return each PID with the MRG that follows it: one message may merge several patients."""
    pairs: list[tuple[Segment, Segment]] = []
    pid: Segment | None = None
    for segment in message.lines():
        if segment.name == "PID":
            pid = segment
        elif segment.name == "MRG" and pid is not None:
            pairs.append((pid, segment))
            pid = None
    if not pairs or pid is not None:
        raise RejectedError("segment-missing", field="PID" if not pairs and pid is None else "MRG")
    return pairs


def _merge(pid: Segment, mrg: Segment, reading: Reading) -> MergeFacts:
    survivor = patient_of(pid, reading)
    merged = tuple(
        found for cx in mrg.composites(1) if (found := person_identifier(cx)) is not None and found not in survivor.ids
    )
    if not merged:
        raise RejectedError("patient-id-missing", field="MRG-1")
    return MergeFacts(survivor=survivor, merged=merged, version=reading.version)
