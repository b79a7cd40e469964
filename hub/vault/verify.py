"""Checks an audit log from its first record to its last, and names the first bad one; stands alone.

Needs only Python, `cryptography` and, to open the file, `sqlcipher3`: copy this one file to the machine of whoever
checks. The tree is that of RFC 6962 section 2.1, signatures are Ed25519 (RFC 8032).

    python -m hub.vault.verify --dir INSTANCE
    python verify.py AUDIT_DIR --key PUBLIC_KEY_FILE --database-key KEY_FILE

Not to be found from the log alone: a clean cut of its last batches. Keep the printed size and root elsewhere (a
witness), and give them back as `--seen SIZE:ROOT`.
"""

import argparse
import base64
import hashlib
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ORIGIN = "hub/audit/v1"
HASH_BYTES = 32

SELECT = "SELECT seq, CAST(body AS BLOB), CAST(cp AS BLOB), CAST(sig AS BLOB), CAST(frontier AS BLOB) FROM b"
"As bytes whatever somebody made of them, so that a change of type is a bad record and not a failed query."

Row = tuple[int, bytes, bytes, bytes, bytes]
"One batch: number of its last record, records, checkpoint, signature, frontier."


def sha256(data: bytes) -> bytes:
    """Return the SHA-256 of `data`."""
    return hashlib.sha256(data).digest()


def leaf_of(record: bytes) -> bytes:
    """Return the leaf hash of one record (RFC 6962 section 2.1)."""
    return hashlib.sha256(b"\x00" + record).digest()


def records_of(body: bytes) -> list[bytes]:
    """Split a batch: u32 big-endian length, record, and so on.

    Raises:
        ValueError: it ends inside a record.
    """
    records, at = [], 0
    while at < len(body):
        length = int.from_bytes(body[at : at + 4], "big")
        record = body[at + 4 : at + 4 + length]
        if len(record) < length or not length:
            raise ValueError("a record is cut")
        records.append(record)
        at += 4 + length
    return records


class Frontier:
    """The right edge of a Merkle tree: enough to add leaves and to tell the root, O(log n) hashes."""

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        self.size = size
        self._hashes = list(hashes)

    @classmethod
    def parse(cls, size: int, data: bytes) -> "Frontier":
        """Parse what `bytes()` gave for a tree of `size` leaves.

        Raises:
            ValueError: a tree of that size has another number of hashes.
        """
        if len(data) != HASH_BYTES * size.bit_count():
            raise ValueError("frontier")
        return cls(size, [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)])

    def __bytes__(self) -> bytes:
        return b"".join(self._hashes)

    def copy(self) -> "Frontier":
        """Return one that grows apart."""
        return Frontier(self.size, self._hashes)

    def add(self, leaf: bytes) -> None:
        """Append one leaf hash."""
        size = self.size
        while size & 1:
            leaf = hashlib.sha256(b"\x01" + self._hashes.pop() + leaf).digest()
            size >>= 1
        self._hashes.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """Return the tree's hash."""
        if not self._hashes:
            return sha256(b"")
        root = self._hashes[-1]
        for left in self._hashes[-2::-1]:
            root = sha256(b"\x01" + left + root)
        return root


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the vault signs for each batch."""

    size: int
    root: bytes
    head: bytes
    "Leaf hash of the last record."

    previous: bytes
    "SHA-256 of the previous checkpoint and its signature; zeros for the first."

    at: int
    "Unix microseconds."

    @classmethod
    def parse(cls, text: bytes) -> "Checkpoint":
        """Parse a checkpoint.

        Raises:
            ValueError: not one, or not written the one way there is.
        """
        lines = text.decode("ascii").split("\n")
        if len(lines) != 7 or lines[0] != ORIGIN:
            raise ValueError("checkpoint")
        root = base64.b64decode(lines[2], validate=True)
        head, previous = (bytes.fromhex(line.partition(" ")[2]) for line in lines[3:5])
        parsed = cls(int(lines[1]), root, head, previous, int(lines[5].partition(" ")[2]))
        if bytes(parsed) != text:
            raise ValueError("checkpoint")
        return parsed

    def __bytes__(self) -> bytes:
        root = base64.b64encode(self.root).decode()
        lines = (str(self.size), root, f"head {self.head.hex()}", f"prevcp {self.previous.hex()}", f"ts {self.at}", "")
        return "\n".join((ORIGIN, *lines)).encode()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found."""

    records: int
    "How many are good, from the first on."

    root: bytes
    "Tree hash over those, to be kept by a witness."

    first_bad: int | None = None
    "Number of the first bad record; None when all are good."

    reason: str = ""

    @property
    def good(self) -> bool:
        """Whether every record stands."""
        return self.first_bad is None


class _BadError(Exception):
    def __init__(self, seq: int, reason: str) -> None:
        super().__init__(seq, reason)
        self.seq = seq
        self.reason = reason


def verify(rows: Iterable[Row], public_key: bytes, *, seen: tuple[int, bytes] | None = None) -> Verdict:
    """Check `rows`, in order, against the 32-byte Ed25519 `public_key`.

    `seen` is a size and root that a witness kept: a log that is shorter, or another one, is refused.
    """
    key = Ed25519PublicKey.from_public_bytes(public_key)
    tree, head, last = Frontier(), bytes(HASH_BYTES), bytes(HASH_BYTES)
    try:
        for row in rows:
            tree, head, last = _batch(row, key, tree, head, last, seen)
    except _BadError as bad:
        return Verdict(tree.size, tree.root(), bad.seq, bad.reason)
    if seen is not None and tree.size < seen[0]:
        return Verdict(tree.size, tree.root(), tree.size + 1, f"the end is cut: a witness saw {seen[0]} records")
    return Verdict(tree.size, tree.root())


def _batch(
    row: Row, key: Ed25519PublicKey, tree: Frontier, head: bytes, last: bytes, seen: tuple[int, bytes] | None
) -> tuple[Frontier, bytes, bytes]:
    end, body, text, signature, kept = row
    first = tree.size + 1
    checkpoint = _signed(first, end, key, text, signature)
    try:
        records = records_of(body)
    except ValueError:
        raise _BadError(first, "the batch is cut inside a record") from None
    leaves = [leaf_of(record) for record in records]
    _check_records(records, leaves, first, head, checkpoint)
    tree = tree.copy()
    for leaf in leaves:
        tree.add(leaf)
        if seen is not None and tree.size == seen[0] and tree.root() != seen[1]:
            raise _BadError(tree.size, "a witness saw another log up to here")
    if checkpoint.previous != last:
        raise _BadError(first, "its checkpoint follows another one: a batch before it is missing or replaced")
    if (checkpoint.size, checkpoint.root) != (tree.size, tree.root()) or end != tree.size:
        raise _BadError(first, "records are missing or added: the signed size or tree differs")
    if bytes(tree) != kept:
        raise _BadError(end, "the stored frontier differs")
    return tree, leaves[-1], sha256(text + signature)


def _signed(first: int, end: int, key: Ed25519PublicKey, text: bytes, signature: bytes) -> Checkpoint:
    try:
        key.verify(signature, text)
        return Checkpoint.parse(text)
    except (InvalidSignature, ValueError):
        raise _BadError(max(first, end), "its checkpoint is not signed by this key") from None


def _check_records(records: list[bytes], leaves: list[bytes], first: int, head: bytes, signed: Checkpoint) -> None:
    """Find the first record that is not what its neighbours say it is."""
    if not records:
        raise _BadError(first, "an empty batch")
    named = []
    for number, record in enumerate(records, first):
        seq, before = _place(record, number)
        if seq != number:
            raise _BadError(number, f"record {seq} stands in its place: records are missing, added or moved")
        named.append(before)
    if named[0] != head:
        raise _BadError(first, "it follows another record than the one before it")
    vouched = [*named[1:], signed.head]
    for index, (leaf, word) in enumerate(zip(leaves, vouched, strict=True)):
        if leaf == word:
            continue
        if index + 1 == len(records) and signed.size > first + index:
            raise _BadError(first + index + 1, "it is missing")
        if index + 1 < len(records) and _only_link_changed(records[index + 1], word, leaf, vouched[index + 1]):
            raise _BadError(first + index + 1, "it names another record before it")
        raise _BadError(first + index, "its content is not what was logged")


def _place(record: bytes, number: int) -> tuple[int, bytes]:
    try:
        content = json.loads(record)
        return int(content["seq"]), bytes.fromhex(content["prev"])
    except (ValueError, KeyError, TypeError):
        raise _BadError(number, "it cannot be read") from None


def _only_link_changed(record: bytes, named: bytes, truly: bytes, vouched: bytes) -> bool:
    """Whether `record` is whole but for the name it gives of the one before: then that one is not to blame."""
    return leaf_of(record.replace(named.hex().encode(), truly.hex().encode(), 1)) == vouched


def read(database: Path, key: bytes) -> Iterable[Row]:
    """Yield the batches of an audit database; `key` is its raw 32-byte SQLCipher key.

    Raises:
        sqlcipher3.dbapi2.Error: there is no such file, or the key does not open it.
    """
    import sqlcipher3.dbapi2 as sqlcipher

    connection = sqlcipher.connect(f"file:{database}?mode=ro", uri=True)
    try:
        connection.execute("PRAGMA cipher_log_level=NONE")
        connection.execute(f"PRAGMA key=\"x'{key.hex()}'\"")
        yield from connection.execute(f"{SELECT} ORDER BY seq")
    finally:
        connection.close()


def public_key_of(file: Path) -> bytes:
    """Read a public key file: base64 of the 32 bytes.

    Raises:
        ValueError: it holds something else.
    """
    return base64.b64decode(file.read_text().strip(), validate=True)


def instance(directory: Path) -> tuple[Path, bytes, bytes]:
    """Return database, its key, and the public key of the log of the instance in `directory`.

    The public key comes from the root key, not from audit/public.key, which whoever changed the log could have
    changed as well.

    Raises:
        RootKeyError: the root key cannot be read.
    """
    from hub.vault import keys
    from hub.vault.home import Home

    home = Home(directory)
    root = keys.load(home)
    return home.audit / "audit.db", root.derive("audit"), root.signer("audit").public_key().public_bytes_raw()


def main(argv: Sequence[str] | None = None) -> int:
    """Check a log; return 0 when it is good, 1 when not."""
    parser = argparse.ArgumentParser(description="Check an audit log and name its first bad record.")
    parser.add_argument("audit_dir", nargs="?", type=Path, help="directory with audit.db and public.key")
    parser.add_argument("--dir", type=Path, help="instance directory, whose root key opens the log")
    parser.add_argument("--key", type=Path, help="file with the public key (default: AUDIT_DIR/public.key)")
    parser.add_argument("--database-key", type=Path, help="file with the 64 hex digits that open audit.db")
    parser.add_argument("--seen", metavar="SIZE:ROOT", help="what a witness kept; root in base64")
    given = parser.parse_args(argv)
    if given.dir is not None:
        database, key, public = instance(given.dir)
    elif given.audit_dir is not None and given.database_key is not None:
        database = given.audit_dir / "audit.db"
        key = bytes.fromhex(given.database_key.read_text().strip())
        public = public_key_of(given.key or given.audit_dir / "public.key")
    else:
        parser.error("give --dir, or AUDIT_DIR with --database-key")
    seen = None
    if given.seen:
        size, _, root = given.seen.partition(":")
        seen = (int(size), base64.b64decode(root, validate=True))
    verdict = verify(read(database, key), public, seen=seen)
    if verdict.good:
        sys.stdout.write(f"{verdict.records} records good, root {base64.b64encode(verdict.root).decode()}\n")
        return 0
    sys.stdout.write(f"record {verdict.first_bad} is bad: {verdict.reason} ({verdict.records} good before it)\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
