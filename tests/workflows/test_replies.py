"""What carriers bring, read by the activity behind FeedFlow: answers to reminders, STOP, receipts."""

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from connectors.api import ReceiptFacts
from hub.record import consent, reminder
from hub.record.appointment import Appointment
from hub.record.event import Event
from hub.record.message import Message, MessageStatus
from hub.record.task import Task
from hub.temporal import TemporalUnavailableError
from tests.workflows.clinic import PHONE, Clinic
from tests.workflows.feeding import answers, counts, feeds_of, remember, said, signals
from tests.workflows.reminding import FIRST
from workflows.activities.feed import Feeds


@contextlib.contextmanager
def reminded(clinic: Clinic) -> Iterator[Callable[[], Appointment]]:
    clinic.book()
    (visit,) = clinic.rows(Appointment)
    remember(clinic, visit)
    yield lambda: clinic.rows(Appointment)[0]


@pytest.mark.parametrize(("body", "kind"), [("C", "confirm"), ("Yes, confirmed", "confirm"), ("R", "reschedule")])
async def test_an_answer_reaches_the_flow_of_its_visit(
    feeds: Feeds, clinic: Clinic, env: WorkflowEnvironment, body: str, kind: str
) -> None:
    with reminded(clinic) as visit:
        clinic.tell("sms", said(clinic, body))
        await feeds.drain("sms")
        assert await signals(env, visit().id) == ["answered"]
    reply = next(row for row in clinic.rows(Message) if row.direction == "in")
    assert (reply.meaning, reply.appointment_id) == (kind, visit().id)
    assert clinic.rows(Task) == []
    assert [event.type for event in clinic.rows(Event)] == ["message.received"]


async def test_an_answer_is_about_the_start_that_the_text_told_of(
    feeds: Feeds, clinic: Clinic, env: WorkflowEnvironment
) -> None:
    booked = clinic.visit(clinic.person())
    clinic.store(booked)
    (visit,) = clinic.rows(Appointment)
    assert visit.starts_at is not None
    text = remember(clinic, visit)
    with clinic.instance.db.write() as db:
        step = reminder.plan(db, visit.id, visit.starts_at, FIRST, clinic.now)
        reminder.attempt(db, step.id, text, clinic.now)
    later = visit.starts_at + timedelta(days=1)
    clinic.store(booked.model_copy(update={"starts_at": later, "version": clinic.version()}))
    clinic.tell("sms", said(clinic, "C"))
    await feeds.drain("sms")
    assert await answers(env, visit.id) == [("confirm", visit.starts_at)]


async def test_stop_opts_out_at_once_and_every_visit_of_the_number_looks(
    feeds: Feeds, clinic: Clinic, env: WorkflowEnvironment
) -> None:
    with reminded(clinic) as visit:
        sibling = clinic.book()
        clinic.tell("sms", said(clinic, "Stop. Thank you"))
        await feeds.drain("sms")
        with clinic.instance.db.read() as db:
            assert consent.opted_out(db, clinic.instance.index.phone(PHONE), "reminder")
        assert await signals(env, visit().id) == ["changed"]
        assert await signals(env, sibling) == ["changed"]
    stop = next(row for row in clinic.rows(Message) if row.direction == "in")
    text = await env.client.get_workflow_handle(f"text-stopped-{stop.id}").describe()
    assert text.workflow_type == "TextFlow"


async def test_a_second_stop_gets_no_second_confirmation(
    feeds: Feeds, clinic: Clinic, env: WorkflowEnvironment
) -> None:
    with reminded(clinic):
        clinic.tell("sms", said(clinic, "STOP"))
        await feeds.drain("sms")
        clinic.tell("sms", said(clinic, "stop"))
        await feeds.drain("sms")
    second = [row for row in clinic.rows(Message) if row.direction == "in"][-1]
    with pytest.raises(RPCError):
        await env.client.get_workflow_handle(f"text-stopped-{second.id}").describe()


@pytest.mark.parametrize(("body", "kind"), [("Is parking free?", "other"), ("CANCEL", "stop")])
async def test_what_a_person_must_read_is_a_task(feeds: Feeds, clinic: Clinic, body: str, kind: str) -> None:
    with reminded(clinic) as visit:
        clinic.tell("sms", said(clinic, body))
        await feeds.drain("sms")
        (task,) = clinic.rows(Task)
        assert (task.kind, task.reason, task.appointment_id) == ("reply", kind, visit().id)


async def test_a_text_out_of_the_blue_is_a_task_and_guesses_nobody(feeds: Feeds, clinic: Clinic) -> None:
    clinic.tell("sms", said(clinic, "C", sender="+12125550199"))
    await feeds.drain("sms")
    (task,) = clinic.rows(Task)
    assert (task.kind, task.reason, task.patient_id) == ("reply", "confirm", None)


async def test_a_reply_that_was_stored_but_not_told_is_told_by_the_next_process(
    clinic: Clinic, nobody: Client, env: WorkflowEnvironment
) -> None:
    with reminded(clinic) as visit:
        clinic.tell("sms", said(clinic, "C"))
        with pytest.raises(TemporalUnavailableError):
            await feeds_of(clinic, nobody).drain("sms")
        await feeds_of(clinic, env.client).drain("sms")
        assert await signals(env, visit().id) == ["answered"]
    assert len([row for row in clinic.rows(Message) if row.direction == "in"]) == 1


async def test_a_receipt_moves_the_text_on(feeds: Feeds, clinic: Clinic) -> None:
    with reminded(clinic):
        (sent,) = clinic.rows(Message)
        clinic.tell("sms", ReceiptFacts(external_id=str(sent.external_id), at=clinic.now, status="delivered"))
        await feeds.drain("sms")
        assert clinic.rows(Message)[0].status is MessageStatus.DELIVERED
    assert [event.type for event in clinic.rows(Event)] == ["message.status"]


async def test_a_receipt_that_overtakes_our_own_note_is_tried_again_by_itself(feeds: Feeds, clinic: Clinic) -> None:
    clinic.tell("sms", ReceiptFacts(external_id="sm-early", at=clinic.now, status="delivered"))
    assert not (await feeds.drain("sms")).more
    assert counts(clinic, "sms")["applied"] == 0
    clinic.book()
    sent = remember(clinic, clinic.rows(Appointment)[0])
    with clinic.instance.db.write() as db:
        row = db.get_one(Message, sent)
        row.external_id = "sm-early"
        db.add(row)
    await feeds.drain("sms")
    assert clinic.rows(Message)[0].status is MessageStatus.DELIVERED
