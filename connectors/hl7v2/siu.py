"""Read scheduling messages (SIU, HL7 v2.5.1 chapter 10): what became of one appointment."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from connectors.api import AppointmentFacts, AppointmentStatus, Change, Identifier, PatientFacts, RejectedError
from connectors.hl7v2.er7 import Message, Segment
from connectors.hl7v2.field import (
    LONGEST_MINUTES,
    entity_identifier,
    instant_of,
    minutes_of,
    person_of,
    place_of,
    words_of,
)
from connectors.hl7v2.pid import MOST_PATIENTS, Reading, patient_in
from connectors.hl7v2.site import Meaning

OPEN = {
    "S12": AppointmentStatus.BOOKED,  # booked
    "S13": AppointmentStatus.BOOKED,  # rescheduled
    "S14": AppointmentStatus.BOOKED,  # modified
}
"Trigger events that leave the appointment on; SCH-25 may say more."

OVER = {
    "S15": AppointmentStatus.CANCELLED,  # cancelled
    "S16": AppointmentStatus.CANCELLED,  # discontinued: FHIR R4 has no status of its own for it
    "S17": AppointmentStatus.ENTERED_IN_ERROR,  # deleted
    "S26": AppointmentStatus.NOSHOW,  # did not come
}
"Trigger events that end the appointment, whatever SCH-25 says."

TIMED = frozenset({"S12", "S13"})
"Trigger events that make no sense without a start."

EVENTS = frozenset(OPEN) | frozenset(OVER)

STATUSES = {
    "pending": AppointmentStatus.PENDING,
    "waitlist": AppointmentStatus.WAITLIST,
    "booked": AppointmentStatus.BOOKED,
    "scheduled": AppointmentStatus.BOOKED,
    "overbook": AppointmentStatus.BOOKED,
    "arrived": AppointmentStatus.ARRIVED,
    "started": AppointmentStatus.CHECKED_IN,
    "checkedin": AppointmentStatus.CHECKED_IN,
    "complete": AppointmentStatus.FULFILLED,
    "completed": AppointmentStatus.FULFILLED,
    "cancelled": AppointmentStatus.CANCELLED,
    "canceled": AppointmentStatus.CANCELLED,
    "dc": AppointmentStatus.CANCELLED,
    "discontinued": AppointmentStatus.CANCELLED,
    "deleted": AppointmentStatus.ENTERED_IN_ERROR,
    "noshow": AppointmentStatus.NOSHOW,
}
"""Filler status (SCH-25, HL7 table 0278) to FHIR R4 Appointment.status, as the v2-to-FHIR guide maps it; Scheduled,
Arrived, CheckedIn and other spellings are what real senders write. Without letter case, spaces, hyphens."""

CONFIRMED = "confirmed"
"""What senders write in SCH-25 once the patient said that they come; it is no code of table 0278, and no status of FHIR
R4 either: the appointment is booked."""

_RESOURCES = (("AIS", 4, 7, 8), ("AIG", 8, 11, 12), ("AIL", 6, 9, 10), ("AIP", 6, 9, 10))
"Segments of what is booked: start, duration and duration unit."


def read(message: Message, event: str, reading: Reading, statuses: Mapping[str, Meaning]) -> list[Change]:
    """Return what an SIU message says of its appointment; nothing for events that concern slots and resources only.

    `statuses` is the source's own codes in SCH-25, above `STATUSES`. An appointment of several patients is one for
    each: the first keeps its ids, those of the others name their patient as well.

    Raises:
        RejectedError: a segment or an identifier that the event cannot be without is missing.
    """
    if event not in EVENTS:
        return []
    sch = message.segment("SCH")
    if sch is None:
        raise RejectedError("segment-missing", field="SCH")
    ids = tuple(
        found
        for number, kind in ((1, "PLAC"), (2, "FILL"))
        if (found := entity_identifier(sch.composite(number), kind)) is not None
    )
    if not ids:
        raise RejectedError("appointment-id-missing", field="SCH-2")
    starts_at, minutes = _when(message, sch, reading)
    if starts_at is None and event in TIMED:
        raise RejectedError("appointment-start-missing", field="SCH-11")
    status, confirmed = _status(sch, event, statuses)
    patients = _patients(message, reading)
    first = AppointmentFacts(
        ids=ids,
        version=reading.version,
        status=status,
        starts_at=starts_at,
        minutes=minutes,
        patient=patients[0] if patients else None,
        practitioner=_practitioner(message, sch),
        location=_location(message),
        type=words_of(sch.composite(8)),
        reason=words_of(sch.composite(7)),
        confirmed=confirmed,
        creates=event != "S13",
    )
    others = (
        first.model_copy(update={"ids": tuple(_shared(one, patient.ids[0]) for one in ids), "patient": patient})
        for patient in patients[1:]
    )
    return [first, *others]


def _patients(message: Message, reading: Reading) -> list[PatientFacts]:
    """Return the patients of a message, one for each patient group that names one, and each once."""
    pids = list(message.segments("PID"))
    if len(pids) < 2:
        return [found for pid in pids if (found := patient_in(pid, reading, message.segment("PD1"))) is not None]
    if len(pids) > MOST_PATIENTS:
        raise RejectedError("too-many-patients", field="PID")
    groups: list[tuple[Segment, Segment | None]] = []
    for segment in message.lines():
        if segment.name == "PID":
            groups.append((segment, None))
        elif segment.name == "PD1" and groups:
            groups[-1] = (groups[-1][0], segment)
    patients: list[PatientFacts] = []
    known: set[Identifier] = set()
    for pid, pd1 in groups:
        patient = patient_in(pid, reading, pd1)
        if patient is not None and known.isdisjoint(patient.ids):
            patients.append(patient)
            known.update(patient.ids)
    return patients


def _shared(appointment: Identifier, patient: Identifier) -> Identifier:
    """Return the id of one patient's part in an appointment that several share."""
    return appointment.model_copy(update={"value": f"{appointment.value}/{patient.system}/{patient.value}"})


def _status(sch: Segment, event: str, statuses: Mapping[str, Meaning]) -> tuple[AppointmentStatus, bool | None]:
    """Return the status, and whether the patient confirmed where that is said."""
    if event in OVER:
        return OVER[event], None
    filler = sch.composite(25)
    for said in (filler[1], filler[2]):
        code = said.strip().lower()
        plain = code.translate(_NO_GAPS)
        meaning: str | None = statuses.get(code) or STATUSES.get(plain)
        if meaning == CONFIRMED or (meaning is None and plain == CONFIRMED):
            return OPEN[event], True
        if meaning is not None:
            return AppointmentStatus(meaning), None
    return OPEN[event], None


_NO_GAPS = str.maketrans("", "", " -_")


def _when(message: Message, sch: Segment, reading: Reading) -> tuple[datetime | None, int | None]:
    """Return start and length in minutes: SCH-11.4 and .5, else TQ1-7 and -8, else the first booked resource's."""
    timing = sch.composite(11)
    start, end = instant_of(timing[4], reading.zone), instant_of(timing[5], reading.zone)
    said = minutes_of(sch.value(9), sch.value(10))
    if start is None and (tq1 := message.segment("TQ1")) is not None:
        start, end = instant_of(tq1.value(7), reading.zone), instant_of(tq1.value(8), reading.zone)
    if start is None:
        for at, minutes in _booked(message, reading):
            return at, minutes or said
    return start, _between(start, end) or said or next((length for _, length in _booked(message, reading)), None)


def _booked(message: Message, reading: Reading) -> Iterator[tuple[datetime, int | None]]:
    for name, start, duration, unit in _RESOURCES:
        for segment in message.segments(name):
            at = instant_of(segment.value(start), reading.zone)
            if at is not None:
                yield at, minutes_of(segment.value(duration), segment.value(unit))


def _between(start: datetime | None, end: datetime | None) -> int | None:
    if start is None or end is None:
        return None
    minutes = round((end - start).total_seconds() / 60)
    return minutes if 0 < minutes <= LONGEST_MINUTES else None


def _practitioner(message: Message, sch: Segment) -> str | None:
    for aip in message.segments("AIP"):
        if name := person_of(aip.composite(3)):
            return name
    if name := person_of(sch.composite(16)):
        return name
    pv1 = message.segment("PV1")
    return person_of(pv1.composite(7)) if pv1 is not None else None


def _location(message: Message) -> str | None:
    for ail in message.segments("AIL"):
        if place := place_of(ail.composite(3)):
            return place
    pv1 = message.segment("PV1")
    return place_of(pv1.composite(3)) if pv1 is not None else None
