from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.api import e164
from connectors.sandbox.people import CLOSES, OPENS, make, marks_of, morning
from connectors.sandbox.resource import resources
from tests.connectors.stage import NOW, ZONE


def test_the_same_arguments_give_the_same_people() -> None:
    assert make(7, NOW, ZONE) == make(7, NOW, ZONE)
    assert make(7, NOW, ZONE).persons != make(8, NOW, ZONE).persons


@given(st.integers(0, 1000), st.integers(0, 40_000).map(lambda hours: NOW + timedelta(hours=hours, minutes=7)))
def test_whenever_it_is_there_are_people_for_every_story(seed: int, now: datetime) -> None:
    people = make(seed, now, ZONE)
    persons = people.persons
    assert len(persons) == 40
    assert len({person.mrn for person in persons}) == 40
    assert len({person.id for person in persons}) == 40
    assert {person.language for person in persons} == {"en", "es"}
    assert all(person.birth_date < now.astimezone(ZONE).date() for person in persons)
    soon = people.within(24)
    assert len(soon) == 12
    for visit in soon:
        local = visit.starts_at.astimezone(ZONE)
        assert OPENS <= local.time() <= CLOSES
        assert local.minute % 15 == 0
    alone = people.alone_at_their_number()
    with_visit = {visit.person.id for visit in soon}
    asking = {refill.person.id for refill in people.refills}
    assert [one for one in alone if one.id in with_visit and one.id not in asking]
    assert [one for one in alone if one.id in asking and one.id not in with_visit]
    assert [one for one in alone if one.id not in with_visit | asking and one.language == "es"]
    assert [one for one in alone if one.id not in with_visit | asking and one.language == "en"]
    assert [one for one in persons if one.phone and len(people.at(one.phone)) == 3]
    assert [one for one in persons if one.phone is None]
    assert [one for one in persons if one.deceased]


def test_numbers_are_of_the_range_kept_for_fiction_and_written_in_four_ways() -> None:
    people = make(7, NOW, ZONE)
    written = [person.written for person in people.persons if person.written]
    assert {e164(one, "US") for one in written} == {person.phone for person in people.persons if person.phone}
    assert all("555" in one and one[-4:-2] == "01" for one in written)
    shapes = {"".join("9" if character.isdigit() else character for character in one) for one in written}
    assert shapes == {"+99999999999", "999-999-9999", "(999) 999-9999", "9999999999"}


def test_visits_can_begin_at_exactly_a_time_from_now() -> None:
    deltas = [timedelta(hours=2, seconds=30), timedelta(hours=2, seconds=45)]
    people = make(7, NOW, ZONE, soon=deltas)
    exact = [visit for visit in people.visits if visit.starts_at in {NOW + delta for delta in deltas}]
    assert len(exact) == 2
    assert len({visit.person.id for visit in exact}) == 2
    assert all(people.visits_of(visit.person) == (visit,) for visit in exact)


@pytest.mark.parametrize("hour", range(24))
def test_somewhere_it_is_morning(hour: int) -> None:
    now = datetime(2026, 11, 23, hour, 20, tzinfo=UTC)
    zone = morning(now)
    assert now.astimezone(zone).hour == 10
    assert ZoneInfo(zone.key) == zone


def test_the_marks_of_the_people_are_in_what_the_server_holds() -> None:
    people = make(7, NOW, ZONE)
    held = str(list(resources(people)))
    for person in people.persons:
        marks = set(marks_of(person))
        assert marks <= people.marks()
        for mark in (person.family, person.given, person.birth_date.isoformat(), person.written):
            assert mark is None or mark in held
    assert min(map(len, people.marks())) >= 6


def test_every_reference_leads_to_a_resource() -> None:
    held = list(resources(make(7, NOW, ZONE)))
    names = {f"{one['resourceType']}/{one['id']}" for one in held}
    assert len(names) == len(held)
    for resource in held:
        for part in str(resource).split("'reference': '")[1:]:
            assert part.partition("'")[0] in names
