"""Sealing and opening a row's protected fields: one blob a row, under a key that only the vault can give again.

blob = 1 | lane id 16 | nonce 12 | AES-256-GCM(key, nonce, msgpack [fields, padding to 64 bytes]) | tag 16
AAD  = 1 | lane id | tenant 16 | table u16 | row id 16 | 0xFF
key  = HMAC-SHA256(lane secret, "rec1" | table u16 | row id)
"""

import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from sqlalchemy import event
from sqlmodel import Session

from hub.db import Clock
from hub.errors import ChartlineError
from hub.security import lane as lanes
from hub.security.lane import NoSubjectError, Opening, PoolEmptyError, PoolKeyError, PublicKey, line_subject
from hub.vault.client import Access, Group, ServiceKeys, Vault
from hub.vault.layout import SECRET_BYTES, SUITE, derive, lane_info
from hub.vault.wire import MAX_GROUPS, MAX_OBJECTS, OBJECT

__all__ = [
    "KeyGoneError",
    "NoSubjectError",
    "Opener",
    "PoolEmptyError",
    "PoolKeyError",
    "SealBrokenError",
    "Sealed",
    "Sealer",
    "Table",
    "line_subject",
]

VERSION = b"\x01"
ID_BYTES = 16
NONCE_BYTES = 12
BLOCK = 64
"Fields are padded to a multiple, so that a blob's length tells little."

LANE_RECORDS = 1000
LANE_S = 24 * 3600.0
"After so many records, or so long, a writer makes a new lane for the subject."

LANES = 4096
"Lanes that a writer keeps open, the least recently used dropped first."

_encoder = msgspec.msgpack.Encoder()


class Table(IntEnum):
    """What an object is; the numbers go into keys and never change."""

    PATIENT = 1
    APPOINTMENT = 2
    CALL = 3
    RECORDING = 4
    MESSAGE = 5
    TASK = 6
    INBOX = 7
    COMMUNICATION = 8
    VOICEMAIL = 9
    REQUEST = 10
    RELATED = 11
    WRAP_UP = 12
    TRANSCRIPT = 13
    REMINDER_CALL = 14


class SealBrokenError(ChartlineError):
    """A sealed row is not what was sealed there: changed, cut, or another row's."""

    code = "seal-broken"


class KeyGoneError(ChartlineError):
    """The row's key is destroyed, or never was of this subject."""

    code = "key-gone"
    status = 410


@dataclass(frozen=True, slots=True)
class Sealed:
    """One row's blob, and where it stands."""

    table: Table
    id: UUID
    blob: bytes


class _Writing:
    """A lane this process seals through."""

    __slots__ = ("id", "left", "state", "until")

    def __init__(self, lane_id: bytes, state: HMAC) -> None:
        self.id = lane_id
        self.state = state
        self.left = LANE_RECORDS - 1  # it is made for a record
        self.until = time.monotonic() + LANE_S


_Name = tuple[object, UUID]
"Which file a lane's row is in, and whose it is."


class Sealer:
    """Seals for one process; asks nobody, and cannot open what it sealed once the lane is dropped."""

    def __init__(self, keys: ServiceKeys, writer: str, clock: Clock) -> None:
        self._keys = keys
        self._writer = writer
        self._clock = clock
        self._lock = threading.Lock()
        self._open: OrderedDict[_Name, _Writing] = OrderedDict()
        self._checked: set[PublicKey] = set()

    def new_subject(self, db: Session, subject: UUID) -> None:
        """Give a patient or a line-day its key, in the caller's transaction; idempotent.

        Raises:
            PoolEmptyError: no key is ready; the vault makes more.
            PoolKeyError: the pool was tampered with.
        """
        taken = lanes.take(db, self._keys, subject, self._clock())
        if taken is not None:
            self._remember(taken)

    def seal(self, db: Session, subject: UUID, table: Table, object_id: UUID, fields: Mapping[str, Any]) -> bytes:
        """Return the blob of a row's `fields`; where a new lane is begun, its row is written in the same transaction.

        Values come back as msgpack has them: dates, UUIDs and enumerations as their plain values.

        Raises:
            NoSubjectError: the subject has no key yet.
            PoolKeyError: the subject's key was tampered with.
        """
        writing = self._writing(db, subject)
        item = OBJECT.pack(table, object_id.bytes)
        nonce = os.urandom(NONCE_BYTES)
        aad = _aad(self._keys.tenant, writing.id, item)
        box = AESGCM(derive(writing.state, item)).encrypt(nonce, _padded(fields), aad)
        return VERSION + writing.id + nonce + box

    def media_key(self, db: Session, subject: UUID, table: Table, object_id: UUID) -> tuple[bytes, bytes]:
        """Return lane id (16 bytes, kept beside the file) and key (32 bytes) for a media container.

        What is written with the key can be opened only once the caller's transaction is committed.

        Raises:
            NoSubjectError: the subject has no key yet.
            PoolKeyError: the subject's key was tampered with.
        """
        writing = self._writing(db, subject)
        return writing.id, derive(writing.state, OBJECT.pack(table, object_id.bytes))

    def _writing(self, db: Session, subject: UUID) -> _Writing:
        name = (db.bind, subject)
        fresh: dict[_Name, _Writing] = db.info.get(self, {})
        with self._lock:
            writing = fresh.get(name) or self._open.get(name)
            if writing is not None and writing.left > 0 and time.monotonic() < writing.until:
                writing.left -= 1
                if name in self._open:
                    self._open.move_to_end(name)
                return writing
        writing = self._begin(db, subject)
        if self not in db.info:
            self._follow(db)
        db.info[self][name] = writing
        return writing

    def _begin(self, db: Session, subject: UUID) -> _Writing:
        key = lanes.key_of(db, subject)
        if key not in self._checked:
            key.check(self._keys)
            self._remember(key)
        secret = os.urandom(SECRET_BYTES)
        public = X25519PublicKey.from_public_bytes(key.public)
        blob = SUITE.encrypt(secret, public, info=lane_info(self._keys.tenant, key.kid, subject.bytes))
        lane_id = hashlib.sha256(blob).digest()[:ID_BYTES]
        lanes.begin(db, lane_id, kid=key.kid, subject=subject, blob=blob, at=self._clock(), writer=self._writer)
        return _Writing(lane_id, HMAC(secret, SHA256()))

    def _remember(self, key: PublicKey) -> None:
        """Check the signature of a subject's key once in this process, not for each lane."""
        with self._lock:
            if len(self._checked) >= LANES:
                self._checked.clear()
            self._checked.add(key)

    def _follow(self, db: Session) -> None:
        """Use a new lane in other transactions only once its row is committed: rows without it could not be opened."""
        db.info[self] = {}

        def keep(_: Session) -> None:
            if db.in_nested_transaction():  # a savepoint was released; what is around it may still be rolled back
                return
            with self._lock:
                self._open |= db.info[self]
                while len(self._open) > LANES:
                    self._open.popitem(last=False)
            db.info[self].clear()

        def drop(_: Session, *__: object) -> None:
            db.info[self].clear()

        event.listen(db, "after_commit", keep)
        event.listen(db, "after_soft_rollback", drop)


class Opener:
    """Opens for one process: each call is one request to the vault, on record before it is answered."""

    def __init__(self, vault: Vault, keys: ServiceKeys) -> None:
        self._vault = vault
        self._keys = keys

    def open(
        self, db: Session, access: Access, rows: Sequence[Sealed], *, timeout: float | None = None
    ) -> list[dict[str, Any]]:
        """Return the fields of each row, in order; `timeout` in seconds, for each 500 rows.

        Raises:
            VaultUnavailableError: the vault did not answer in time; nothing was opened.
            KeyGoneError: a row's subject was shredded.
            SealBrokenError: a row is not what was sealed there.
        """
        ids = [_lane_of(row) for row in rows]
        known = lanes.openings(db, ids)
        keys: dict[int, bytes] = {}
        for request in _requests(rows, ids, known):
            groups = [
                Group(
                    kid=lane.kid,
                    subject=lane.subject,
                    lane=lane.blob,
                    objects=tuple((rows[n].table, rows[n].id) for n in numbers),
                )
                for lane, numbers in request
            ]
            answer = self._vault.unwrap(access, groups, timeout=timeout)
            for (_, numbers), given in zip(request, answer, strict=True):
                keys.update(zip(numbers, given, strict=True))
        return [self._opened(row, ids[number], keys[number]) for number, row in enumerate(rows)]

    def media_key(
        self,
        db: Session,
        access: Access,
        subject: UUID,
        table: Table,
        object_id: UUID,
        lane_id: bytes,
        *,
        timeout: float | None = None,
    ) -> bytes:
        """Return the 32-byte key of a media container; audited.

        Raises:
            VaultUnavailableError: the vault did not answer in time.
            KeyGoneError: the subject was shredded, or the container is another subject's.
            SealBrokenError: there is no such lane.
        """
        lane = lanes.openings(db, [lane_id]).get(lane_id)
        if lane is None:
            raise SealBrokenError(f"no lane for {table.name.lower()} {object_id}")
        group = Group(kid=lane.kid, subject=subject, lane=lane.blob, objects=((table, object_id),))
        ((key,),) = self._vault.unwrap(access, [group], timeout=timeout)
        if not key:
            raise KeyGoneError(f"no key for {table.name.lower()} {object_id}")
        return key

    def _opened(self, row: Sealed, lane_id: bytes, key: bytes) -> dict[str, Any]:
        if not key:
            raise KeyGoneError(f"no key for {row.table.name.lower()} {row.id}")
        start = len(VERSION) + ID_BYTES
        nonce, box = row.blob[start : start + NONCE_BYTES], row.blob[start + NONCE_BYTES :]
        try:
            plain = AESGCM(key).decrypt(
                nonce, box, _aad(self._keys.tenant, lane_id, OBJECT.pack(row.table, row.id.bytes))
            )
        except (InvalidTag, ValueError):
            raise _broken(row) from None
        fields, _padding = msgspec.msgpack.decode(plain)
        return dict(fields)


def _requests(
    rows: Sequence[Sealed], ids: Sequence[bytes], known: Mapping[bytes, Opening]
) -> Iterator[list[tuple[Opening, list[int]]]]:
    """Yield what to ask at once, within the vault's limits: lanes, and the places of their rows in `rows`."""
    by_lane: dict[bytes, list[int]] = {}
    for number, lane_id in enumerate(ids):
        if lane_id not in known:
            raise _broken(rows[number])
        by_lane.setdefault(lane_id, []).append(number)
    request: list[tuple[Opening, list[int]]] = []
    room = MAX_OBJECTS
    for lane_id, numbers in by_lane.items():
        while numbers:
            if not room or len(request) == MAX_GROUPS:
                yield request
                request, room = [], MAX_OBJECTS
            part, numbers = numbers[:room], numbers[room:]
            request.append((known[lane_id], part))
            room -= len(part)
    if request:
        yield request


def _lane_of(row: Sealed) -> bytes:
    if row.blob[:1] != VERSION:
        raise _broken(row)
    return row.blob[1 : 1 + ID_BYTES]


def _aad(tenant: bytes, lane_id: bytes, item: bytes) -> bytes:
    return VERSION + lane_id + tenant + item + b"\xff"


def _padded(fields: Mapping[str, Any]) -> bytes:
    plain = _encoder.encode((fields, b""))
    return _encoder.encode((fields, bytes(-len(plain) % BLOCK)))


def _broken(row: Sealed) -> SealBrokenError:
    return SealBrokenError(f"{row.table.name.lower()} {row.id} is not what was sealed there")
