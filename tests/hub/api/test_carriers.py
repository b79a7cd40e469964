"""Carriers' callbacks: proven, stored, then acknowledged; whether or not anything else runs."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest
from sqlmodel import col, select

from connectors.sandbox.sms import signature
from hub.feeds.waker import Waker
from hub.record import inbox
from hub.record.inbox import InboxMessage
from tests.hub.api.office import POLICY, SMS_SECRET, TEST, Office


def stamp_of(office: Office) -> str:
    return str(int(office.now.timestamp()))


def reply(text: str = "C") -> bytes:
    said = {"id": uuid4().hex, "type": "reply", "message": "m1", "from": "+12125550111", "to": "+12125550100"}
    return orjson.dumps(said | {"at": "2026-03-02T15:00:00+00:00", "text": text})


async def called_back(office: Office, body: bytes, *, path: str = "sms/replies", **headers: str) -> httpx.Response:
    stamp = stamp_of(office)
    headers = {"sandbox-timestamp": stamp, "sandbox-signature": signature(SMS_SECRET, stamp, body), **headers}
    async with office.http() as http:
        return await http.post(f"/carriers/{path}", content=body, headers=headers)


def stored(office: Office) -> list[InboxMessage]:
    with office.instance.inbox.read() as db:
        of_carrier = select(InboxMessage).where(InboxMessage.connection == "sms")
        return list(db.exec(of_carrier.order_by(col(InboxMessage.seq))))


async def test_a_proven_callback_is_stored_sealed_then_acknowledged(office: Office) -> None:
    before, body = len(stored(office)), reply("Sí, gracias")
    answer = await called_back(office, body)
    assert (answer.status_code, answer.content) == (204, b"")
    row = stored(office)[-1]
    assert len(stored(office)) == before + 1
    assert (row.control_id, row.state) == (orjson.loads(body)["id"], inbox.State.STORED)
    assert b"gracias" not in row.sealed
    with office.instance.inbox.read() as db:
        (opened,) = office.instance.opener.open(db, TEST, [inbox.sealed_of(row)])
    assert opened["raw"] == body
    noted = [record for record in office.audit() if record["act"] == "inbox.store"]
    assert str(row.id).replace("-", "") in str(noted[-1]["obj"])


async def test_a_repeat_is_acknowledged_and_stored_once(office: Office) -> None:
    body = reply()
    before = len(stored(office))
    answers = [await called_back(office, body) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [204] * 3
    assert len(stored(office)) == before + 1


@pytest.mark.parametrize(
    "how",
    [
        {"sandbox-signature": "0" * 64},
        {"sandbox-signature": ""},
        {"sandbox-timestamp": "1772463601"},
        {"sandbox-signature": "ü"},
    ],
)
async def test_what_is_not_proven_is_not_stored(office: Office, how: dict[str, Any]) -> None:
    before = len(stored(office))
    body = reply()
    signed = {
        "sandbox-timestamp": stamp_of(office),
        "sandbox-signature": signature(SMS_SECRET, stamp_of(office), body),
    } | how
    async with office.http() as http:
        answer = await http.post(
            "/carriers/sms/replies",
            content=body,
            headers=[(name.encode(), value.encode("latin-1")) for name, value in signed.items()],
        )
    assert (answer.status_code, answer.json()["code"]) == (403, "callback-unproven")
    assert len(stored(office)) == before


async def test_what_was_changed_on_the_way_is_not_stored(office: Office) -> None:
    before, body = len(stored(office)), reply()
    answer = await called_back(
        office, body.replace(b'"C"', b'"R"'), **{"sandbox-signature": signature(SMS_SECRET, stamp_of(office), body)}
    )
    assert answer.status_code == 403
    assert len(stored(office)) == before


@pytest.mark.parametrize("connection", ["nobody", "adt"])
async def test_only_carriers_call_back(office: Office, connection: str) -> None:
    answer = await called_back(office, reply(), path=f"{connection}/replies")
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


@pytest.mark.parametrize("size", [70_000, 300_000])
async def test_nobody_says_so_much(office: Office, size: int) -> None:
    before = len(stored(office))
    answer = await called_back(office, reply("x" * size))
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    assert len(stored(office)) == before


async def test_a_callback_is_stored_while_the_vault_is_down(office: Office) -> None:
    await called_back(office, reply())  # the day's key is taken
    before = len(stored(office))
    office.vault.kill()
    try:
        answer = await called_back(office, reply())
    finally:
        office.vault.start()
    assert answer.status_code == 204
    assert len(stored(office)) == before + 1


async def test_the_flow_is_woken_and_a_wake_that_fails_is_no_fault_of_the_carriers(office: Office) -> None:
    woken: asyncio.Queue[str] = asyncio.Queue()
    usual = office.app.state.waker
    office.app.state.waker = Waker(woken.put, quiet_s=0)
    waking = asyncio.create_task(office.app.state.waker.run())
    try:
        assert (await called_back(office, reply())).status_code == 204
        async with asyncio.timeout(20):
            assert await woken.get() == "sms"
    finally:
        waking.cancel()
        office.app.state.waker = usual
    # The usual one has no Temporal to wake anything with.
    assert (await called_back(office, reply())).status_code == 204


async def test_a_system_that_is_asked_for_changes_hints_by_calling_back(office: Office) -> None:
    """The feeds process looks for hints, and need not wait for its next round."""
    settings = (
        'base_url = "http://127.0.0.1:9/fhir", callback_url = "http://127.0.0.1:9/carriers/ehr/hints", '
        'callback_secret = "file:secrets/sms.secret"'
    )
    office.publish(f'{POLICY}\n[[connection]]\nname = "ehr"\nconnector = "fhir"\nsettings = {{ {settings} }}\n')
    parameters = [{"name": "type", "valueCode": "event-notification"}]
    status = {"resourceType": "Parameters", "parameter": parameters}
    body = orjson.dumps({"resourceType": "Bundle", "type": "history", "entry": [{"resource": status}]})

    def hints(connection: str) -> int:
        with office.instance.inbox.read() as db:
            return inbox.hints(db, connection)

    try:
        before = hints("ehr")
        unproven = await called_back(office, body, path="ehr/hints", authorization="Bearer no")
        assert (unproven.status_code, hints("ehr")) == (403, before)
        for number in (1, 2):
            proven = await called_back(office, body, path="ehr/hints", authorization=f"Bearer {SMS_SECRET}")
            assert (proven.status_code, hints("ehr")) == (204, before + number)
    finally:
        office.publish(POLICY)
    assert (await called_back(office, reply())).status_code == 204
    assert hints("sms") == 0
