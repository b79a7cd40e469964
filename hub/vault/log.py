"""The audit log: every record hashed to the one before it, every batch signed, one durable row a batch.

audit/audit.db: b(seq of the batch's last record, body, cp, sig, frontier); docs/reference/audit.md has the layout.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.errors import ChartlineError, UnavailableError
from hub.vault import file
from hub.vault.verify import HASH_BYTES, SELECT, Checkpoint, Frontier, leaf_of, records_of, sha256

Microseconds = Callable[[], int]


class LogFullError(UnavailableError):
    """There is no room for the record, so what it stands for may not happen."""

    code = "audit-full"


class LogFailedError(UnavailableError):
    """The log could not be written for another reason than room: this process must not go on with it."""

    code = "audit-failed"


class LogBrokenError(ChartlineError):
    """The end of the log does not hold together; `chartline audit verify` says where."""

    code = "audit-broken"


def microseconds() -> int:
    """Return the present instant, Unix microseconds."""
    return time.time_ns() // 1000


class Log:
    """The one writer of an audit log."""

    def __init__(
        self, path: Path, key: bytes, signer: Ed25519PrivateKey, *, clock: Microseconds = microseconds
    ) -> None:
        self._path = path
        self._key = key
        self._signer = signer
        self._clock = clock
        self._db: Any = None
        self._frontier = Frontier()
        self._seq = 0
        self._head = self._last = bytes(HASH_BYTES)
        self._open()

    @property
    def size(self) -> int:
        """How many records there are."""
        return self._seq

    def append(self, records: Sequence[Mapping[str, object]]) -> int:
        """Write `records` as one batch; return the number of the first, once all are durable.

        Raises:
            LogFullError: no room; nothing was written, and the next call tries again.
            LogFailedError: any other failure; the log must be opened anew, by a new process.
        """
        if self._db is None:
            try:
                self._open()
            except file.Error as error:
                self._give_up(error)
        now = self._clock()
        frontier, seq, head = self._frontier.copy(), self._seq, self._head
        body = bytearray()
        for record in records:
            seq += 1
            line = orjson.dumps({"seq": seq, "prev": head.hex(), "ts": now, **record})
            head = leaf_of(line)
            frontier.add(head)
            body += len(line).to_bytes(4, "big") + line
        text = bytes(Checkpoint(seq, frontier.root(), head, self._last, now))
        signature = self._signer.sign(text)
        try:
            self._db.execute(
                "INSERT INTO b VALUES (?, ?, ?, ?, ?)", (seq, bytes(body), text, signature, bytes(frontier))
            )
        except file.Error as error:
            self._give_up(error)
        first = self._seq + 1
        self._frontier, self._seq, self._head, self._last = frontier, seq, head, sha256(text + signature)
        return first

    def _give_up(self, error: Exception) -> NoReturn:
        if file.is_full(error):
            self.close()
            raise LogFullError("no room in the audit log") from None
        raise LogFailedError(f"audit log: {getattr(error, 'sqlite_errorname', 'unknown')}") from None

    def _open(self) -> None:
        """Open the file and take up where its last batch ended; read that one row only.

        Raises:
            LogBrokenError: the row does not agree with itself or is not signed by our key.
        """
        self._db = file.connect(self._path, self._key, wait_s=1.0)
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS b (seq INTEGER PRIMARY KEY, body BLOB NOT NULL, cp BLOB NOT NULL,"
            " sig BLOB NOT NULL, frontier BLOB NOT NULL)"
        )
        for verb in ("UPDATE", "DELETE"):
            self._db.execute(
                f"CREATE TRIGGER IF NOT EXISTS no_{verb.lower()} BEFORE {verb} ON b"
                " BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END"
            )
        row = self._db.execute(f"{SELECT} ORDER BY seq DESC LIMIT 1").fetchone()
        if row is None:
            return
        seq, body, text, signature, kept = row
        try:
            self._signer.public_key().verify(signature, text)
            checkpoint = Checkpoint.parse(text)
            frontier = Frontier.parse(seq, kept)
            head = leaf_of(records_of(body)[-1])
        except (InvalidSignature, ValueError, IndexError):
            raise LogBrokenError(f"audit record {seq} is not signed by this key, or damaged") from None
        if (checkpoint.size, checkpoint.root, checkpoint.head) != (seq, frontier.root(), head):
            raise LogBrokenError(f"audit record {seq} and its checkpoint differ")
        self._frontier, self._seq, self._head, self._last = frontier, seq, head, sha256(text + signature)

    def close(self) -> None:
        """Close the file; a later `append` opens it again."""
        if self._db is not None:
            self._db.close()
            self._db = None
