"""The encrypted database: what the file shows, who may write, what survives."""

import multiprocessing
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from uuid import RFC_4122, UUID

import pytest
from sqlalchemy import text
from sqlmodel import Field, MetaData, Session, SQLModel, select

from hub.db import Database, Instant, now, uuid7


class Base(SQLModel):
    metadata = MetaData()


class Note(Base, table=True):
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    at: datetime = Field(sa_type=Instant)
    words: str


KEY = bytes(range(32))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "notes.db", KEY)
    with database.write() as db:
        Base.metadata.create_all(db.connection())
    yield database
    database.close()


def add(database: Database, words: str) -> None:
    with database.write() as db:
        db.add(Note(at=now(), words=words))


def test_file_shows_neither_words_nor_schema(database: Database) -> None:
    add(database, "wanderlust")
    found = b"".join(path.read_bytes() for path in database.path.parent.iterdir())
    assert b"wanderlust" not in found
    assert b"CREATE TABLE" not in found
    assert b"SQLite format 3" not in found


def test_other_key_opens_nothing(database: Database) -> None:
    add(database, "wanderlust")
    other = Database(database.path, secrets.token_bytes(32))
    with pytest.raises(Exception, match="not a database"), other.read() as db:
        db.execute(text("SELECT 1 FROM note"))
    other.close()


def test_instant_keeps_the_moment_and_refuses_a_naive_one(database: Database) -> None:
    lisbon = timezone(timedelta(hours=1))
    with database.write() as db:
        db.add(Note(at=datetime(2026, 7, 1, 9, 30, tzinfo=lisbon), words="a"))
    with database.read() as db:
        assert db.exec(select(Note.at)).one() == datetime(2026, 7, 1, 8, 30, tzinfo=UTC)
    with pytest.raises(Exception, match="time zone"), database.write() as db:
        db.add(Note(at=datetime(2026, 7, 1, 9, 30), words="b"))  # noqa: DTZ001 - the fault under test


def test_exception_rolls_everything_back(database: Database) -> None:
    def fail(db: Session) -> None:
        db.add(Note(at=now(), words="lost"))
        db.flush()
        raise LookupError

    with pytest.raises(LookupError), database.write() as db:
        fail(db)
    with database.read() as db:
        assert db.exec(select(Note)).all() == []


def test_reader_keeps_its_snapshot_while_a_writer_commits(database: Database) -> None:
    with database.read() as db:
        assert db.exec(select(Note)).all() == []
        add(database, "later")
        assert db.exec(select(Note)).all() == []
    with database.read() as db:
        assert len(db.exec(select(Note)).all()) == 1


def test_reader_cannot_leave_anything_behind(database: Database) -> None:
    with database.read() as db:
        db.add(Note(at=now(), words="never"))
        db.flush()
    with database.read() as db:
        assert db.exec(select(Note)).all() == []


def test_version_changes_when_somebody_else_committed(database: Database) -> None:
    before = database.version()
    assert database.version() == before
    add(database, "news")
    assert database.version() != before


async def test_run_returns_what_the_function_returns(database: Database) -> None:
    def count(db: Session) -> int:
        return len(db.exec(select(Note)).all())

    add(database, "one")
    assert await database.run(count) == 1
    assert await database.run(count, write=True) == 1


async def test_rows_are_as_the_file_holds_them_and_as_fresh_as_the_last_commit(database: Database) -> None:
    query = "SELECT id, words FROM note WHERE words = ?"
    assert await database.rows(query, "one") == []
    add(database, "one")
    ((own, words),) = await database.rows(query, "one")
    with database.read() as db:
        assert (UUID(hex=own), words) == (db.exec(select(Note.id)).one(), "one")
    with pytest.raises(Exception, match="no such table"):
        await database.rows("SELECT 1 FROM nowhere")
    assert len(await database.rows(query, "one")) == 1


def test_ids_sort_by_their_time_of_making() -> None:
    ids = [uuid7() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert ids == sorted(ids)
    assert {i.version for i in ids} == {7}
    assert {i.variant for i in ids} == {RFC_4122}


def _write_many(path: str, count: int) -> None:
    database = Database(Path(path), KEY)
    for _ in range(count):
        add(database, "turn")
    database.close()


def test_writers_of_several_processes_all_get_their_turn(database: Database) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_write_many, args=(str(database.path), 40)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    with database.read() as db:
        assert len(db.exec(select(Note)).all()) == 120
