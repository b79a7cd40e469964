"""What happens in a day: visits are booked, moved, changed, called off and missed, one thing after another."""

import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from connectors.sandbox.people import FILLER_SYSTEM, PLACER_SYSTEM
from connectors.sandbox.resource import Resource, stamp
from connectors.sandbox.store import Store

_LIKELY = {"move": 4, "modify": 3, "cancel": 2, "miss": 1, "book": 4}


def day(store: Store, clock: Callable[[], datetime], seed: int) -> Iterator[Resource]:
    """Change the store at each step and yield the appointment as it is after; it never ends.

    The same seed on the same store gives the same day. What is over stays over; a person who has no visit left may
    book one.
    """
    chance = random.Random(seed)
    number = 0
    while True:
        number += 1
        what = chance.choices(list(_LIKELY), list(_LIKELY.values()))[0]
        booked = [
            dict(one)
            for _, one in store.all("Appointment")
            if one["status"] == "booked" and "start" in one and "minutesDuration" in one
        ]
        booked.sort(key=lambda one: str(one["id"]))
        if what == "book" or len(booked) < 5:
            yield store.put(_booking(store, chance, clock(), number))
        else:
            yield store.put(_changed(chance.choice(booked), what, chance, clock()))


def _booking(store: Store, chance: random.Random, now: datetime, number: int) -> Resource:
    patients = sorted((one["id"] for _, one in store.all("Patient") if not one.get("deceasedBoolean")))
    doctor = chance.choice(sorted((dict(one) for _, one in store.all("Practitioner")), key=lambda one: str(one["id"])))
    name = doctor["name"][0]
    return {
        "resourceType": "Appointment",
        "id": f"n{number}",
        "identifier": [
            {"system": PLACER_SYSTEM, "value": f"P{50_000 + number}"},
            {"system": FILLER_SYSTEM, "value": f"F{95_000 + number}"},
        ],
        "status": "booked",
        "appointmentType": {"text": "Office visit"},
        "minutesDuration": 30,
        **_time(_later(now, chance), 30),
        "participant": [
            {"actor": {"reference": f"Patient/{chance.choice(patients)}"}, "status": "needs-action"},
            {
                "actor": {
                    "reference": f"Practitioner/{doctor['id']}",
                    "display": f"{name['given'][0]} {name['family']} MD",
                },
                "status": "accepted",
            },
        ],
    }


def _changed(visit: Resource, what: str, chance: random.Random, now: datetime) -> Resource:
    if what == "cancel":
        return visit | {"status": "cancelled"}
    if what == "miss":
        return visit | {"status": "noshow"}
    if what == "move":
        return visit | _time(_later(now, chance), int(visit["minutesDuration"]))
    minutes = int(visit["minutesDuration"]) % 60 + 15
    return visit | {"minutesDuration": minutes, **_time(datetime.fromisoformat(visit["start"]), minutes)}


def _later(now: datetime, chance: random.Random) -> datetime:
    at = now + timedelta(days=chance.randint(1, 12), hours=chance.randint(0, 6))
    return at.replace(minute=at.minute // 15 * 15, second=0, microsecond=0)


def _time(starts_at: datetime, minutes: int) -> Resource:
    return {"start": stamp(starts_at), "end": stamp(starts_at + timedelta(minutes=minutes))}
