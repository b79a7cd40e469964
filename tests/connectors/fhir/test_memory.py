"""What a feed remembers of what it told: enough not to repeat itself, and never more than fits."""

import tracemalloc
from datetime import timedelta

import pytest

from connectors.api import AppointmentFacts, PatientFacts
from connectors.fhir import memory
from connectors.fhir.memory import MOST, Memory, Seen, Told, digest_of, remember
from tests.connectors.fhir.world import World, told
from tests.connectors.stage import NOW


def test_the_same_content_has_the_same_digest_and_another_another() -> None:
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1})
    assert digest_of({"a": 1, "b": [1, 2]}) != digest_of({"a": 1, "b": [2, 1]})


def test_it_is_good_for_the_cursor_that_was_handed_out_last_only() -> None:
    kept = Memory(b"c", {"Patient": {"1": Seen(b"d", None)}})
    assert kept.upto(b"c") == kept.seen
    assert (kept.upto(b"other"), kept.upto(None), Memory().upto(None)) == ({}, {}, {})


def test_what_is_remembered_of_a_type_stays_below_its_bound() -> None:
    told_of: Told = {}
    tracemalloc.start()
    try:
        for number in range(MOST + 1000):
            own = f"{number:036d}"  # as long as a UUID
            remember(told_of, own, Seen(number.to_bytes(8, "big"), NOW + timedelta(minutes=number)))
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(told_of) == MOST
    assert size < 40e6
    known = f"{0:036d}"
    remember(told_of, known, Seen(b"changed", None))
    assert told_of[known].digest == b"changed"  # what is known is still renewed


async def test_beyond_the_bound_everything_is_still_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST", 5)
    connector = world.connector(feed=["patients", "appointments"], override={"last_updated": "no"})
    ctx = world.context(connector)
    facts, cursor = await told(connector, ctx)
    assert len([fact for fact in facts if isinstance(fact, PatientFacts)]) == len(world.people.persons)
    visits = len([fact for fact in facts if isinstance(fact, AppointmentFacts)])
    world.later(minutes=1)
    again, _ = await told(connector, ctx, cursor)
    assert len([fact for fact in again if isinstance(fact, AppointmentFacts)]) == visits - 5


async def test_visits_that_are_over_are_forgotten(world: World) -> None:
    connector = world.connector(feed=["appointments"])
    ctx = world.context(connector)
    _, cursor = await told(connector, ctx)
    kept = connector._memory.seen["Appointment"]
    assert len(kept) > 20
    for _ in range(3):
        world.later(days=10)
        _, cursor = await told(connector, ctx, cursor)
    left = connector._memory.seen["Appointment"]
    assert left.keys() < kept.keys()
    assert all(one.starts_at and one.starts_at >= world.clock.now - timedelta(days=2) for one in left.values())
