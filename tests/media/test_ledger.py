"""The ledger: order, one commit for many, and nothing noted is lost."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from uuid import UUID

import pytest
from sqlmodel import Field, MetaData, Session, SQLModel, select

from hub.db import Database, Instant, now, uuid7
from media.ledger import Ledger


class Base(SQLModel):
    metadata = MetaData()


class Step(Base, table=True):
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    at: datetime = Field(sa_type=Instant)
    word: str


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "steps.db", bytes(32))
    with database.write() as db:
        Base.metadata.create_all(db.connection())
    yield database
    database.close()


@pytest.fixture
def ledger(database: Database) -> Iterator[Ledger]:
    ledger = Ledger(database)
    yield ledger
    ledger.close()


def add(word: str) -> Callable[[Session], str]:
    """Return a change that adds one row."""

    def change(db: Session) -> str:
        db.add(Step(at=now(), word=word))
        db.flush()
        return word

    return change


def refuse(db: Session) -> None:
    db.add(Step(at=now(), word="never"))
    db.flush()
    raise LookupError


def words(database: Database) -> list[str]:
    with database.read() as db:
        return [step.word for step in db.exec(select(Step).order_by(Step.id))]  # type: ignore[arg-type]


async def test_answer_comes_once_it_is_committed(database: Database, ledger: Ledger) -> None:
    assert await ledger.do(add("one")) == "one"
    assert words(database) == ["one"]


async def test_changes_are_written_in_the_order_they_came(database: Database, ledger: Ledger) -> None:
    for number in range(200):
        ledger.note(add(f"{number:03}"))
    await ledger.do(add("last"))
    assert words(database) == [f"{number:03}" for number in range(200)] + ["last"]


async def test_faulty_change_spoils_no_other_and_its_caller_hears(database: Database, ledger: Ledger) -> None:
    ledger.note(add("before"))
    ledger.note(refuse)
    with pytest.raises(LookupError):
        await ledger.do(refuse)
    await ledger.do(add("after"))
    assert words(database) == ["before", "after"]


async def test_what_was_noted_while_the_file_is_locked_is_written_afterwards(
    database: Database, ledger: Ledger
) -> None:
    locked, release = threading.Event(), threading.Event()

    def hold() -> None:
        with database.write():
            locked.set()
            release.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    locked.wait(20)
    ledger.note(add("patient"))
    release.set()
    holder.join()
    await ledger.do(add("next"))
    assert words(database) == ["patient", "next"]


async def test_what_was_noted_before_the_tables_exist_is_tried_again(tmp_path: Path) -> None:
    late = Database(tmp_path / "late.db", bytes(32))
    ledger = Ledger(late)
    ledger.note(add("early"))
    with pytest.raises(Exception, match="no such table"):
        await ledger.do(add("told"))
    with late.write() as db:
        Base.metadata.create_all(db.connection())
    await ledger.do(add("now"))
    await asyncio.to_thread(ledger.close)
    assert words(late) == ["early", "now"]
    late.close()


async def test_caller_who_is_cancelled_does_not_call_the_change_back(database: Database, ledger: Ledger) -> None:
    locked, release = threading.Event(), threading.Event()

    def hold() -> None:
        with database.write():
            locked.set()
            release.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    locked.wait(20)
    asked = asyncio.create_task(ledger.do(add("asked")))
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    release.set()
    holder.join()
    await ledger.do(add("next"))
    assert words(database) == ["asked", "next"]


async def test_close_writes_what_is_left(database: Database) -> None:
    ledger = Ledger(database)
    for number in range(100):
        ledger.note(add(f"{number:03}"))
    await asyncio.to_thread(ledger.close)
    assert len(words(database)) == 100


async def test_what_nobody_waits_for_goes_with_what_somebody_waits_for(
    database: Database, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("media.ledger.GATHER_S", 3600.0)
    quiet = [ledger.note(add("one")), ledger.note(add("two"))]
    assert await ledger.do(add("three")) == "three"
    assert all(each.done() for each in quiet)
    quiet.append(ledger.note(add("four")))
    ledger.note(add("five"), soon=True)
    assert await asyncio.wrap_future(quiet[-1]) == "four"
    assert words(database)[:4] == ["one", "two", "three", "four"]
