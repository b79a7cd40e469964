from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from connectors.api import (
    AppointmentStatus,
    CommunicationFacts,
    ConflictError,
    ConnectorError,
    Identifier,
    RejectedError,
    TransientError,
    UnknownOutcomeError,
)
from connectors.fhir.writing import KEY_SYSTEM
from connectors.sandbox import ehr
from connectors.sandbox.people import FILLER_SYSTEM, MRN_SYSTEM
from tests.connectors.fhir.world import World, without_parameter

VISIT = [Identifier(system="fhir/Appointment", value="a3")]
PATIENT = (Identifier(system="fhir/Patient", value="p03"),)
CALL = CommunicationFacts(
    patient_ids=PATIENT,
    medium="PHONE",
    inbound=True,
    sent_at=datetime(2026, 11, 23, 14, 30, tzinfo=UTC),
    topic="Phone call",
    body="asked about parking",
)


def visit(world: World) -> dict[str, Any]:
    found = world.store.get("Appointment", "a3")
    assert found is not None
    return found


def writes(world: World) -> list[str]:
    return [f"{one.method} {one.path.removeprefix('/fhir/')}" for one in world.asked if one.method != "GET"]


def without_patch(world: World) -> World:
    """Make the server declare no JSON Patch."""
    inner = world.app

    async def plain(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["method"] != "PATCH"

        async def rewrite(message: Message) -> None:
            if message["type"] == "http.response.body" and scope["path"].endswith("/metadata"):
                message = dict(message) | {"body": message["body"].replace(b"json-patch", b"xml--patch")}
            await send(message)

        await inner(scope, receive, rewrite)

    world.app = plain
    return world


async def test_confirming_accepts_for_the_patient_and_nobody_else(world: World) -> None:
    connector = world.connector()
    receipt = await connector.set_status(world.context(connector), VISIT, "confirmed", if_version="1", key="k")
    assert [one["status"] for one in visit(world)["participant"]] == ["accepted", "accepted", "accepted"]
    assert visit(world)["status"] == "booked"
    assert (receipt.external_id, receipt.version) == ("a3", "2")
    (patch,) = [one for one in world.asked if one.method == "PATCH"]
    assert patch.headers["if-match"] == 'W/"1"'


async def test_a_server_without_patch_gets_the_whole_appointment_back(world: World) -> None:
    connector = without_patch(world).connector()
    before = visit(world)
    await connector.set_status(world.context(connector), VISIT, "confirmed", if_version="1", key="k")
    assert writes(world) == ["PUT Appointment/a3"]
    after = visit(world)
    assert after["participant"][0]["status"] == "accepted"
    for name in before.keys() - {"meta", "participant"}:
        assert after[name] == before[name]


@pytest.mark.parametrize("patches", [True, False])
async def test_the_same_key_twice_has_one_effect(world: World, patches: bool) -> None:
    connector = (world if patches else without_patch(world)).connector()
    ctx = world.context(connector)
    first = await connector.set_status(ctx, VISIT, "confirmed", if_version="1", key="k")
    again = await connector.set_status(ctx, VISIT, "confirmed", if_version="1", key="k")
    assert first == again
    assert visit(world)["meta"]["versionId"] == "2"
    assert len(writes(world)) == 1


async def test_what_changed_since_is_a_conflict_and_nothing_is_written(world: World) -> None:
    world.store.put(visit(world) | {"description": "moved to the annex"})
    connector = world.connector()
    with pytest.raises(ConflictError):
        await connector.set_status(world.context(connector), VISIT, "confirmed", if_version="1", key="k")
    assert writes(world) == []


async def test_what_changes_between_reading_and_writing_is_a_conflict(world: World) -> None:
    inner = world.app

    async def racing(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in {"PATCH", "PUT"}:
            world.store.put(visit(world) | {"description": "in between"})
        await inner(scope, receive, send)

    world.app = racing
    connector = world.connector()
    with pytest.raises(ConflictError):
        await connector.set_status(world.context(connector), VISIT, "confirmed", if_version="1", key="k")
    assert visit(world)["participant"][0]["status"] == "needs-action"


async def test_an_appointment_that_is_over_is_not_confirmed(world: World) -> None:
    world.store.put(visit(world) | {"status": "cancelled"})
    connector = world.connector()
    with pytest.raises(ConflictError):
        await connector.set_status(world.context(connector), VISIT, "confirmed", if_version="2", key="k")


async def test_a_visit_is_cancelled_once(world: World) -> None:
    connector = world.connector()
    ctx = world.context(connector)
    for _ in range(2):
        await connector.set_status(ctx, VISIT, AppointmentStatus.CANCELLED, if_version="1", key="k")
    assert (visit(world)["status"], visit(world)["meta"]["versionId"]) == ("cancelled", "2")


async def test_an_appointment_is_found_by_the_feeds_own_number(world: World) -> None:
    filler = world.people.visits[2].filler
    connector = world.connector(systems={"HARBOR-F": FILLER_SYSTEM})
    ids = [Identifier(system="HARBOR-F", value=filler)]
    receipt = await connector.set_status(world.context(connector), ids, "confirmed", if_version=None, key="k")
    assert receipt.external_id == "a3"


async def test_a_number_that_names_nothing_or_several_is_never_guessed(world: World) -> None:
    connector = world.connector()
    ctx = world.context(connector)
    ids = [Identifier(system=FILLER_SYSTEM, value="F1")]
    with pytest.raises(RejectedError, match="appointment-unknown"):
        await connector.set_status(ctx, ids, "confirmed", if_version=None, key="k")
    ignoring = world.context(connector, without_parameter(world.app, "identifier"))
    with pytest.raises(RejectedError, match="appointment-unknown"):
        await connector.set_status(ignoring, ids, "confirmed", if_version=None, key="k")
    twin = world.store.get("Appointment", "a4")
    assert twin is not None
    world.store.put(twin | {"identifier": visit(world)["identifier"]})
    shared = [Identifier(system=FILLER_SYSTEM, value=world.people.visits[2].filler)]
    with pytest.raises(RejectedError, match="identifier-names-several"):
        await connector.set_status(ctx, shared, "confirmed", if_version=None, key="k")
    assert writes(world) == []


async def test_a_number_with_signs_of_the_search_syntax_is_found(world: World) -> None:
    own = {"system": "urn:odd|one", "value": "A,B|C$D\\E"}
    world.store.put(visit(world) | {"identifier": [own]})
    connector = world.connector()
    ids = [Identifier.model_validate(own)]
    receipt = await connector.set_status(world.context(connector), ids, "confirmed", if_version=None, key="k")
    assert receipt.external_id == "a3"


async def test_a_write_that_was_done_and_badly_told_is_done(world: World) -> None:
    inner = world.app

    async def mumbling(scope: Scope, receive: Receive, send: Send) -> None:
        async def cut(message: Message) -> None:
            if message["type"] == "http.response.body" and scope["method"] == "POST":
                message = dict(message) | {"body": b'{"resourceTy'}
            if message["type"] == "http.response.start":
                message["headers"] = [pair for pair in message["headers"] if pair[0] != b"content-length"]
            await send(message)

        await inner(scope, receive, cut)

    connector = world.connector()
    receipt = await connector.log(world.context(connector, mumbling), CALL, key="call-1")
    assert [receipt.external_id] == [one["id"] for one in contacts(world)]


@pytest.mark.parametrize("to", ["maybe", "", "accepted"])
async def test_a_status_that_does_not_exist_is_refused(world: World, to: str) -> None:
    connector = world.connector()
    with pytest.raises(RejectedError, match="no-such-status"):
        await connector.set_status(world.context(connector), VISIT, to, if_version=None, key="k")


async def test_an_appointment_without_a_patient_cannot_be_confirmed(world: World) -> None:
    world.store.put(visit(world) | {"participant": visit(world)["participant"][1:]})
    connector = world.connector()
    with pytest.raises(RejectedError, match="no-patient"):
        await connector.set_status(world.context(connector), VISIT, "confirmed", if_version=None, key="k")


async def test_an_answer_lost_after_a_patch_is_repeated_without_a_second_effect(world: World) -> None:
    inner = world.app

    async def losing(scope: Scope, receive: Receive, send: Send) -> None:
        async def swallow(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["method"] == "PATCH":
                message = dict(message) | {"status": 504}
            await send(message)

        await inner(scope, receive, swallow)

    connector = world.connector()
    with pytest.raises(TransientError):
        await connector.set_status(world.context(connector, losing), VISIT, "confirmed", if_version="1", key="k")
    receipt = await connector.set_status(world.context(connector), VISIT, "confirmed", if_version="1", key="k")
    assert receipt.version == "2"
    assert visit(world)["meta"]["versionId"] == "2"


def contacts(world: World) -> list[dict[str, Any]]:
    return [resource for _, resource in world.store.all("Communication")]


async def test_a_contact_is_written_once_for_each_key_and_without_its_text(world: World) -> None:
    connector = world.connector()
    ctx = world.context(connector)
    first = await connector.log(ctx, CALL, key="call-1")
    again = await connector.log(ctx, CALL, key="call-1")
    await connector.log(ctx, CALL, key="call-2")
    assert first == again
    assert len(contacts(world)) == 2
    (one, _) = contacts(world)
    assert one["identifier"] == [{"system": KEY_SYSTEM, "value": "call-1"}]
    assert one["subject"] == one["sender"] == {"reference": "Patient/p03"}
    assert one["received"].startswith("2026-11-23T14:30:00")
    assert one["topic"] == {"text": "Phone call"}
    assert one["medium"][0]["coding"][0]["code"] == "PHONE"
    assert "payload" not in one
    assert "sent" not in one


async def test_the_text_is_written_where_the_operator_says_so(world: World) -> None:
    connector = world.connector(message_bodies=True)
    said = CALL.model_copy(update={"inbound": False, "medium": "SMSWRIT"})
    await connector.log(world.context(connector), said, key="m")
    (one,) = contacts(world)
    assert one["payload"] == [{"contentString": "asked about parking"}]
    assert one["recipient"] == [{"reference": "Patient/p03"}]
    assert "sender" not in one
    assert one["sent"].startswith("2026-11-23T14:30:00")


async def test_a_patient_is_found_by_record_number_for_the_contact(world: World) -> None:
    person = world.people.persons[7]
    connector = world.connector(systems={"HARBOR": MRN_SYSTEM})
    said = CALL.model_copy(update={"patient_ids": (Identifier(system="HARBOR", value=person.mrn, type="MR"),)})
    await connector.log(world.context(connector), said, key="m")
    assert contacts(world)[0]["subject"] == {"reference": f"Patient/{person.id}"}


async def test_a_server_without_conditional_create_is_asked_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = ehr.capability("x")
    for resource in declared["rest"][0]["resource"]:
        del resource["conditionalCreate"]
    monkeypatch.setattr(ehr, "capability", lambda _, *__, **___: declared)
    connector = world.connector()
    ctx = world.context(connector)
    first = await connector.log(ctx, CALL, key="call-1")
    again = await connector.log(ctx, CALL, key="call-1")
    assert first == again
    assert len(contacts(world)) == 1
    assert all("if-none-exist" not in one.headers for one in world.asked)


@pytest.mark.parametrize(("conditional", "kind"), [(True, TransientError), (False, UnknownOutcomeError)])
async def test_a_lost_answer_to_a_create_is_unknown_only_where_a_repeat_could_double_it(
    world: World, monkeypatch: pytest.MonkeyPatch, conditional: bool, kind: type[ConnectorError]
) -> None:
    declared = ehr.capability("x")
    for resource in declared["rest"][0]["resource"]:
        resource["conditionalCreate"] = conditional
    monkeypatch.setattr(ehr, "capability", lambda _, *__, **___: declared)
    inner = world.app

    async def losing(scope: Scope, receive: Receive, send: Send) -> None:
        async def swallow(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["method"] == "POST":
                message = dict(message) | {"status": 504}
            await send(message)

        await inner(scope, receive, swallow)

    connector = world.connector()
    with pytest.raises(kind):
        await connector.log(world.context(connector, losing), CALL, key="call-1")
    await connector.log(world.context(connector), CALL, key="call-1")
    assert len(contacts(world)) == 1


async def test_a_contact_that_fits_no_communication_fails_here_without_its_words(world: World) -> None:
    connector = world.connector(message_bodies=True)
    said = CALL.model_construct(**dict(CALL) | {"topic": ["Quillfeather"]})
    with pytest.raises(RejectedError) as caught:
        await connector.log(world.context(connector), said, key="m")
    assert "Quillfeather" not in repr(caught.value)
    assert caught.value.__context__ is None
    assert writes(world) == []
