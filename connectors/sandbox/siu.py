"""The sandbox EHR's HL7 v2.5.1 messages: SIU for what happens to an appointment, ADT for what happens to a patient.

SIU^S12 new, S13 rescheduled, S14 modified, S15 cancelled, S17 deleted, S26 no-show (HL7 v2.5.1 chapter 10);
ADT^A28 new person, A31 changed (chapter 3). Made from the server's resources, so both doors say the same.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from connectors.sandbox.people import ASSIGNER, FILLER, FILLER_SYSTEM, MRN_SYSTEM, PLACER, PLACER_SYSTEM
from connectors.sandbox.resource import Resource
from connectors.sandbox.search import listed, values_at

CR = "\r"
"Segment terminator (HL7 v2.5.1 section 2.5.4)."

_ESCAPES = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}
"HL7 v2.5.1 section 2.7.1."

_FILLER_STATUS = {"booked": "Booked", "cancelled": "Cancelled", "noshow": "Noshow", "fulfilled": "Complete"}
"FHIR R4 Appointment.status to HL7 table 0278, for SCH-25."

_OVER = {"cancelled": "S15", "noshow": "S26", "entered-in-error": "S17"}

Find = Callable[[str, str], Resource | None]
"Returns a resource by type and id."


@dataclass(frozen=True, slots=True)
class Message:
    """One message on its way out."""

    control_id: str
    "MSH-10."

    trigger: str
    raw: bytes
    "Without MLLP framing."


def trigger_of(was: Resource | None, now: Resource) -> str | None:
    """Return what a change of an Appointment is called; None for one that no message tells."""
    if was is None:
        return "S12"
    if now["status"] != was["status"] and now["status"] in _OVER:
        return _OVER[str(now["status"])]
    if now.get("start") != was.get("start"):
        return "S13"
    return "S14" if _without_meta(now) != _without_meta(was) else None


class Writer:
    """Writes messages with rising control ids; times are the practice's, with their offset from UTC."""

    def __init__(self, zone: ZoneInfo, find: Find, *, prefix: str = "SB") -> None:
        self._zone = zone
        self._find = find
        self._prefix = prefix
        self._count = 0
        self._last = datetime(1970, 1, 1, tzinfo=UTC)

    def appointment(self, was: Resource | None, now: Resource, at: datetime) -> Message | None:
        """Return the SIU that tells of a change; None for one that no message tells, or a visit without a time."""
        trigger = trigger_of(was, now)
        if trigger is None or not now.get("start"):
            return None
        patient = self._actor(now, "Patient")
        segments = [self._sch(now, trigger), *([self._pid(patient)] if patient else []), "PV1|1|O", "RGS|1|A"]
        for place in [self._actor(now, "Location")]:
            segments += [f"AIL|1|A|{_text(str(place.get('name', '')))}"] if place else []
        for doctor in [self._actor(now, "Practitioner")]:
            segments += [f"AIP|1|A|{doctor['id']}^{_name(doctor)}^^^^MD"] if doctor else []
        return self._message("SIU", trigger, "SIU_S12", at, segments)

    def patient(self, was: Resource | None, now: Resource, at: datetime) -> Message:
        """Return the ADT that tells of a person."""
        trigger = "A28" if was is None else "A31"
        segments = [f"EVN|{trigger}|{self._time(at)}", self._pid(now), "PV1|1|N"]
        return self._message("ADT", trigger, "ADT_A05", at, segments)

    def _message(self, kind: str, trigger: str, structure: str, at: datetime, segments: list[str]) -> Message:
        self._count += 1
        control_id = f"{self._prefix}{self._count:08d}"
        fields = ["MSH", "^~\\&", "SANDBOX", ASSIGNER, "CHARTLINE", "HUB", self._now(at), ""]
        fields += [f"{kind}^{trigger}^{structure}", control_id, "P", "2.5.1", *[""] * 5, "UNICODE UTF-8"]
        return Message(control_id, trigger, CR.join(["|".join(fields), *segments, ""]).encode())

    def _sch(self, now: Resource, trigger: str) -> str:
        """HL7 v2.5.1 section 10.6.2: 1 placer, 2 filler, 6 event, 7 reason, 8 type, 9 minutes, 11 times, 25 status."""
        own = {one.get("system"): str(one.get("value", "")) for one in listed(now.get("identifier"))}
        starts_at = self._time(_instant(now["start"]))
        ends_at = self._time(_instant(now["end"])) if now.get("end") else ""
        fields = {
            1: f"{own.get(PLACER_SYSTEM, '')}^{PLACER}^{PLACER_SYSTEM}^URI",
            2: f"{own.get(FILLER_SYSTEM) or now['id']}^{FILLER}^{FILLER_SYSTEM}^URI",
            6: trigger,
            7: _text(_words(now.get("reasonCode"))),
            8: _text(_words(now.get("appointmentType"))),
            9: str(now.get("minutesDuration", "")),
            10: "min",
            11: f"^^{now.get('minutesDuration', '')}^{starts_at}^{ends_at}",
            25: _FILLER_STATUS.get(str(now["status"]), ""),
        }
        return "SCH|" + "|".join(fields.get(number, "") for number in range(1, 26))

    def _pid(self, patient: Resource) -> str:
        """HL7 v2.5.1 section 3.4.2: 3 identifiers, 5 name, 7 birth, 8 sex, 13 phone, 15 language, 30 death."""
        phone = next(iter(values_at(patient, ("telecom", "value"))), "")
        fields = {
            1: "1",
            3: "~".join(
                f"{_text(str(value))}^^^{ASSIGNER}&{MRN_SYSTEM}&URI^MR"
                for value in values_at(patient, ("identifier", "value"))
            ),
            5: f"{_name(patient)}^^^^^L",
            7: str(patient.get("birthDate", "")).replace("-", ""),
            8: {"female": "F", "male": "M"}.get(str(patient.get("gender")), "U"),
            13: f"{_text(phone)}^PRN^CP" if phone else "",
            15: next(iter(values_at(patient, ("communication", "language", "coding", "code"))), ""),
            30: "Y" if patient.get("deceasedBoolean") else "",
        }
        return "PID|" + "|".join(fields.get(number, "") for number in range(1, 31))

    def _actor(self, appointment: Resource, kind: str) -> Resource | None:
        for participant in listed(appointment.get("participant")):
            found, _, own = str(participant.get("actor", {}).get("reference", "")).rpartition("/")
            if found == kind:
                return self._find(kind, own)
        return None

    def _now(self, at: datetime) -> str:
        """Return MSH-7: to the millisecond, and never the same twice, for a listener that orders by it."""
        self._last = max(at, self._last + timedelta(milliseconds=1))
        local = self._last.astimezone(self._zone)
        return f"{local:%Y%m%d%H%M%S}.{local.microsecond // 1000:03d}{local:%z}"

    def _time(self, at: datetime) -> str:
        return f"{at.astimezone(self._zone):%Y%m%d%H%M%S%z}"


def acknowledged(ack: bytes) -> Iterator[tuple[str, str]]:
    """Yield (MSA-1, MSA-2) of each MSA in `ack` (HL7 v2.5.1 section 2.14.8)."""
    for segment in ack.decode("utf-8", "replace").replace("\n", CR).split(CR):
        fields = segment.split("|")
        if fields[0] == "MSA" and len(fields) > 2:
            yield fields[1], fields[2]


def _text(value: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in value)


def _words(concepts: object) -> str:
    return next((str(one.get("text", "")) for one in listed(concepts)), "")


def _name(resource: Resource) -> str:
    family = next(iter(values_at(resource, ("name", "family"))), "")
    given = " ".join(map(str, values_at(resource, ("name", "given"))))
    return f"{_text(str(family))}^{_text(given)}"


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _without_meta(resource: Resource) -> Resource:
    return {name: value for name, value in resource.items() if name != "meta"}
