"""The inbox: once, in order, sealed, and out of quarantine again."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session, delete

from hub.record import inbox
from hub.record.inbox import Arrival, Form, State
from hub.security.lane import PoolEmptyError, PoolKey, line_subject
from hub.security.sealed import Table
from hub.vault import wire
from hub.vault.wire import OBJECT
from tests.hub.feedhouse import NOON, Postbox, postbox


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postbox]:
    with postbox(tmp_path_factory.mktemp("inbox")) as opened:
        yield opened


@pytest.fixture
def box(shared: Postbox) -> Postbox:
    shared.empty()
    return shared


@pytest.fixture
def new_box(tmp_path: Path) -> Iterator[Postbox]:
    with postbox(tmp_path) as opened:
        yield opened


def arrival(number: int, *, connection: str = "adt", body: bytes = b"MSH|^~\\&|") -> Arrival:
    return Arrival(connection, f"M{number}", body + str(number).encode())


def test_what_is_stored_comes_back_in_order(box: Postbox) -> None:
    assert box.store(arrival(2), arrival(1)) == [True, True]
    assert box.store(arrival(3)) == [True]
    assert [row.control_id for row in box.rows()] == ["M2", "M1", "M3"]
    assert box.raws() == [b"MSH|^~\\&|2", b"MSH|^~\\&|1", b"MSH|^~\\&|3"]
    first = box.rows()[0]
    assert (first.connection, first.form, first.state, first.code) == ("adt", Form.MESSAGE, State.STORED, None)
    assert first.received_at == NOON


def test_a_message_that_is_sent_again_finds_its_row(box: Postbox) -> None:
    assert box.store(arrival(1), arrival(1)) == [True, False]
    assert box.store(arrival(1), arrival(2)) == [False, True]
    assert len(box.rows()) == 2


def test_another_message_under_the_same_id_gets_its_own_row(box: Postbox) -> None:
    assert box.store(arrival(1), Arrival("adt", "M1", b"other"), arrival(1, connection="lab")) == [True, True, True]
    assert len(box.rows()) == 3


def test_a_message_without_an_id_is_known_by_its_bytes(box: Postbox) -> None:
    assert box.store(Arrival("adt", "", b"a"), Arrival("adt", "", b"b"), Arrival("adt", "", b"a")) == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("control_id", ["Ana Rivera 1979-05-15 " * 5, "Muñoz", "a\tb", "\ud800", "x" * 81])
def test_what_cannot_be_an_id_is_not_kept_in_clear(box: Postbox, control_id: str) -> None:
    assert box.store(Arrival("adt", control_id, b"a")) == [True]
    assert box.store(Arrival("adt", control_id, b"a")) == [False]
    (row,) = box.rows()
    assert len(row.control_id) == 33
    assert row.control_id.startswith("#")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["adt", "lab"]), st.sampled_from(["1", "2", ""]), st.sampled_from([b"a", b"b"])),
        max_size=12,
    ),
    st.integers(1, 4),
)
def test_each_message_is_stored_once_whatever_the_batches(
    box: Postbox, said: list[tuple[str, str, bytes]], size: int
) -> None:
    box.write(_empty)
    batches = [said[start : start + size] for start in range(0, len(said), size)]
    fresh = [new for batch in batches for new in box.store(*(Arrival(*one) for one in batch))]
    firsts = [one not in said[:place] for place, one in enumerate(said)]
    assert fresh == firsts
    stored = [(row.connection, row.control_id, raw) for row, raw in zip(box.rows(), box.raws(), strict=True)]
    assert stored == list(dict.fromkeys(said))


def _empty(db: Session) -> None:
    db.exec(delete(inbox.InboxMessage))


def test_nothing_of_a_message_is_in_the_file(new_box: Postbox) -> None:
    new_box.store(Arrival("adt", "M1", b"PID|||77||Rivera^Ana||19790515"))
    for row in new_box.rows():
        assert b"Rivera" not in row.sealed + row.digest
    for path in new_box.instance.paths.root.rglob("inbox.db*"):
        assert b"Rivera" not in path.read_bytes()


def test_one_intent_names_all_that_is_new(box: Postbox) -> None:
    box.store(*(arrival(number) for number in range(3)), arrival(1, connection="lab"))
    box.store(arrival(1))
    intents = [msgspec.msgpack.decode(intent.body, type=wire.Intent) for intent in box.intents()]
    assert [(said.actor, said.act, len(said.subjects)) for said in intents] == [
        ("system:feeds", "inbox.store", 1),
        ("system:feeds", "inbox.store", 1),
    ]
    (_, subject, objects) = intents[0].subjects[0]
    assert UUID(bytes=bytes(subject)) == line_subject("adt", NOON.date())
    assert [bytes(packed) for packed in objects] == [
        OBJECT.pack(Table.INBOX, row.id.bytes) for row in box.rows() if row.connection == "adt"
    ]


def test_a_large_batch_is_named_by_several_intents(box: Postbox) -> None:
    box.store(*(arrival(number) for number in range(1100)))
    assert len(box.intents()) == 3
    assert len(box.raws()) == 1100


def test_each_day_has_a_subject_of_its_own(new_box: Postbox) -> None:
    new_box.store(arrival(1))
    new_box.later(days=1)
    new_box.store(arrival(2))
    assert len(new_box.raws()) == 2
    with new_box.instance.inbox.read() as db:
        assert db.connection().exec_driver_sql("SELECT count(*) FROM subject").scalar() == 2


def test_nothing_is_stored_when_no_key_is_ready(new_box: Postbox) -> None:
    new_box.write(lambda db: db.exec(delete(PoolKey)))
    with pytest.raises(PoolEmptyError):
        new_box.store(arrival(1))
    assert new_box.rows() == []
    assert new_box.intents() == []


def test_storing_asks_nobody(new_box: Postbox) -> None:
    new_box.store(arrival(1))
    new_box.instance.vault.close()
    new_box.instance.paths.vault_socket.unlink()
    assert new_box.store(arrival(2)) == [True]


def test_what_waits_is_read_in_order_and_marked(box: Postbox) -> None:
    box.store(*(arrival(number) for number in range(5)), arrival(9, connection="lab"))
    first = box.read(inbox.pending, "adt", 2)
    assert [row.control_id for row in first] == ["M0", "M1"]
    assert box.read(inbox.waiting) == ["adt", "lab"]
    box.write(inbox.mark, [first[0].id], State.APPLIED)
    box.write(inbox.mark, [first[1].id], State.QUARANTINED, "segment-missing")
    assert [row.control_id for row in box.read(inbox.pending, "adt")] == ["M2", "M3", "M4"]
    assert box.read(inbox.counts, "adt") == {"stored": 3, "applied": 1, "quarantined": 1}
    assert box.read(inbox.counts, "nobody") == {"stored": 0, "applied": 0, "quarantined": 0}
    assert box.read(inbox.reasons, "adt") == {"segment-missing": 1}
    assert [row.code for row in box.read(inbox.quarantined, "adt")] == ["segment-missing"]


def test_a_duplicate_of_what_was_applied_is_not_read_again(box: Postbox) -> None:
    box.store(arrival(1))
    box.write(inbox.mark, [box.rows()[0].id], State.APPLIED)
    assert box.store(arrival(1)) == [False]
    assert box.read(inbox.pending, "adt") == []
    assert box.read(inbox.waiting) == []


def test_messages_are_let_out_of_quarantine_by_code_by_id_or_all(box: Postbox) -> None:
    box.store(*(arrival(number) for number in range(4)), arrival(9, connection="lab"))
    ids = [row.id for row in box.rows()]
    box.write(inbox.mark, ids[:2], State.QUARANTINED, inbox.UNMATCHED)
    box.write(inbox.mark, ids[2:], State.QUARANTINED, "segment-missing")
    assert box.write(inbox.release, "adt", codes=[inbox.UNMATCHED]) == 2
    assert [row.control_id for row in box.read(inbox.pending, "adt")] == ["M0", "M1"]
    assert box.write(inbox.release, "adt", ids=[ids[3], ids[4]]) == 1
    assert box.write(inbox.release, "adt") == 1
    assert box.write(inbox.release, "adt") == 0
    assert [(row.control_id, row.code) for row in box.read(inbox.pending, "adt")] == [
        ("M0", None),
        ("M1", None),
        ("M2", None),
        ("M3", None),
    ]
    assert box.read(inbox.counts, "lab") == {"stored": 0, "applied": 0, "quarantined": 1}


def test_looking_for_what_waits_uses_the_small_indexes(box: Postbox) -> None:
    with box.instance.inbox.read() as db:
        plans = [
            " ".join(row[-1] for row in db.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {query}"))
            for query in (
                "SELECT * FROM inbox_message WHERE connection = 'adt' AND state = 'stored' ORDER BY seq LIMIT 5",
                "SELECT * FROM inbox_message WHERE connection = 'adt' AND state = 'quarantined' AND code = 'unmatched'",
            )
        ]
    assert "ix_inbox_message_stored" in plans[0]
    assert "TEMP B-TREE" not in plans[0]
    assert "ix_inbox_message_quarantined" in plans[1]


def test_a_cursor_is_kept_and_forgotten(box: Postbox) -> None:
    assert box.read(inbox.cursor_of, "ehr") is None
    box.write(inbox.keep_cursor, "ehr", b"page-1", NOON)
    box.write(inbox.keep_cursor, "ehr", b"page-2", NOON)
    assert (box.read(inbox.cursor_of, "ehr"), box.read(inbox.cursor_of, "adt")) == (b"page-2", None)
    box.write(inbox.keep_cursor, "ehr", None, NOON)
    box.write(inbox.keep_cursor, "ehr", None, NOON)
    assert box.read(inbox.cursor_of, "ehr") is None


def test_hints_are_counted_by_connection(box: Postbox) -> None:
    assert box.read(inbox.hints, "ehr") == 0
    for _ in range(3):
        box.write(inbox.hint, "ehr", NOON)
    box.write(inbox.hint, "other", NOON)
    assert (box.read(inbox.hints, "ehr"), box.read(inbox.hints, "other")) == (3, 1)
