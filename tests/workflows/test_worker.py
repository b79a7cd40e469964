"""The worker process and the embedded server as they really run, killed and started again."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from connectors.api import ReplyFacts
from connectors.sandbox.carrier import Carrier
from connectors.sandbox.people import morning
from hub import embedded
from hub.db import now, uuid7
from hub.demo.ports import free_port
from hub.record import call, inbox
from hub.record.appointment import Appointment
from hub.record.call import Call
from hub.record.message import Message
from hub.record.patient import Patient
from hub.record.reminder import Reminder
from hub.record.task import Task
from hub.rules.matching import Match
from hub.rules.routing import Plan
from hub.temporal import CallStart, PlanUnavailableError, call_ended, connect, plan_call, wake_feed
from tests.workflows.clinic import PHONE, Clinic
from workflows.worker import serve

pytestmark = pytest.mark.xdist_group("worker")

GIVEN = "Aldithwick"
"Long: three letters come about by chance in a megabyte that is encrypted, once in sixteen times."

PATIENCE_S = 60.0

SOON_S = 8.0
"Until a reminder falls due: what is read later than that was booked too late for it."


@contextmanager
def process(*command: str, log: str = os.devnull) -> Iterator["subprocess.Popen[bytes]"]:
    with open(log, "ab") as out, subprocess.Popen(command, stdout=out, stderr=out) as started:
        try:
            yield started
        finally:
            started.kill()


def worker_of(clinic: Clinic) -> "subprocess.Popen[bytes]":
    paths = clinic.instance.paths
    with open(paths.log / "worker.log", "ab") as out:
        return subprocess.Popen([sys.executable, "-m", "workflows", "--dir", str(paths.root)], stdout=out, stderr=out)


async def until(so: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    """Look at rows that other processes write until they are so."""
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(so):  # noqa: ASYNC110 - other processes set no event of ours
            await asyncio.sleep(0.02)


def is_ready(clinic: Clinic, worker: "subprocess.Popen[bytes]") -> Callable[[], bool]:
    told = clinic.instance.paths.run / "worker.ready"
    return lambda: told.exists() and told.read_text() == f"{worker.pid}\n"


@pytest.fixture
async def server(clinic: Clinic) -> AsyncIterator[Client]:
    """The embedded server, and the clinic at the present time where it is mid-morning."""
    clinic.now = now()
    clinic.amend('timezone = "America/New_York"\nlanguages', f'timezone = "{morning(clinic.now).key}"\nlanguages')
    paths = clinic.instance.paths
    with process(*embedded.command(paths), log=str(paths.log / "temporal.log")):
        await embedded.until_ready(paths, seconds=PATIENCE_S)
        yield await connect(paths, clinic.instance.keys, {})


@pytest.fixture
async def worker(clinic: Clinic, server: Client) -> AsyncIterator["subprocess.Popen[bytes]"]:
    assert server.namespace == "default"
    started = worker_of(clinic)
    try:
        await until(is_ready(clinic, started))
        yield started
    finally:
        started.kill()
        started.wait()


def soon(clinic: Clinic) -> None:
    """Book a visit whose reminder two hours before falls due in a moment."""
    person = clinic.person(given=GIVEN, state=None, postal_code=None)
    starts_at = now() + timedelta(hours=2, seconds=SOON_S)
    clinic.tell("adt", clinic.visit(person, starts_at=starts_at))


def sent(carrier: Carrier) -> list[str]:
    return [text.text for text in carrier.texts if not text.inbound]


async def test_a_morning_from_the_feed_to_the_confirmation(
    clinic: Clinic, server: Client, worker: "subprocess.Popen[bytes]", carrier: Carrier
) -> None:
    soon(clinic)
    await wake_feed(server, "adt")
    await until(lambda: [row.state for row in clinic.rows(Reminder)] == ["sent"])
    clinic.now = now()
    reply = ReplyFacts(external_id="mo-1", at=clinic.now, sender=PHONE, to="+12125550100", body="C")
    clinic.tell("sms", reply)
    await wake_feed(server, "sms")
    await until(lambda: clinic.rows(Appointment)[0].confirmed_at is not None)
    assert len(sent(carrier)) == 1

    owner = clinic.rows(Patient)[0].id
    start, plan = await planned(server, owner)
    assert (plan.rule, plan.queue) == ("within-a-day", "appointments")
    write_call(clinic, UUID(start.call_id), owner)
    await call_ended(server, start.call_id)
    await until(lambda: (clinic.instance.paths.root / "temporal.db").exists())

    worker.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait, PATIENCE_S) == 0
    leaks = [
        (path.name, word)
        for path in clinic.instance.paths.root.rglob("*")
        if path.is_file()
        for word in (b"Sample", GIVEN.encode(), PHONE.encode(), PHONE[2:].encode(), b"1980-02-03", b"Checkup")
        if word in path.read_bytes()
    ]
    assert leaks == []


async def planned(server: Client, owner: UUID) -> tuple[CallStart, Plan]:
    """Call until a plan comes in time: a worker on a busy machine may get no answer from the vault so soon."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            start = CallStart(str(uuid7()), "+12125550100", "one", (str(owner),))
            try:
                return start, await plan_call(server, start, deadline=5)
            except PlanUnavailableError:
                await asyncio.sleep(0.2)


def write_call(clinic: Clinic, call_id: UUID, owner: UUID) -> None:
    instance = clinic.instance
    with instance.db.write() as db:
        call.ring(
            db,
            call_id,
            did="+12125550100",
            trunk="line",
            host="media-1",
            number=PHONE,
            name=f"{GIVEN} Sample",
            match=Match("one", (owner,)),
            seal=instance.sealer,
            index=instance.index,
            now=now(),
        )
        call.ended(db, call_id, "caller", now(), path=call.ANSWERED)


async def test_a_worker_killed_while_it_sends_sends_nothing_twice(
    clinic: Clinic, server: Client, worker: "subprocess.Popen[bytes]", carrier: Carrier
) -> None:
    carrier.faults.append("slow")
    carrier.slow_seconds = 12  # longer than it takes to kill who waits for it; who comes after waits as long
    soon(clinic)
    await wake_feed(server, "adt")
    await until(lambda: len(sent(carrier)) == 1)
    worker.kill()
    worker.wait()
    assert [row.state for row in clinic.rows(Reminder)] == ["sending"]
    heir = worker_of(clinic)
    try:
        await until(lambda: [row.state for row in clinic.rows(Reminder)] == ["unknown"])
        assert [(row.kind, row.reason) for row in clinic.rows(Task)] == [("outcome", "crashed")]
        assert len(sent(carrier)) == 1
        assert [row.status for row in clinic.rows(Message)] == ["unknown"]
    finally:
        heir.kill()
        heir.wait()


async def test_a_worker_killed_again_and_again_loses_nothing_of_a_feed(clinic: Clinic, server: Client) -> None:
    visits = [clinic.visit(clinic.person()) for _ in range(40)]
    for start in (0, 20):
        clinic.tell("adt", *visits[start : start + 20])
        worker = worker_of(clinic)
        await wake_feed(server, "adt")
        await until(lambda: len(clinic.rows(Appointment)) > start)  # noqa: B023 - used at once
        worker.kill()
        worker.wait()
    last = worker_of(clinic)
    try:
        await until(lambda: counts(clinic) == {"stored": 0, "applied": 40, "quarantined": 0})
        assert len(clinic.rows(Appointment)) == 40
        await until(lambda: len(clinic.rows(Reminder)) == 40)
    finally:
        last.kill()
        last.wait()


def counts(clinic: Clinic) -> dict[str, int]:
    with clinic.instance.inbox.read() as db:
        return inbox.counts(db, "adt")


async def test_a_worker_waits_for_temporal_and_says_so(clinic: Clinic) -> None:
    paths = clinic.instance.paths
    worker = worker_of(clinic)
    try:
        await until(lambda: b"waiting for Temporal" in (paths.log / "worker.log").read_bytes())
        with process(*embedded.command(paths)):
            await until(is_ready(clinic, worker))
    finally:
        worker.kill()
        worker.wait()


async def test_a_worker_outlives_the_server(clinic: Clinic, server: Client, worker: "subprocess.Popen[bytes]") -> None:
    paths = clinic.instance.paths
    before = (paths.run / "temporal.lock").read_text()
    with process(*embedded.command(paths)):  # it ends the first and takes its place
        await until(lambda: (paths.run / "temporal.lock").read_text() not in {"", before})
        await embedded.until_ready(paths, seconds=PATIENCE_S)
        clinic.tell("adt", clinic.visit(clinic.person()))
        await wake_feed(server, "adt")
        await until(lambda: counts(clinic)["applied"] == 1)
    assert worker.poll() is None
    assert clinic.rows(Call) == []


async def test_a_worker_that_connects_while_the_server_moves_ends_to_find_it(
    clinic: Clinic, env: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = embedded.address_file(clinic.instance.paths)
    told.write_text(env.client.service_client.config.target_host)

    async def moving(*how: Any) -> Client:
        client = await connect(*how)
        told.write_text(f"127.0.0.1:{free_port()}")
        return client

    monkeypatch.setattr("workflows.worker.connect", moving)
    stop = asyncio.Event()
    async with asyncio.timeout(PATIENCE_S):
        await serve(clinic.instance, {}, stop, ready=asyncio.Event())
    assert stop.is_set()
