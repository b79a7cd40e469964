"""The vault's loop: read all that is ready, one durable insert, derive keys, reply. One thread, nothing in between.

The blocking insert is the fail-closed rule itself: while the disk hangs, so does the vault, and nothing can be served
by mistake. All that arrives meanwhile makes up the next batch.
"""

import contextlib
import dataclasses
import os
import select
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from hub.vault import file, keys, wire
from hub.vault.journal import Journal
from hub.vault.line import BATCH_REQUESTS, Connection, Line, Waiting
from hub.vault.log import Log, LogFullError
from hub.vault.ring import Ring
from hub.vault.wire import Op, Request, Status

log = Journal("vault")

WAITING = 4096
"Requests in line before new ones are told to come later."

UNSENT = 4 << 20
"Bytes a peer may leave unread before its connection is closed."

IDLE_S = 0.25
"Between looks at whether to stop, or to start a courier, when nobody asks for anything."

HIRE_S = 1.0
"Between two starts of a courier."

MINT = 64
"Keys made for one request: 64 take about 5 ms, during which nobody else is served."

_SHUT = select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP
_READ = select.EPOLLIN | select.EPOLLRDHUP
_RECEIVE = 1 << 16
_RESERVED = frozenset({"unwrap", "boot", "shred", "mint", "denied", "init", "start"})
"Acts that only the vault itself may put on record."


class Server:
    """Serves one instance until `stop` is called.

    `allowed` has the services each user may boot; who is not in it may not connect. `hire` starts a courier
    (hub.vault.drain) and returns the vault's end of its connection.
    """

    def __init__(
        self,
        root: keys.Root,
        audit: Log,
        ring: Ring,
        listener: socket.socket,
        *,
        allowed: Mapping[int, frozenset[str]],
        hire: Callable[[], socket.socket | None] = lambda: None,
        waiting: int = WAITING,
    ) -> None:
        self._root = root
        self._log = audit
        self._ring = ring
        self._listener = listener
        self._allowed = allowed
        self._hire = hire
        self._waiting = waiting
        self._hire_at = 0.0
        self._courier: Connection | None = None
        self._settling: list[tuple[int, Connection, int]] = []
        self._wishes = 0
        self._epoll = select.epoll()
        self._peers: dict[int, Connection] = {}
        self._line = Line()
        self._full = False
        self._running = True
        self._began = time.monotonic()
        listener.setblocking(False)
        self._door = listener.fileno()
        self._epoll.register(self._door, select.EPOLLIN)

    def stop(self) -> None:
        """Let `run` return after the batch under way."""
        self._running = False

    def run(self) -> None:
        """Serve.

        Raises:
            LogFailedError: the log cannot be written and this process must not go on; those who wait were refused.
        """
        try:
            while self._running:
                self._keep_courier()
                self._hear()
                if len(self._line):
                    self._serve()
        finally:
            for peer in list(self._peers.values()):
                self._close(peer)
            self._epoll.close()

    def _hear(self) -> None:
        """Read all that is ready, also what came in while reading: a fuller batch shares its insert with more."""
        wait = 0 if len(self._line) else IDLE_S
        while True:
            before = len(self._line)
            ready = self._epoll.poll(wait)
            for number, happened in ready:
                if number == self._door:
                    self._accept()
                elif (peer := self._peers.get(number)) is not None:
                    self._happened(peer, happened)
            if len(ready) < 2 or not before < len(self._line) < BATCH_REQUESTS:
                return
            wait = 0

    def _keep_courier(self) -> None:
        now = time.monotonic()
        if self._courier is None and now >= self._hire_at:
            self._hire_at = now + HIRE_S
            end = self._hire()
            if end is not None:
                self._courier = self._admit(end, courier=True)

    def _accept(self) -> None:
        while True:
            try:
                end, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # out of descriptors: those who are connected are served on
                log.warning("cannot accept", error=error.errno)
                return
            self._admit(end)

    def _admit(self, end: socket.socket, *, courier: bool = False) -> Connection | None:
        peer = Connection(end, courier=courier)
        if peer.uid not in self._allowed:
            log.warning("user refused", uid=peer.uid)
            end.close()
            return None
        self._peers[end.fileno()] = peer
        self._epoll.register(end.fileno(), _READ)
        return peer

    def _close(self, peer: Connection) -> None:
        if not peer.open:
            return
        peer.open = False
        del self._peers[peer.socket.fileno()]
        self._epoll.unregister(peer.socket.fileno())
        peer.socket.close()
        if peer is self._courier:
            self._courier = None
            for _, waiting, number in self._settling:
                self._answer(waiting, number, Status.AUDIT_DOWN)
            self._settling.clear()

    def _happened(self, peer: Connection, happened: int) -> None:
        if happened & _SHUT:  # what it asked before, nobody reads the answer of
            self._close(peer)
            return
        if happened & select.EPOLLOUT:
            self._flush(peer)
        if happened & select.EPOLLIN and peer.open:
            self._receive(peer)

    def _receive(self, peer: Connection) -> None:
        try:
            data = peer.socket.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(peer)
            return
        try:
            if not peer.inbound and (body := wire.only(data)) is not None:
                self._take(peer, body)
                return
            peer.inbound += data
            for whole in wire.frames(peer.inbound):
                self._take(peer, whole)
        except (ValueError, msgspec.DecodeError):  # what follows cannot be told from noise
            self._close(peer)

    def _take(self, peer: Connection, body: wire.Buffer) -> None:
        try:
            request = wire.request_of(body)
        except msgspec.ValidationError:
            self._answer(peer, wire.number_of(body), Status.MALFORMED)
            return
        if request.op is Op.HEALTH:
            self._send(peer, wire.frame((request.id, Status.OK, 0, (), self._health())))
        elif request.op is Op.SETTLE:
            self._settle(peer, request)
        elif len(self._line) >= self._waiting:
            self._answer(peer, request.id, Status.BUSY)
        else:
            self._line.join(peer, request)

    def _health(self) -> dict[str, str | int]:
        return {
            "records": self._log.size,
            "audit": "full" if self._full else "ok",
            "drain": "down" if self._courier is None else "up",
            "pid": os.getpid(),
            "uptime_s": int(time.monotonic() - self._began),
        }

    def _settle(self, peer: Connection, request: Request) -> None:
        """Pass a wish on to the courier, or its answer back to all who wished before it looked."""
        if peer.courier:
            for wish, waiting, number in self._settling:
                if wish <= request.at:
                    self._answer(waiting, number, Status.OK)
            self._settling = [entry for entry in self._settling if entry[0] > request.at]
        elif self._courier is None:
            self._answer(peer, request.id, Status.AUDIT_DOWN)
        else:
            self._wishes += 1
            self._settling.append((self._wishes, peer, request.id))
            self._answer(self._courier, wire.NUDGE, Status.OK, self._wishes)

    def _serve(self) -> None:
        batch, expired = self._line.next(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)
        for waiting in expired:
            self._answer(waiting.peer, waiting.request.id, Status.EXPIRED)
        if not batch:
            return
        permitted = [self._permits(waiting) for waiting in batch]
        records = [waiting.record(yes) for waiting, yes in zip(batch, permitted, strict=True)]
        try:
            first = self._log.append(records)
        except BaseException as error:
            self._refuse(batch, error)
            return
        self._full = False
        for seq, (waiting, yes) in enumerate(zip(batch, permitted, strict=True), first):
            if not yes:
                self._answer(waiting.peer, waiting.request.id, Status.DENIED, seq)
                continue
            try:
                given, detail = self._do(waiting.request)
            except file.Error as error:
                if not file.is_full(error):
                    raise
                self._answer(waiting.peer, waiting.request.id, Status.AUDIT_DOWN, seq)
                continue
            self._send(waiting.peer, wire.frame((waiting.request.id, Status.OK, seq, given, detail)))

    def _refuse(self, batch: list[Waiting], error: BaseException) -> None:
        for waiting in batch:
            self._answer(waiting.peer, waiting.request.id, Status.AUDIT_DOWN)
        if not isinstance(error, LogFullError):
            raise error
        if not self._full:
            log.error("the audit log is full: nothing is served until there is room")
        self._full = True

    def _permits(self, waiting: Waiting) -> bool:
        request, peer = waiting.request, waiting.peer
        if request.op is Op.UNWRAP:
            return True
        if request.op is Op.APPEND:
            return (peer.courier or not request.intent) and request.act not in _RESERVED and _is_note(request)
        if request.op is Op.BOOT:
            service = request.detail.get("service")
            if service == keys.DRAIN:
                return peer.courier
            return service in keys.RIGHTS and service in self._allowed[peer.uid]
        if request.op is Op.SHRED:
            return bool(request.reason) and len(request.groups) == 1
        return request.op is Op.POOL and peer.courier

    def _do(self, request: Request) -> tuple[Any, dict[str, Any]]:
        """Carry out what is now on record; return keys and details for the reply."""
        if request.op is Op.UNWRAP:
            return self._ring.keys(request.groups), {}
        if request.op is Op.BOOT:
            return (), dataclasses.asdict(self._root.service_keys(str(request.detail["service"])))
        if request.op is Op.SHRED:
            self._ring.shred(request.groups[0].kid)
        if request.op is Op.POOL:
            return self._ring.mint(MINT), {}
        return (), {}

    def _answer(self, peer: Connection, number: int, status: Status, seq: int = 0) -> None:
        self._send(peer, wire.frame((number, status, seq, ())))

    def _send(self, peer: Connection, message: bytes) -> None:
        if not peer.open:
            return
        if peer.outbound:
            peer.outbound += message
            if len(peer.outbound) > UNSENT:
                self._close(peer)
            return
        try:
            sent = peer.socket.send(message)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close(peer)
            return
        if sent < len(message):
            peer.outbound += message[sent:]
            self._epoll.modify(peer.socket.fileno(), _READ | select.EPOLLOUT)

    def _flush(self, peer: Connection) -> None:
        try:
            del peer.outbound[: peer.socket.send(peer.outbound)]
        except BlockingIOError:
            return
        except OSError:
            self._close(peer)
            return
        if not peer.outbound:
            self._epoll.modify(peer.socket.fileno(), _READ)


def _is_note(request: Request) -> bool:
    try:
        wire.check_note(request.act, request.detail)
    except ValueError:
        return False
    return True


def listen(path: Path) -> socket.socket:
    """Return the listening socket of the vault, in place of a dead one's.

    The caller must hold the instance's lock: a living vault's socket would be taken from it.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    with wire.address(path) as address:
        listener.bind(address)
    path.chmod(0o660)
    listener.listen(512)
    return listener
