from datetime import datetime, timedelta
from typing import TypeVar

import orjson
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from connectors.api import (
    AppointmentFacts,
    AppointmentStatus,
    AuthExpiredError,
    Change,
    Checkpoint,
    ConnectorError,
    PatientFacts,
    RateLimitedError,
    RelatedFacts,
    RequestFacts,
    ResetError,
    TransientError,
)
from connectors.fhir.cursor import Cursor
from connectors.fhir.feed import RETRY_AFTER
from connectors.fhir.reading import NEVER
from connectors.sandbox.day import day
from tests.connectors.fhir.world import World, told, without_parameter
from tests.connectors.stage import NOW

Named = TypeVar("Named", PatientFacts, AppointmentFacts, RequestFacts)


def ids_of(facts: list[Change], kind: type[Named]) -> list[str]:
    told_of = [fact for fact in facts if isinstance(fact, kind)]
    return [fact.ids[0].value for fact in told_of]


def latest(facts: list[Change]) -> dict[str, AppointmentFacts]:
    """Return each appointment as it was last told, which is what a listener ends with."""
    return {fact.ids[0].value: fact for fact in facts if isinstance(fact, AppointmentFacts)}


def truth(world: World) -> dict[str, tuple[str, str]]:
    return {one["id"]: (one["status"], one["start"]) for _, one in world.store.all("Appointment")}


async def test_the_first_round_tells_patients_then_visits_from_yesterday_on_then_open_requests(world: World) -> None:
    connector = world.connector()
    facts, cursor = await told(connector, world.context(connector))
    kinds = [type(fact) for fact in facts]
    assert kinds == sorted(kinds, key=[PatientFacts, RelatedFacts, AppointmentFacts, RequestFacts].index)
    assert len(ids_of(facts, PatientFacts)) == len(world.people.persons)
    assert set(ids_of(facts, AppointmentFacts)) == {
        visit.id for visit in world.people.visits if visit.starts_at.date() >= (NOW - timedelta(days=1)).date()
    }
    assert set(ids_of(facts, RequestFacts)) == {refill.id for refill in world.people.refills}
    assert 0 < len(cursor) <= 4096


async def test_a_visit_comes_with_its_patient(world: World) -> None:
    connector = world.connector()
    facts, _ = await told(connector, world.context(connector))
    visit = world.people.within(24)[0]
    fact = latest(facts)[visit.id]
    assert fact.patient is not None
    assert (fact.patient.family, fact.patient.birth_date) == (visit.person.family, visit.person.birth_date)
    assert fact.starts_at == visit.starts_at
    assert fact.minutes == visit.minutes
    assert [one.value for one in fact.ids] == [visit.id, visit.placer, visit.filler]


async def test_the_next_round_tells_only_what_changed(world: World) -> None:
    connector = world.connector()
    ctx = world.context(connector)
    _, cursor = await told(connector, ctx)
    world.later(minutes=10)
    again, cursor = await told(connector, ctx, cursor)
    assert again == []
    changed = world.store.get("Appointment", "a3")
    assert changed is not None
    world.store.put(changed | {"status": "cancelled"})
    world.later(minutes=10)
    facts, cursor = await told(connector, ctx, cursor)
    assert [(fact.ids[0].value, fact.status) for fact in facts if isinstance(fact, AppointmentFacts)] == [
        ("a3", AppointmentStatus.CANCELLED)
    ]
    assert len(facts) == 1
    assert (await told(connector, ctx, cursor))[0] == []


async def test_what_was_committed_late_under_an_earlier_time_is_told_by_the_overlap(world: World) -> None:
    connector = world.connector()
    ctx = world.context(connector)
    _, cursor = await told(connector, ctx)
    world.later(minutes=10)
    _, cursor = await told(connector, ctx, cursor)
    changed = world.store.get("Appointment", "a3")
    world.later(seconds=-60)
    assert changed is not None
    world.store.put(changed | {"status": "cancelled"})
    world.later(seconds=90)
    facts, _ = await told(connector, ctx, cursor)
    assert ids_of(facts, AppointmentFacts) == ["a3"]


async def test_the_servers_clock_counts_and_not_ours(world: World) -> None:
    connector = world.connector()
    ctx = world.context(connector)
    ahead = type(ctx)(
        **{name: getattr(ctx, name) for name in ctx.__slots__} | {"clock": lambda: world.clock() + timedelta(hours=3)}
    )
    _, cursor = await told(connector, ahead)
    changed = world.store.get("Appointment", "a3")
    assert changed is not None
    world.later(minutes=5)
    world.store.put(changed | {"status": "cancelled"})
    facts, _ = await told(connector, ahead, cursor)
    assert ids_of(facts, AppointmentFacts) == ["a3"]


@pytest.mark.parametrize("page_size", [1, 7, 100])
async def test_resumed_from_every_checkpoint_the_end_is_the_same(world: World, page_size: int) -> None:
    connector = world.connector(page_size=page_size)
    ctx = world.context(connector)
    whole = latest((await told(connector, ctx))[0])
    before: list[Change] = []
    checkpoints: list[tuple[list[Change], bytes]] = []
    async for change in connector.changes(ctx, None):
        if isinstance(change, Checkpoint):
            checkpoints.append((list(before), change.cursor))
        else:
            before.append(change)
    chosen = checkpoints[:: max(1, len(checkpoints) // 12)] + checkpoints[-1:]
    for committed, cursor in chosen:
        restarted = world.connector(page_size=page_size)
        rest, _ = await told(restarted, world.context(restarted), cursor)
        assert latest([*committed, *rest]) == whole
        assert set(ids_of([*committed, *rest], PatientFacts)) == {person.id for person in world.people.persons}


async def test_what_was_not_committed_is_told_again(world: World) -> None:
    connector = world.connector()
    ctx = world.context(connector)
    _, first = await told(connector, ctx)
    changed = world.store.get("Appointment", "a3")
    assert changed is not None
    world.later(minutes=5)
    world.store.put(changed | {"status": "cancelled"})
    world.later(minutes=5)
    lost, _ = await told(connector, ctx, first)
    again, _ = await told(connector, ctx, first)
    assert ids_of(lost, AppointmentFacts) == ["a3"]
    assert set(ids_of(again, AppointmentFacts)) >= {"a3"}


@pytest.mark.parametrize("cursor", [b"", b"{}x", b"[]", b'{"version": 2}', b"\xff", b'{"since": 5}'])
async def test_a_cursor_that_is_not_ours_asks_for_a_new_start(world: World, cursor: bytes) -> None:
    connector = world.connector()
    with pytest.raises(ResetError):
        await told(connector, world.context(connector), cursor or b"?")


async def test_a_page_that_the_server_forgot_is_read_from_the_start(world: World) -> None:
    connector = world.connector(page_size=5)
    ctx = world.context(connector)
    whole = latest((await told(connector, ctx))[0])
    cursor = b""
    async for change in connector.changes(ctx, None):
        if isinstance(change, Checkpoint):
            cursor = change.cursor.replace(b"_after=", b"_after=%25")
            break
    facts, _ = await told(connector, ctx, cursor)
    assert latest(facts) == whole
    assert set(ids_of(facts, PatientFacts)) == {person.id for person in world.people.persons}


async def test_a_long_round_of_changes_goes_on_where_it_stopped(world: World) -> None:
    connector = world.connector(page_size=3)
    ctx = world.context(connector)
    _, cursor = await told(connector, ctx)
    world.later(minutes=10)
    for _, visit in list(world.store.all("Appointment")):
        world.store.put(visit | {"description": "all of them"})
    heard: list[Change] = []
    async for change in connector.changes(ctx, cursor):
        if isinstance(change, Checkpoint):
            cursor = change.cursor
            if len(heard) >= 6:
                break
        else:
            heard.append(change)
    rest, _ = await told(connector, ctx, cursor)
    assert len(rest) == len(world.people.visits) - len(heard)
    assert {*ids_of(heard, AppointmentFacts), *ids_of(rest, AppointmentFacts)} == {
        one.id for one in world.people.visits
    }


def test_a_cursor_reads_what_it_wrote() -> None:
    cursor = Cursor(round=3, since={"Patient": NOW}, compared={"Task": NOW})
    assert Cursor.parse(bytes(cursor)) == cursor
    assert Cursor.parse(None) == Cursor(fresh=True)


async def test_a_server_that_ignores_the_time_is_compared_instead(world: World) -> None:
    app = without_parameter(world.app, "_lastUpdated")
    world.app = app
    connector = world.connector(window_days=20)
    ctx = world.context(connector)
    _, cursor = await told(connector, ctx)
    world.later(minutes=5)
    again, cursor = await told(connector, ctx, cursor)
    assert again == []
    changed = world.store.get("Appointment", "a3")
    assert changed is not None
    world.store.put(changed | {"status": "cancelled"})
    facts, cursor = await told(connector, ctx, cursor)
    assert [(fact.ids[0].value, fact.status) for fact in facts if isinstance(fact, AppointmentFacts)] == [
        ("a3", AppointmentStatus.CANCELLED)
    ]
    assert len(facts) == 1
    assert set(Cursor.parse(cursor).compared) == {"Patient", "RelatedPerson", "Appointment", "Task"}
    asked = [one.query for one in world.asked if "_lastUpdated" in one.query]
    await told(connector, ctx, cursor)
    assert [one.query for one in world.asked if "_lastUpdated" in one.query] == asked
    assert any("date=ge" in one.query and "date=lt" in one.query for one in world.asked)


async def test_a_day_later_the_server_gets_another_chance(world: World) -> None:
    honest, world.app = world.app, without_parameter(world.app, "_lastUpdated")
    connector = world.connector()
    ctx = world.context(connector)
    _, cursor = await told(connector, ctx)
    _, cursor = await told(connector, ctx, cursor)
    world.app = honest
    world.clock.now += RETRY_AFTER + timedelta(minutes=1)
    _, cursor = await told(connector, ctx, cursor)
    assert Cursor.parse(cursor).compared == {}


async def test_a_server_that_lies_about_the_time_is_found_out_by_what_it_sends(world: World) -> None:
    """It echoes the parameter and filters nothing."""
    inner = without_parameter(world.app, "_lastUpdated")

    async def lying(scope: Scope, receive: Receive, send: Send) -> None:
        query = scope["query_string"].decode()

        async def rewrite(message: Message) -> None:
            if message["type"] == "http.response.body" and "_lastUpdated" in query:
                bundle = orjson.loads(message["body"])
                bundle["link"][0]["url"] += f"&{query}"
                message = dict(message) | {"body": orjson.dumps(bundle)}
            if message["type"] == "http.response.start":
                message["headers"] = [pair for pair in message["headers"] if pair[0] != b"content-length"]
            await send(message)

        await inner(scope, receive, rewrite)

    world.app = lying
    connector = world.connector()
    ctx = world.context(connector)
    _, cursor = await told(connector, ctx)
    world.later(days=1)
    _, cursor = await told(connector, ctx, cursor)
    assert set(Cursor.parse(cursor).compared) == {"Patient", "RelatedPerson", "Appointment", "Task"}


@pytest.mark.parametrize("feed", [["appointments"], ["patients", "appointments", "requests"]])
async def test_a_visit_that_vanished_is_told_as_a_mistake_and_one_that_moved_as_it_is(
    world: World, feed: list[str]
) -> None:
    world.app = without_parameter(world.app, "_lastUpdated")
    connector = world.connector(window_days=20, feed=feed)
    ctx = world.context(connector)
    _, cursor = await told(connector, ctx)
    _, cursor = await told(connector, ctx, cursor)
    assert world.store.delete("Appointment", "a5")
    moved = world.store.get("Appointment", "a6")
    assert moved is not None
    world.store.put(moved | {"start": "2027-06-01T15:00:00Z", "end": "2027-06-01T15:30:00Z"})
    facts, _ = await told(connector, ctx, cursor)
    found = latest(facts)
    assert set(found) == {"a5", "a6"}
    assert (found["a5"].status, found["a5"].creates) == (AppointmentStatus.ENTERED_IN_ERROR, False)
    assert found["a6"].starts_at is not None
    assert found["a6"].starts_at.year == 2027


async def test_only_what_the_operator_wants_is_asked_for(world: World) -> None:
    connector = world.connector(feed=["appointments"])
    facts, _ = await told(connector, world.context(connector, without_parameter(world.app, "_include")))
    assert {type(fact) for fact in facts} == {AppointmentFacts}
    assert all(fact.patient is not None and fact.patient.version.at != NEVER for fact in latest(facts).values())
    connector = world.connector(feed=["requests"])
    facts, _ = await told(connector, world.context(connector))
    assert {type(fact) for fact in facts} == {RequestFacts}


async def test_after_any_day_the_listener_knows_what_the_server_knows(world: World) -> None:
    connector = world.connector(page_size=9)
    ctx = world.context(connector)
    facts, cursor = await told(connector, ctx)
    happens = day(world.store, world.clock, seed=3)
    for _ in range(60):
        world.later(seconds=41)
        next(happens)
        if world.clock.now.second % 3 == 0:
            more, cursor = await told(connector, ctx, cursor)
            facts += more
    world.later(minutes=10)
    facts += (await told(connector, ctx, cursor))[0]
    heard = {own: (fact.status, fact.starts_at) for own, fact in latest(facts).items()}
    for own, (status, start) in truth(world).items():
        if own in heard:
            assert heard[own] == (status, datetime.fromisoformat(start))
    assert set(heard) >= {own for own in truth(world) if own.startswith("n")}


def failing_at(app: ASGIApp, number: int, status: int) -> ASGIApp:
    """Return a server that answers one request, by its place in the line, with an error, and if it is repeated."""
    count = 0

    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal count
        count += 1
        if count == number or (status >= 500 and count == number + 1):
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await app(scope, receive, send)

    return failing


@pytest.mark.parametrize(("status", "kind"), [(401, AuthExpiredError), (429, RateLimitedError), (503, TransientError)])
async def test_a_fault_in_mid_stream_loses_nothing(world: World, status: int, kind: type[ConnectorError]) -> None:
    healthy = world.connector(page_size=7)
    whole = latest((await told(healthy, world.context(healthy)))[0])
    for number in range(1, 13):
        connector = world.connector(page_size=7)
        ctx = world.context(connector, failing_at(world.app, number, status))
        facts: list[Change] = []
        pending: list[Change] = []
        cursor = None
        error: ConnectorError | None = None
        try:
            async for change in connector.changes(ctx, None):
                if isinstance(change, Checkpoint):
                    facts, pending, cursor = [*facts, *pending], [], change.cursor
                else:
                    pending.append(change)
        except ConnectorError as caught:
            error = caught
        assert type(error) is kind
        rest, _ = await told(connector, ctx, cursor)
        assert latest([*facts, *rest]) == whole


async def test_a_connector_without_memory_tells_what_lies_in_the_overlap_again(world: World) -> None:
    first, second = world.connector(), world.connector()
    ctx = world.context(first)
    _, cursor = await told(first, ctx)
    changed = world.store.get("Appointment", "a3")
    assert changed is not None
    world.later(seconds=30)
    world.store.put(changed | {"status": "cancelled"})
    _, cursor = await told(first, ctx, cursor)
    world.later(seconds=30)
    assert (await told(first, ctx, cursor))[0] == []
    assert ids_of((await told(second, ctx, cursor))[0], AppointmentFacts) == ["a3"]
