"""Webhooks and upkeep: what is told, what is left over, and who is woken for it."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import httpx
import pytest
from sqlmodel import Session
from standardwebhooks.webhooks import Webhook
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from connectors.sandbox.carrier import Carrier
from hub import db as database
from hub import webhook
from hub.db import uuid7
from hub.outside import Outside
from hub.record import call, event, message, queue, reminder, staff, writeback
from hub.record.appointment import Appointment
from hub.record.event import Delivery, DeliveryState, Lane
from hub.record.queue import Offer, OfferState
from hub.record.reminder import Reminder, ReminderState
from hub.record.task import Task
from hub.rules.matching import Match
from hub.temporal import DeliveryStart, TextStart, UpkeepStart
from tests.workflows.clinic import PHONE, WEBHOOK_SECRET, Clinic, serving
from tests.workflows.feeding import remember, said
from workflows.activities.delivery import Deliveries, Tried
from workflows.activities.text import Texts
from workflows.activities.upkeep import Upkeep


class Crm:
    """The practice's own system, which is told of events."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, dict[str, str]]] = []
        self.status = 204
        self.headers: dict[str, str] = {}

    async def take(self, request: Request) -> Response:
        self.seen.append((await request.body(), dict(request.headers)))
        return Response(status_code=self.status, headers=self.headers)


@pytest.fixture
async def crm(clinic: Clinic) -> AsyncIterator[Crm]:
    made = Crm()
    app = Starlette(routes=[Route("/events", made.take, methods=["POST"])])
    async with serving(app, clinic.ports["crm"]):
        yield made


@pytest.fixture
def deliveries(clinic: Clinic) -> Deliveries:
    return Deliveries(clinic.instance, Outside(clinic.instance, {}, actor="system:workflows"))


def emitted(clinic: Clinic, kind: str = "reminder.sent", **payload: str) -> DeliveryStart:
    """Note an event and return the delivery of its record lane."""
    instance = clinic.instance
    with instance.db.write() as db:
        row, found = event.emit(db, instance.policy()[1], kind, payload or {"reminder": "visit-1d"}, now=clinic.now)
        record = next(each for each in found if each.lane is Lane.RECORD)
        return DeliveryStart(str(row.id), str(record.id))


def delivery(clinic: Clinic, start: DeliveryStart) -> Delivery:
    return next(row for row in clinic.rows(Delivery) if str(row.id) == start.delivery_id)


async def test_a_receiver_gets_a_signed_event_and_is_told_once(
    deliveries: Deliveries, clinic: Clinic, crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clinic.instance, "clock", database.now)
    start = emitted(clinic)
    assert [await deliveries.attempt(start) for _ in range(2)] == [Tried("delivered")] * 2
    ((body, headers),) = crm.seen
    said = Webhook(WEBHOOK_SECRET).verify(body, headers)
    assert (said["type"], said["id"], said["reminder"]) == ("reminder.sent", start.event_id, "visit-1d")
    assert delivery(clinic, start).state is DeliveryState.DONE


async def test_a_pop_is_a_reference_made_when_it_is_sent(deliveries: Deliveries, clinic: Clinic, crm: Crm) -> None:
    offer = str(uuid7())
    await deliveries.attempt(emitted(clinic, "call.offered", call="c1", offer=offer, match="one"))
    said = httpx.Response(200, content=crm.seen[0][0]).json()
    assert said["pop"].startswith("http://127.0.0.1:8080/v1/pops/")
    assert offer not in crm.seen[0][0].decode()


@pytest.mark.parametrize(
    ("status", "headers", "tried"),
    [
        (500, {}, Tried("later")),
        (429, {"retry-after": "120"}, Tried("later", 120.0)),
        (302, {"location": "http://127.0.0.1:1/"}, Tried("later")),
    ],
)
async def test_a_bad_answer_is_tried_later(
    deliveries: Deliveries, clinic: Clinic, crm: Crm, status: int, headers: dict[str, str], tried: Tried
) -> None:
    crm.status, crm.headers = status, headers
    start = emitted(clinic)
    assert await deliveries.attempt(start) == tried
    assert (delivery(clinic, start).tries, delivery(clinic, start).code) == (1, str(status))


async def test_no_answer_is_tried_later_and_given_up_in_the_end(deliveries: Deliveries, clinic: Clinic) -> None:
    start = emitted(clinic)
    assert await deliveries.attempt(start) == Tried("later")
    deliveries.give_up(start)
    row = delivery(clinic, start)
    assert (row.state, row.code) == (DeliveryState.FAILED, "no-answer")


async def test_gone_disables_the_receiver_until_the_policy_is_published_anew(
    deliveries: Deliveries, clinic: Clinic, crm: Crm
) -> None:
    crm.status = 410
    assert await deliveries.attempt(emitted(clinic)) == Tried("gone")
    crm.status = 204
    assert await deliveries.attempt(emitted(clinic)) == Tried("gone")
    assert len(crm.seen) == 1
    clinic.later(minutes=1)
    clinic.amend("a.hours_until < 24", "a.hours_until < 12")
    assert await deliveries.attempt(emitted(clinic)) == Tried("delivered")


async def test_an_event_that_was_taken_live_is_not_told_again(deliveries: Deliveries, clinic: Clinic, crm: Crm) -> None:
    start = emitted(clinic, "call.ringing", call="c1")
    live = next(row for row in clinic.rows(Delivery) if row.lane is Lane.LIVE)
    with clinic.instance.db.write() as db:
        event.settle(db, live.id, DeliveryState.DONE, clinic.now)
    assert await deliveries.attempt(start) == Tried("delivered")
    assert crm.seen == []


async def test_a_webhook_that_the_policy_dropped_is_void(deliveries: Deliveries, clinic: Clinic, crm: Crm) -> None:
    start = emitted(clinic)
    clinic.amend("/events", "/elsewhere")
    assert await deliveries.attempt(start) == Tried("void")
    assert (crm.seen, delivery(clinic, start).code) == ([], "removed")


async def test_a_secret_that_is_missing_is_waited_for(deliveries: Deliveries, clinic: Clinic, crm: Crm) -> None:
    start = emitted(clinic)
    (clinic.instance.paths.keys / "webhook").unlink()
    assert await deliveries.attempt(start) == Tried("later")
    assert (crm.seen, delivery(clinic, start).code) == ([], webhook.WebhookSecretError.code)


async def test_no_body_names_anybody(deliveries: Deliveries, clinic: Clinic, crm: Crm) -> None:
    clinic.book()
    await deliveries.attempt(emitted(clinic, appointment=str(clinic.rows(Appointment)[0].id)))
    assert not any(word in crm.seen[0][0] for word in (b"Ada", b"Sample", PHONE.encode(), b"Checkup"))


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [("STOP", "stopped", "no more texts"), ("HELP", "help", "for help"), ("START", "started", "our texts again")],
)
async def test_stop_help_and_start_get_one_answer_each(
    clinic: Clinic, carrier: Carrier, body: str, kind: str, words: str
) -> None:
    clinic.book()
    remember(clinic, clinic.rows(Appointment)[0])
    instance = clinic.instance
    with instance.db.write() as db:
        row, _ = message.receive(
            db,
            said(clinic, body),
            connection="sms",
            seal=instance.sealer,
            index=instance.index,
            now=clinic.now,
        )
    texts = Texts(instance, Outside(instance, {}, actor="system:workflows"))
    start = TextStart(kind, str(row.id), "sms")
    assert [await texts.send(start) for _ in range(2)] == ["sent", "sent"]
    (sent,) = carrier.texts
    assert words in sent.text
    assert (sent.to, sent.sender) == (PHONE, "+12125550100")


def upkeep_of(clinic: Clinic, client: Client) -> Upkeep:
    return Upkeep(clinic.instance, client, Outside(clinic.instance, {}, actor="system:workflows"))


async def started(env: WorkflowEnvironment, flow_id: str) -> bool:
    try:
        await env.client.get_workflow_handle(flow_id).describe()
    except RPCError:
        return False
    return True


async def test_a_text_whose_sender_died_becomes_a_task(clinic: Clinic, nobody: Client) -> None:
    visit = clinic.book()
    with clinic.instance.db.write() as db:
        row = reminder.plan(db, visit, clinic.now, "visit-1d", clinic.now)
        reminder.attempt(db, row.id, None, clinic.now)
    sweep = upkeep_of(clinic, nobody).sweep
    assert await sweep(UpkeepStart(1)) == UpkeepStart(1)
    assert clinic.rows(Reminder)[0].state is ReminderState.SENDING
    clinic.later(minutes=4)
    await sweep(UpkeepStart(1))
    await sweep(UpkeepStart(1))
    assert clinic.rows(Reminder)[0].state is ReminderState.UNKNOWN
    assert [(row.kind, row.reason) for row in clinic.rows(Task)] == [("outcome", "crashed")]


async def test_what_was_never_begun_is_begun(clinic: Clinic, env: WorkflowEnvironment) -> None:
    visit = clinic.book()
    start = emitted(clinic)
    call_id = ended_call(clinic)
    with clinic.instance.db.write() as db:
        write = writeback.enqueue(
            db, "status", key="k", connection="ehr", object_id=visit, now=clinic.now, to="confirmed"
        ).id
    flows = (f"delivery-{start.event_id}-{start.delivery_id[-12:]}", f"call-{call_id}", f"writeback-{write}")
    sweep = upkeep_of(clinic, env.client).sweep
    await sweep(UpkeepStart(1))
    assert [await started(env, flow) for flow in flows] == [False] * 3
    clinic.later(minutes=2)
    await sweep(UpkeepStart(1))
    assert [await started(env, flow) for flow in flows] == [True] * 3


async def test_a_call_is_wound_up_once_whoever_called(clinic: Clinic, env: WorkflowEnvironment) -> None:
    strangers = ended_call(clinic)
    sweep = upkeep_of(clinic, env.client).sweep
    with clinic.instance.db.write() as db:
        call.wound_up(db, strangers, clinic.now)
    unknown = ended_call(clinic)
    clinic.later(minutes=2)
    await sweep(UpkeepStart(1))
    assert [await started(env, f"call-{each}") for each in (strangers, unknown)] == [False, True]
    long_ago = ended_call(clinic)
    clinic.later(days=2)
    await sweep(UpkeepStart(1))
    assert not await started(env, f"call-{long_ago}")


async def test_what_is_under_way_is_left_alone(clinic: Clinic, env: WorkflowEnvironment) -> None:
    visit = clinic.book()
    start = emitted(clinic)
    with clinic.instance.db.write() as db:
        row = writeback.enqueue(
            db, "status", key="k", connection="ehr", object_id=visit, now=clinic.now, to="confirmed"
        )
        writeback.tried(db, row.id, "transient")
        event.tried(db, UUID(start.delivery_id), "500")
    clinic.later(minutes=2)
    await upkeep_of(clinic, env.client).sweep(UpkeepStart(1))
    assert not await started(env, f"writeback-{row.id}")
    assert not await started(env, f"delivery-{start.event_id}-{start.delivery_id[-12:]}")


async def test_a_live_telling_of_a_process_that_died_is_dropped(clinic: Clinic, nobody: Client) -> None:
    emitted(clinic, "call.ringing", call="c1")
    live = [row for row in clinic.rows(Delivery) if row.lane is Lane.LIVE]
    with clinic.instance.db.write() as db:
        for row in clinic.rows(Delivery):
            if row.lane is Lane.RECORD:
                event.settle(db, row.id, DeliveryState.DONE, clinic.now)
    clinic.later(minutes=2)
    await upkeep_of(clinic, nobody).sweep(UpkeepStart(1))
    assert [row.state for row in clinic.rows(Delivery) if row.id in {each.id for each in live}] == ["dropped"]


async def test_a_phone_that_rings_for_a_call_that_is_over_is_silenced(clinic: Clinic, nobody: Client) -> None:
    instance = clinic.instance
    with instance.db.write() as db:
        ana = staff.add(db, email="ana@harbor.example", roles=["front-desk"], now=clinic.now)
        call_id = ended_call(clinic, db=db)
        queue.enter(db, call_id, "appointments", 0, clinic.now, "media-1")
        db.add(
            Offer(
                call_id=call_id,
                agent_id=ana.id,
                queue="appointments",
                host="media-1",
                state=OfferState.RINGING,
                offered_at=clinic.now,
                expires_at=clinic.now + timedelta(seconds=20),
            )
        )
    await upkeep_of(clinic, nobody).sweep(UpkeepStart(1))
    assert [row.state for row in clinic.rows(Offer)] == [OfferState.WITHDRAWN]


async def test_a_new_policy_is_told_to_every_visit_ahead(clinic: Clinic, env: WorkflowEnvironment) -> None:
    visits = [clinic.book() for _ in range(3)]
    over = clinic.book(starts_at=clinic.now - timedelta(hours=1))
    sweep = upkeep_of(clinic, env.client).sweep
    assert await sweep(UpkeepStart(0)) == UpkeepStart(1)
    assert [await started(env, f"appointment-{visit}") for visit in visits] == [True] * 3
    assert not await started(env, f"appointment-{over}")


def ended_call(clinic: Clinic, *, db: Session | None = None) -> UUID:
    """Let a patient's call have ended."""
    call_id, instance = uuid7(), clinic.instance
    owner = clinic.rows(Appointment)[0].patient_id if clinic.rows(Appointment) else None

    def write(session: Session) -> None:
        call.ring(
            session,
            call_id,
            did="+12125550100",
            trunk="line",
            host="media-1",
            number=PHONE,
            name=None,
            match=Match("one", (owner,)) if owner else Match("none"),
            seal=instance.sealer,
            index=instance.index,
            now=clinic.now,
        )
        call.ended(session, call_id, "caller", clinic.now, path=call.ANSWERED)

    if db is not None:
        write(db)
    else:
        with instance.db.write() as own:
            write(own)
    return call_id
