"""The subjects' private keys (keys.db) and the lanes they open: what turns an audited request into object keys."""

import os
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from hub.errors import ChartlineError
from hub.vault import file
from hub.vault.layout import SUITE, X25519, derive, lane_info, pool_message
from hub.vault.wire import Asked

LANES = 8192
"Opened lanes kept in memory, the least recently asked dropped first; opening one costs about 80 us."


class KeysBrokenError(ChartlineError):
    """keys.db is another instance's, or damaged: restore the newest copy."""

    code = "keys-broken"


class Ring:
    """keys.db, and the opened lanes.

    Raises:
        KeysBrokenError: the key-encryption keys do not open under `wrap`.
    """

    def __init__(
        self, path: Path, key: bytes, *, wrap: bytes, signer: Ed25519PrivateKey, tenant: UUID, lanes: int = LANES
    ) -> None:
        self._tenant = tenant.bytes
        self._signer = signer
        self._capacity = lanes
        self._lanes: OrderedDict[tuple[bytes, bytes, bytes], HMAC] = OrderedDict()
        self._db = file.connect(path, key)
        self._db.execute("CREATE TABLE IF NOT EXISTS kek (epoch INTEGER PRIMARY KEY, wrapped BLOB NOT NULL)")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS k (kid BLOB PRIMARY KEY, epoch INTEGER NOT NULL, wrapped BLOB NOT NULL)"
            " WITHOUT ROWID"
        )
        self._keks = self._epochs(AESGCM(wrap))
        self._epoch = max(self._keks)

    def _epochs(self, wrap: AESGCM) -> dict[int, AESGCM]:
        rows = self._db.execute("SELECT epoch, wrapped FROM kek").fetchall()
        if not rows:
            nonce = os.urandom(12)
            rows = [(1, nonce + wrap.encrypt(nonce, secrets.token_bytes(32), b"kek1"))]
            self._db.execute("INSERT INTO kek VALUES (?, ?)", rows[0])
        try:
            return {epoch: AESGCM(wrap.decrypt(kept[:12], kept[12:], b"kek%d" % epoch)) for epoch, kept in rows}
        except InvalidTag:
            raise KeysBrokenError("keys.db is not wrapped under this root key, or damaged") from None

    def mint(self, count: int) -> list[tuple[bytes, bytes, bytes]]:
        """Make `count` key pairs; return key id, public key and signature of each, once the private halves are durable.

        Raises:
            file.Error: they could not be stored.
        """
        kek, made, rows = self._keks[self._epoch], [], []
        for _ in range(count):
            private = X25519PrivateKey.generate()
            public = private.public_key().public_bytes_raw()
            kid, nonce = bytes([X25519]) + os.urandom(15), os.urandom(12)
            rows.append((kid, self._epoch, nonce + kek.encrypt(nonce, private.private_bytes_raw(), kid)))
            made.append((kid, public, self._signer.sign(pool_message(self._tenant, kid, public))))
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("INSERT INTO k VALUES (?, ?, ?)", rows)
            self._db.execute("COMMIT")
        except file.Error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        return made

    def keys(self, groups: Sequence[Asked]) -> list[list[bytes]]:
        """Return the key of each object asked for; empty where the lane does not open."""
        answer = []
        for group in groups:
            state = self._lane(group.kid, group.subject, group.lane)
            if state is None:
                answer.append([b""] * len(group.objects))
            else:
                answer.append([derive(state, item) for item in group.objects])
        return answer

    def _lane(self, kid: bytes, subject: bytes, blob: bytes) -> HMAC | None:
        name = (kid, subject, blob)
        state = self._lanes.get(name)
        if state is not None:
            self._lanes.move_to_end(name)
            return state
        private = self._private(kid)
        if private is None:
            return None
        try:
            secret = SUITE.decrypt(blob, private, info=lane_info(self._tenant, kid, subject))
        except (InvalidTag, ValueError):
            return None
        state = self._lanes[name] = HMAC(secret, SHA256())
        if len(self._lanes) > self._capacity:
            self._lanes.popitem(last=False)
        return state

    def _private(self, kid: bytes) -> X25519PrivateKey | None:
        row = self._db.execute("SELECT epoch, wrapped FROM k WHERE kid = ?", (kid,)).fetchone()
        if row is None:
            return None
        epoch, kept = row
        return X25519PrivateKey.from_private_bytes(self._keks[epoch].decrypt(kept[:12], kept[12:], kid))

    def shred(self, kid: bytes) -> None:
        """Destroy the private key `kid`, in the file, in its write-ahead log, and in every opened lane."""
        self._db.execute("DELETE FROM k WHERE kid = ?", (kid,))
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for name in [name for name in self._lanes if name[0] == kid]:
            del self._lanes[name]

    def close(self) -> None:
        """Close the file and forget the lanes."""
        self._lanes.clear()
        self._db.close()
