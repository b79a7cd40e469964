"""The people of an invented practice: who they are, how their numbers are written, when they come, what they ask for.

`make` is a pure function of its arguments, so that a demonstration, a test and a server in another process know the
same people, and a search for leaks knows what to look for.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

ASSIGNER = "HARBOR"
"The practice as assigning authority (HL7 v2 CX.4)."

PLACER, FILLER = "HARBOR-P", "HARBOR-F"
"Namespaces of SCH-1 and SCH-2 (HL7 v2 EI.2)."

MRN_SYSTEM = "urn:sandbox:harbor:mrn"
PLACER_SYSTEM = "urn:sandbox:harbor:placer"
FILLER_SYSTEM = "urn:sandbox:harbor:filler"
"The same three as the FHIR server calls them."

_FAMILIES = re.findall(
    r"\w+",
    "Abernquist Brackwatter Cindervale Dunmorrow Eversleigh Farrowdyke Gallowmere Hollenfeld Ivorwood Jessamund "
    "Karrowby Lindermoor Maplethwaite Nettlebourne Oakenshawe Pellingworth Quillfeather Ravensdrop Silverthorne "
    "Tanglewick Umberfold Vantongeren Wetherspoole Yarrowdale Zephyrlane Alcarrasco Belmontero Casavieja Dorvalle "
    "Espinalba Fuentescura Granadilla Huertalegre Jaramonte Lomaverde Montesclaro Olivareda Peñalosada Robledano "
    "Zarandieta",
)
_GIVEN = re.findall(
    r"\w+",
    "Orlena Tavisham Mirabeth Quentrell Ysolda Bramwick Corvinna Dashwell Elowyn Fenwicke Gwendara Haldrick Isaurelle "
    "Jorvette Kestrelle Lysander Marnixa Norvella Osgoode Perrinna Quillan Rosalind Sorrella Thaddeon Ursabelle "
    "Anselma Benedicta Crisanto Dorotea Evaristo Florentina Genoveva Heriberto Inocencia Jacobina Leocadia Macarena "
    "Nicanora Obdulia Primitivo",
)

_TYPES = (("Office visit", 30), ("Follow-up", 15), ("Annual physical", 45), ("Nurse visit", 15))
_REASONS = ("Blood pressure check", "Knee pain", "Medication review", "Cough for two weeks", "Yearly examination")
_PROBLEMS = (("38341003", "Hypertension"), ("44054006", "Type 2 diabetes"), ("195967001", "Asthma"))
_ALLERGIES = (("Penicillin", "Hives", "high"), ("Peanut", "Swelling of the lips", "high"), ("Latex", "Rash", "low"))
_DRUGS = ("Lisinopril 10 mg tablet", "Metformin 500 mg tablet", "Albuterol 90 mcg inhaler")
_PAYORS = ("Tidewater Health Plan", "Copper River Mutual", "Medicare")

OPENS, CLOSES = time(9), time(16, 30)
"When visits begin, on the practice's clock."


@dataclass(frozen=True, slots=True)
class Practitioner:
    """Somebody who sees patients."""

    id: str
    family: str
    given: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where they are seen."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Person:
    """A patient."""

    id: str
    "Logical id of the Patient resource."

    mrn: str
    family: str
    given: str
    birth_date: date
    sex: str
    phone: str | None
    "E.164."

    written: str | None
    "The same number as the front desk typed it in."

    language: str
    deceased: bool
    problems: tuple[tuple[str, str], ...]
    "SNOMED CT code and words."

    allergies: tuple[tuple[str, str, str], ...]
    "Substance, sign, criticality."

    drugs: tuple[str, ...]
    payor: str


@dataclass(frozen=True, slots=True)
class Visit:
    """An appointment as it was booked."""

    id: str
    placer: str
    filler: str
    person: Person
    practitioner: Practitioner
    place: Place
    starts_at: datetime
    minutes: int
    type: str
    reason: str
    status: str
    "FHIR R4 Appointment.status."


@dataclass(frozen=True, slots=True)
class Refill:
    """An open request for more of a drug."""

    id: str
    person: Person
    drug: str
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class People:
    """Everybody, and everything they have to do with the practice."""

    now: datetime
    zone: ZoneInfo
    practitioners: tuple[Practitioner, ...]
    places: tuple[Place, ...]
    persons: tuple[Person, ...]
    visits: tuple[Visit, ...]
    refills: tuple[Refill, ...]

    def at(self, phone: str) -> tuple[Person, ...]:
        """Return everyone who has this number (E.164)."""
        return tuple(person for person in self.persons if person.phone == phone)

    def visits_of(self, person: Person) -> tuple[Visit, ...]:
        """Return a person's visits, soonest first."""
        return tuple(sorted((one for one in self.visits if one.person == person), key=lambda one: one.starts_at))

    def within(self, hours: float) -> tuple[Visit, ...]:
        """Return the booked visits that begin in the next `hours`, soonest first."""
        until = self.now + timedelta(hours=hours)
        booked = (one for one in self.visits if one.status == "booked" and self.now < one.starts_at < until)
        return tuple(sorted(booked, key=lambda one: one.starts_at))

    def alone_at_their_number(self) -> tuple[Person, ...]:
        """Return those whose number is nobody else's."""
        return tuple(one for one in self.persons if one.phone and len(self.at(one.phone)) == 1 and not one.deceased)

    def marks(self) -> frozenset[str]:
        """Return the strings that no log, id or file in clear may hold: names, numbers and birth dates, as written."""
        return frozenset(mark for person in self.persons for mark in marks_of(person))


def marks_of(person: Person) -> Iterator[str]:
    """Yield one person's names, number and birth date in the forms that the systems use."""
    yield from (person.family, person.given, person.family.upper(), person.given.upper(), person.mrn)
    yield from (person.birth_date.isoformat(), person.birth_date.strftime("%Y%m%d"))
    yield person.birth_date.strftime("%m/%d/%Y")
    if person.phone:
        national = person.phone.removeprefix("+1")
        yield from (
            national,
            f"{national[:3]}-{national[3:6]}-{national[6:]}",
            f"({national[:3]}) {national[3:6]}-{national[6:]}",
        )


def morning(now: datetime) -> ZoneInfo:
    """Return a time zone in which it is about ten in the morning at `now`: no quiet hour stops a demonstration."""
    offset = (10 - now.astimezone(UTC).hour + 12) % 24 - 12
    return ZoneInfo(f"Etc/GMT{-offset:+d}" if offset else "Etc/GMT")


def make(seed: int, now: datetime, zone: ZoneInfo, *, soon: Sequence[timedelta] = ()) -> People:
    """Return the practice as it stands at `now`: 40 patients, their visits around it, their open requests.

    `soon` gives the first people without a visit one each, at exactly that time from now.
    """
    chance = random.Random(seed)
    practitioners = (
        Practitioner("d1", "Thornquist", "Adelheid"),
        Practitioner("d2", "Villaclara", "Joaquina"),
        Practitioner("d3", "Okonjewel", "Barnabas"),
    )
    places = (Place("l1", "Harbor Street Office"), Place("l2", "Lighthouse Annex"))
    persons = tuple(_persons(chance, now.astimezone(zone).date()))
    visits = tuple(_visits(chance, now, zone, persons, practitioners, places, soon))
    refills = tuple(
        Refill(f"r{number}", person, chance.choice(_DRUGS), now - timedelta(hours=3 + number))
        for number, person in enumerate(persons[20:26] + persons[8:10], start=1)
    )
    return People(now, zone, practitioners, places, persons, visits, refills)


def _persons(chance: random.Random, today: date) -> Iterator[Person]:
    families, given = list(_FAMILIES), list(_GIVEN)
    chance.shuffle(families)
    chance.shuffle(given)
    numbers = chance.sample(range(100_000), len(families))
    for number in range(len(families)):
        family, phone, age = families[number], f"+1212555{100 + 10 + number:04d}", chance.randint(19, 88)
        shares = _SHARES.get(number)
        if shares is not None:
            family, phone, age = families[shares], f"+1212555{100 + 10 + shares:04d}", chance.randint(2, 60)
        # Nobody is born on the first days of a month: 01/01 stands for "unknown" in real records.
        born = today - timedelta(days=age * 365 + chance.randint(0, 364))
        yield Person(
            id=f"p{number + 1:02d}",
            mrn=f"HFM{700_000 + numbers[number]}",
            family=family,
            given=given[number],
            birth_date=born.replace(day=max(born.day, 3)),
            sex=chance.choice(("female", "male")),
            phone=None if number == _NO_PHONE else phone,
            written=None if number == _NO_PHONE else _written(phone, number),
            language="es" if number in _SPANISH else "en",
            deceased=number == _DECEASED,
            problems=tuple(chance.sample(_PROBLEMS, chance.randint(0, 2))),
            allergies=tuple(chance.sample(_ALLERGIES, chance.randint(0, 1))),
            drugs=tuple(chance.sample(_DRUGS, chance.randint(0, 2))),
            payor=chance.choice(_PAYORS),
        )


_SHARES = {1: 0, 3: 2, 5: 4, 6: 4}
"Who has whose number and family name, by place in the list."

_SPANISH = frozenset(range(14, 20)) | {0, 1, 24, 25, 36}
_NO_PHONE, _DECEASED = 38, 39


def _written(phone: str, number: int) -> str:
    area, exchange, line = phone[2:5], phone[5:8], phone[8:]
    forms = (phone, f"{area}-{exchange}-{line}", f"({area}) {exchange}-{line}", f"{area}{exchange}{line}")
    return forms[number % len(forms)]


def _visits(
    chance: random.Random,
    now: datetime,
    zone: ZoneInfo,
    persons: tuple[Person, ...],
    practitioners: Sequence[Practitioner],
    places: Sequence[Place],
    soon: Sequence[timedelta],
) -> Iterator[Visit]:
    """Yield one visit each: the first twelve within 24 hours, others in the days after, some in the days before."""
    free = [at for at in _quarters(now + timedelta(hours=2.5), now + timedelta(hours=23.5)) if _is_open(at, zone)]
    starts = [(person, free[index * len(free) // 12]) for index, person in enumerate(persons[:12])]
    starts += [
        (person, _open(now + timedelta(days=2 + index % 8, hours=chance.randint(0, 6)), zone))
        for index, person in enumerate(persons[12:16] + persons[26:36])
    ]
    starts += [(person, now + delta) for person, delta in zip(persons[16:20] + persons[36:38], soon, strict=False)]
    past = [(person, _open(now - timedelta(days=1 + index), zone)) for index, person in enumerate(persons[6:10])]
    for number, (person, starts_at) in enumerate(starts + past, start=1):
        kind, minutes = chance.choice(_TYPES)
        over = number > len(starts)
        yield Visit(
            id=f"a{number}",
            placer=f"P{40_000 + number}",
            filler=f"F{90_000 + number}",
            person=person,
            practitioner=chance.choice(practitioners),
            place=chance.choice(places),
            starts_at=starts_at,
            minutes=minutes,
            type=kind,
            reason=chance.choice(_REASONS),
            status=chance.choice(("fulfilled", "noshow")) if over else "booked",
        )


def _quarters(after: datetime, before: datetime) -> Iterator[datetime]:
    at = after.replace(minute=after.minute // 15 * 15, second=0, microsecond=0) + timedelta(minutes=15)
    while at < before:
        yield at
        at += timedelta(minutes=15)


def _is_open(at: datetime, zone: ZoneInfo) -> bool:
    return OPENS <= at.astimezone(zone).time() <= CLOSES


def _open(at: datetime, zone: ZoneInfo) -> datetime:
    """Return the quarter of an hour at which the practice is open that is nearest to `at` on its day."""
    local = at.astimezone(zone)
    hour = min(max(local.time(), OPENS), CLOSES)
    return local.replace(hour=hour.hour, minute=hour.minute // 15 * 15, second=0, microsecond=0).astimezone(UTC)
