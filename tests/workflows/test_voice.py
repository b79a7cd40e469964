"""Reminders that are called: real rows, the real vault; the test says what the media process would write."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.testing import WorkflowEnvironment

from connectors.api import LANDLINE, MergeFacts, Phone, ReceiptFacts, RejectedError
from connectors.sandbox.carrier import Carrier
from hub.record import consent, message, voice
from hub.record.appointment import Appointment
from hub.record.message import Message, MessageStatus
from hub.record.voice import CallStage, Outcome, ReminderCall
from tests.workflows.calling import MEDIA, asked, come, dial, landline, made, move
from tests.workflows.clinic import PHONE, REMINDER, Clinic
from tests.workflows.feeding import feeds_of, remember, signals
from tests.workflows.reminding import FIRST, SECOND, due, states, tasks, texts
from workflows.activities.appointment import Answer, Appointments
from workflows.activities.feed import Feeds
from workflows.activities.sending import Handed, Known
from workflows.activities.visit import HELD, StepDue
from workflows.activities.voice import Called, Voices


async def test_a_number_that_takes_no_texts_is_called_and_not_written_to(
    voices: Voices, desk: Appointments, clinic: Clinic, carrier: Carrier
) -> None:
    visit = landline(clinic)
    step = come(desk, clinic, visit)
    assert step.name == FIRST
    assert await desk.remind(step) == HELD
    assert await made(voices, clinic, step, Outcome.HEARD) == Called("sent")
    (row,) = clinic.rows(ReminderCall)
    assert clinic.open(voice.sealed_of(row)) == {"number": PHONE, "language": "en"}
    assert row.until_at == clinic.now + timedelta(minutes=30)
    assert states(clinic) == [(FIRST, "sent", "")]
    assert (texts(carrier), tasks(clinic)) == ([], [])
    assert (await voices.call(step)).outcome == "sent"
    assert len(clinic.rows(ReminderCall)) == 1


async def test_without_voice_in_the_policy_it_is_written_to(
    desk: Appointments, clinic: Clinic, carrier: Carrier
) -> None:
    visit = landline(clinic)
    assert await due(desk, clinic, visit, FIRST) == "sent"
    assert len(texts(carrier)) == 1


async def test_a_text_that_came_through_since_ends_the_calls(
    voices: Voices, desk: Appointments, clinic: Clinic
) -> None:
    visit = landline(clinic)
    assert desk.next_step(str(visit)).voice
    clinic.later(hours=1)
    text = remember(clinic, clinic.rows(Appointment)[0])
    with clinic.instance.db.write() as db:
        message.progress(db, text, MessageStatus.DELIVERED, clinic.now)
    assert not desk.next_step(str(visit)).voice
    assert voices is not None


async def test_a_key_confirms_like_a_text(voices: Voices, desk: Appointments, clinic: Clinic) -> None:
    visit = landline(clinic)
    step = come(desk, clinic, visit)
    called = await made(voices, clinic, step, Outcome.CONFIRMED)
    assert called == Called("sent", "confirm", clinic.rows(Appointment)[0].starts_at)
    assert await voices.call(step) == called  # a worker that died behind it is told again
    assert await desk.take_answer(Answer(str(visit), "confirm", called.starts_at)) is not None
    assert clinic.rows(Appointment)[0].confirmed_at == clinic.now
    assert desk.next_step(str(visit)).name is None


@pytest.mark.parametrize(
    "changed",
    [
        {"phones": (Phone(e164="+12125550124", use="home"),)},
        {"phones": (Phone(e164="+12125550124", use="home"), Phone(e164=PHONE, use="old"))},
        {"phones": (), "cleared": frozenset({"phones"})},
        {"deceased": True},
    ],
)
async def test_a_call_that_waits_for_a_line_is_not_made_to_who_died_or_has_another_number(
    voices: Voices, desk: Appointments, clinic: Clinic, changed: dict[str, object]
) -> None:
    person = clinic.person()
    visit = landline(clinic, clinic.visit(person))
    calling = asyncio.create_task(voices.call(come(desk, clinic, visit)))
    row = await asked(clinic)
    clinic.store(person.model_copy(update={"version": clinic.version(), **changed}))
    with clinic.instance.db.write() as db:
        assert voice.claim(db, row.id, MEDIA, clinic.now) is None
    assert await calling == Called(HELD)
    assert [each.stage for each in clinic.rows(ReminderCall)] == [CallStage.WITHDRAWN]


async def test_a_call_follows_a_patient_who_was_merged(voices: Voices, desk: Appointments, clinic: Clinic) -> None:
    person, survivor = clinic.person(), clinic.person(phones=(Phone(e164="+12125550124", use="mobile"),))
    visit = landline(clinic, clinic.visit(person))
    calling = asyncio.create_task(voices.call(come(desk, clinic, visit)))
    row = await asked(clinic)
    clinic.store(survivor, MergeFacts(survivor=survivor, merged=person.ids, version=clinic.version()))
    dial(clinic, row)
    with clinic.instance.db.write() as db:
        voice.over(db, row.id, Outcome.LEFT, clinic.now)
    assert await calling == Called("sent")


@pytest.mark.parametrize(
    ("outcome", "asks"),
    [(Outcome.CONFIRMED, ("reply", "confirm")), (Outcome.RESCHEDULE, ("reschedule", "reschedule"))],
)
async def test_what_was_chosen_of_a_visit_that_moved_during_the_call_is_a_task(
    voices: Voices, desk: Appointments, clinic: Clinic, outcome: Outcome, asks: tuple[str, str]
) -> None:
    said = clinic.visit(clinic.person())
    visit = landline(clinic, said)
    calling = asyncio.create_task(voices.call(come(desk, clinic, visit)))
    row = await asked(clinic)
    dial(clinic, row)
    move(clinic, said)
    with clinic.instance.db.write() as db:
        voice.heard(db, row.id, outcome, clinic.now)
        voice.over(db, row.id, outcome, clinic.now)
    called = await calling
    assert (called.answer, called.starts_at) == (asks[1], said.starts_at)
    for _ in range(2):
        assert await desk.take_answer(Answer(str(visit), str(called.answer), called.starts_at)) is None
    assert clinic.rows(Appointment)[0].confirmed_at is None
    assert tasks(clinic) == [asks]
    await desk.take_answer(Answer(str(visit), "reschedule"))
    assert tasks(clinic) == [asks, ("reschedule", "reschedule")]  # which the first is not: that was of another time


async def test_nine_holds_where_only_the_end_of_its_call_is_written(
    voices: Voices, desk: Appointments, clinic: Clinic
) -> None:
    calling = asyncio.create_task(voices.call(come(desk, clinic, landline(clinic))))
    row = await asked(clinic)
    dial(clinic, row)
    with clinic.instance.db.write() as db:
        voice.over(db, row.id, Outcome.STOPPED, clinic.now)
        assert consent.opted_out(db, row.phone_key, voice.PROGRAM)
    assert await calling == Called("sent")


async def test_the_step_of_a_text_that_went_to_a_landline_is_called(
    voices: Voices, desk: Appointments, clinic: Clinic, carrier: Carrier, env: WorkflowEnvironment
) -> None:
    visit = clinic.book()
    assert await due(desk, clinic, visit, FIRST) == "sent"
    (text,) = clinic.rows(Message)
    assert text.external_id is not None
    clinic.tell("sms", ReceiptFacts(external_id=text.external_id, at=clinic.now, status="undelivered", code=LANDLINE))
    feeds = feeds_of(clinic, env.client)
    await feeds.drain("sms")
    assert await signals(env, visit) == ["changed"]
    assert come(desk, clinic, visit).name == FIRST
    assert await made(voices, clinic, StepDue(str(visit), FIRST), Outcome.HEARD) == Called("sent")
    assert isinstance(feeds, Feeds)
    assert len(texts(carrier)) == 1


async def test_a_step_that_is_not_to_be_called_is_not_written_to_a_landline_again_and_again(
    desk: Appointments, clinic: Clinic, carrier: Carrier, env: WorkflowEnvironment
) -> None:
    other = REMINDER.replace("{{", "{").replace("}}", "}").replace('"visit"', '"other"')
    clinic.publish(clinic.policy + other.replace('offsets = ["-3d", "-1d", "-2h"]', 'offsets = ["-5m"]\nvoice = true'))
    visit = clinic.book()
    assert await due(desk, clinic, visit, FIRST) == "sent"
    (text,) = clinic.rows(Message)
    assert text.external_id is not None
    clinic.tell("sms", ReceiptFacts(external_id=text.external_id, at=clinic.now, status="undelivered", code=LANDLINE))
    await feeds_of(clinic, env.client).drain("sms")
    assert states(clinic)[0][:2] == (FIRST, "sent")
    assert desk.next_step(str(visit)).name == SECOND
    assert len(texts(carrier)) == 1


def test_a_carrier_that_refuses_a_landline_at_once_says_so() -> None:
    assert Handed(Known.REFUSED, error=RejectedError(LANDLINE)).code == LANDLINE
    assert Handed(Known.REFUSED, error=RejectedError("http-422")).code == "rejected"
