"""Appointments by window: for each location or practitioner, and what a feed told whole."""

from datetime import timedelta
from typing import Any

import pytest

from connectors.api import (
    AppointmentFacts,
    AppointmentStatus,
    Change,
    Checkpoint,
    PatientFacts,
    RejectedError,
    RelatedFacts,
)
from connectors.fhir.cursor import Cursor, Paused
from connectors.fhir.window import EACH_S, Window
from connectors.sandbox.manners import Manners
from tests.connectors.fhir.world import World, round_of, told
from tests.connectors.fhir.world import world as made
from tests.connectors.stage import NOW, ZONE

NARROW = Manners(needs=("location", "practitioner", "patient"))


def visits(facts: list[Change]) -> dict[str, AppointmentFacts]:
    return {fact.ids[0].value: fact for fact in facts if isinstance(fact, AppointmentFacts)}


def coming(world: World, days: int = 30) -> set[str]:
    window = Window.of(NOW, ZONE, days)
    return {one.id for one in world.people.visits if window.begins <= one.starts_at < window.ends}


def asked_for(world: World) -> list[str]:
    """Return whose appointments were asked for."""
    return [
        pair
        for one in world.asked
        if one.path.endswith("/Appointment")
        for pair in one.query.split("&")
        if pair.startswith(("location=", "practitioner="))
    ]


async def test_a_server_that_refuses_a_search_by_date_alone_is_asked_for_each_location() -> None:
    world = made(manners=NARROW)
    connector = world.connector()
    facts, cursor = await told(connector, world.context(connector))
    assert visits(facts).keys() == coming(world)
    assert asked_for(world) == ["location=l1", "location=l2"]
    assert Cursor.parse(cursor).narrowed == NOW
    assert all(fact.patient is not None and fact.patient.family for fact in visits(facts).values())


@pytest.mark.parametrize(
    ("settings", "whose"),
    [
        ({"locations": ["l2"]}, ["location=l2"]),
        ({"practitioners": ["d1", "d3"]}, ["practitioner=d1", "practitioner=d3"]),
        ({"locations": ["l1"], "practitioners": ["d1"]}, ["location=l1"]),
        ({"override": {"appointment_needs": ["practitioner"]}}, [f"practitioner=d{one}" for one in (1, 2, 3)]),
        ({"profile": "athenapractice"}, ["location=l1", "location=l2"]),
    ],
)
async def test_whose_appointments_are_asked_for_is_the_operators_word_the_profiles_or_found(
    world: World, settings: dict[str, Any], whose: list[str]
) -> None:
    connector = world.connector(**settings)
    facts, _ = await told(connector, world.context(connector))
    assert asked_for(world) == whose
    chosen = {pair.partition("=")[2] for pair in whose}
    assert visits(facts).keys() == {
        one.id
        for one in world.people.visits
        if one.id in coming(world) and chosen & {one.place.id, one.practitioner.id}
    }


async def test_without_locations_and_practitioners_the_schedules_say_whose() -> None:
    world = made(manners=NARROW)
    for kind, ids in (("Location", ("l1", "l2")), ("Practitioner", ("d1", "d2", "d3"))):
        for own in ids:
            found = world.store.get(kind, own)
            assert found is not None
            world.store.put(found | {"status": "inactive", "active": False})
    connector = world.connector(override={"appointment_needs": ["practitioner"]})
    facts, _ = await told(connector, world.context(connector))
    assert sorted(asked_for(world)) == ["practitioner=d1", "practitioner=d2", "practitioner=d3"]
    assert visits(facts).keys() == coming(world)


async def test_a_practice_with_nobody_to_ask_for_is_told_so(world: World) -> None:
    for kind in ("Location", "Practitioner", "Schedule"):
        for _, resource in list(world.store.all(kind)):
            world.store.delete(kind, str(resource["id"]))
    connector = world.connector(override={"appointment_needs": ["location"]})
    with pytest.raises(RejectedError, match="nobody-to-ask-for"):
        await told(connector, world.context(connector))


@pytest.mark.parametrize("override", [{"appointment_needs": ["patient"]}, {"appointment_search": "no"}])
async def test_a_server_that_answers_for_one_patient_at_a_time_is_no_feed(
    world: World, override: dict[str, Any]
) -> None:
    connector = world.connector(override=override | {"export": "no"})
    with pytest.raises(RejectedError, match="appointments-not-searchable"):
        await told(connector, world.context(connector))


async def test_each_location_is_compared_with_the_last_time_and_not_more_often_than_the_server_bears() -> None:
    world = made(manners=NARROW)
    connector = world.connector()
    ctx = world.context(connector)
    _, cursor = await told(connector, ctx)
    world.store.delete("Appointment", "a5")
    moved = world.store.get("Appointment", "a3")
    assert moved is not None
    world.store.put(moved | {"status": "cancelled"})
    world.later(seconds=2 * EACH_S - 1)
    world.asked.clear()
    early, cursor = await told(connector, ctx, cursor)
    assert (visits(early), asked_for(world)) == ({}, [])
    world.later(seconds=1)
    facts, cursor = await told(connector, ctx, cursor)
    assert {own: fact.status for own, fact in visits(facts).items()} == {
        "a3": AppointmentStatus.CANCELLED,
        "a5": AppointmentStatus.ENTERED_IN_ERROR,
    }
    world.later(minutes=1)
    assert visits((await told(connector, ctx, cursor))[0]) == {}


async def test_a_round_over_several_locations_goes_on_where_it_stopped() -> None:
    world = made(manners=NARROW)
    connector = world.connector(page_size=4, locations=["l1", "l2"], feed=["appointments"])
    ctx = world.context(connector)
    said = await round_of(connector, ctx)
    whole = visits([one for one in said if not isinstance(one, Checkpoint)])
    marks = [at for at, one in enumerate(said) if isinstance(one, Checkpoint)]
    paused = [Cursor.parse(said[at].cursor).paused for at in marks]  # type: ignore[union-attr]
    assert any(one == Paused(kind="Appointment", url="", at=NOW, actor="Location/l2") for one in paused)
    for at in marks:
        mark = said[at]
        assert isinstance(mark, Checkpoint)
        restarted = world.connector(page_size=4, locations=["l1", "l2"], feed=["appointments"])
        rest, _ = await told(restarted, world.context(restarted), mark.cursor)
        before = [one for one in said[:at] if not isinstance(one, Checkpoint)]
        assert visits([*before, *rest]) == whole


async def test_the_feed_that_began_with_nothing_says_which_span_it_told_whole(world: World) -> None:
    connector = world.connector(page_size=9)
    ctx = world.context(connector)
    said = await round_of(connector, ctx)
    spans = [one.whole for one in said if isinstance(one, Checkpoint) and one.whole]
    assert spans == [(Window.of(NOW, ZONE, 30).begins, NOW + timedelta(days=30))]
    at = next(number for number, one in enumerate(said) if isinstance(one, Checkpoint) and one.whole)
    before = [one for one in said[:at] if not isinstance(one, Checkpoint)]
    assert visits(before).keys() >= coming(world)
    last = said[-1]
    assert isinstance(last, Checkpoint)
    again = await round_of(connector, ctx, last.cursor)
    assert [one.whole for one in again if isinstance(one, Checkpoint) and one.whole] == []


async def test_a_feed_that_was_stopped_in_its_first_search_still_says_what_it_told_whole(world: World) -> None:
    connector = world.connector(page_size=9, feed=["appointments"])
    first = next(one for one in await round_of(connector, world.context(connector)) if isinstance(one, Checkpoint))
    world.later(minutes=30)
    restarted = world.connector(page_size=9, feed=["appointments"])
    rest = await round_of(restarted, world.context(restarted), first.cursor)
    (span,) = [one.whole for one in rest if isinstance(one, Checkpoint) and one.whole]
    began = Window.of(NOW, ZONE, 30)
    assert began.begins <= span[0] < span[1] <= began.ends


async def test_part_of_a_practice_is_never_said_to_be_the_whole() -> None:
    world = made(manners=NARROW)
    connector = world.connector(locations=["l1"])
    said = await round_of(connector, world.context(connector))
    assert [one.whole for one in said if isinstance(one, Checkpoint) and one.whole] == []


async def test_relatives_are_told_after_the_patients_they_call_for(world: World) -> None:
    connector = world.connector()
    facts, cursor = await told(connector, world.context(connector))
    related = [fact for fact in facts if isinstance(fact, RelatedFacts)]
    assert len(related) == 10
    assert max(at for at, fact in enumerate(facts) if isinstance(fact, PatientFacts)) < facts.index(related[0])
    assert (await told(connector, world.context(connector), cursor))[0] == []


async def test_a_visit_without_a_time_has_that_of_its_slot(world: World) -> None:
    visit = world.store.get("Appointment", "a3")
    assert visit is not None
    for name in ("start", "end", "minutesDuration"):
        visit.pop(name)
    world.store.put(visit)
    world.later(minutes=1)
    connector = world.connector()
    ctx = world.context(connector)
    _, cursor = await told(connector, ctx)
    world.store.put(visit | {"description": "changed"})
    world.later(minutes=1)
    (fact,) = (await told(connector, ctx, cursor))[0]
    assert isinstance(fact, AppointmentFacts)
    known = next(one for one in world.people.visits if one.id == "a3")
    assert (fact.starts_at, fact.minutes) == (known.starts_at, known.minutes)


async def test_names_come_along_where_the_server_declares_the_includes(world: World) -> None:
    visit = world.store.get("Appointment", "a3")
    assert visit is not None
    for participant in visit["participant"]:
        participant["actor"].pop("display", None)
    world.store.put(visit)
    connector = world.connector()
    facts, _ = await told(connector, world.context(connector))
    known = next(one for one in world.people.visits if one.id == "a3")
    fact = visits(facts)["a3"]
    assert fact.location == known.place.name
    assert fact.practitioner is not None
    assert known.practitioner.family in fact.practitioner


async def test_a_type_that_the_server_does_not_let_be_searched_is_left_for_a_day(world: World) -> None:
    inner = world.app
    refusing = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal refusing
        if scope["path"] == "/fhir/Patient":
            refusing += 1
            scope = dict(scope) | {"path": "/fhir/Nothing"}
        await inner(scope, receive, send)

    world.app = app
    connector = world.connector()
    ctx = world.context(connector)
    facts, cursor = await told(connector, ctx)
    assert all(fact.patient is not None and fact.patient.family for fact in visits(facts).values())
    assert refusing == 1
    _, cursor = await told(connector, ctx, cursor)
    assert refusing == 1
    world.later(days=1, minutes=1)
    await told(connector, ctx, cursor)
    assert refusing == 2
    alone = world.connector(feed=["patients"])
    with pytest.raises(RejectedError, match="http-404"):
        await told(alone, world.context(alone))
