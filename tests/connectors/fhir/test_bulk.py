"""Bulk Data exports: kicked off by night, waited for without waiting, read once, with what was deleted."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from connectors.api import (
    AppointmentFacts,
    AppointmentStatus,
    Change,
    Checkpoint,
    PatientFacts,
    RejectedError,
)
from connectors.fhir.bulk import LINE, PATIENCE
from connectors.fhir.cursor import Cursor
from connectors.fhir.window import Window
from connectors.sandbox import ehr
from connectors.sandbox.smart import Client, Tokens
from tests.connectors.fhir.smart import pair
from tests.connectors.fhir.test_subscription import CALLBACK
from tests.connectors.fhir.world import World, round_of, told
from tests.connectors.stage import NOW, ZONE

NIGHT = timedelta(hours=16)
"From NOW to two in the morning, by the practice's clock."


def visits(facts: list[Change]) -> dict[str, AppointmentFacts]:
    return {fact.ids[0].value: fact for fact in facts if isinstance(fact, AppointmentFacts)}


def exported(world: World) -> list[str]:
    return [one.path.rpartition("/")[2] + "?" + one.query for one in world.asked if one.path.endswith("$export")]


async def rounds(
    world: World, connector: Any, cursor: bytes | None, until: Callable[[Cursor], bool]
) -> tuple[list[Change], bytes]:
    """Ask a minute apart until the cursor is as wanted; return what was told, and the cursor."""
    facts: list[Change] = []
    for _ in range(10):
        more, cursor = await told(connector, world.context(connector), cursor)
        facts += more
        if until(Cursor.parse(cursor)):
            return facts, cursor
        world.later(minutes=1)
    raise AssertionError("never")


async def test_by_night_an_export_is_begun_waited_for_read_and_forgotten(world: World) -> None:
    connector = world.connector()
    _, cursor = await told(connector, world.context(connector))
    assert exported(world) == []
    world.later(hours=16)
    _, cursor = await told(connector, world.context(connector), cursor)
    (asked,) = exported(world)
    assert "_type=Patient%2CRelatedPerson%2CAppointment%2CTask" in asked
    assert "_since=" in asked
    assert next(one for one in world.asked if one.path.endswith("$export")).headers["prefer"] == "respond-async"
    begun = Cursor.parse(cursor).export
    assert begun is not None
    assert "/$export-state/" in begun.url
    facts, cursor = await rounds(world, connector, cursor, lambda found: found.export is None)
    today = Window.of(world.clock.now, ZONE, 30).begins
    past = {one.id for one in world.people.visits if one.starts_at < today}
    assert visits(facts).keys() == past  # the searches told everything else
    assert len(facts) == len(past)
    assert Cursor.parse(cursor).exported == NOW + NIGHT
    assert world.exports.waiting() == 0
    world.later(minutes=30)
    await told(connector, world.context(connector), cursor)
    assert len(exported(world)) == 1


async def test_what_the_searches_missed_and_what_was_deleted_is_told(world: World) -> None:
    connector = world.connector()
    _, cursor = await told(connector, world.context(connector))
    world.later(hours=1)
    hidden = world.store.get("Appointment", "a3")
    assert hidden is not None
    world.store.put(hidden | {"status": "cancelled"})
    world.store.delete("Appointment", "a5")
    world.store.delete("Patient", "p33")
    world.store.delete("Coverage", "p01-v1")
    world.later(hours=15)  # nobody asked meanwhile, and _lastUpdated would find a3; so the memory of it is set
    seen, cursor = await told(connector, world.context(connector), cursor)
    assert visits(seen).keys() == {"a3"}
    fresh = world.connector()
    facts, _ = await rounds(world, fresh, cursor, lambda found: found.export is None)
    assert visits(facts)["a3"].status is AppointmentStatus.CANCELLED
    gone = visits(facts)["a5"]
    assert (gone.status, gone.creates) == (AppointmentStatus.ENTERED_IN_ERROR, False)
    left = [fact for fact in facts if isinstance(fact, PatientFacts) and fact.active is False]
    assert [fact.ids[0].value for fact in left] == ["p33"]


async def test_an_export_outlives_the_process_that_asked_for_it(world: World) -> None:
    first = world.connector(feed_by="export")
    _, cursor = await told(first, world.context(first))
    world.later(minutes=1)
    second = world.connector(feed_by="export")
    facts, cursor = await rounds(world, second, cursor, lambda found: found.export is None)
    assert len(exported(world)) == 1
    assert len([fact for fact in facts if isinstance(fact, PatientFacts)]) == len(world.people.persons)


async def test_where_nothing_else_feeds_the_first_export_is_at_once_and_whole(world: World) -> None:
    connector = world.connector(feed_by="export")
    ctx = world.context(connector)
    said = await round_of(connector, ctx)
    assert [type(one) for one in said] == [Checkpoint]
    assert "_since" not in exported(world)[0]
    told_whole: list[Checkpoint] = []
    facts: list[Change] = []
    while not told_whole:
        world.later(minutes=1)
        last = said[-1]
        assert isinstance(last, Checkpoint)
        said = await round_of(connector, ctx, last.cursor)
        facts += [one for one in said if not isinstance(one, Checkpoint)]
        told_whole += [one for one in said if isinstance(one, Checkpoint) and one.whole]
    window = Window.of(world.clock.now, ZONE, 30)
    assert told_whole[0].whole == (window.begins, window.ends)
    assert visits(facts).keys() == {one.id for one in world.people.visits if one.starts_at >= window.begins}
    assert not any(one.path.endswith("/Appointment") for one in world.asked)


async def test_each_file_is_a_place_to_go_on_from(world: World) -> None:
    connector = world.connector(feed_by="export")
    _, cursor = await told(connector, world.context(connector))
    world.later(minutes=1)
    _, cursor = await told(connector, world.context(connector), cursor)
    world.later(minutes=1)
    said = await round_of(connector, world.context(connector), cursor)
    marks = [one for one in said if isinstance(one, Checkpoint)]
    files = [export.files for one in marks if (export := Cursor.parse(one.cursor).export) is not None]
    assert files == [1, 2, 3, 4]
    rest = [one for one in said if not isinstance(one, Checkpoint)]
    assert [type(one).__name__ for one in rest] == sorted(
        (type(one).__name__ for one in rest),
        key=["PatientFacts", "RelatedFacts", "AppointmentFacts", "RequestFacts"].index,
    )


def breaking(app: ASGIApp, spoil: Callable[[bytes], bytes]) -> ASGIApp:
    """Return a server whose files are spoilt."""

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        async def cut(message: Message) -> None:
            if message["type"] == "http.response.body" and message.get("body"):
                message = dict(message) | {"body": spoil(message["body"])}
            await send(message)

        await app(scope, receive, cut if "$export-file" in scope["path"] else send)

    return broken


@pytest.mark.parametrize("spoil", [lambda line: line[: len(line) // 2], lambda _: b"[]\n"])
async def test_half_a_line_is_read_again_later(world: World, spoil: Callable[[bytes], bytes]) -> None:
    whole, world.app = world.app, breaking(world.app, spoil)
    connector = world.connector(feed_by="export")
    _, cursor = await told(connector, world.context(connector))
    world.later(minutes=1)
    _, cursor = await told(connector, world.context(connector), cursor)
    world.later(minutes=1)
    broken, cursor = await told(connector, world.context(connector), cursor)
    export = Cursor.parse(cursor).export
    assert (broken, export and export.files) == ([], 0)
    world.app = whole
    world.later(minutes=1)
    facts, _ = await told(connector, world.context(connector), cursor)
    assert len([fact for fact in facts if isinstance(fact, PatientFacts)]) == len(world.people.persons)


async def test_a_line_without_end_is_not_waited_for(world: World) -> None:
    world.app = breaking(world.app, lambda _: b"x" * (LINE // 4))
    connector = world.connector(feed_by="export")
    _, cursor = await told(connector, world.context(connector))
    facts, cursor = await rounds(world, connector, cursor, lambda found: found.export is None)
    assert facts == []


async def test_a_server_that_forgot_the_export_is_asked_for_another_one_the_next_night(world: World) -> None:
    connector = world.connector()
    _, cursor = await told(connector, world.context(connector))
    world.later(hours=16)
    _, cursor = await told(connector, world.context(connector), cursor)
    begun = Cursor.parse(cursor).export
    assert begun is not None
    async with httpx.AsyncClient(transport=httpx.ASGITransport(world.app)) as http:
        assert (await http.delete(begun.url)).status_code == 202
    world.later(minutes=1)
    _, cursor = await told(connector, world.context(connector), cursor)
    assert Cursor.parse(cursor).export is None
    world.later(hours=24)
    await told(connector, world.context(connector), cursor)
    assert len(exported(world)) == 2


async def test_an_export_that_never_gets_ready_is_given_up(world: World) -> None:
    world.exports.waits = 1000
    connector = world.connector(feed_by="export")
    _, cursor = await told(connector, world.context(connector))
    world.later(hours=PATIENCE.total_seconds() / 3600, minutes=1)
    _, cursor = await told(connector, world.context(connector), cursor)
    assert Cursor.parse(cursor).export is None
    assert world.exports.waiting() == 0


async def test_the_pause_that_the_server_asks_for_is_kept(world: World) -> None:
    connector = world.connector(feed_by="export")
    _, cursor = await told(connector, world.context(connector))
    world.later(seconds=2)
    _, cursor = await told(connector, world.context(connector), cursor)
    looked = len(world.asked)
    world.later(seconds=4)  # the sandbox asks for five
    assert await round_of(connector, world.context(connector), cursor)
    assert len(world.asked) == looked
    world.later(seconds=1)
    facts, _ = await told(connector, world.context(connector), cursor)
    assert facts


async def test_files_elsewhere_are_read_where_the_settings_name_the_host_and_get_no_credentials(world: World) -> None:
    inner = world.app

    async def elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
        async def moved(message: Message) -> None:
            if message["type"] == "http.response.body" and b'"transactionTime"' in message.get("body", b""):
                manifest = orjson.loads(message["body"])
                for file in manifest["output"]:
                    file["url"] = file["url"].replace("ehr.test", "files.test")
                message = dict(message) | {"body": orjson.dumps(manifest | {"requiresAccessToken": False})}
            if message["type"] == "http.response.start":
                message["headers"] = [pair for pair in message["headers"] if pair[0] != b"content-length"]
            await send(message)

        await inner(scope, receive, moved)

    world.app = elsewhere
    for settings, heard in (({"export_files": "http://files.test"}, True), ({}, False)):
        world.asked.clear()
        connector = world.connector(feed_by="export", token="secret", **settings)
        _, cursor = await told(connector, world.context(connector))
        facts, _ = await rounds(world, connector, cursor, lambda found: found.export is None)
        assert bool(facts) is heard
        files = [one for one in world.asked if "$export-file" in one.path]
        assert bool(files) is heard
        assert all("authorization" not in one.headers for one in files)
        assert all(one.headers["authorization"] == "Bearer secret" for one in world.asked if one not in files)


async def test_a_server_without_export_is_not_asked_for_one_unless_the_operator_insists(world: World) -> None:
    connector = world.connector(override={"export": "no"})
    _, cursor = await told(connector, world.context(connector))
    world.later(hours=16)
    await told(connector, world.context(connector), cursor)
    assert exported(world) == []
    inner = world.app

    async def none(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].replace("$export", "$nothing")
        await inner(dict(scope) | {"path": path}, receive, send)

    world.app = none
    insisting = world.connector(feed_by="export", export_group="g/1")
    with pytest.raises(RejectedError, match="http-404"):
        await told(insisting, world.context(insisting))
    assert any(one.path == "/fhir/Group/g/1/$export" for one in world.asked)


async def test_a_client_of_backend_services_feeds_and_exports_with_its_own_scopes(world: World) -> None:
    keys = pair("p384")
    tokens = Tokens(world.clock, {"hub": Client("hub", {"": keys.public})})
    world.app = ehr.app(world.store, tokens=tokens, exports=world.exports)
    connector = world.connector(client_id="hub", private_key=keys.private, **CALLBACK)
    ctx = world.context(connector)
    await connector.check(ctx)
    facts, cursor = await told(connector, ctx)
    assert len([fact for fact in facts if isinstance(fact, PatientFacts)]) == len(world.people.persons)
    assert len(list(world.store.all("Subscription"))) == 1
    world.later(hours=16)
    _, cursor = await told(connector, ctx, cursor)
    _, cursor = await rounds(world, connector, cursor, lambda found: found.export is None)
    assert Cursor.parse(cursor).exported is not None
    assert world.exports.waiting() == 0
