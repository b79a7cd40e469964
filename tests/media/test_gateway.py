"""Calls from real phones through the gateway, with Temporal away: the published plan routes, everything else works."""

import asyncio
import base64
import gc
import itertools
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from sqlmodel import Session, col, select
from standardwebhooks import Webhook
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hub import audio, recordings
from hub.cli import setup
from hub.cli.instance import opened
from hub.db import now
from hub.demo.phone import AGENT_HZ, CALLER_HZ, Caller, Ended, Phones
from hub.demo.ports import free_port
from hub.instance import Instance
from hub.record import agent, call, contact, event, policy, queue, recording, staff, task, voicemail
from hub.record.agent import Presence
from hub.record.call import Call, CallLeg
from hub.record.queue import Offer, OfferState
from hub.settings import Paths
from hub.vault.client import Access
from media.calls.inbound import InboundCall
from media.calls.keeping import Keeping
from media.gateway import REALM, Gateway
from media.offer import offer_audio
from media.sip.endpoint import Endpoint
from media.sip.hop import Hop
from media.sip.uri import Address, Uri
from tests.media import cove
from tests.media.kept import within
from tests.media.office import opened_gateway

pytestmark = [pytest.mark.peer("sipp"), pytest.mark.xdist_group("gateway")]

MENU, DESK, NURSES = "+12125550100", "+12125550101", "+12125550102"
ACCESS = Access("system:test", "system", "operations")
STOCK = (
    "please-hold invalid-choice no-choice leave-message-after-tone goodbye this-call-may-be-recorded callback-offered"
)


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    root = tmp_path_factory.mktemp("gateway") / "i"
    setup.make(Paths(root), cove.policy())
    (root / "keys" / "pop.secret").write_text("whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())
    short = root / "prompts"
    short.mkdir()
    blip = audio.wav(audio.tone(300.0, seconds=0.1))
    for name in [*(f"{name}.en" for name in STOCK.split()), "menu-main.en"]:
        (short / f"{name}.wav").write_bytes(blip)
    with opened(root) as instance:
        yield instance


_NUMBERS = itertools.count(110)


class Desk:
    """The gateway on the test's loop, phones that know their passwords, and a receiver of webhooks."""

    def __init__(self, instance: Instance, gateway: Gateway, phones: Phones, told: list[dict[str, Any]]) -> None:
        self.instance = instance
        self.gateway = gateway
        self.phones = phones
        self.told = told

    def number(self) -> str:
        """Return a number that has not called yet."""
        return f"+12125550{next(_NUMBERS)}"

    async def sign_in(self, extension: str) -> int:
        emails = {"101": "ana", "102": "ben", "103": "nora"}

        def secret(db: Session) -> str:
            person = staff.find(db, f"{emails[extension]}@cove.example")
            assert person is not None
            return staff.add_device(db, person.id, extension, REALM, now())

        said = await self.instance.db.run(secret, write=True)
        await self.gateway.line.load()
        port = free_port()
        ended = await self.phones.register(extension, said, port)
        assert ended.ok, ended.detail
        return port

    async def row(self, number: str, holds: Callable[[Call], bool] = lambda row: row.ended_at is not None) -> Call:
        """Return the call of this number once it is over, or as a test waits for."""

        def look(db: Session) -> Call | None:
            key = self.instance.index.phone(number)
            return db.exec(select(Call).where(Call.caller_key == key)).one_or_none()

        async with asyncio.timeout(40):
            while True:
                row = await self.instance.db.run(look)
                if row is not None and holds(row):
                    return row
                await asyncio.sleep(0.02)

    async def offers(self, row: Call) -> list[OfferState]:
        def look(db: Session) -> list[OfferState]:
            return [
                offer.state for offer in db.exec(select(Offer).where(Offer.call_id == row.id).order_by(col(Offer.id)))
            ]

        return await self.instance.db.run(look)


@asynccontextmanager
async def crm(port: int, secret: str) -> AsyncIterator[list[dict[str, Any]]]:
    told: list[dict[str, Any]] = []

    async def take(request: Request) -> Response:
        told.append(Webhook(secret).verify(await request.body(), dict(request.headers)))
        return Response(status_code=204)

    app = Starlette(routes=[Route("/pops", take, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn sets no event
            await asyncio.sleep(0.01)
        yield told
    finally:
        server.should_exit = True
        await serving


@pytest.fixture
async def desk(instance: Instance, tmp_path: Path) -> AsyncIterator[Desk]:
    _, practice = instance.policy()
    port = int(practice.webhooks[0].url.split(":")[2].split("/")[0])
    secret = (instance.paths.keys / "pop.secret").read_text()
    async with crm(port, secret) as told, opened_gateway(instance, "media-test") as gateway:
        yield Desk(instance, gateway, Phones(tmp_path, str(practice.sip.udp)), told)
    await instance.db.run(_all_go_home, write=True)


def _all_go_home(db: Session) -> None:
    for row in db.exec(select(agent.Agent)).all():
        agent.presence(db, row.staff_id, Presence.OFFLINE, now())
        agent.registered(db, row.staff_id, None, now())
    for extension in ("101", "102", "103"):
        contact.keep(db, "media-test", extension, [])
    for phone in db.exec(select(contact.Contact)).all():
        db.delete(phone)


async def phoned(
    desk: Desk, kind: str, extension: str, port: int, *, calls: int = 1, talk_s: float = 1.0
) -> "asyncio.Task[Ended]":
    phone = asyncio.create_task(desk.phones.agent(kind, extension, port, calls=calls, ring_s=0.1, talk_s=talk_s))
    await desk.phones.listens(port)
    return phone


async def test_talk_is_bridged_both_ways_recorded_and_told(desk: Desk) -> None:
    port = await desk.sign_in("101")
    # Long enough for a webhook: what comes to it only when the call is over is not told in the live lane.
    picking_up = await phoned(desk, "answers", "101", port, talk_s=3.0)
    caller = Caller(desk.number(), DESK, 40, waits=True)
    ended = await desk.phones.call(caller)
    assert ended.ok, ended.detail
    assert (await picking_up).ok
    row = await desk.row(caller.number)
    assert (row.path, row.cause, row.match) == (call.ANSWERED, "agent", "none")
    assert row.plan is not None
    assert (row.plan["source"], row.plan["queue"]) == ("last-good", "desk")
    assert await desk.offers(row) == [OfferState.ANSWERED]

    def heard(db: Session) -> list[list[float]]:
        kept = recording.of_call(db, row.id)
        assert [one.state.value for one in kept] == ["filed"]
        sides = recordings.hear(db, desk.instance, row.id, ACCESS)
        return [[peak.hz for peak in audio.frequencies(side)] for side in sides]

    caller_side, agent_side = await desk.instance.db.run(heard)
    assert any(abs(hz - CALLER_HZ) < 10 for hz in caller_side)
    assert any(abs(hz - AGENT_HZ) < 10 for hz in agent_side)
    legs = await desk.instance.db.run(
        lambda db: {leg.role: leg for leg in db.exec(select(CallLeg).where(CallLeg.call_id == row.id))}
    )
    assert set(legs) == {"caller", "agent"}
    assert all(leg.protection == "rtp" and leg.loss < 0.05 for leg in legs.values())
    await until(lambda: {"call.ringing", "call.offered", "call.answered"} <= set(kinds(desk, row)))
    offered = next(one for one in desk.told if one["type"] == "call.offered" and one["call"] == str(row.id))
    assert offered["pop"].startswith(f"{desk.gateway.line.practice.http.base_url}/v1/pops/")
    assert caller.number not in str(desk.told)


def kinds(desk: Desk, row: Call) -> list[str]:
    return [one["type"] for one in desk.told if one["call"] == str(row.id)]


async def until(holds: Any) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - what is waited for happens in threads and sockets
            await asyncio.sleep(0.02)


async def test_a_call_that_is_over_leaves_nothing_for_the_collector(desk: Desk) -> None:
    port = await desk.sign_in("101")
    gc.collect()
    gc.disable()
    try:
        picking_up = await phoned(desk, "answers", "101", port)
        ended = await desk.phones.call(Caller(desk.number(), DESK, 20, waits=True))
        assert ended.ok, ended.detail
        await picking_up
        await until(lambda: not any(isinstance(each, InboundCall | Keeping) for each in gc.get_objects()))
    finally:
        gc.enable()


async def test_caller_who_hangs_up_while_a_phone_rings_leaves_nobody_ringing(desk: Desk) -> None:
    port = await desk.sign_in("101")
    ringing = await phoned(desk, "lets-it-ring", "101", port)
    caller = Caller(desk.number(), DESK, 4)
    assert (await desk.phones.call(caller)).ok
    assert (await ringing).ok, "the phone was told to stop"
    row = await desk.row(caller.number)
    assert (row.path, row.cause) == (call.ABANDONED, "caller")
    assert await desk.offers(row) == [OfferState.WITHDRAWN]


async def test_refusal_rings_the_next_agent_and_the_caller_keeps_their_place(desk: Desk) -> None:
    first, second = await desk.sign_in("101"), await desk.sign_in("102")
    refusing = await phoned(desk, "refuses", "101", first)
    picking_up = await phoned(desk, "answers", "102", second)
    await desk.instance.db.run(lambda db: _longest_idle(db, "ana"), write=True)
    caller = Caller(desk.number(), DESK, 20, waits=True)
    assert (await desk.phones.call(caller)).ok
    assert (await refusing).ok
    assert (await picking_up).ok
    row = await desk.row(caller.number)
    assert row.path == call.ANSWERED
    assert await desk.offers(row) == [OfferState.REFUSED, OfferState.ANSWERED]


def _longest_idle(db: Session, who: str) -> None:
    """Let one agent be next: the other took a call just now."""
    other = staff.find(db, f"{'ben' if who == 'ana' else 'ana'}@cove.example")
    assert other is not None
    row = agent.get(db, other.id, now())
    row.last_ended_at = now()
    db.add(row)


async def test_phone_that_nobody_picks_up_is_passed_over(desk: Desk) -> None:
    first, second = await desk.sign_in("101"), await desk.sign_in("102")
    ringing = await phoned(desk, "lets-it-ring", "101", first)
    picking_up = await phoned(desk, "answers", "102", second)
    await desk.instance.db.run(lambda db: _longest_idle(db, "ana"), write=True)
    caller = Caller(desk.number(), DESK, 25, waits=True)
    assert (await desk.phones.call(caller)).ok
    assert (await ringing).ok
    assert (await picking_up).ok
    assert await desk.offers(await desk.row(caller.number)) == [OfferState.TIMEOUT, OfferState.ANSWERED]


async def test_nobody_there_promises_a_call_back_and_leaves_a_task(desk: Desk) -> None:
    caller = Caller(desk.number(), NURSES, 20, waits=True)
    assert (await desk.phones.call(caller)).ok
    row = await desk.row(caller.number)
    assert (row.path, row.cause) == (call.CALLBACK, "system")
    tasks = await desk.instance.db.run(
        lambda db: [one for one in task.open_tasks(db, limit=200) if one.call_id == row.id]
    )
    assert [(one.kind, one.reason) for one in tasks] == [("callback", "overflow")]


@pytest.mark.parametrize(
    ("digits", "queue_name"),
    [({1.0: "1"}, "desk"), ({1.0: "0"}, "desk"), ({1.0: "7", 2.0: "1"}, "desk"), ({}, "desk")],
    ids=["a choice", "the urgent key", "a wrong key first", "no key at all"],
)
async def test_menu_leads_to_the_queue(desk: Desk, digits: dict[float, str], queue_name: str) -> None:
    port = await desk.sign_in("101")
    picking_up = await phoned(desk, "answers", "101", port)
    caller = Caller(desk.number(), MENU, 40, digits, waits=True)
    ended = await desk.phones.call(caller)
    assert ended.ok, ended.detail
    assert (await picking_up).ok
    row = await desk.row(caller.number)
    assert (row.path, row.queue) == (call.ANSWERED, queue_name)


async def test_message_is_sealed_in_the_box_with_a_task_and_an_event(desk: Desk) -> None:
    caller = Caller(desk.number(), MENU, 4, {1.0: "9"})
    assert (await desk.phones.call(caller)).ok
    row = await desk.row(caller.number)
    assert row.path == call.VOICEMAIL
    kept = await desk.instance.db.run(lambda db: voicemail.in_boxes(db, ["desk"]))
    mine = [one for one in kept if one.call_id == row.id]
    assert [one.state.value for one in mine] == ["new"]
    assert 1.0 < mine[0].seconds < 4.0
    assert b"RIFF" not in (desk.instance.paths.media / mine[0].name).read_bytes()
    tasks = await desk.instance.db.run(
        lambda db: [one for one in task.open_tasks(db, limit=200) if one.call_id == row.id]
    )
    assert [one.kind for one in tasks] == ["voicemail"]
    types = await desk.instance.db.run(
        lambda db: Counter(e.type for e in db.exec(select(event.Event)) if e.call_id == row.id)
    )
    assert types["voicemail.received"] == 1


async def test_caller_whose_name_is_no_utf_8_waits_like_any_other(desk: Desk) -> None:
    number = desk.number()
    carrier = Endpoint([Hop("127.0.0.1", 0)], credentials=lambda _: None, trunks=lambda _: None)
    await carrier.start()
    line = Uri.parse(f"sip:{DESK}@{desk.gateway.line.practice.sip.udp}")
    latin = b"Jos\xe9".decode("utf-8", "surrogateescape")
    dialled = carrier.call(line, offer_audio(("127.0.0.1", 40_002)), from_=Address(Uri("sip", number, "c"), latin))
    assert await dialled.answered is not None
    await desk.row(number, lambda row: row.queued_at is not None)
    await carrier.close(0.5)
    row = await desk.row(number)
    assert (row.queue, row.path, row.cause) == ("desk", call.ABANDONED, "caller")
    (said,) = await desk.instance.db.run(
        lambda db: desk.instance.opener.open(db, ACCESS, [call.sealed_of(row)]), write=True
    )
    assert said["name"] == "José"


async def test_number_that_is_not_the_practices_is_not_found(desk: Desk) -> None:
    ended = await desk.phones.call(Caller(desk.number(), "+12125550999", 5))
    assert not ended.ok
    assert "404" in ended.detail


async def test_two_callers_and_one_agent_are_served_in_turn(desk: Desk) -> None:
    port = await desk.sign_in("101")
    picking_up = await phoned(desk, "answers", "101", port, calls=2)
    callers = [Caller(desk.number(), DESK, 30, waits=True) for _ in range(2)]
    first = asyncio.create_task(desk.phones.call(callers[0]))
    await desk.row(callers[0].number, lambda row: row.queued_at is not None)
    second = asyncio.create_task(desk.phones.call(callers[1]))
    assert [(await one).ok for one in (first, second)] == [True, True]
    assert (await picking_up).ok
    rows = [await desk.row(one.number) for one in callers]
    assert all(row.path == call.ANSWERED for row in rows)
    bridged = [row.bridged_at for row in rows]
    assert bridged[0] is not None
    assert bridged[1] is not None
    assert rows[0].ended_at is not None
    assert bridged[0] < rows[0].ended_at <= bridged[1]


async def test_policy_that_was_published_holds_for_the_next_call(desk: Desk) -> None:
    with desk.instance.db.read() as db:
        base, text = policy.current(db)
    changed = text.replace('did = "+12125550102"\nqueue = "nurses"', 'did = "+12125550102"\nqueue = "desk"')
    await desk.instance.db.run(lambda db: policy.publish(db, changed, base, by="system:test", now=now()), write=True)
    async with within(1):
        while desk.gateway.line.version == base:  # noqa: ASYNC110 - as the gateway itself looks
            await asyncio.sleep(0.01)
    number = desk.gateway.line.practice.find_number(NURSES)
    assert number is not None
    assert number.queue == "desk"
    back = base + 1
    await desk.instance.db.run(lambda db: policy.publish(db, text, back, by="system:test", now=now()), write=True)


async def test_dead_process_leaves_ended_calls_and_callbacks(desk: Desk) -> None:
    caller = Caller(desk.number(), DESK, 5)
    calling = asyncio.create_task(desk.phones.call(caller))
    waiting: list[Any] = []
    async with asyncio.timeout(30):
        while not waiting:
            waiting = await desk.instance.db.run(queue.waiting)
            await asyncio.sleep(0.02)
    lost = await desk.instance.db.run(lambda db: call.close_orphans(db, "media-test", now()), write=True)
    assert [str(one) for one in lost] == [one.call_id for one in waiting]
    await calling
    row = await desk.row(caller.number)
    assert (row.path, row.cause) == (call.DROPPED, "media-lost")
    tasks = await desk.instance.db.run(
        lambda db: [one for one in task.open_tasks(db, limit=200) if one.call_id == row.id]
    )
    assert [(one.kind, one.reason) for one in tasks] == [("callback", call.DROPPED)]
