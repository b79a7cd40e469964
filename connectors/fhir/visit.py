"""Who takes part in an Appointment and when it is (FHIR R4 Appointment, Slot, Schedule)."""

from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from typing import Any

from connectors.api import AppointmentStatus
from connectors.fhir.reading import Find, Resource, called, inner, instant, items, reference, resolved, target, text

LONGEST_MINUTES = 31 * 24 * 60
"More than this is a mistake, not a visit."

_MINUTE = timedelta(minutes=1)

_STATUS = {status.value: status for status in AppointmentStatus}

_SPELLED = {status.value.replace("-", ""): status for status in AppointmentStatus} | {
    "canceled": AppointmentStatus.CANCELLED,
}

_CONFIRMED = {"accepted": True, "declined": False, "tentative": False, "needs-action": False}
"Appointment.participant.status (FHIR R4 participationstatus): whether the patient said that they come."


Cast = tuple[Any, str, bool | None, str | None, str | None]
"""Who takes part: the reference to the patient as it was written and the logical id in it, whether they said that they
come, the practitioner's name, and the place's. (A plain tuple: there is one for each visit of every page.)"""


def status_of(value: Any) -> AppointmentStatus | None:
    """Return an Appointment.status however it is spelled; None where it is none."""
    if not isinstance(value, str):
        return None
    return _STATUS.get(value) or _SPELLED.get(value.lower().replace("-", "").replace("_", ""))


def actors(appointment: Resource) -> list[Any]:
    """Return the actors of an Appointment's participants."""
    return [participant.get("actor") for participant in items(appointment.get("participant"))]


def cast_of(appointment: Resource, find: Find) -> Cast:
    """Return who takes part: the first patient, and the first practitioner and place that have a name.

    Practitioner and place stand in the Schedule of the visit's Slot where the visit itself names none.
    """
    patient = confirmed = practitioner = location = None
    person = ""
    participants = appointment.get("participant")
    for participant in participants if isinstance(participants, list) else ():
        actor = participant.get("actor") if isinstance(participant, dict) else None
        kind, own = target(actor)
        kind = kind or kind_of(appointment, actor, find)
        if kind == "Patient":
            if patient is None:
                patient, person, said = actor, own, participant.get("status")
                confirmed = _CONFIRMED.get(said) if isinstance(said, str) else None
        elif kind == "Location":
            location = location or name_of(appointment, actor, find)
        elif kind in _PROFESSIONALS:
            practitioner = practitioner or name_of(appointment, actor, find)
    if (practitioner is None or location is None) and appointment.get("slot"):
        for actor in _scheduled(appointment, find):
            kind = kind_of(appointment, actor, find)
            if kind == "Location":
                location = location or name_of(appointment, actor, find)
            elif kind in _PROFESSIONALS:
                practitioner = practitioner or name_of(appointment, actor, find)
    return patient, person, confirmed, practitioner, location


_PROFESSIONALS = ("Practitioner", "PractitionerRole")


def kind_of(resource: Resource, actor: Any, find: Find) -> str:
    """Return the resource type that a reference leads to: as it says, as it is found, as Reference.type has it."""
    kind, _ = target(actor)
    if kind or not isinstance(actor, dict):
        return kind
    came = resolved(resource, actor, find)
    return text(came.get("resourceType") if came else actor.get("type")) or ""


def name_of(resource: Resource, actor: Any, find: Find) -> str | None:
    """Return what a person or a place is called: Reference.display, or the name of what came along."""
    if isinstance(actor, dict) and (said := text(actor.get("display"))):
        return said
    came = resolved(resource, actor, find)
    if came is not None and came.get("resourceType") == "PractitionerRole":
        person = came.get("practitioner")
        return text(inner(person, "display")) or called(resolved(came, person, find))
    return called(came)


def times_of(appointment: Resource, zone: tzinfo, find: Find) -> tuple[datetime | None, int | None]:
    """Return when it begins, in UTC, and how many minutes it takes: as it says, else as its slots say."""
    starts_at, ends_at = instant(appointment.get("start"), zone), instant(appointment.get("end"), zone)
    said = appointment.get("minutesDuration")
    minutes = said if type(said) is int and 0 < said <= LONGEST_MINUTES else None  # True is an int, too
    if (starts_at is None or (ends_at is None and minutes is None)) and appointment.get("slot"):
        slots = list(_slots(appointment, find))
        starts = [at for slot in slots if (at := instant(slot.get("start"), zone)) is not None]
        ends = [at for slot in slots if (at := instant(slot.get("end"), zone)) is not None]
        starts_at = starts_at or min(starts, default=None)
        ends_at = ends_at or max(ends, default=None)
    if minutes is None and starts_at is not None and ends_at is not None:
        between = (ends_at - starts_at) // _MINUTE
        minutes = between if 0 < between <= LONGEST_MINUTES else None
    return starts_at, minutes


def _slots(appointment: Resource, find: Find) -> Iterator[Resource]:
    for said in items(appointment.get("slot")):
        slot = resolved(appointment, said, find)
        if slot is None and text(said.get("reference")) and not reference(said, "Slot"):
            slot = find(f"Slot/{said['reference'].strip()}")  # a bare id, as some senders write it
        if slot is not None and slot.get("resourceType") == "Slot":
            yield slot


def _scheduled(appointment: Resource, find: Find) -> Iterator[Any]:
    """Yield the actors of the schedules of the visit's slots (FHIR R4 Schedule.actor)."""
    for slot in _slots(appointment, find):
        schedule = resolved(slot, slot.get("schedule"), find)
        if schedule is not None and schedule.get("resourceType") == "Schedule":
            yield from items(schedule.get("actor"))
