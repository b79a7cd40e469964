"""What the tests of feeds ask and say: the activity, what became of the messages, texts from and to patients."""

from datetime import datetime
from uuid import UUID

from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from connectors.api import ReplyFacts, Sms
from hub.db import uuid7
from hub.outside import Outside
from hub.record import inbox, message
from hub.record.appointment import Appointment
from hub.record.message import MessageStatus
from tests.workflows.clinic import PHONE, Clinic
from workflows.activities.feed import Feeds
from workflows.activities.herald import Herald

FEED = "adt"


def feeds_of(clinic: Clinic, client: Client) -> Feeds:
    instance = clinic.instance
    return Feeds(instance, Outside(instance, {}, actor="system:workflows"), Herald(instance, client), client)


def counts(clinic: Clinic, connection: str = FEED) -> dict[str, int]:
    with clinic.instance.inbox.read() as db:
        return inbox.counts(db, connection)


def reasons(clinic: Clinic, connection: str = FEED) -> dict[str, int]:
    with clinic.instance.inbox.read() as db:
        return inbox.reasons(db, connection)


async def signals(env: WorkflowEnvironment, visit: UUID) -> list[str]:
    """Return what the visit's flow was told, in order; empty where it has none."""
    try:
        history = await env.client.get_workflow_handle(f"appointment-{visit}").fetch_history()
    except RPCError:
        return []
    attributes = [event.workflow_execution_signaled_event_attributes for event in history.events]
    return [each.signal_name for each in attributes if each.signal_name]


async def answers(env: WorkflowEnvironment, visit: UUID) -> list[tuple[str, datetime | None]]:
    """Return what the visit's flow was told that the patient said, and of which start of it."""
    history = await env.client.get_workflow_handle(f"appointment-{visit}").fetch_history()
    attributes = [event.workflow_execution_signaled_event_attributes for event in history.events]
    told = [each.input.payloads for each in attributes if each.signal_name == "answered"]
    kinds: list[type] = [str, datetime]
    return [tuple(await env.client.data_converter.decode(payloads, kinds)) for payloads in told]


def remember(clinic: Clinic, visit: Appointment, text: str = "reminder") -> UUID:
    """Let a text about the visit have gone out; return its id."""
    message_id = uuid7()
    instance = clinic.instance
    with instance.db.write() as db:
        message.attempt(
            db,
            message_id,
            Sms(to=PHONE, sender="+12125550100", body=text),
            connection="sms",
            program="reminder",
            patient_id=visit.patient_id,
            appointment_id=visit.id,
            seal=instance.sealer,
            index=instance.index,
            now=clinic.now,
        )
        message.progress(db, message_id, MessageStatus.ACCEPTED, clinic.now, external_id=f"sm-{message_id}")
    return message_id


def said(clinic: Clinic, body: str, sender: str = PHONE) -> ReplyFacts:
    clinic.later(seconds=1)
    return ReplyFacts(external_id=f"mo-{uuid7()}", at=clinic.now, sender=sender, to="+12125550100", body=body)
