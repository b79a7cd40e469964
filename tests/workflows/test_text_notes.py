"""Texts are noted in the chart and in every CRM: soon, once, and as far as each may know of them."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from connectors.api import Identifier, Sms, TransientError
from connectors.sandbox.store import Store
from hub.db import uuid7
from hub.outside import Outside
from hub.record import message, writeback
from hub.record.message import MessageStatus
from hub.record.patient import Patient
from hub.record.writeback import Writeback, WritebackState
from hub.temporal import UpkeepStart, start_writeback
from tests.workflows import test_call_flow as call
from tests.workflows.clinic import PHONE, Clinic
from tests.workflows.env import finished, working
from tests.workflows.test_calls import tasks
from tests.workflows.test_crm import AGREED, POLICY, crm_module
from workflows.activities.upkeep import Upkeep
from workflows.activities.writeback import Writebacks


def outside(clinic: Clinic) -> Outside:
    return Outside(clinic.instance, {}, actor="system:workflows")


def known(clinic: Clinic, ehr: Store) -> UUID:
    """Have one patient whom the EHR knows as well; return their row."""
    ehr.put({"resourceType": "Patient", "id": "p1", "identifier": [{"system": "urn:harbor", "value": "P1"}]})
    clinic.store(clinic.visit(clinic.person(ids=(Identifier(system="urn:harbor", value="P1"),))))
    return clinic.rows(Patient)[0].id


def texted(clinic: Clinic, owner: UUID, status: MessageStatus = MessageStatus.SENT, program: str = "reminder") -> UUID:
    """Send a text to a patient."""
    instance, text = clinic.instance, uuid7()
    with instance.db.write() as db:
        message.attempt(
            db,
            text,
            Sms(to=PHONE, sender="+12125550100", body="Your visit is tomorrow."),
            connection="sms",
            program=program,
            patient_id=owner,
            appointment_id=None,
            seal=instance.sealer,
            index=instance.index,
            now=clinic.now,
        )
        message.progress(db, text, status, clinic.now, external_id=str(text))
    return text


async def swept(clinic: Clinic, client: Client) -> list[Writeback]:
    """Let upkeep look a minute later; return what it has noted down to be written."""
    clinic.later(minutes=1)
    await Upkeep(clinic.instance, client, outside(clinic)).sweep(UpkeepStart(1))
    return clinic.rows(Writeback)


async def running(env: WorkflowEnvironment, row: Writeback) -> bool:
    try:
        await env.client.get_workflow_handle(f"writeback-{row.id}").describe()
    except RPCError:
        return False
    return True


async def test_a_text_stands_in_the_chart_once(clinic: Clinic, ehr: Store, env: WorkflowEnvironment) -> None:
    text = texted(clinic, known(clinic, ehr))
    (row,) = await swept(clinic, env.client)
    assert (row.kind, row.connection, row.object_id) == ("text", "ehr", text)
    assert await running(env, row)
    assert len(await swept(clinic, env.client)) == 1
    writebacks = Writebacks(clinic.instance, outside(clinic))
    assert [await writebacks.write(str(row.id)) for _ in range(2)] == ["done", "done"]
    ((_, said),) = ehr.all("Communication")
    assert said["topic"]["text"] == "Appointment reminder"
    assert said["medium"][0]["coding"][0]["code"] == "SMSWRIT"
    assert "payload" not in said


@pytest.mark.parametrize("status", [MessageStatus.SENDING, MessageStatus.UNKNOWN, MessageStatus.FAILED])
async def test_a_text_that_nobody_got_is_not_noted(
    clinic: Clinic, ehr: Store, env: WorkflowEnvironment, status: MessageStatus
) -> None:
    texted(clinic, known(clinic, ehr), status)
    assert await swept(clinic, env.client) == []


async def test_where_the_practice_grants_no_notes_none_is_written(
    clinic: Clinic, ehr: Store, env: WorkflowEnvironment
) -> None:
    clinic.amend('connector = "fhir"\n', 'connector = "fhir"\nscopes = ["patient-identity", "appointments"]\n')
    texted(clinic, known(clinic, ehr))
    assert await swept(clinic, env.client) == []


async def test_a_note_that_the_ehr_does_not_take_is_nobodys_task(
    clinic: Clinic, ehr: Store, env: WorkflowEnvironment
) -> None:
    texted(clinic, known(clinic, ehr))
    (row,) = await swept(clinic, env.client)
    clinic.amend(f"http://127.0.0.1:{clinic.ports['ehr']}/fhir", "https://ehr.example.org/fhir")
    assert await Writebacks(clinic.instance, outside(clinic)).write(str(row.id)) == "failed"
    assert (clinic.rows(Writeback)[0].state, tasks(clinic)) == (WritebackState.FAILED, [])


async def test_a_crm_hears_of_a_text_without_its_words(
    clinic: Clinic, ehr: Store, env: WorkflowEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm: Any = crm_module(tmp_path, monkeypatch)
    clinic.publish(clinic.policy + POLICY + AGREED)
    texted(clinic, known(clinic, ehr), program="")
    rows = {row.connection: row for row in await swept(clinic, env.client)}
    assert rows.keys() == {"ehr", "crm"}
    assert await Writebacks(clinic.instance, outside(clinic)).write(str(rows["crm"].id)) == "done"
    ((_, said),) = crm.TOLD
    assert (said.topic, said.body, said.phone, said.medium) == ("Text message", None, None, "SMSWRIT")


async def test_a_write_of_its_own_is_tried_until_it_is_taken(env: WorkflowEnvironment) -> None:
    desk = call.Desk()
    desk.write_faults = [TransientError("no connection")] * 3
    async with working(env.client, desk.works()):
        await start_writeback(env.client, "0198-writeback")
        await start_writeback(env.client, "0198-writeback")
        await finished(env, "writeback-0198-writeback")
    assert (desk.wrote, desk.given_up) == (["0198-writeback"], [])


def test_what_is_noted_is_not_looked_for_again(clinic: Clinic, ehr: Store) -> None:
    text = texted(clinic, known(clinic, ehr))
    span = (clinic.now, clinic.now.replace(year=clinic.now.year + 1))
    with clinic.instance.db.write() as db:
        assert [row.id for row in writeback.unnoted(db, "ehr", *span)] == [text]
        writeback.enqueue(db, writeback.TEXT, key="k", connection="ehr", object_id=text, now=clinic.now)
        assert writeback.unnoted(db, "ehr", *span) == []
        assert [row.id for row in writeback.unnoted(db, "crm", *span)] == [text]
