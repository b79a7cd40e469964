"""Intents reach the log and then leave their database: once as a rule, twice after a crash, never not at all."""

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

import pytest
from sqlmodel import func, select

from hub.db import Database, now
from hub.security import intent
from hub.security.intent import Intent
from hub.security.lane import PoolKey
from hub.security.sealed import Sealer
from hub.vault import keys
from hub.vault.client import Access, VaultUnavailableError
from hub.vault.drain import READY
from hub.vault.home import Home
from tests.hub.vault.house import NURSE, PATIENT, database, group_in, logged, running, until


def noted(opened: Database, count: int = 1) -> list[UUID]:
    """Write `count` intents in one transaction."""
    with opened.write() as db:
        return [intent.note(db, "system:feeds", "appointment.write", detail={"n": n}) for n in range(count)]


def left(opened: Database) -> int:
    with opened.read() as db:
        return int(db.exec(select(func.count()).select_from(Intent)).one())


def carried(home: Home) -> list[str]:
    """Ids of the intents in the log, in order."""
    return [record["intent"] for record in logged(home) if "intent" in record]


@contextmanager
def busy(opened: Database) -> Iterator[None]:
    """Hold a database's write turn, as a writer does for the length of its transaction."""
    ticket = os.open(opened.path.with_name(opened.path.name + ".ticket"), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(ticket, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(ticket)


@pytest.fixture(params=["db", "inbox"])
def opened(request: pytest.FixtureRequest, home: Home) -> Iterator[Database]:
    opened = database(home, request.param)
    yield opened
    opened.close()


@pytest.fixture
def record(home: Home) -> Iterator[Database]:
    opened = database(home)
    yield opened
    opened.close()


def test_intents_of_both_databases_are_carried_in_order(home: Home, opened: Database) -> None:
    ids = noted(opened, 3)
    with running(home) as process:
        process.vault.settle()
        ids += noted(opened, 2)
        process.vault.settle()
        assert carried(home) == [row.hex for row in ids]
        assert left(opened) == 0


def test_record_says_what_the_intent_says(home: Home, record: Database) -> None:
    who = Access("staff-7", "nurse", "emergency", session="call-1", reason="unconscious")
    subject, row = uuid4(), uuid4()
    with record.write() as db:
        noted_id = intent.note(db, who, "chart.read", [(b"k" * 16, subject, [(PATIENT, row)])], {"stage": "full"})
        at = db.get(Intent, noted_id)
        assert at is not None
        when = int(at.at.timestamp() * 1e6)
    with running(home) as process:
        process.vault.settle()
    said = next(record for record in logged(home) if "intent" in record)
    assert said["intent"] == noted_id.hex
    assert (said["act"], said["at"], said["detail"]) == ("chart.read", when, {"stage": "full"})
    assert (said["actor"], said["role"], said["purpose"]) == ("staff-7", "nurse", "emergency")
    assert (said["session"], said["reason"]) == ("call-1", "unconscious")
    assert said["obj"] == [[(b"k" * 16).hex(), subject.hex, "0001" + row.hex]]


def test_intents_are_carried_without_being_asked_for(home: Home, record: Database) -> None:
    with running(home):
        noted(record, 3)
        until(lambda: left(record) == 0)
    assert len(carried(home)) == 3


def test_more_than_a_batch_is_carried(home: Home, record: Database) -> None:
    ids = noted(record, 450)
    with running(home) as process:
        process.vault.settle()
    assert carried(home) == [row.hex for row in ids]


def test_rolled_back_intent_leaves_no_trace(home: Home, record: Database) -> None:
    with running(home) as process:
        with record.write() as db:
            intent.note(db, "system:feeds", "appointment.write")
            db.rollback()
        process.vault.settle()
    assert carried(home) == []


def test_crash_between_log_and_delete_writes_the_same_intent_twice(home: Home, record: Database) -> None:
    ids = noted(record, 2)
    with running(home) as process:
        with busy(record):  # the courier has written the records, and waits for its turn to delete the rows
            until(lambda: len(carried(home)) == 2)
            process.kill()
            assert left(record) == 2
        process.start()
        process.vault.settle()
    assert left(record) == 0
    assert carried(home) == [row.hex for row in ids] * 2


def test_vault_answers_while_a_database_is_busy(home: Home, record: Database) -> None:
    group = group_in(home)
    noted(record)
    with busy(record), running(home) as process:
        until(lambda: len(carried(home)) == 1)  # and now the courier waits for its turn
        assert process.vault.unwrap(NURSE, [group])[0][0]
        with pytest.raises(VaultUnavailableError):
            process.vault.settle(timeout=0.2)


def test_databases_may_come_later(home: Home) -> None:
    with running(home) as process:
        process.vault.settle()
        later = database(home)
        noted(later)
        process.vault.settle()
        assert len(carried(home)) == 1
        later.close()


def test_file_that_is_no_database_keeps_nobody_waiting(home: Home) -> None:
    group = group_in(home)
    home.db.write_bytes(os.urandom(8192))
    inbox = database(home, "inbox")
    noted(inbox)
    with running(home) as process:
        until(lambda: left(inbox) == 0)
        assert process.vault.unwrap(NURSE, [group])[0][0]
    inbox.close()


def test_intent_that_cannot_be_read_is_stepped_over_and_kept(home: Home, record: Database) -> None:
    with record.write() as db:
        good = intent.note(db, "system:feeds", "appointment.write")
        bad = db.get(Intent, intent.note(db, "system:feeds", "appointment.write"))
        assert bad is not None
        bad.body = b"\xc1"
        forged = db.get(Intent, intent.note(db, "system:feeds", "appointment.write"))
        assert forged is not None
        forged.body = forged.body.replace(b"appointment.write", b"appointment Write")
        last = intent.note(db, "system:feeds", "appointment.write")
    with running(home) as process:
        process.vault.settle()
        assert process.vault.health()["drain"] == "up"
    assert carried(home)[0] == good.hex
    assert carried(home)[-1] == last.hex
    assert left(record) == 2


def test_courier_that_dies_is_replaced(home: Home, record: Database) -> None:
    with running(home) as process:
        os.kill(process.courier(), signal.SIGKILL)
        noted(record)
        until(lambda: left(record) == 0)


def ready(opened: Database) -> int:
    with opened.read() as db:
        return int(db.exec(select(func.count()).select_from(PoolKey)).one())


def test_pool_is_stocked_before_the_vault_says_it_is_settled(home: Home, opened: Database) -> None:
    with running(home) as process:
        process.vault.settle()
        assert ready(opened) >= READY


def test_pool_is_topped_up_with_keys_that_can_be_used(home: Home, record: Database) -> None:
    sealer = Sealer(keys.load(home).service_keys("hub"), "test", now)
    with running(home) as process:
        process.vault.settle()
        with record.write() as db:
            for _ in range(100):
                sealer.new_subject(db, uuid4())  # checks the signature of each
        until(lambda: ready(record) > READY + 100)
