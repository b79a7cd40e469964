"""Keys of subjects: taken from the pool, proved to be the vault's, destroyed; and what media gets of them."""

from datetime import date, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlmodel import func, select

from hub.security import lane
from hub.security.lane import NoSubjectError, PoolEmptyError, PoolKey, PoolKeyError, Subject
from hub.security.sealed import KeyGoneError, SealBrokenError, Table, line_subject
from hub.vault.client import Access, VaultUnavailableError
from tests.hub.security.room import FIELDS, Room, stocked
from tests.hub.vault.house import NURSE, Threaded, logged, made, threaded


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
