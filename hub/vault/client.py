"""The vault as the other processes see it: synchronous, thread-safe, one connection per request under way."""

import contextlib
import itertools
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Self
from uuid import UUID

import msgspec

from hub.errors import ChartlineError, DeniedError, UnavailableError, UsageError
from hub.vault import wire
from hub.vault.wire import Op, Reply, Status

TIMEOUT_S = 2.0
SETTLE_S = 15.0
"For the vault's courier to start, and for its turn to write in a busy database."

BREAK_S = 1.0
"After a request that got no answer in time, nobody waits on the vault for so long."

_RECEIVE = 1 << 15
"Holds the keys of 900 objects; more would make the allocator map and unmap memory for every reply."
_TIMEVAL = struct.Struct("@ll")

Subject = tuple[bytes, UUID, Sequence[tuple[int, UUID]]]
"Key id, subject, objects (table number, row id) that an audit record names."


class VaultUnavailableError(UnavailableError):
    """The vault is down, hung, or cannot write its log; it gave no key."""

    code = "vault-unavailable"


class VaultDeniedError(DeniedError):
    """The vault refuses this to this process."""

    code = "vault-denied"


class VaultRequestError(UsageError):
    """The vault cannot read the request."""

    code = "vault-request"


@dataclass(frozen=True, slots=True)
class Access:
    """Who asks, and why; goes to the audit log as it is."""

    actor: str
    "A staff id, `token:<id>`, or a process: `system:media`."

    role: str
    purpose: str
    "treatment, operations, payment, patient-request or emergency (45 CFR 164.506 for the first three)."

    session: str = ""
    "Ids only: of the call, of the request."

    reason: str | None = None
    "Why the glass was broken, or a subject shredded."


@dataclass(frozen=True, slots=True)
class Group:
    """Objects of one subject, all sealed through one lane."""

    kid: bytes
    subject: UUID
    lane: bytes
    "The 80-byte HPKE blob of the lane row."

    objects: tuple[tuple[int, UUID], ...]
    "Table number and row id."


@dataclass(frozen=True, slots=True)
class ServiceKeys:
    """What a process gets at its start; a key that it has no right to is empty."""

    tenant: bytes
    database: bytes = field(repr=False)
    inbox: bytes = field(repr=False)
    index: bytes = field(repr=False)
    codec: bytes = field(repr=False)
    pop: bytes = field(repr=False)
    pool_public: bytes
    "Ed25519: what the public keys of the pool are signed with."


def _timeval(seconds: float) -> bytes:
    return _TIMEVAL.pack(int(seconds), int(seconds % 1 * 1e6) or 1)  # two zeros would mean no limit


class _Line:
    """One connection, with at most one request under way."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.used = False
        self._timeout = 0.0

    def wait_at_most(self, seconds: float) -> None:
        """Let the kernel end a send or receive: it spares the poll(2) that Python's own timeout makes before each."""
        if seconds != self._timeout:
            value = _timeval(seconds)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)
            self._timeout = seconds


class Vault:
    """Asks the vault at `socket`; nothing is asked twice, a caller that wants to try again does so itself."""

    def __init__(self, socket: Path, *, timeout: float = TIMEOUT_S) -> None:
        self._path = socket
        self._timeout = timeout
        self._idle: deque[_Line] = deque()
        self._pid = os.getpid()
        self._numbers = itertools.count(1)
        self._broken_until = 0.0

    def boot(self, service: str) -> ServiceKeys:
        """Return the keys that `service` needs to run; audited.

        Raises:
            VaultUnavailableError: no answer.
            VaultDeniedError: there is no such service, or this user may not run it.
        """
        access = Access(f"system:{service}", "system", "operations")
        reply = self._ask(Op.BOOT, access, (), detail={"service": service})
        return msgspec.convert(reply.detail, ServiceKeys)

    def unwrap(self, access: Access, groups: Sequence[Group], *, timeout: float | None = None) -> list[list[bytes]]:
        """Return the key of each object, in the order asked, once the request is durable in the audit log.

        At most 100 groups and 500 objects. A key is empty where the lane does not open for that subject, or the
        subject was shredded. `timeout` is in seconds.

        Raises:
            VaultUnavailableError: no answer in time, or no room in the log; no key was given.
            VaultDeniedError: this user may not.
            VaultRequestError: too many, or not of the right sizes.
        """
        pack = wire.OBJECT.pack
        asked = [
            (group.kid, group.subject.bytes, group.lane, [pack(table, row.bytes) for table, row in group.objects])
            for group in groups
        ]
        return self._ask(Op.UNWRAP, access, asked, timeout=timeout).keys

    def append(
        self, access: Access, act: str, subjects: Sequence[Subject] = (), detail: Mapping[str, str | int] | None = None
    ) -> int:
        """Write one audit record; return its number once it is durable.

        Raises:
            VaultUnavailableError: not written, or not known to be.
            ValueError: `detail` holds more than ids and codes.
        """
        detail = detail or {}
        wire.check_note(act, detail)
        return self._ask(Op.APPEND, access, asked_of(subjects), act=act, detail=detail).seq

    def shred(self, access: Access, kid: bytes, subject: UUID) -> int:
        """Destroy the subject's private key; `access.reason` says why. Return the audit record's number.

        Idempotent. What was sealed for the subject stays unreadable in every copy of the databases.

        Raises:
            VaultUnavailableError: not done, or not known to be; ask again.
            VaultDeniedError: no reason was given.
        """
        return self._ask(Op.SHRED, access, [(kid, subject.bytes, b"", [])]).seq

    def settle(self, *, timeout: float = SETTLE_S) -> None:
        """Return once every intent that was committed before this call is in the audit log, and keys are in the pools.

        Raises:
            VaultUnavailableError: not by then.
        """
        self._ask(Op.SETTLE, Access("", "", ""), (), timeout=timeout)

    def health(self) -> dict[str, Any]:
        """Return `records` (audit log), `audit` (ok or full), `drain` (up or down), `pid`, `uptime_s`.

        Raises:
            VaultUnavailableError: no answer.
        """
        return dict(self._ask(Op.HEALTH, Access("", "", ""), ()).detail)

    def close(self) -> None:
        """Close the idle connections; a later request opens its own."""
        while self._idle:
            with contextlib.suppress(IndexError):
                self._idle.pop().socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _ask(
        self,
        op: Op,
        access: Access,
        groups: Sequence[object],
        *,
        timeout: float | None = None,
        act: str = "",
        detail: Mapping[str, str | int] | None = None,
    ) -> Reply:
        seconds = self._timeout if timeout is None else timeout
        now = time.monotonic()
        if now < self._broken_until:
            raise VaultUnavailableError("the vault did not answer a moment ago")
        number = next(self._numbers) & 0xFFFFFFFF
        head = (wire.VERSION, number, op, int((now + seconds) * 1e6))
        who = (access.actor, access.role, access.purpose, access.session, access.reason)
        rest = (act, detail or {}) if act or detail else ()
        message = (*head, *who, groups, *rest)
        try:
            reply = self._exchange(wire.frame(message), now + seconds, seconds)
        except BlockingIOError:
            if op is not Op.SETTLE:  # that one waits for others
                self._broken_until = time.monotonic() + BREAK_S
            raise VaultUnavailableError("the vault did not answer in time") from None
        except (OSError, ValueError, msgspec.DecodeError, EOFError) as error:
            raise VaultUnavailableError(f"no vault: {type(error).__name__}") from None
        if reply.status is not Status.OK or reply.id != number:
            _refuse(reply)
        return reply

    def _exchange(self, message: bytes, deadline: float, seconds: float) -> Reply:
        line = self._line(seconds)
        try:
            try:
                line.socket.sendall(message)
            except (BrokenPipeError, ConnectionResetError):
                if not line.used:
                    raise
                line.socket.close()
                self.close()  # the vault was restarted: what is idle is just as dead, and nothing was asked yet
                line = self._line(seconds)
                line.socket.sendall(message)
            reply = _receive(line, deadline)
        except BaseException:
            line.socket.close()  # its answer may still come, and would be taken for the next one's
            raise
        line.used = True
        self._idle.append(line)
        return reply

    def _line(self, seconds: float) -> _Line:
        if self._pid != os.getpid():  # after fork(2) the parent's connections are not ours to use
            self.close()
            self._pid = os.getpid()
        try:
            line = self._idle.pop()
        except IndexError:
            line = _Line(_connected(self._path, seconds))
        line.wait_at_most(seconds)
        return line


def asked_of(subjects: Sequence[Subject]) -> list[tuple[bytes, bytes, bytes, list[bytes]]]:
    """Return `subjects` as the wire has them: named, with no key asked for."""
    pack = wire.OBJECT.pack
    return [
        (kid, subject.bytes, b"", [pack(table, row.bytes) for table, row in rows]) for kid, subject, rows in subjects
    ]


def _connected(path: Path, seconds: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(seconds))
        with wire.address(path) as address:
            connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def _receive(line: _Line, deadline: float) -> Reply:
    data = line.socket.recv(_RECEIVE)
    if (body := wire.only(data)) is not None:
        return wire.reply_of(body)
    buffer = bytearray()
    while True:
        if not data:
            raise EOFError
        buffer += data
        for whole in wire.frames(buffer):
            return wire.reply_of(whole)
        left = deadline - time.monotonic()
        if left <= 0:
            raise BlockingIOError
        line.wait_at_most(left)
        data = line.socket.recv(_RECEIVE)


def _refuse(reply: Reply) -> NoReturn:
    error: type[ChartlineError] = VaultUnavailableError
    if reply.status is Status.DENIED:
        error = VaultDeniedError
    elif reply.status is Status.MALFORMED:
        error = VaultRequestError
    raise error(f"the vault answers {reply.status.name.lower().replace('_', '-')}")
