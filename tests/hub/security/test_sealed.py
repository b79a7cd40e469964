"""Sealing and opening rows: what was sealed comes back, to those on record only, and only where it was sealed."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import func, select

from hub.db import Database
from hub.security import lane
from hub.security.lane import Lane, NoSubjectError, PoolEmptyError, PoolKey, PoolKeyError, Subject
from hub.security.sealed import (
    LANE_RECORDS,
    KeyGoneError,
    Opener,
    SealBrokenError,
    Sealed,
    Sealer,
    Table,
    line_subject,
)
from hub.vault.client import Access, VaultUnavailableError
from tests.hub.vault.house import NURSE, Threaded, database, logged, made, threaded

NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
FIELDS = {"family": "Example", "given": "Robin", "phones": ["+12125550123"]}
POOL = 120


def stocked(one: Threaded, count: int) -> None:
    """Make the database of the instance, with `count` keys in its pool."""
    opened = database(one.home)
    with opened.write() as db:
        db.add_all(PoolKey(kid=kid, public=public, signature=sign) for kid, public, sign in one.ring.mint(count))
    opened.close()


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Threaded]:
    with threaded(made(tmp_path_factory.mktemp("vault"))) as server:
        stocked(server, POOL)
        yield server


class Room:
    """A database of its own, a writer and a reader."""

    def __init__(self, one: Threaded, path: Path) -> None:
        shutil.copy(one.home.db, path)
        self.keys = one.root.service_keys("hub")
        self.vault = one.vault
        self.database = Database(path, self.keys.database)
        self.sealer = self.new_sealer()
        self.opener = Opener(one.vault, self.keys)

    def new_sealer(self) -> Sealer:
        return Sealer(self.keys, "test", lambda: NOW)

    def subject(self) -> UUID:
        subject = uuid4()
        with self.database.write() as db:
            self.sealer.new_subject(db, subject)
        return subject

    def sealed(self, subject: UUID, table: Table = Table.PATIENT, fields: dict[str, object] | None = None) -> Sealed:
        row = uuid4()
        with self.database.write() as db:
            blob = self.sealer.seal(db, subject, table, row, FIELDS if fields is None else fields)
        return Sealed(table, row, blob)

    def opened(self, *rows: Sealed) -> list[dict[str, object]]:
        with self.database.read() as db:
            return self.opener.open(db, NURSE, rows)

    def lanes(self) -> int:
        with self.database.read() as db:
            return int(db.exec(select(func.count()).select_from(Lane)).one())


@pytest.fixture
def room(one: Threaded, tmp_path: Path) -> Iterator[Room]:
    room = Room(one, tmp_path / "chartline.db")
    yield room
    room.database.close()


def test_row_comes_back_as_it_was_sealed(room: Room) -> None:
    assert room.opened(room.sealed(room.subject())) == [FIELDS]


def test_blob_has_the_documented_layout(room: Room) -> None:
    subject = room.subject()
    row = room.sealed(subject)
    with room.database.read() as db:
        written = db.exec(select(Lane)).one()
    assert row.blob[0] == 1
    assert row.blob[1:17] == written.id
    assert (len(row.blob) - 45) % 64 == 0
    assert len(written.blob) == 80
    assert (written.subject, written.writer, written.created_at) == (subject, "test", NOW)
    assert written.kid[0] == 1


VALUES = st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text(max_size=200) | st.binary()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=5))
def test_any_fields_come_back(room: Room, fields: dict[str, object]) -> None:
    subject = line_subject("adt", NOW.date())
    with room.database.write() as db:
        room.sealer.new_subject(db, subject)
    row = room.sealed(subject, fields=fields)
    assert room.opened(row) == [fields]
    assert (len(row.blob) - 45) % 64 == 0


def test_dates_and_ids_come_back_as_text(room: Room) -> None:
    row, at = uuid4(), NOW + timedelta(microseconds=5)
    fields = {"born": date(1970, 1, 2), "of": row, "table": Table.CALL, "at": at}
    assert room.opened(room.sealed(room.subject(), fields=fields)) == [
        {"born": "1970-01-02", "of": str(row), "table": 3, "at": at}
    ]


def test_many_rows_come_back_in_order_by_one_record(room: Room, one: Threaded) -> None:
    subjects = [room.subject() for _ in range(3)]
    rows = [room.sealed(subjects[n % 3], fields={"n": n}) for n in range(60)]
    before = one.log.size
    assert room.opened(*rows) == [{"n": n} for n in range(60)]
    assert one.log.size == before + 1
    record = logged(one.home)[-1]
    assert sorted(UUID(subject) for _, subject, _ in record["obj"]) == sorted(subjects)
    assert sum(len(objects) // 36 for _, _, objects in record["obj"]) == 60


def test_more_rows_than_one_request_may_name_are_split(room: Room, one: Threaded) -> None:
    subject = room.subject()
    with room.database.write() as db:
        ids = [uuid4() for _ in range(1200)]
        rows = [
            Sealed(Table.CALL, row, room.sealer.seal(db, subject, Table.CALL, row, {"n": n}))
            for n, row in enumerate(ids)
        ]
    before = one.log.size
    assert room.opened(*rows) == [{"n": n} for n in range(1200)]
    assert one.log.size == before + 3


def test_nothing_asked_for_is_nothing_on_record(room: Room, one: Threaded) -> None:
    before = one.log.size
    assert room.opened() == []
    assert one.log.size == before


def test_same_row_twice_is_opened_twice(room: Room) -> None:
    row = room.sealed(room.subject())
    assert room.opened(row, row) == [FIELDS, FIELDS]


def test_row_is_padded_so_that_its_length_tells_little(room: Room) -> None:
    subject = room.subject()
    lengths = {len(room.sealed(subject, fields={"family": "x" * n}).blob) for n in range(40)}
    assert len(lengths) == 1


def test_update_uses_another_nonce(room: Room) -> None:
    subject, row = room.subject(), uuid4()
    with room.database.write() as db:
        first = room.sealer.seal(db, subject, Table.PATIENT, row, FIELDS)
        second = room.sealer.seal(db, subject, Table.PATIENT, row, FIELDS)
    assert first[:17] == second[:17]
    assert first[17:29] != second[17:29]
    assert first[29:] != second[29:]


def other_row(row: Sealed) -> Sealed:
    return Sealed(row.table, uuid4(), row.blob)


def other_table(row: Sealed) -> Sealed:
    return Sealed(Table.APPOINTMENT, row.id, row.blob)


def flipped(row: Sealed) -> Sealed:
    return Sealed(row.table, row.id, row.blob[:-20] + bytes([row.blob[-20] ^ 1]) + row.blob[-19:])


def cut(row: Sealed) -> Sealed:
    return Sealed(row.table, row.id, row.blob[:-1])


def empty(row: Sealed) -> Sealed:
    return Sealed(row.table, row.id, b"")


def other_version(row: Sealed) -> Sealed:
    return Sealed(row.table, row.id, b"\x02" + row.blob[1:])


def unknown_lane(row: Sealed) -> Sealed:
    return Sealed(row.table, row.id, row.blob[:1] + bytes(16) + row.blob[17:])


def nonce_only(row: Sealed) -> Sealed:
    return Sealed(row.table, row.id, row.blob[:20])


@pytest.mark.parametrize("harm", [other_row, other_table, flipped, cut, empty, other_version, unknown_lane, nonce_only])
def test_row_that_is_not_what_was_sealed_there_is_found(room: Room, harm: Callable[[Sealed], Sealed]) -> None:
    row = room.sealed(room.subject())
    with pytest.raises(SealBrokenError) as caught:
        room.opened(harm(row))
    assert "Example" not in str(caught.value)


def test_rows_of_two_subjects_cannot_be_swapped(room: Room) -> None:
    first, second = room.sealed(room.subject()), room.sealed(room.subject())
    with pytest.raises(SealBrokenError):
        room.opened(Sealed(first.table, first.id, second.blob))


def test_row_of_another_practice_does_not_open(room: Room) -> None:
    row = room.sealed(room.subject())
    elsewhere = Opener(room.vault, replace(room.keys, tenant=uuid4().bytes))
    with room.database.read() as db, pytest.raises(SealBrokenError):
        elsewhere.open(db, NURSE, [row])


def test_lane_row_moved_to_another_subject_does_not_open(room: Room) -> None:
    row, other = room.sealed(room.subject()), room.subject()
    with room.database.write() as db:
        written = db.exec(select(Lane).where(Lane.id == row.blob[1:17])).one()
        written.subject = other
    with pytest.raises(KeyGoneError):
        room.opened(row)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Room]:
    """A room with a vault of its own, for what others would feel."""
    with threaded(made(tmp_path / "own")) as server:
        stocked(server, 2)
        room = Room(server, tmp_path / "chartline.db")
        yield room
        room.database.close()


def test_shredded_subject_is_gone(own: Room) -> None:
    subject, other = own.subject(), own.subject()
    row, kept = own.sealed(subject), own.sealed(other)
    with own.database.read() as db:
        kid = lane.kid_of(db, subject)
    own.vault.shred(Access("staff-1", "privacy-officer", "operations", reason="request 17"), kid, subject)
    with pytest.raises(KeyGoneError) as caught:
        own.opened(row)
    assert (caught.value.code, caught.value.status) == ("key-gone", 410)
    assert own.opened(kept) == [FIELDS]


def test_without_the_vault_rows_are_sealed_and_none_is_opened(tmp_path: Path) -> None:
    with threaded(made(tmp_path / "own")) as server:
        stocked(server, 2)
        room = Room(server, tmp_path / "chartline.db")
    row = room.sealed(room.subject())
    with pytest.raises(VaultUnavailableError):
        room.opened(row)
    room.database.close()


def test_subject_takes_one_key_of_the_pool_and_keeps_it(room: Room) -> None:
    def pool() -> int:
        with room.database.read() as db:
            return int(db.exec(select(func.count()).select_from(PoolKey)).one())

    before, subject = pool(), room.subject()
    with room.database.write() as db:
        kid = lane.kid_of(db, subject)
        room.sealer.new_subject(db, subject)
        assert lane.kid_of(db, subject) == kid
    assert pool() == before - 1


def test_two_subjects_never_share_a_key(room: Room) -> None:
    with room.database.write() as db:
        subjects = [uuid4() for _ in range(30)]
        for subject in subjects:
            room.sealer.new_subject(db, subject)
        assert len({lane.kid_of(db, subject) for subject in subjects}) == 30


def test_empty_pool_asks_to_come_again(room: Room) -> None:
    with room.database.write() as db:
        for key in db.exec(select(PoolKey)):
            db.delete(key)
        db.flush()
        with pytest.raises(PoolEmptyError) as caught:
            room.sealer.new_subject(db, uuid4())
    assert caught.value.retry


def test_subject_without_a_key_is_told(room: Room) -> None:
    with room.database.write() as db, pytest.raises(NoSubjectError):
        room.sealer.seal(db, uuid4(), Table.PATIENT, uuid4(), FIELDS)


def test_pool_key_that_is_not_the_vaults_is_refused(room: Room) -> None:
    with room.database.write() as db:
        for key in db.exec(select(PoolKey)):
            key.public = bytes(31) + b"\x09"
        db.flush()
        with pytest.raises(PoolKeyError):
            room.sealer.new_subject(db, uuid4())


def test_subjects_key_that_was_exchanged_is_refused(room: Room) -> None:
    subject = room.subject()
    with room.database.write() as db:
        row = db.get_one(Subject, subject)
        row.public = bytes(31) + b"\x09"
        db.flush()
        with pytest.raises(PoolKeyError):
            room.sealer.seal(db, subject, Table.PATIENT, uuid4(), FIELDS)


def test_one_lane_serves_many_rows(room: Room) -> None:
    subject = room.subject()
    for _ in range(5):
        room.sealed(subject)
    assert room.lanes() == 1


def test_lane_is_left_after_its_number_of_rows(room: Room) -> None:
    subject = room.subject()
    with room.database.write() as db:
        for _ in range(LANE_RECORDS + 1):
            room.sealer.seal(db, subject, Table.CALL, uuid4(), {})
    assert room.lanes() == 2


def test_each_writer_has_lanes_of_its_own(room: Room) -> None:
    subject = room.subject()
    with room.database.write() as db:
        for _ in range(2):
            room.new_sealer().seal(db, subject, Table.CALL, uuid4(), {})
    assert room.lanes() == 2


def test_lane_of_a_rolled_back_transaction_is_not_used_again(room: Room) -> None:
    subject = room.subject()
    with room.database.write() as db:
        room.sealer.seal(db, subject, Table.PATIENT, uuid4(), FIELDS)
        db.rollback()
    row = room.sealed(subject)
    assert room.lanes() == 1
    assert room.opened(row) == [FIELDS]


def test_lane_of_a_rolled_back_savepoint_is_not_used_again(room: Room) -> None:
    subject, row = room.subject(), uuid4()
    with room.database.write() as db:
        inner = db.begin_nested()
        room.sealer.seal(db, subject, Table.PATIENT, uuid4(), FIELDS)
        inner.rollback()
        blob = room.sealer.seal(db, subject, Table.PATIENT, row, FIELDS)
    assert room.opened(Sealed(Table.PATIENT, row, blob)) == [FIELDS]
    assert room.opened(room.sealed(subject)) == [FIELDS]


def test_lane_of_a_released_savepoint_is_not_used_again_when_the_rest_is_rolled_back(room: Room) -> None:
    subject = room.subject()
    with room.database.write() as db:
        with db.begin_nested():
            room.sealer.seal(db, subject, Table.PATIENT, uuid4(), FIELDS)
        db.rollback()
    assert room.opened(room.sealed(subject)) == [FIELDS]


def test_lane_of_a_released_savepoint_is_kept(room: Room) -> None:
    subject, row = room.subject(), uuid4()
    with room.database.write() as db, db.begin_nested():
        blob = room.sealer.seal(db, subject, Table.PATIENT, row, FIELDS)
    assert room.opened(Sealed(Table.PATIENT, row, blob), room.sealed(subject)) == [FIELDS, FIELDS]
    assert room.lanes() == 1


def test_lane_of_one_database_is_not_used_in_another(room: Room, one: Threaded, tmp_path: Path) -> None:
    subject = room.subject()
    room.sealed(subject)
    shutil.copy(one.home.db, tmp_path / "inbox.db")
    inbox, row = Database(tmp_path / "inbox.db", room.keys.database), uuid4()
    with inbox.write() as db:
        room.sealer.new_subject(db, subject)
        blob = room.sealer.seal(db, subject, Table.INBOX, row, FIELDS)
    with inbox.read() as db:
        assert room.opener.open(db, NURSE, [Sealed(Table.INBOX, row, blob)]) == [FIELDS]
    inbox.close()


def test_threads_seal_at_once(room: Room) -> None:
    subjects = [room.subject() for _ in range(3)]

    def write(number: int) -> Sealed:
        return room.sealed(subjects[number % 3], fields={"n": number})

    with ThreadPoolExecutor(4) as threads:
        rows = list(threads.map(write, range(40)))
    assert room.opened(*rows) == [{"n": n} for n in range(40)]


def test_media_key_comes_back_on_record(room: Room, one: Threaded) -> None:
    subject, recording = room.subject(), uuid4()
    with room.database.write() as db:
        lane_id, key = room.sealer.media_key(db, subject, Table.RECORDING, recording)
    assert (len(lane_id), len(key)) == (16, 32)
    with room.database.read() as db:
        assert room.opener.media_key(db, NURSE, subject, Table.RECORDING, recording, lane_id) == key
    assert logged(one.home)[-1]["obj"][0][2] == "0004" + recording.hex


def test_media_key_is_of_its_subject_and_recording_only(room: Room) -> None:
    subject, other, recording = room.subject(), room.subject(), uuid4()
    with room.database.write() as db:
        lane_id, key = room.sealer.media_key(db, subject, Table.RECORDING, recording)
    with room.database.read() as db:
        assert room.opener.media_key(db, NURSE, subject, Table.RECORDING, uuid4(), lane_id) != key
        with pytest.raises(KeyGoneError):
            room.opener.media_key(db, NURSE, other, Table.RECORDING, recording, lane_id)
        with pytest.raises(SealBrokenError):
            room.opener.media_key(db, NURSE, subject, Table.RECORDING, recording, bytes(16))


def test_line_and_day_have_one_subject() -> None:
    day = date(2026, 3, 2)
    assert line_subject("adt", day) == line_subject("adt", day)
    others = {line_subject("adt", day), line_subject("ehr", day), line_subject("adt", day + timedelta(days=1))}
    assert len(others) == 3
    assert line_subject("adt", day).version == 5


def test_numbers_of_tables_never_change() -> None:
    assert [(table.name, table.value) for table in Table][:10] == [
        ("PATIENT", 1),
        ("APPOINTMENT", 2),
        ("CALL", 3),
        ("RECORDING", 4),
        ("MESSAGE", 5),
        ("TASK", 6),
        ("INBOX", 7),
        ("COMMUNICATION", 8),
        ("VOICEMAIL", 9),
        ("REQUEST", 10),
    ]


def test_protected_fields_are_in_no_file_of_the_database(room: Room) -> None:
    room.sealed(room.subject())
    for path in room.database.path.parent.iterdir():
        content = path.read_bytes()
        assert b"Example" not in content
        assert b"2125550123" not in content
