"""Sealing and opening rows: what was sealed comes back, to those on record only, and only where it was sealed."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import select

from hub.security.lane import Lane
from hub.security.sealed import KeyGoneError, Opener, SealBrokenError, Sealed, Table, line_subject
from tests.hub.security.room import FIELDS, NOW, Room
from tests.hub.vault.house import NURSE, Threaded, logged


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
