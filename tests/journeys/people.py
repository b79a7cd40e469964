"""Invented patients, their visits, and the SIU messages that tell of them (HL7 v2.5.1 chapter 10)."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from hub.demo.leak import notations

_FIRST = ("Brindle", "Cobble", "Dapple", "Emmer", "Fallow", "Gossa", "Hazel", "Inkle", "Jonquil", "Kestrel", "Linnet")
_LAST = ("wickham", "thornby", "merefold", "combeley", "holtry", "stowell", "garthen", "lochby", "denholme", "fenmore")
_GIVEN = ("Aldith", "Berengar", "Cressida", "Dunstan", "Eluned", "Faramund", "Grizel", "Hereward", "Isolde", "Jocasta")


_BORN = [day for number in range(31_000) if (day := date(1931, 1, 3) + timedelta(days=number)) != date(1970, 1, 1)]
"Not on the day that every database writes for never."


@dataclass(frozen=True, slots=True)
class Patient:
    """Somebody whom nobody else shares a number with."""

    mrn: str
    family: str
    given: str
    born: date
    phone: str
    "E.164."

    def marks(self) -> Iterator[str]:
        """Yield what no file of an instance may hold."""
        yield from (self.mrn, self.family, self.given, self.born.isoformat(), f"{self.born:%Y%m%d}")
        yield f"{self.born:%m/%d/%Y}"
        yield from notations(self.phone)


@dataclass(slots=True)
class Visit:
    """One appointment as its owner has it now."""

    id: str
    patient: Patient
    starts_at: datetime
    status: str = "booked"
    "FHIR R4 Appointment.status."

    tells: list[str] = field(default_factory=list)
    "Control ids of what was sent about it."


def patients(seed: int, count: int) -> list[Patient]:
    """Return `count` patients; at most 110."""
    chance = random.Random(seed)
    families = [first + last for first, last in itertools.product(_FIRST, _LAST)]
    chance.shuffle(families)
    numbers = chance.sample(range(100_000, 1_000_000), count)
    return [
        Patient(
            mrn=f"QCC{number}",
            family=family,
            given=f"{chance.choice(_GIVEN)}{chance.choice(_LAST)}",
            born=_BORN[chance.randrange(len(_BORN))],
            phone=f"+1{area}555{place:04d}",
        )
        for number, family, (area, place) in zip(
            numbers, families, itertools.product((646, 917), range(100, 200)), strict=False
        )
    ]


class Scribe:
    """Writes the messages of one scheduling system: control ids rise, and so does MSH-7."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._numbers = itertools.count(1)
        self._last: datetime | None = None

    def tell(self, event: str, visit: Visit, at: datetime) -> tuple[str, bytes]:
        """Return control id and bytes of one SIU."""
        if self._last is not None:
            at = max(at, self._last + timedelta(milliseconds=1))
        self._last = at
        control_id = f"QC{next(self._numbers):07d}"
        visit.tells.append(control_id)
        who, starts = visit.patient, self._time(visit.starts_at)
        stamp = f"{self._time(at)[:14]}.{at.microsecond // 1000:03d}{self._time(at)[14:]}"
        number = f"({who.phone[2:5]}) {who.phone[5:8]}-{who.phone[8:]}"
        segments = [
            f"MSH|^~\\&|COVE|QCC|HUB|CL|{stamp}||SIU^{event}^SIU_S12|{control_id}|P|2.5.1",
            f"SCH|{visit.id}^COVE|{visit.id}^COVE||||{event}|Cough|Follow-up|15|min|^^15^{starts}",
            f"PID|1||{who.mrn}^^^QCC^MR||{who.family}^{who.given}^^^^^L||{who.born:%Y%m%d}|F|||||{number}^PRN^CP",
            "PV1|1|O",
        ]
        return control_id, "\r".join([*segments, ""]).encode()

    def _time(self, at: datetime) -> str:
        return f"{at.astimezone(self._zone):%Y%m%d%H%M%S%z}"
