"""Whoever changes the log is found, and the first bad record is named."""

import base64
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.vault import keys, verify
from hub.vault.home import Home
from hub.vault.log import Log
from hub.vault.verify import Checkpoint, Frontier, Row, leaf_of, records_of, sha256
from tests.hub.vault.house import raw

SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = SIGNER.public_key().public_bytes_raw()
KEY = bytes(32)
SIZES = (1, 4, 1, 7, 3, 2, 6, 1, 5)
TOTAL = sum(SIZES)
TRIALS = 200


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """A log of batches of several sizes."""
    path = tmp_path_factory.mktemp("log") / "audit.db"
    log = Log(path, KEY, SIGNER)
    for number, size in enumerate(SIZES):
        log.append([{"act": "unwrap", "actor": f"staff-{number}", "detail": {"n": n}} for n in range(size)])
    log.close()
    return list(verify.read(path, KEY))


def joined(records: list[bytes]) -> bytes:
    return b"".join(len(record).to_bytes(4, "big") + record for record in records)


def with_batch(rows: list[Row], index: int, records: list[bytes]) -> list[Row]:
    end, _, text, signature, frontier = rows[index]
    return [*rows[:index], (end, joined(records), text, signature, frontier), *rows[index + 1 :]]


def place_of(rows: list[Row], seq: int) -> tuple[int, int]:
    """Return batch and place in it of a record."""
    for index, row in enumerate(rows):
        count = len(records_of(row[1]))
        if seq <= row[0]:
            return index, seq - (row[0] - count) - 1
    raise LookupError(seq)


def changed(rows: list[Row], seq: int, change: Callable[[list[bytes], int], None]) -> list[Row]:
    index, place = place_of(rows, seq)
    records = records_of(rows[index][1])
    change(records, place)
    return with_batch(rows, index, records)


def test_whole_log_is_good(rows: list[Row]) -> None:
    verdict = verify.verify(rows, PUBLIC)
    assert verdict == verify.Verdict(TOTAL, Checkpoint.parse(rows[-1][2]).root)
    assert verdict.good


def test_empty_log_is_good() -> None:
    assert verify.verify([], PUBLIC) == verify.Verdict(0, sha256(b""))


@pytest.mark.parametrize("seq", range(1, TOTAL + 1))
def test_edited_record_is_named(rows: list[Row], seq: int) -> None:
    def edit(records: list[bytes], place: int) -> None:
        records[place] = records[place].replace(b'"staff-', b'"stAff-')

    verdict = verify.verify(changed(rows, seq, edit), PUBLIC)
    assert verdict.first_bad == seq


@pytest.mark.parametrize("seq", range(1, TOTAL + 1))
def test_record_with_another_link_is_named(rows: list[Row], seq: int) -> None:
    def relink(records: list[bytes], place: int) -> None:
        content = orjson.loads(records[place])
        records[place] = orjson.dumps(content | {"prev": "ab" * 32})

    assert verify.verify(changed(rows, seq, relink), PUBLIC).first_bad == seq


@pytest.mark.parametrize("seq", range(1, TOTAL + 1))
def test_deleted_record_is_named(rows: list[Row], seq: int) -> None:
    verdict = verify.verify(changed(rows, seq, lambda records, place: records.__delitem__(place)), PUBLIC)
    assert verdict.first_bad == seq


@pytest.mark.parametrize("seq", range(1, TOTAL + 1))
def test_inserted_record_is_named(rows: list[Row], seq: int) -> None:
    def insert(records: list[bytes], place: int) -> None:
        records.insert(place, records[place])

    verdict = verify.verify(changed(rows, seq, insert), PUBLIC)
    # The copy has the right number and link; the original after it has not, unless nothing stands between them.
    assert verdict.first_bad in (seq, seq + 1)


@pytest.mark.parametrize("index", range(len(SIZES) - 1))
def test_deleted_batch_is_named(rows: list[Row], index: int) -> None:
    verdict = verify.verify(rows[:index] + rows[index + 1 :], PUBLIC)
    assert verdict.first_bad == sum(SIZES[:index]) + 1


@pytest.mark.parametrize("index", range(len(SIZES) - 1))
def test_reordered_batches_are_named(rows: list[Row], index: int) -> None:
    swapped = [*rows[:index], rows[index + 1], rows[index], *rows[index + 2 :]]
    assert verify.verify(swapped, PUBLIC).first_bad == sum(SIZES[:index]) + 1


def test_reordered_records_are_named(rows: list[Row]) -> None:
    def swap(records: list[bytes], place: int) -> None:
        records[place], records[place + 1] = records[place + 1], records[place]

    assert verify.verify(changed(rows, 8, swap), PUBLIC).first_bad == 8


def flipped(data: bytes, chance: random.Random) -> bytes:
    copy = bytearray(data)
    copy[chance.randrange(len(copy))] ^= 1 << chance.randrange(8)
    return bytes(copy)


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


@pytest.mark.parametrize("harm", [flipped, cut])
@pytest.mark.parametrize("column", range(4))
def test_harm_is_found_wherever_it_is_done(
    rows: list[Row], harm: Callable[[bytes, random.Random], bytes], column: int
) -> None:
    chance = random.Random(7)
    for _ in range(TRIALS):
        index = chance.randrange(len(rows))
        end, *data = rows[index]
        data[column] = harm(data[column], chance)
        harmed = (end, data[0], data[1], data[2], data[3])
        verdict = verify.verify([*rows[:index], harmed, *rows[index + 1 :]], PUBLIC)
        assert verdict.first_bad is not None
        assert sum(SIZES[:index]) + 1 <= verdict.first_bad <= end


def test_renumbered_batch_is_found(rows: list[Row]) -> None:
    end, body, text, signature, frontier = rows[-1]
    assert verify.verify([*rows[:-1], (end + 1, body, text, signature, frontier)], PUBLIC).first_bad is not None


def rewritten(rows: list[Row], signer: Ed25519PrivateKey) -> list[Row]:
    """The log as somebody would write it anew from its third batch on, all hashes right."""
    tree, head, last = Frontier(), bytes(32), bytes(32)
    out = []
    for index, row in enumerate(rows):
        records = []
        for record in records_of(row[1]):
            content = orjson.loads(record) | {"prev": head.hex()}
            if index >= 2:
                content["actor"] = "nobody"
            records.append(orjson.dumps(content))
            head = leaf_of(records[-1])
            tree.add(head)
        if index < 2:
            text, signature = row[2], row[3]
        else:
            text = bytes(Checkpoint(tree.size, tree.root(), head, last, 1))
            signature = signer.sign(text)
        last = sha256(text + signature)
        out.append((row[0], joined(records), text, signature, bytes(tree)))
    return out


def test_checkpoint_of_another_history_is_found(rows: list[Row]) -> None:
    # Signed by the vault for the very same records, as by a copy of the instance that ran on: only the chain tells.
    end, body, text, _, frontier = rows[3]
    said = Checkpoint.parse(text)
    other = bytes(Checkpoint(said.size, said.root, said.head, said.previous, said.at + 1))
    mixed = [*rows[:3], (end, body, other, SIGNER.sign(other), frontier), *rows[4:]]
    verdict = verify.verify(mixed, PUBLIC)
    assert verdict.first_bad == end + 1
    assert "its checkpoint follows another one" in verdict.reason


def test_log_rewritten_without_the_key_is_found(rows: list[Row]) -> None:
    forged = rewritten(rows, Ed25519PrivateKey.generate())
    assert verify.verify(forged, PUBLIC).first_bad == rows[2][0]


def test_log_rewritten_with_the_key_is_found_by_a_witness_only(rows: list[Row]) -> None:
    forged = rewritten(rows, SIGNER)
    seen = (rows[4][0], Checkpoint.parse(rows[4][2]).root)
    assert verify.verify(forged, PUBLIC).good
    assert verify.verify(rows, PUBLIC, seen=seen).good
    verdict = verify.verify(forged, PUBLIC, seen=seen)
    assert (verdict.first_bad, verdict.reason) == (rows[4][0], "a witness saw another log up to here")


def test_cut_end_is_found_by_a_witness_only(rows: list[Row]) -> None:
    # docs/reference/audit.md says so: nothing in what is left tells of what was cut.
    shorter = rows[:-2]
    assert verify.verify(shorter, PUBLIC).good
    verdict = verify.verify(shorter, PUBLIC, seen=(TOTAL, Checkpoint.parse(rows[-1][2]).root))
    assert verdict.first_bad == rows[-3][0] + 1
    assert "cut" in verdict.reason


def test_another_key_signs_nothing(rows: list[Row]) -> None:
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    assert verify.verify(rows, other).first_bad == SIZES[0]


@pytest.fixture
def some(home: Home) -> Home:
    """An instance with seven records."""
    log = keys.load(home).log(home)
    log.append([{"act": "unwrap", "actor": "staff-1"}] * 4)
    log.append([{"act": "unwrap", "actor": "staff-2"}] * 2)
    log.close()
    return home


def tamper(home: Home) -> None:
    raw(home, "DROP TRIGGER no_update")
    raw(home, "UPDATE b SET body = replace(CAST(body AS TEXT), 'staff-1', 'staff-3') WHERE seq = 5")


def test_command_checks_an_instance(some: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main(["--dir", str(some.root)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("7 records good, root ")
    root = said.split()[-1]
    assert verify.main(["--dir", str(some.root), "--seen", f"7:{root}"]) == 0
    assert verify.main(["--dir", str(some.root), "--seen", f"9:{root}"]) == 1


def test_command_names_the_first_bad_record(some: Home, capsys: pytest.CaptureFixture[str]) -> None:
    tamper(some)
    assert verify.main(["--dir", str(some.root)]) == 1
    assert capsys.readouterr().out.startswith("record 2 is bad: ")


def test_command_without_a_log_is_wrong_usage() -> None:
    with pytest.raises(SystemExit) as ended:
        verify.main([])
    assert ended.value.code == 2


def test_file_checks_a_log_without_the_product(some: Home, tmp_path: Path) -> None:
    alone = tmp_path / "elsewhere"
    alone.mkdir()
    shutil.copy(verify.__file__, alone / "verify.py")
    shutil.copytree(some.audit, alone / "audit")
    (alone / "key").write_text(keys.load(some).derive("audit").hex())
    (alone / "public").write_text(
        base64.b64encode(keys.load(some).signer("audit").public_key().public_bytes_raw()).decode()
    )
    argv = [sys.executable, "-I", "verify.py", "audit", "--database-key", "key", "--key", "public"]
    done = subprocess.run(argv, cwd=alone, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout[:14]) == (0, "7 records good"), done.stderr
