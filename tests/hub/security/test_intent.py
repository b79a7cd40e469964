"""Audit intents: in the same transaction as what they stand for, with ids and codes only."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from sqlalchemy import MetaData
from sqlmodel import Session, SQLModel, col, select

from hub.db import Database
from hub.security import intent, lane
from hub.security.intent import Intent
from hub.security.lane import NoSubjectError, Subject
from hub.security.sealed import Table
from hub.vault import wire
from hub.vault.client import Access

NURSE = Access("staff-7", "nurse", "treatment", session="call-1", reason="unconscious")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "chartline.db", bytes(32))
    metadata = MetaData()
    lane.declare(metadata)
    intent.declare(metadata)
    metadata.create_all(opened.engine)
    yield opened
    opened.close()


@pytest.fixture
def db(opened: Database) -> Iterator[Session]:
    with opened.write() as session:
        yield session


def body_of(db: Session, row: object) -> wire.Intent:
    found = db.exec(select(Intent).where(col(Intent.id) == row)).one()
    return msgspec.msgpack.decode(found.body, type=wire.Intent)


def test_note_says_who_what_and_why(db: Session) -> None:
    at, subject, row = datetime(2026, 3, 2, 15, tzinfo=UTC), uuid4(), uuid4()
    made = intent.note(db, NURSE, "pop.read", [(b"k" * 16, subject, [(Table.PATIENT, row)])], {"stage": "full"}, at=at)
    assert body_of(db, made) == wire.Intent(
        actor="staff-7",
        role="nurse",
        purpose="treatment",
        session="call-1",
        reason="unconscious",
        act="pop.read",
        subjects=[(b"k" * 16, subject.bytes, [b"\x00\x01" + row.bytes])],
        detail={"stage": "full"},
        at=int(at.timestamp()) * 1_000_000,
    )


def test_process_may_note_by_its_name(db: Session) -> None:
    body = body_of(db, intent.note(db, "system:feeds", "feed.store"))
    assert (body.actor, body.role, body.purpose, body.subjects) == ("system:feeds", "system", "operations", [])


def test_key_id_is_looked_up_where_the_caller_has_none(db: Session) -> None:
    subject = uuid4()
    at = datetime(2026, 3, 2, tzinfo=UTC)
    db.add(Subject(subject=subject, kid=b"k" * 16, public=b"", signature=b"", created_at=at))
    db.flush()
    made = intent.note(db, NURSE, "patient.write", [(b"", subject, [])])
    assert body_of(db, made).subjects == [(b"k" * 16, subject.bytes, [])]
    with pytest.raises(NoSubjectError):
        intent.note(db, NURSE, "patient.write", [(b"", uuid4(), [])])


def test_note_shares_the_fate_of_its_transaction(opened: Database) -> None:
    with opened.write() as db:
        intent.note(db, NURSE, "patient.write")
        db.rollback()
    with opened.write() as db:
        kept = intent.note(db, NURSE, "patient.write")
    with opened.read() as db:
        assert [row.id for row in db.exec(select(Intent))] == [kept]


def test_notes_are_in_the_order_they_were_made(db: Session) -> None:
    made = [intent.note(db, NURSE, "patient.write") for _ in range(5)]
    rows = list(db.exec(select(Intent).order_by(col(Intent.at))))
    assert {row.id for row in rows} == set(made)
    assert all(row.id.version == 7 for row in rows)


@pytest.mark.parametrize("detail", [{"who": "Robin Example"}, {"phone": "+12125550123"}, {"text": "a" * 200}])
def test_note_with_more_than_ids_and_codes_is_refused(db: Session, detail: dict[str, str | int]) -> None:
    with pytest.raises(ValueError, match="no id or code"):
        intent.note(db, NURSE, "patient.write", detail=detail)


@pytest.mark.parametrize("subjects", [101, 1])
def test_note_of_too_many_is_refused(db: Session, subjects: int) -> None:
    rows = [(Table.CALL, uuid4())] * (1 if subjects > 1 else 501)
    with pytest.raises(ValueError, match="too many"):
        intent.note(db, NURSE, "patient.write", [(b"k" * 16, uuid4(), rows)] * subjects)


LONG = [Access("a" * 129, "r", "p"), Access("a", "r", "p", "s" * 129), Access("a", "r", "p", "", "w" * 501)]


@pytest.mark.parametrize("who", LONG)
def test_note_that_the_log_would_refuse_is_refused_here(db: Session, who: Access) -> None:
    with pytest.raises(ValueError, match="too long"):
        intent.note(db, who, "patient.write")


def test_table_stands_in_both_databases() -> None:
    assert "intent" in SQLModel.metadata.tables
    metadata = MetaData()
    intent.declare(metadata)
    assert set(metadata.tables) == {"intent"}
