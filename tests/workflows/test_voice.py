"""Reminders that are called: real rows, the real vault; the test says what the media process would write."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from connectors.api import LANDLINE, AppointmentFacts, MergeFacts, Phone, ReceiptFacts, RejectedError
from connectors.sandbox.carrier import Carrier
from hub.outside import Outside
from hub.record import consent, message, voice
from hub.record.appointment import Appointment
from hub.record.message import Message, MessageStatus
from hub.record.reminder import Reminder
from hub.record.voice import CallStage, Outcome, ReminderCall
from hub.temporal import UpkeepStart
from tests.workflows.clinic import PHONE, REMINDER, Clinic
from tests.workflows.feeding import answers, feeds_of, remember, signals
from tests.workflows.reminding import FIRST, LAST, SECOND, due, states, tasks, texts
from workflows.activities.appointment import Answer, Appointments
from workflows.activities.feed import Feeds
from workflows.activities.herald import Herald
from workflows.activities.sending import Handed, Known
from workflows.activities.upkeep import Upkeep
from workflows.activities.visit import HELD, StepDue
from workflows.activities.voice import Called, Voices

MEDIA = "media-test"


@pytest.fixture
def voices(clinic: Clinic, nobody: Client) -> Voices:
    clinic.amend('offsets = ["-3d", "-1d", "-2h"]', 'offsets = ["-3d", "-1d", "-2h"]\nvoice = true')
    instance = clinic.instance
    return Voices(instance, Outside(instance, {}, actor="system:workflows"), Herald(instance, nobody))


def landline(clinic: Clinic, said: AppointmentFacts | None = None) -> UUID:
    """Book a visit of somebody whose number takes no texts, as a carrier said weeks ago; return its id."""
    clinic.store(said or clinic.visit(clinic.person()))
    (visit,) = clinic.rows(Appointment)
    text = remember(clinic, visit)
    with clinic.instance.db.write() as db:
        message.progress(db, text, MessageStatus.UNDELIVERED, clinic.now, code=LANDLINE)
    return visit.id


def come(desk: Appointments, clinic: Clinic, visit: UUID) -> StepDue:
    """Let the time of the next step come, which is to be called."""
    planned = desk.next_step(str(visit))
    assert planned.voice
    assert planned.name is not None
    clinic.later(seconds=planned.wait_s)
    return StepDue(str(visit), planned.name)


async def asked(clinic: Clinic, calls: int = 1) -> ReminderCall:
    """Wait until a call waits for a line."""
    async with asyncio.timeout(10):
        while True:
            rows = clinic.rows(ReminderCall)
            if len(rows) >= calls and rows[-1].stage is CallStage.WAITING:
                return rows[-1]
            await asyncio.sleep(0.02)


def dial(clinic: Clinic, row: ReminderCall) -> None:
    with clinic.instance.db.write() as db:
        assert voice.claim(db, row.id, MEDIA, clinic.now) is not None


def move(clinic: Clinic, said: AppointmentFacts) -> None:
    """Let the EHR tell that a visit is a day later."""
    assert said.starts_at is not None
    later = said.starts_at + timedelta(days=1)
    clinic.store(said.model_copy(update={"starts_at": later, "version": clinic.version()}))


async def made(voices: Voices, clinic: Clinic, step: StepDue, outcome: Outcome, calls: int = 1, **how: str) -> Called:
    """Ask for the call and let it come to something."""
    calling = asyncio.create_task(voices.call(step))
    row = await asked(clinic, calls)
    dial(clinic, row)
    with clinic.instance.db.write() as db:
        if outcome in {Outcome.CONFIRMED, Outcome.RESCHEDULE, Outcome.STOPPED}:
            voice.heard(db, row.id, outcome, clinic.now)
        voice.over(db, row.id, outcome, clinic.now, **how)
    return await calling


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


async def test_a_worker_that_dies_while_it_waits_has_nobody_called_twice(
    voices: Voices, desk: Appointments, clinic: Clinic
) -> None:
    step = come(desk, clinic, landline(clinic))
    first = asyncio.create_task(voices.call(step))
    row = await asked(clinic)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    second = asyncio.create_task(voices.call(step))
    dial(clinic, row)
    with clinic.instance.db.write() as db:
        voice.over(db, row.id, Outcome.LEFT, clinic.now, answered_by="machine")
    assert await second == Called("sent")
    assert [each.id for each in clinic.rows(ReminderCall)] == [row.id]


async def test_who_is_not_reached_is_called_again_an_hour_later_and_then_staff_are_told(
    voices: Voices, desk: Appointments, clinic: Clinic
) -> None:
    visit = landline(clinic)
    step = come(desk, clinic, visit)
    assert await made(voices, clinic, step, Outcome.BUSY) == Called(HELD)
    again = desk.next_step(str(visit))
    assert (again.name, again.wait_s) == (FIRST, 3600)
    assert await voices.call(step) == Called(HELD)
    for calls, outcome in ((2, Outcome.NO_ANSWER), (3, Outcome.UNREACHABLE)):
        step = come(desk, clinic, visit)
        called = await made(voices, clinic, step, outcome, calls)
    assert called == Called("failed")
    assert states(clinic)[0] == (FIRST, "failed", "unreachable")
    assert tasks(clinic) == [("outcome", "unreachable")]
    assert desk.next_step(str(visit)).name == SECOND


async def test_a_call_that_reached_the_number_counts_for_the_day_and_one_in_vain_does_not(
    voices: Voices, desk: Appointments, clinic: Clinic
) -> None:
    visit = landline(clinic)
    for step, outcome in ((FIRST, Outcome.SILENT), (SECOND, Outcome.LEFT)):
        assert come(desk, clinic, visit).name == step
        assert await made(voices, clinic, StepDue(str(visit), step), outcome, len(clinic.rows(ReminderCall)) + 1)
    clinic.later(hours=1)
    planned = desk.next_step(str(visit))
    assert planned.name == LAST
    assert timedelta(seconds=planned.wait_s) > timedelta(hours=12)


@pytest.mark.parametrize(
    ("outcome", "reason", "state", "asks"),
    [
        (Outcome.REFUSED, "country-not-allowed", "failed", [("outcome", "country-not-allowed")]),
        (Outcome.REFUSED, "number-unknown", "failed", [("outcome", "number-unknown")]),
        (Outcome.REFUSED, "daily-cost-reached", "planned", []),
        (Outcome.LOST, "", "unknown", [("outcome", "crashed")]),
        (Outcome.STOPPED, "", "sent", []),
    ],
)
async def test_what_else_may_come_of_it(
    voices: Voices,
    desk: Appointments,
    clinic: Clinic,
    outcome: Outcome,
    reason: str,
    state: str,
    asks: list[tuple[str, str]],
) -> None:
    visit = landline(clinic)
    await made(voices, clinic, come(desk, clinic, visit), outcome, reason=reason)
    assert states(clinic)[0][:2] == (FIRST, state)
    assert tasks(clinic) == asks
    with clinic.instance.db.read() as db:
        out = consent.opted_out(db, clinic.instance.index.phone(PHONE), "reminder")
    assert out is (outcome is Outcome.STOPPED)
    assert (desk.next_step(str(visit)).name is None) is out


async def test_a_call_that_finds_no_line_is_taken_back(voices: Voices, desk: Appointments, clinic: Clinic) -> None:
    visit = landline(clinic)
    calling = asyncio.create_task(voices.call(come(desk, clinic, visit)))
    row = await asked(clinic)
    clinic.later(minutes=31)
    assert await calling == Called(HELD)
    with clinic.instance.db.write() as db:
        assert voice.claim(db, row.id, MEDIA, clinic.now) is None
    assert desk.next_step(str(visit)).name == FIRST


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


@pytest.mark.parametrize(("outcome", "told"), [(Outcome.CONFIRMED, ["answered"]), (Outcome.LEFT, [])])
async def test_upkeep_settles_a_call_whose_flow_died(
    voices: Voices, desk: Appointments, clinic: Clinic, env: WorkflowEnvironment, outcome: Outcome, told: list[str]
) -> None:
    visit = landline(clinic)
    calling = asyncio.create_task(voices.call(come(desk, clinic, visit)))
    row = await asked(clinic)
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    dial(clinic, row)
    upkeep = Upkeep(clinic.instance, env.client, Outside(clinic.instance, {}, actor="system:workflows"))
    version = clinic.instance.policy()[0]
    clinic.later(minutes=4)
    await upkeep.sweep(UpkeepStart(version))
    assert states(clinic)[0][:2] == (FIRST, "sending")  # somebody speaks to them
    with clinic.instance.db.write() as db:
        voice.over(db, row.id, outcome, clinic.now)
    clinic.later(minutes=1)
    await upkeep.sweep(UpkeepStart(version))
    assert states(clinic)[0][:2] == (FIRST, "sent")
    assert await signals(env, visit) == told


async def test_upkeep_tells_a_choice_with_the_start_that_it_is_about(
    voices: Voices, desk: Appointments, clinic: Clinic, env: WorkflowEnvironment
) -> None:
    said = clinic.visit(clinic.person())
    visit = landline(clinic, said)
    calling = asyncio.create_task(voices.call(come(desk, clinic, visit)))
    row = await asked(clinic)
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    dial(clinic, row)
    with clinic.instance.db.write() as db:
        voice.heard(db, row.id, Outcome.CONFIRMED, clinic.now)
        voice.over(db, row.id, Outcome.CONFIRMED, clinic.now)
    move(clinic, said)
    clinic.later(minutes=4)
    upkeep = Upkeep(clinic.instance, env.client, Outside(clinic.instance, {}, actor="system:workflows"))
    for _ in range(2):
        await upkeep.sweep(UpkeepStart(clinic.instance.policy()[0]))
    assert await answers(env, visit) == [("confirm", said.starts_at)]
    assert states(clinic)[0][:2] == (FIRST, "sent")


async def test_upkeep_gives_up_a_call_that_nobody_ends(
    voices: Voices, desk: Appointments, clinic: Clinic, env: WorkflowEnvironment
) -> None:
    calling = asyncio.create_task(voices.call(come(desk, clinic, landline(clinic))))
    row = await asked(clinic)
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    dial(clinic, row)
    upkeep = Upkeep(clinic.instance, env.client, Outside(clinic.instance, {}, actor="system:workflows"))
    for minutes in (11, 1):
        clinic.later(minutes=minutes)
        await upkeep.sweep(UpkeepStart(clinic.instance.policy()[0]))
    assert states(clinic)[0] == (FIRST, "unknown", "crashed")
    assert tasks(clinic) == [("outcome", "crashed")]
    assert [each.outcome for each in clinic.rows(ReminderCall)] == [Outcome.LOST]
    assert len(clinic.rows(Reminder)) == 1
