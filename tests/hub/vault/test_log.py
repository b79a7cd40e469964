"""The audit log: what it writes can be checked, what it cannot write it says, and it goes on where it stopped."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from hub.vault import file
from hub.vault.log import Log, LogBrokenError, LogFailedError, LogFullError
from hub.vault.verify import Checkpoint, Frontier, leaf_of, read, records_of, sha256, verify

KEY = bytes(range(32))
SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = SIGNER.public_key().public_bytes_raw()

# The eight inputs of the Certificate Transparency reference tests, and the roots of one and of all of them.
INPUTS = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
ROOT_OF_1 = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
ROOT_OF_8 = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


class Times:
    """A clock that goes on by a millisecond at each look."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000

    def __call__(self) -> int:
        self.now += 1000
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.db"


def opened(path: Path) -> Log:
    return Log(path, KEY, SIGNER, clock=Times())


@pytest.fixture
def log(path: Path) -> Iterator[Log]:
    log = opened(path)
    yield log
    log.close()


def written(path: Path) -> list[dict[str, Any]]:
    rows = list(read(path, KEY))
    verdict = verify(rows, PUBLIC)
    assert verdict.good, verdict
    return [orjson.loads(record) for row in rows for record in records_of(row[1])]


def root_by_definition(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + root_by_definition(leaves[:split]) + root_by_definition(leaves[split:]))


def test_tree_has_the_roots_of_the_reference_tests() -> None:
    tree = Frontier()
    tree.add(leaf_of(b""))
    assert tree.root().hex() == ROOT_OF_1
    for text in INPUTS[1:]:
        tree.add(leaf_of(bytes.fromhex(text)))
    assert tree.root().hex() == ROOT_OF_8


@given(st.integers(0, 70))
def test_tree_is_that_of_the_definition(size: int) -> None:
    leaves = [leaf_of(bytes([number])) for number in range(size)]
    tree = Frontier()
    for leaf in leaves:
        tree.add(leaf)
    assert tree.root() == root_by_definition(leaves)
    assert Frontier.parse(size, bytes(tree)).root() == tree.root()


def test_frontier_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="frontier"):
        Frontier.parse(3, bytes(32))


def test_checkpoint_round_trips_and_has_one_spelling() -> None:
    text = bytes(Checkpoint(3, bytes(32), b"\x01" * 32, b"\x02" * 32, 1700))
    assert text.startswith(b"hub/audit/v1\n3\nAAAA")
    assert bytes(Checkpoint.parse(text)) == text
    for wrong in (text[:-1], text + b"\n", text.replace(b"\n3\n", b"\n03\n"), text.replace(b"v1", b"v2")):
        with pytest.raises(ValueError, match="checkpoint"):
            Checkpoint.parse(wrong)


def test_records_are_numbered_and_chained(log: Log, path: Path) -> None:
    assert log.append([{"act": "a"}, {"act": "b"}]) == 1
    assert log.append([{"act": "c"}]) == 3
    records = written(path)
    assert [(record["seq"], record["act"]) for record in records] == [(1, "a"), (2, "b"), (3, "c")]
    assert records[0]["prev"] == "0" * 64
    assert records[1]["ts"] == records[0]["ts"] < records[2]["ts"]


def test_a_batch_is_one_row(log: Log, path: Path) -> None:
    log.append([{"act": "a"}] * 5)
    log.append([{"act": "a"}] * 2)
    assert [row[0] for row in read(path, KEY)] == [5, 7]


def test_log_goes_on_after_a_restart(log: Log, path: Path) -> None:
    log.append([{"act": "a"}] * 3)
    log.close()
    again = opened(path)
    assert again.size == 3
    assert again.append([{"act": "b"}]) == 4
    again.close()
    assert [record["act"] for record in written(path)] == ["a", "a", "a", "b"]


def test_full_log_refuses_and_takes_up_again_when_there_is_room(log: Log, path: Path) -> None:
    log.append([{"act": "before"}])
    log._db.execute("PRAGMA max_page_count=8")  # to SQLite a full disk: SQLITE_FULL
    refused = 0
    for _ in range(40):
        try:
            log.append([{"act": "big", "detail": "x" * 2000}])
        except LogFullError:
            refused += 1
            break
    assert refused == 1
    size = log.size
    assert log.append([{"act": "after"}]) == size + 1
    assert [record["act"] for record in written(path)] == ["before", *["big"] * (size - 1), "after"]


def test_another_failure_ends_the_log_for_this_process(log: Log, path: Path) -> None:
    log.append([{"act": "a"}])
    other = file.connect(path, KEY)
    other.execute("DROP TABLE b")
    other.close()
    with pytest.raises(LogFailedError):
        log.append([{"act": "b"}])


def test_closed_file_ends_the_log_for_this_process(log: Log) -> None:
    log._db.close()
    with pytest.raises(LogFailedError):
        log.append([{"act": "a"}])


def test_rows_cannot_be_changed_by_mistake(log: Log, path: Path) -> None:
    log.append([{"act": "a"}])
    connection = file.connect(path, KEY)
    for statement in ("UPDATE b SET body = x''", "DELETE FROM b"):
        with pytest.raises(file.Error, match="only grows"):
            connection.execute(statement)
    connection.close()


@pytest.mark.parametrize("column", ["body", "cp", "sig", "frontier"])
def test_damaged_end_keeps_the_vault_from_starting(path: Path, column: str) -> None:
    log = opened(path)
    log.append([{"act": "a"}] * 3)
    log.close()
    connection = file.connect(path, KEY)
    connection.execute("DROP TRIGGER no_update")
    connection.execute(f"UPDATE b SET {column} = substr({column}, 1, length({column}) - 1) || x'00'")
    connection.close()
    with pytest.raises(LogBrokenError):
        opened(path)


def test_log_signed_by_another_key_is_refused(path: Path) -> None:
    log = opened(path)
    log.append([{"act": "a"}])
    log.close()
    with pytest.raises(LogBrokenError):
        Log(path, KEY, Ed25519PrivateKey.generate())
