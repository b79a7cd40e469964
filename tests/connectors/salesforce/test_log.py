"""Activities: the fields of a Task, one for each key whatever happens on the way, and nothing that was not given."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from connectors.api import CommunicationFacts, Identifier, RejectedError, TransientError, UnknownOutcomeError
from tests.connectors.salesforce.schema import KEY_FIELD
from tests.connectors.salesforce.server import Fault, error
from tests.connectors.salesforce.world import World

KEY = "call/0196f6a2'7\\x"
"An awkward one: it stands in a path and in a query."

PHONE = "+12125550111"
UPSERT = "PATCH .*/sobjects/Task/"
CREATE = "POST .*/sobjects/Task$"


def said(*ids: Identifier, **changed: Any) -> CommunicationFacts:
    base: dict[str, Any] = {"patient_ids": ids, "medium": "PHONE", "inbound": True, "topic": "Refill question"}
    base |= {"sent_at": datetime(2026, 11, 24, 1, 30, tzinfo=UTC), "body": "Asked to call back", "phone": PHONE}
    return CommunicationFacts(**base | {"seconds": 125} | changed)


async def test_a_call_is_a_task_that_is_over(world: World) -> None:
    own = world.org.add("Contact", LastName="Sample")
    connector = world.connector()
    mrn = Identifier(system="urn:harbor:mrn", value="4711", type="MR")
    communication = said(mrn, Identifier(system="salesforce/Contact", value=own))
    receipt = await connector.log(world.context(connector), communication, key=KEY)
    (task,) = world.org.tasks
    assert task == {
        "Id": receipt.external_id,
        KEY_FIELD: KEY,
        "Subject": "Refill question",
        "Status": "Completed",
        "Priority": "Normal",
        "ActivityDate": "2026-11-23",  # the day it was at the practice
        "TaskSubtype": "Call",
        "CallObject": KEY,
        "CallType": "Inbound",
        "CallDurationInSeconds": 125,
        "Description": f"Inbound phone call, 2026-11-23 20:30 EST\n{PHONE}\nAsked to call back",
        "WhoId": own,
    }
    assert b"4711" not in b"".join(world.org.bodies)


async def test_a_text_is_a_task_without_the_fields_of_a_call(world: World) -> None:
    own = world.org.add("Account", LastName="Sample")
    connector = world.connector()
    communication = said(Identifier(system="salesforce/Account", value=own), medium="SMSWRIT", inbound=False)
    await connector.log(world.context(connector), communication, key=KEY)
    (task,) = world.org.tasks
    assert (task["TaskSubtype"], task["WhatId"]) == ("Task", own)
    assert not task.keys() & {"CallType", "CallDurationInSeconds", "WhoId"}
    assert task["Description"].startswith("Outbound text message, 2026-11-23 20:30 EST")


async def test_without_agreed_fields_only_generic_words_go_out(world: World) -> None:
    connector = world.connector(agreed=())
    communication = said(Identifier(system="urn:harbor:mrn", value="4711"), seconds=None)
    await connector.log(world.context(connector), communication, key=KEY)
    (task,) = world.org.tasks
    assert (task["Subject"], task["Description"]) == ("Phone call", "Inbound phone call, 2026-11-23 20:30 EST")
    assert not task.keys() & {"WhoId", "WhatId", "CallDurationInSeconds"}
    out = b"".join(world.org.bodies)
    assert not any(word in out for word in (b"Refill", b"call back", b"5550111", b"4711"))


async def test_a_number_that_one_person_has_names_them_and_a_shared_one_nobody(world: World) -> None:
    own = world.org.add("Contact", LastName="Sample", Phone=PHONE)
    connector = world.connector()
    ctx = world.context(connector)
    await connector.log(ctx, said(), key="one")
    world.org.add("Contact", LastName="Sample", Phone=PHONE)
    await connector.log(ctx, said(), key="two")
    assert [task.get("WhoId") for task in world.org.tasks] == [own, None]


@pytest.mark.parametrize("field", [KEY_FIELD, ""])
async def test_a_repeat_of_a_key_writes_nothing(world: World, field: str) -> None:
    connector = world.connector(external_id_field=field)
    ctx = world.context(connector)
    first = await connector.log(ctx, said(), key=KEY)
    second = await connector.log(ctx, said(topic="Something else"), key=KEY)
    assert second == first
    assert [task["Subject"] for task in world.org.tasks] == ["Refill question"]
    await connector.log(ctx, said(), key="another")
    assert len(world.org.tasks) == 2


async def test_an_upsert_without_an_answer_is_tried_again(world: World) -> None:
    connector = world.connector()
    ctx = world.context(connector)
    world.org.faults.append(Fault(0, after=True, on=UPSERT))
    with pytest.raises(TransientError):
        await connector.log(ctx, said(), key=KEY)
    receipt = await connector.log(ctx, said(), key=KEY)
    assert [task["Id"] for task in world.org.tasks] == [receipt.external_id]


async def test_a_create_without_an_answer_is_unknown_and_a_repeat_finds_it(world: World) -> None:
    connector = world.connector(external_id_field="")
    ctx = world.context(connector)
    world.org.faults.append(Fault(0, after=True, on=CREATE))
    with pytest.raises(UnknownOutcomeError):
        await connector.log(ctx, said(), key=KEY)
    receipt = await connector.log(ctx, said(), key=KEY)
    assert [task["Id"] for task in world.org.tasks] == [receipt.external_id]


@pytest.mark.parametrize("field", [KEY_FIELD, ""])
async def test_many_at_once_with_one_key_are_one_task(world: World, field: str) -> None:
    connector = world.connector(external_id_field=field)
    ctx = world.context(connector)
    receipts = await asyncio.gather(*(connector.log(ctx, said(), key=KEY) for _ in range(8)))
    assert {one.external_id for one in receipts} == {world.org.tasks[0]["Id"]}
    assert len(world.org.tasks) == 1


async def test_a_duplicate_that_somebody_else_made_meanwhile_is_found(world: World) -> None:
    connector = world.connector()
    world.org.faults.append(Fault(400, error("DUPLICATE_VALUE", []), after=True, on=UPSERT))
    receipt = await connector.log(world.context(connector), said(), key=KEY)
    assert [task["Id"] for task in world.org.tasks] == [receipt.external_id]


async def test_an_answer_without_a_body_leads_to_the_id_by_the_key(world: World) -> None:
    connector = world.connector()
    world.org.faults.append(Fault(204, b"", after=True, on=UPSERT))
    receipt = await connector.log(world.context(connector), said(), key=KEY)
    assert receipt.external_id == world.org.tasks[0]["Id"]


async def test_a_field_that_the_user_may_not_write_is_named(world: World) -> None:
    connector = world.connector()
    document = error("INVALID_FIELD_FOR_INSERT_UPDATE", ["CallType", "Secret__c"])
    world.org.faults.append(Fault(400, document, on=UPSERT))
    with pytest.raises(RejectedError) as caught:
        await connector.log(world.context(connector), said(), key=KEY)
    assert (caught.value.reason, caught.value.field) == ("invalid-field-for-insert-update", "CallType")


async def test_a_key_in_two_records_is_refused(world: World) -> None:
    for _ in range(2):
        world.org.add("Task", **{KEY_FIELD: KEY})
    connector = world.connector()
    with pytest.raises(RejectedError, match="external-id-names-several"):
        await connector.log(world.context(connector), said(), key=KEY)


async def test_a_person_who_is_gone_is_refused_by_name_of_the_field(world: World) -> None:
    gone = Identifier(system="salesforce/Contact", value="003000000000001AAA")
    connector = world.connector()
    with pytest.raises(RejectedError) as caught:
        await connector.log(world.context(connector), said(gone), key=KEY)
    assert (caught.value.reason, caught.value.field) == ("invalid-cross-reference-key", "WhoId")


async def test_a_reference_that_is_no_id_is_left_out(world: World) -> None:
    connector = world.connector()
    forged = Identifier(system="salesforce/Contact", value="003/../../query")
    await connector.log(world.context(connector), said(forged, phone=None), key=KEY)
    assert "WhoId" not in world.org.tasks[0]


async def test_long_words_are_cut_where_the_fields_end(world: World) -> None:
    connector = world.connector()
    await connector.log(world.context(connector), said(topic="x" * 300, body="y" * 40_000), key=KEY)
    (task,) = world.org.tasks
    assert (len(task["Subject"]), len(task["Description"])) == (255, 32_000)


async def test_check_finds_what_the_administrator_left_out(world: World) -> None:
    connector = world.connector(external_id_field="Missing_Key__c")
    with pytest.raises(RejectedError) as caught:
        await connector.check(world.context(connector))
    assert (caught.value.reason, caught.value.field) == ("no-unique-external-id", "Task.Missing_Key__c")
    with pytest.raises(RejectedError, match="not-found"):
        await connector.log(world.context(connector), said(), key=KEY)
