"""Lanes: how long a writer uses one, and that none is used which was rolled back or is another file's."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

from hub.db import Database
from hub.security.sealed import LANE_RECORDS, Sealed, Table
from tests.hub.security.room import FIELDS, Room
from tests.hub.vault.house import NURSE, Threaded


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
