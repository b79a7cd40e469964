"""What people look through and act on: visits, texts, reminders, tasks, queues, agents, webhooks, policies."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlmodel import select

from connectors.api import AppointmentStatus, ReplyFacts, Sms
from hub.api.once import KEPT
from hub.db import uuid7
from hub.record import agent, appointment, event, idempotency, inbox, message, queue, reminder, task, voice
from hub.record.agent import Presence
from hub.record.appointment import Appointment
from hub.record.event import Delivery, DeliveryState
from hub.record.inbox import Arrival, State
from hub.record.queue import Offer
from hub.record.voice import CallStage, Outcome, ReminderCall
from hub.security.access import Scope
from tests.hub.api.office import POLICY, Office, Worker, number, phones, subjects_of


async def asked(office: Office, who: Worker | str, path: str, **query: Any) -> httpx.Response:
    async with office.http(who) as http:
        return await http.get(f"/v1/{path}", params=query)


async def items(office: Office, who: Worker | str, path: str, **query: Any) -> list[dict[str, Any]]:
    answer = await asked(office, who, path, **query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


async def posted(office: Office, who: Worker | str, path: str, **headers: str) -> httpx.Response:
    async with office.http(who, **headers) as http:
        return await http.post(f"/v1/{path}")


# Appointments


async def test_a_visit_has_the_documented_shape(office: Office) -> None:
    (applied,) = office.tell(office.visit())
    who = office.worker("billing")
    answer = await asked(office, who, f"appointments/{applied.appointment_id}")
    said = answer.json()
    assert said.keys() == {
        *("id", "connection", "external_ids", "status", "starts_at", "minutes", "patient", "practitioner", "location"),
        *("version", "confirmed_at", "restricted"),
    }
    assert (said["connection"], said["status"], said["minutes"], said["version"]) == ("adt", "booked", 30, "1")
    assert (said["practitioner"], said["location"], said["restricted"]) == ("Dr. Lindqvist", "Room 4", False)
    assert [each["system"] for each in said["external_ids"]] == ["urn:harbor:visits"]
    (noted,) = office.audited(answer)
    assert (noted["actor"], subjects_of(noted)) == (str(who.id), {UUID(said["patient"])})


async def test_coming_visits_are_soonest_first_and_only_those_that_are_on(office: Office) -> None:
    def at(seconds: int, status: AppointmentStatus = AppointmentStatus.BOOKED) -> UUID:
        (applied,) = office.tell(office.visit(starts_at=office.now + timedelta(seconds=seconds), status=status))
        assert applied.appointment_id is not None
        return applied.appointment_id

    late, soon, past = at(3), at(2), at(-1)
    cancelled = at(1, AppointmentStatus.CANCELLED)
    one = (await asked(office, office.worker("front-desk"), "appointments", limit=1)).json()
    two = await items(office, office.worker("front-desk"), "appointments", limit=1, cursor=one["next"])
    assert [UUID(each["id"]) for each in [*one["items"], *two]] == [soon, late]
    assert {past, cancelled}.isdisjoint({soon, late})


async def test_a_restricted_patients_visit_shows_only_when_it_is(office: Office) -> None:
    starts = office.now + timedelta(seconds=30)
    (applied,) = office.tell(office.visit(starts_at=starts))
    assert applied.appointment_id is not None
    row = office.read(lambda db: db.get_one(appointment.Appointment, applied.appointment_id))
    office.restrict(row.patient_id)
    who = office.worker("provider")
    (listed,) = [each for each in await items(office, who, "appointments") if each["id"] == str(applied.appointment_id)]
    answer = await asked(office, who, f"appointments/{applied.appointment_id}")
    assert answer.json() == listed
    assert (listed["patient"], listed["practitioner"], listed["external_ids"]) == (None, None, [])
    assert (listed["restricted"], listed["minutes"]) == (True, 30)
    assert not office.audited(answer)


# Texts and reminders


def texted(office: Office, patient_id: UUID | None, to: str, body: str = "your visit is tomorrow") -> UUID:
    instance, message_id = office.instance, uuid7()
    sms = Sms(to=to, sender="+12125550100", body=body)
    how = {"connection": "sms", "program": "reminder", "patient_id": patient_id, "appointment_id": None}
    office.write(message.attempt, message_id, sms, seal=instance.sealer, index=instance.index, now=office.now, **how)
    return message_id


async def test_texts_are_shown_both_ways_newest_first_and_that_is_on_record(office: Office) -> None:
    instance, mobile = office.instance, number()
    who = office.patient(**phones(mobile))
    sent = texted(office, who, mobile)
    office.later(seconds=5)
    said = ReplyFacts(external_id=uuid4().hex, at=office.now, sender=mobile, to="+12125550100", body="C gracias")
    reply, _ = office.write(
        message.receive, said, connection="sms", seal=instance.sealer, index=instance.index, now=office.now
    )
    nurse = office.worker("nurse")
    answer = await asked(office, nurse, "messages", patient=who)
    shown = answer.json()["items"]
    assert [UUID(each["id"]) for each in shown] == [reply.id, sent]
    assert [(each["direction"], each["body"]) for each in shown] == [
        ("in", "C gracias"),
        ("out", "your visit is tomorrow"),
    ]
    assert {each["number"] for each in shown} == {mobile}
    (noted,) = office.audited(answer)
    assert (noted["actor"], subjects_of(noted)) == (str(nurse.id), {who})
    page = (await asked(office, nurse, "messages", patient=who, limit=1)).json()
    assert [each["id"] for each in await items(office, nurse, "messages", patient=who, cursor=page["next"])] == [
        str(sent)
    ]
    without = office.worker("nurse", scopes=[Scope.MESSAGES_READ])
    assert {each["number"] for each in await items(office, without, "messages", patient=who)} == {None}


async def test_a_restricted_patients_text_is_shut(office: Office) -> None:
    mobile = number()
    who = office.patient(**phones(mobile))
    sent = texted(office, who, mobile, "only for Ana")
    office.restrict(who)
    answer = await asked(office, office.worker("nurse"), "messages")
    (shown,) = [each for each in answer.json()["items"] if each["id"] == str(sent)]
    assert (shown["body"], shown["number"], shown["patient"], shown["restricted"]) == (None, None, None, True)
    assert "only for Ana" not in answer.text


async def test_reminders_say_what_became_of_them(office: Office) -> None:
    (applied,) = office.tell(office.visit())
    visit = applied.appointment_id
    starts = office.now + timedelta(days=10)
    steps = [
        office.write(reminder.plan, visit, starts, step, starts - timedelta(days=days))
        for step, days in (("visit:-3d", 3), ("visit:-1d", 1))
    ]
    office.write(reminder.skipped, steps[0].id, office.now, "opted-out")
    shown = await items(office, office.worker("front-desk"), "reminders", appointment=visit)
    assert [(each["step"], each["state"], each["reason"]) for each in shown] == [
        ("visit:-1d", "planned", ""),
        ("visit:-3d", "skipped", "opted-out"),
    ]
    page = (await asked(office, office.worker("billing"), "reminders", appointment=visit, limit=1)).json()
    assert page["next"] == str(steps[1].id)


async def test_a_reminder_that_was_called_says_who_picked_up_and_what_they_chose(office: Office) -> None:
    (applied,) = office.tell(office.visit())
    visit, starts = applied.appointment_id, office.now + timedelta(days=10)
    assert visit is not None
    step = office.write(reminder.plan, visit, starts, "visit-1d", starts - timedelta(days=1))
    row = ReminderCall(
        id=uuid4(),
        reminder_id=step.id,
        appointment_id=visit,
        patient_id=office.read(lambda db: db.get_one(Appointment, visit)).patient_id,
        starts_at=starts,
        stage=CallStage.DIALLED,
        outcome=Outcome.NONE,
        asked_at=office.now,
        until_at=starts,
        phone_key=b"",
        sealed=b"",
    )
    seal, index = office.instance.sealer, office.instance.index
    office.write(voice.ask, row, number="+12125550177", language="en", seal=seal, index=index)
    clerk = office.worker("front-desk")
    (shown,) = await items(office, clerk, "reminders", appointment=visit)
    assert (shown["call"], shown["outcome"], shown["answered_by"]) == (str(row.id), "", "")
    office.write(voice.over, row.id, Outcome.CONFIRMED, office.now, answered_by="human")
    (shown,) = await items(office, clerk, "reminders", appointment=visit)
    assert (shown["outcome"], shown["answered_by"]) == ("confirmed", "human")


# Tasks


async def test_a_task_is_closed_once_by_one_person(office: Office) -> None:
    task_id = office.task(kind=f"callback-{uuid4().hex[:6]}")
    one, two = office.worker("front-desk"), office.worker("front-desk")
    kind = office.read(lambda db: db.get_one(task.Task, task_id)).kind
    assert [each["id"] for each in await items(office, one, "tasks", kind=kind)] == [str(task_id)]
    closed = await posted(office, one, f"tasks/{task_id}/done")
    again = await posted(office, one, f"tasks/{task_id}/done")
    other = await posted(office, two, f"tasks/{task_id}/done")
    assert (closed.json()["state"], closed.json()["done_by"]) == ("done", str(one.id))
    assert again.json() == closed.json()
    assert (other.status_code, other.json()["code"]) == (409, "task-closed")
    assert await items(office, two, "tasks", kind=kind) == []


async def test_tasks_are_oldest_first_and_name_no_restricted_patient(office: Office) -> None:
    who, kind = office.patient(), f"reply-{uuid4().hex[:6]}"
    ids = [office.task(who, kind), office.task(kind=kind), office.task(kind=kind)]
    office.restrict(who)
    page = (await asked(office, office.worker("provider"), "tasks", kind=kind, limit=2)).json()
    rest = await items(office, office.worker("provider"), "tasks", kind=kind, cursor=page["next"])
    assert [UUID(each["id"]) for each in page["items"] + rest] == ids
    assert page["items"][0]["patient"] is None
    closed = await posted(office, office.worker("provider"), f"tasks/{ids[0]}/done")
    assert closed.json()["patient"] is None


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 201])
async def test_an_idempotency_key_is_plain_and_short(office: Office, key: str) -> None:
    task_id = office.task()
    answer = await posted(office, office.worker("front-desk"), f"tasks/{task_id}/done", **{"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert answer.json()["fields"][0]["field"] == "header.Idempotency-Key"


async def test_a_key_belongs_to_its_caller_and_route_and_is_forgotten(office: Office) -> None:
    one, two, key = office.worker("front-desk"), office.worker("front-desk"), {"Idempotency-Key": uuid4().hex}
    first, second = office.task(), office.task()
    assert (await posted(office, one, f"tasks/{first}/done", **key)).status_code == 200
    assert (await posted(office, one, f"tasks/{second}/done", **key)).json()["code"] == "idempotency-key-reused"
    assert (await posted(office, two, f"tasks/{second}/done", **key)).status_code == 200
    office.write(idempotency.forget, office.now + KEPT)
    assert (await posted(office, one, f"tasks/{second}/done", **key)).json()["code"] == "task-closed"


async def test_a_refused_write_keeps_no_answer(office: Office) -> None:
    one, key = office.worker("front-desk"), {"Idempotency-Key": uuid4().hex}
    missing = f"tasks/{uuid4()}/done"
    assert (await posted(office, one, missing, **key)).status_code == 404
    assert (await posted(office, one, missing, **key)).status_code == 404


# Queues and agents


async def put_presence(office: Office, who: Worker | str, said: Any) -> httpx.Response:
    async with office.http(who) as http:
        return await http.put("/v1/agents/me", json=said)


async def test_who_becomes_available_is_rung_for_who_waits(office: Office) -> None:
    ana, row = office.listed(), office.ring(number())
    office.write(agent.registered, ana.id, office.now + timedelta(hours=1), office.now)
    assert (await put_presence(office, ana, {"presence": "away"})).json()["presence"] == "away"
    office.write(queue.enter, row.id, "appointments", 0, office.now, "media-a")
    (waits,) = await items(office, ana, "queues")
    assert (waits["name"], waits["waiting"], waits["target_seconds"]) == ("appointments", 1, 20)
    assert waits["since"] == office.now.isoformat().replace("+00:00", "Z")
    said = (await put_presence(office, ana, {"presence": "available"})).json()
    assert (said["id"], said["presence"], said["extension"], said["queues"]) == (
        *(str(ana.id), "available", "101", ["appointments"]),
    )
    assert said["reachable"]
    offers = office.read(lambda db: list(db.exec(select(Offer).where(Offer.call_id == row.id))))
    assert [offer.agent_id for offer in offers] == [ana.id]
    assert (await items(office, ana, "queues"))[0]["waiting"] == 0
    office.write(queue.leave, row.id, "hung-up", office.now)
    assert said in await items(office, ana, "agents")


async def test_who_is_on_a_call_stays_busy(office: Office) -> None:
    ana, row = office.listed(), office.ring(number())
    office.write(agent.engaged, ana.id, row.id, office.now)
    said = (await put_presence(office, ana, {"presence": "available"})).json()
    assert (said["presence"], said["call"]) == ("busy", str(row.id))
    office.write(agent.freed, ana.id, row.id, office.now)
    assert office.read(agent.get, ana.id, office.now).presence is Presence.AVAILABLE


@pytest.mark.parametrize("said", [{"presence": "busy"}, {"presence": "wrap-up"}, {}, {"presence": "away", "for": "x"}])
async def test_one_cannot_say_what_follows_from_calls(office: Office, said: dict[str, str]) -> None:
    answer = await put_presence(office, office.worker("front-desk"), said)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


async def test_a_program_is_no_agent(office: Office) -> None:
    answer = await put_presence(office, office.program(Scope.PRESENCE_WRITE), {"presence": "available"})
    assert (answer.status_code, answer.json()["code"]) == (403, "person-needed")


async def test_only_those_with_a_queue_are_agents(office: Office) -> None:
    assert [each["email"] for each in await items(office, office.worker("admin"), "agents")] == ["ana@harbor.example"]


# Connections, webhooks, policies


async def test_a_connection_says_what_waits_and_why_it_is_in_quarantine(office: Office) -> None:
    instance = office.instance
    arrivals = [Arrival("adt", uuid4().hex, uuid4().bytes) for _ in range(3)]
    with instance.inbox.write() as db:
        how: dict[str, Any] = {"seal": instance.sealer, "index": instance.index, "now": office.now}
        inbox.store(db, arrivals, by="system:test", **how)
        rows = inbox.pending(db, "adt")
        inbox.mark(db, [rows[0].id], State.APPLIED)
        inbox.mark(db, [rows[1].id], State.QUARANTINED, "not-understood")
    (shown,) = [each for each in await items(office, office.worker("admin"), "connections") if each["name"] == "adt"]
    assert (shown["connector"], shown["stored"], shown["applied"], shown["quarantined"]) == ("hl7v2", 1, 1, 1)
    assert shown["quarantine"] == {"not-understood": 1}


async def test_a_delivery_that_failed_is_made_again_and_no_other(office: Office) -> None:
    _, practice = office.instance.policy()
    row = office.ring(number())
    _, (live, record) = office.write(
        event.emit, practice, "call.offered", {"call": str(row.id)}, now=office.now, call_id=row.id
    )
    admin = office.worker("admin")
    pending = await posted(office, admin, f"webhooks/deliveries/{record.id}/again")
    for one in (live, record):
        office.write(event.settle, one.id, DeliveryState.FAILED, office.now, code="502")
    shown = await items(office, admin, "webhooks/deliveries", state="failed", limit=2)
    (hook,) = await items(office, admin, "webhooks")
    again = await posted(office, admin, f"webhooks/deliveries/{record.id}/again", **{"Idempotency-Key": uuid4().hex})
    over = await posted(office, admin, f"webhooks/deliveries/{live.id}/again")
    assert (pending.status_code, pending.json()["code"]) == (409, "delivery-state")
    assert [(each["id"], each["lane"], each["code"], each["type"]) for each in shown] == [
        (str(record.id), "record", "502", "call.offered"),
        (str(live.id), "live", "502", "call.offered"),
    ]
    assert (hook["url"], hook["events"], hook["failed"]) == ("http://127.0.0.1:9/events", ["call.*"], 2)
    assert hook["id"] == shown[0]["webhook"]
    assert (again.status_code, again.json()["state"], again.json()["tries"]) == (202, "pending", 0)
    assert (over.status_code, over.json()["code"]) == (409, "delivery-state")
    kept = office.read(lambda db: db.get_one(Delivery, record.id))
    assert (kept.state, kept.code, kept.settled_at) == (DeliveryState.PENDING, "", None)
    (noted,) = [each for each in office.audited(again) if each["act"] == "webhook.again"]
    assert (noted["actor"], noted["detail"]) == (str(admin.id), {"delivery": str(record.id)})
    page = (await asked(office, admin, "webhooks/deliveries", limit=1)).json()
    assert len(await items(office, admin, "webhooks/deliveries", limit=1, cursor=page["next"])) == 1


async def test_policies_are_told_by_version_with_what_changed(office: Office) -> None:
    who = office.worker("privacy-officer")
    base = (await asked(office, who, "policies/current")).json()
    changed = POLICY.replace("[practice]", '[http]\nbind = "127.0.0.1:8099"\n\n[practice]', 1)
    version = office.publish(changed)
    try:
        current = (await asked(office, who, "policies/current")).json()
        diff = (await asked(office, who, f"policies/{version}/diff")).json()
        same = (await asked(office, who, f"policies/{version}/diff", base=version)).json()
        newest = (await asked(office, who, "policies", limit=1)).json()
        older = (await asked(office, who, "policies", limit=1, cursor=newest["next"])).json()
        one = (await asked(office, who, f"policies/{base['version']}")).json()
    finally:
        office.publish(POLICY)
    assert (current["version"], current["text"], current["in_force"]) == (version, changed, True)
    assert one == base | {"in_force": False}
    assert diff["base"] == base["version"]
    assert diff["changes"] == ['~ [http] bind: "127.0.0.1:8080" -> "127.0.0.1:8099" (needs a restart)']
    assert same["changes"] == []
    assert [each["version"] for each in newest["items"] + older["items"]] == [version, base["version"]]
    assert "text" not in newest["items"][0]
    missing = await asked(office, who, "policies/4711")
    assert (missing.status_code, missing.json()["code"]) == (404, "not-found")


async def test_agreements_say_whether_they_still_hold(office: Office) -> None:
    async with office.http(office.worker("admin")) as http:
        (shown,) = (await http.get("/v1/agreements")).json()["items"]
    assert (shown["counterparty"], shown["basis"], shown["data"]) == ("line", "agreement", ["call-audio"])
    assert (shown["expires"], shown["in_force"]) == ("2026-03-01", False)
