"""What is left to do and what was done: reminders, tasks, write-backs, events, requests, recordings, policies, keys."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlmodel import Session

from hub.errors import NotFoundError
from hub.record import event, idempotency, policy, recording, reminder, request, task, voicemail, writeback
from hub.record.appointment import Appointment
from hub.record.error import UnmatchedError
from hub.record.event import Delivery, DeliveryState, DeliveryStateError, EventError, Lane
from hub.record.idempotency import KeyReusedError
from hub.record.policy import StalePolicyError
from hub.record.recording import RecordingState
from hub.record.reminder import Reminder, ReminderState, ReminderStateError
from hub.record.task import TaskClosedError, TaskState
from hub.record.voicemail import VoicemailState
from hub.record.writeback import WritebackState
from hub.security.sealed import Table
from tests.hub.record.conftest import Record
from tests.hub.record.floor import add_agent, add_call, practice
from tests.hub.record.say import ANA, VISIT, mrn, person, refill, tell, tell_patient, tell_visit, visit

DAY = timedelta(days=1)


@pytest.fixture
def booked(record: Record, db: Session) -> Appointment:
    return tell_visit(db, record, visit(patient=person(**ANA))).row


def due(db: Session, row: Appointment, step: str = "visit:-1d") -> Reminder:
    assert row.starts_at is not None
    return reminder.plan(db, row.id, row.starts_at, step, row.starts_at - DAY)


def test_a_step_of_a_visit_is_one_row(db: Session, booked: Appointment) -> None:
    first = due(db, booked)
    assert due(db, booked) is first
    moved = reminder.plan(db, booked.id, VISIT, "visit:-1d", VISIT - 2 * DAY)
    assert (moved is first, moved.due_at) == (True, VISIT - 2 * DAY)
    again = reminder.plan(db, booked.id, VISIT + DAY, "visit:-1d", VISIT)
    assert [row.id for row in reminder.of_appointment(db, booked.id)] == [first.id, again.id]


def test_an_attempt_is_made_once(record: Record, db: Session, booked: Appointment) -> None:
    row = due(db, booked)
    assert reminder.attempt(db, row.id, None, record.now)
    assert not reminder.attempt(db, row.id, None, record.now)
    assert reminder.plan(db, booked.id, VISIT, "visit:-1d", VISIT).due_at == VISIT - DAY
    assert reminder.sent(db, row.id, record.now).state is ReminderState.SENT
    assert not reminder.attempt(db, row.id, None, record.now)


def test_a_sender_that_died_leaves_an_unknown_outcome(record: Record, db: Session, booked: Appointment) -> None:
    row = due(db, booked)
    reminder.attempt(db, row.id, None, record.now)
    assert reminder.stuck(db, record.now) == []
    assert [each.id for each in reminder.stuck(db, record.later(minutes=10))] == [row.id]
    reminder.unknown(db, row.id, record.now)
    assert reminder.stuck(db, record.now) == []
    assert reminder.sent(db, row.id, record.now).state is ReminderState.SENT


def test_what_the_carrier_did_not_take_is_planned_again(record: Record, db: Session, booked: Appointment) -> None:
    row = due(db, booked)
    reminder.attempt(db, row.id, None, record.now)
    assert reminder.released(db, row.id).state is ReminderState.PLANNED
    assert reminder.attempt(db, row.id, None, record.now)
    reminder.unknown(db, row.id, record.now)
    assert reminder.released(db, row.id).state is ReminderState.UNKNOWN


def test_reminders_come_by_the_page(db: Session, booked: Appointment) -> None:
    rows = [due(db, booked, f"visit:-{n}d") for n in range(4)]
    page = reminder.recent(db, appointment_id=booked.id, limit=3)
    assert [row.id for row in page] == [row.id for row in rows[:0:-1]]
    assert [row.id for row in reminder.recent(db, before=page[-1].id)] == [rows[0].id]


def test_what_was_skipped_or_failed_says_why_and_stays(record: Record, db: Session, booked: Appointment) -> None:
    skipped, failed = due(db, booked, "visit:-3d"), due(db, booked)
    reminder.skipped(db, skipped.id, record.now, "opted-out")
    assert not reminder.attempt(db, skipped.id, None, record.now)
    with pytest.raises(ReminderStateError):
        reminder.sent(db, skipped.id, record.now)
    reminder.attempt(db, failed.id, None, record.now)
    assert reminder.failed(db, failed.id, record.now, "21211").reason == "21211"
    with pytest.raises(ReminderStateError):
        reminder.skipped(db, failed.id, record.now, "late")


def test_a_task_is_made_once_and_closed_by_one(record: Record, db: Session, booked: Appointment) -> None:
    row = task.ask(db, "reschedule", key="r:1", now=record.now, patient_id=booked.patient_id, appointment_id=booked.id)
    assert task.ask(db, "reschedule", key="r:1", now=record.now) is row
    assert [each.id for each in task.open_tasks(db, kind="reschedule")] == [row.id]
    assert task.open_of(db, booked.patient_id) == [row]
    task.done(db, row.id, by="one", now=record.now)
    assert task.done(db, row.id, by="one", now=record.later(days=1)).done_at == record.now - DAY
    with pytest.raises(TaskClosedError):
        task.done(db, row.id, by="two", now=record.now)
    assert (task.open_tasks(db), task.open_of(db, booked.patient_id), row.state) == ([], [], TaskState.DONE)


def test_a_note_is_sealed(record: Record, db: Session, booked: Appointment) -> None:
    row = task.ask(db, "reply", key="n:1", now=record.now, patient_id=booked.patient_id)
    assert task.sealed_of(row) is None
    task.note(db, row.id, "Ana wants Friday", subject=booked.patient_id, by="one", seal=record.seal)
    sealed = task.sealed_of(row)
    assert sealed is not None
    assert b"Friday" not in sealed.blob
    assert record.open(db, sealed) == {"note": "Ana wants Friday"}


def test_tasks_come_by_the_page(record: Record, db: Session) -> None:
    rows = [task.ask(db, "callback", key=str(n), now=record.now) for n in range(5)]
    page = task.open_tasks(db, limit=2)
    assert [row.id for row in task.open_tasks(db, after=page[-1].id)] == [row.id for row in rows[2:]]


def test_what_is_pressing_comes_first_also_by_the_page(record: Record, db: Session) -> None:
    rows = [task.ask(db, "callback", key=str(n), now=record.now, pressing=n in (3, 4)) for n in range(5)]
    order = [rows[n].id for n in (3, 4, 0, 1, 2)]
    assert [row.id for row in task.open_tasks(db)] == order
    for place in range(4):
        assert [row.id for row in task.open_tasks(db, after=order[place])] == order[place + 1 :]


def test_a_write_back_is_queued_once_and_settles_once(record: Record, db: Session, booked: Appointment) -> None:
    row = writeback.enqueue(
        db, "status", key="c:1", connection="ehr", object_id=booked.id, now=record.now, to="confirmed"
    )
    assert writeback.enqueue(db, "status", key="c:1", connection="ehr", object_id=booked.id, now=record.now) is row
    assert [each.id for each in writeback.pending(db, connection="ehr")] == [row.id]
    assert writeback.pending(db, connection="other") == []
    writeback.tried(db, row.id, "transient")
    writeback.done(db, row.id, record.now, external_id="v2")
    writeback.failed(db, row.id, record.now, code="conflict")
    assert (row.state, row.tries, row.external_id, row.code) == (WritebackState.DONE, 2, "v2", "")
    assert writeback.pending(db) == []


def test_a_request_follows_its_newest_word(record: Record, db: Session) -> None:
    with pytest.raises(UnmatchedError):
        tell(db, record, refill())
    owner = tell_patient(db, record, person(**ANA))
    for said in (refill(5, status="done"), refill(0), refill(5, status="done")):
        tell(db, record, said)
    assert request.open_of(db, owner.id) == []
    tell(db, record, refill(6))
    assert [(row.kind, row.status) for row in request.open_of(db, owner.id)] == [("refill", "open")]
    assert mrn("4711") in refill().patient_ids


HOOKS: list[dict[str, object]] = [
    {"url": "https://crm.example.org/calls", "events": ["call.*"], "secret": "env:POP_SECRET"},
    {"url": "https://crm.example.org/all", "events": ["call.ended", "reminder.sent"], "secret": "env:POP_SECRET"},
]


def test_an_event_goes_to_who_asked_in_its_lanes(record: Record, db: Session) -> None:
    policy_ = practice(webhooks=HOOKS)
    row, offered = event.emit(
        db, policy_, "call.offered", {"queue": "appointments", "offer": str(uuid4())}, now=record.now
    )
    assert [delivery.lane for delivery in offered] == [Lane.LIVE, Lane.RECORD]
    _, ended = event.emit(db, policy_, "call.ended", {}, now=record.now)
    assert {delivery.webhook for delivery in ended} == {event.webhook_of(str(hook["url"])) for hook in HOOKS}
    assert event.emit(db, policy_, "connection.down", {"connection": "adt"}, now=record.now)[1] == []
    assert {delivery.event_id for delivery in offered} == {row.id}
    event.settle(db, offered[0].id, DeliveryState.DROPPED, record.now)
    event.tried(db, offered[1].id, "503")
    event.settle(db, offered[1].id, DeliveryState.DONE, record.now)
    event.settle(db, offered[1].id, DeliveryState.FAILED, record.now)
    told = [db.get_one(Delivery, each.id) for each in offered]
    assert [(each.state, each.tries) for each in told] == [(DeliveryState.DROPPED, 0), (DeliveryState.DONE, 2)]
    assert [delivery.id for delivery in event.pending(db)] == [delivery.id for delivery in ended]


def test_a_delivery_that_failed_can_be_made_once_more(record: Record, db: Session) -> None:
    _, (live, record_lane, *_) = event.emit(db, practice(webhooks=HOOKS), "call.answered", {}, now=record.now)
    for delivery in (live, record_lane):
        event.settle(db, delivery.id, DeliveryState.FAILED, record.now, code="500")
    assert event.standing(db) == {(event.webhook_of(str(HOOKS[0]["url"])), DeliveryState.FAILED): 2}
    assert {each.id for each, _ in event.deliveries(db, state=DeliveryState.FAILED)} == {live.id, record_lane.id}
    with pytest.raises(DeliveryStateError):
        event.again(db, live.id)
    assert event.again(db, record_lane.id).tries == 0
    with pytest.raises(DeliveryStateError):
        event.again(db, record_lane.id)


@pytest.mark.parametrize(("kind", "payload"), [("call.sang", {}), ("call.ended", {"name": "Ana"})])
def test_an_event_holds_nothing_but_ids_and_codes(
    record: Record, db: Session, kind: str, payload: dict[str, str]
) -> None:
    with pytest.raises(EventError):
        event.emit(db, practice(webhooks=HOOKS), kind, payload, now=record.now)


def test_a_policy_is_published_only_on_top_of_the_one_in_force(record: Record, db: Session) -> None:
    with pytest.raises(NotFoundError):
        policy.current(db)
    assert policy.publish(db, "a = 1", None, by="cli", now=record.now) == 1
    assert policy.publish(db, "a = 2", 1, by="cli", now=record.now) == 2
    assert policy.publish(db, "a = 2", 2, by="cli", now=record.now) == 2
    for base in (None, 1, 3):
        with pytest.raises(StalePolicyError) as caught:
            policy.publish(db, "a = 3", base, by="cli", now=record.now)
        assert caught.value.status == 409
    assert policy.current(db) == (2, "a = 2")
    assert [row.version for row in policy.history(db)] == [2, 1]
    assert [row.version for row in policy.history(db, before=2)] == [1]
    assert policy.get(db, 1).text == "a = 1"
    with pytest.raises(NotFoundError):
        policy.get(db, 3)


def test_a_repeated_write_answers_the_same_and_another_is_refused(record: Record, db: Session) -> None:
    said = {"actor": "one", "route": "POST /v1/tasks", "key": "k1"}
    digest = record.index.digest(b"body")
    assert idempotency.answered(db, **said, digest=digest) is None
    idempotency.keep(db, **said, digest=digest, answer={"status": 201, "id": "7"}, now=record.now)
    assert idempotency.answered(db, **said, digest=digest) == {"status": 201, "id": "7"}
    assert idempotency.answered(db, **{**said, "actor": "two"}, digest=digest) is None
    with pytest.raises(KeyReusedError):
        idempotency.answered(db, **said, digest=record.index.digest(b"other"))
    idempotency.forget(db, record.later(days=1))
    assert idempotency.answered(db, **said, digest=digest) is None


def container(db: Session, record: Record, call_id: UUID) -> UUID:
    subject = add_call(db, record).subject
    lane_id, _ = record.seal.media_key(db, subject, Table.RECORDING, call_id)
    recording.begin(
        db, call_id, call_id=add_call(db, record).id, subject=subject, lane_id=lane_id, name="x.clm", now=record.now
    )
    return call_id


def test_a_recording_ends_once(record: Record, db: Session) -> None:
    row_id = container(db, record, uuid4())
    (row,) = recording.running(db)
    recording.end(db, row_id, 12.5, record.now)
    recording.end(db, row_id, 1.0, record.now, state=RecordingState.PARTIAL)
    assert (row.state, row.seconds, recording.running(db)) == (RecordingState.FILED, 12.5, [])
    assert recording.of_call(db, row.call_id) == [row]


def test_a_voicemail_is_new_until_somebody_hears_it(record: Record, db: Session) -> None:
    person_ = add_agent(db, record)
    calls = [add_call(db, record) for _ in range(2)]
    rows = [
        voicemail.begin(
            db,
            uuid4(),
            call_id=each.id,
            box="front-desk",
            subject=each.subject,
            lane_id=b"l" * 16,
            name="x.clm",
            now=record.now,
        )
        for each in calls
    ]
    voicemail.end(db, rows[0].id, 7.0)
    voicemail.end(db, rows[1].id, 0.0)
    assert [row.state for row in rows] == [VoicemailState.NEW, VoicemailState.LOST]
    assert voicemail.in_boxes(db, ["front-desk"]) == [rows[0]]
    assert voicemail.in_boxes(db, ["billing"]) == []
    voicemail.heard(db, rows[0].id, person_.id, record.now)
    voicemail.heard(db, rows[0].id, person_.id, record.later(days=1))
    assert (rows[0].state, rows[0].heard_at) == (VoicemailState.HEARD, record.now - DAY)
