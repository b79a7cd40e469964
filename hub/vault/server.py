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
import structlog

from hub.vault import keys, wire
from hub.vault.log import Log, LogFullError
from hub.vault.ring import Ring
from hub.vault.wire import Op, Request, Status

log = structlog.get_logger()

BATCH_REQUESTS = 256
BATCH_OBJECTS = 2000
"Of one insert: what comes after waits for the next, so that a bulk read delays nobody for long."

WAITING = 4096
"Requests in line before new ones are told to come later."

PATIENCE = 50
"Objects by which a request counts as smaller for each batch it was passed over in."

UNSENT = 4 << 20
"Bytes a peer may leave unread before its connection is closed."

IDLE_S = 0.25
"Between looks at whether to stop, or to start a courier, when nobody asks for anything."

MINT = 64
"Keys made for one request: 64 take about 3 ms, during which nobody else is served."

SHUT = select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP
_RECEIVE = 1 << 18
_PRIVILEGED = frozenset({"unwrap", "boot", "shred", "mint", "denied", "init", "start"})


class Connection:
    """One peer."""

    __slots__ = ("courier", "inbound", "open", "outbound", "pid", "socket", "uid")

    def __init__(self, peer: socket.socket, *, courier: bool = False) -> None:
        peer.setblocking(False)
        self.socket = peer
        self.pid, self.uid = wire.peer(peer)
        self.courier = courier
        self.inbound = bytearray()
        self.outbound = bytearray()
        self.open = True


class Waiting:
    """A request in line."""

    __slots__ = ("peer", "request", "turn", "weight")

    def __init__(self, peer: Connection, request: Request, turn: int) -> None:
        self.peer = peer
        self.request = request
        self.weight = request.weight
        self.turn = turn


class Server:
    """Serves one instance until `stop` is called."""

    def __init__(
        self,
        root: keys.Root,
        audit: Log,
        ring: Ring,
        listener: socket.socket,
        *,
        allowed: Mapping[int, frozenset[str]],
        hire: Callable[[], socket.socket | None] = lambda: None,
    ) -> None:
        self._root = root
        self._log = audit
        self._ring = ring
        self._listener = listener
        self._allowed = allowed
        self._hire = hire
        self._hire_at = 0.0
        self._courier: Connection | None = None
        self._settling: list[tuple[int, Connection, int]] = []
        self._wishes = 0
        self._epoll = select.epoll()
        self._peers: dict[int, Connection] = {}
        self._line: list[Waiting] = []
        self._turn = 0
        self._full = False
        self._running = True
        self._began = time.monotonic()
        listener.setblocking(False)
        self._epoll.register(listener.fileno(), select.EPOLLIN)

    def stop(self) -> None:
        """Let `run` return after the batch under way."""
        self._running = False

    def run(self) -> None:
        """Serve.

        Raises:
            LogFailedError: the log cannot be written and this process must not go on; those who wait were refused.
        """
        while self._running:
            self._keep_courier()
            for number, happened in self._epoll.poll(0 if self._line else IDLE_S):
                if number == self._listener.fileno():
                    self._accept()
                elif (peer := self._peers.get(number)) is not None:
                    self._happened(peer, happened)
            if self._line:
                self._serve(self._batch())
        for peer in list(self._peers.values()):
            self._close(peer)
        self._epoll.close()

    def _keep_courier(self) -> None:
        now = time.monotonic()
        if self._courier is not None or now < self._hire_at:
            return
        self._hire_at = now + 1.0
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
        self._epoll.register(end.fileno(), select.EPOLLIN | select.EPOLLRDHUP)
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
                self._send(waiting, wire.frame((number, Status.AUDIT_DOWN, 0, ())))
            self._settling.clear()

    def _happened(self, peer: Connection, happened: int) -> None:
        if happened & SHUT:
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
        peer.inbound += data
        try:
            for body in wire.frames(peer.inbound):
                self._take(peer, body)
        except (ValueError, msgspec.DecodeError):  # what follows cannot be told from noise
            self._close(peer)

    def _take(self, peer: Connection, body: bytes) -> None:
        try:
            request = wire.request_of(body)
        except msgspec.ValidationError:
            self._send(peer, wire.frame((wire.number_of(body), Status.MALFORMED, 0, ())))
            return
        if request.op is Op.HEALTH:
            self._send(peer, wire.frame((request.id, Status.OK, 0, (), self._health())))
        elif request.op is Op.SETTLE:
            self._settle(peer, request)
        elif len(self._line) >= WAITING:
            self._send(peer, wire.frame((request.id, Status.BUSY, 0, ())))
        else:
            self._line.append(Waiting(peer, request, self._turn))

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
                    self._send(waiting, wire.frame((number, Status.OK, 0, ())))
            self._settling = [entry for entry in self._settling if entry[0] > request.at]
        elif self._courier is None:
            self._send(peer, wire.frame((request.id, Status.AUDIT_DOWN, 0, ())))
        else:
            self._wishes += 1
            self._settling.append((self._wishes, peer, request.id))
            self._send(self._courier, wire.frame((wire.NUDGE, Status.OK, self._wishes, ())))

    def _batch(self) -> list[Waiting]:
        """Take the next batch out of the line: small requests first, nothing that nobody waits for any more."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        line = []
        for waiting in self._line:
            if not waiting.peer.open:
                continue
            if waiting.request.deadline < now:
                self._send(waiting.peer, wire.frame((waiting.request.id, Status.EXPIRED, 0, ())))
            else:
                line.append(waiting)
        turn = self._turn
        line.sort(key=lambda waiting: waiting.weight - PATIENCE * (turn - waiting.turn))
        objects = count = 0
        for waiting in line[:BATCH_REQUESTS]:
            if count and objects + waiting.weight > BATCH_OBJECTS:
                break
            objects += waiting.weight
            count += 1
        self._line = line[count:]
        self._turn += 1
        return line[:count]

    def _serve(self, batch: list[Waiting]) -> None:
        if not batch:
            return
        permitted = [self._permits(waiting) for waiting in batch]
        records = [record_of(waiting, yes) for waiting, yes in zip(batch, permitted, strict=True)]
        try:
            seq = self._log.append(records)
        except BaseException as error:
            for waiting in batch:
                self._send(waiting.peer, wire.frame((waiting.request.id, Status.AUDIT_DOWN, 0, ())))
            if not isinstance(error, LogFullError):
                raise
            if not self._full:
                log.error("the audit log is full: nothing is served until there is room")
            self._full = True
            return
        self._full = False
        for number, (waiting, yes) in enumerate(zip(batch, permitted, strict=True), seq):
            answer = self._do(waiting.request) if yes else ((), {})
            status = Status.OK if yes else Status.DENIED
            self._send(waiting.peer, wire.frame((waiting.request.id, status, number, *answer)))

    def _permits(self, waiting: Waiting) -> bool:
        request, peer = waiting.request, waiting.peer
        if request.op is Op.UNWRAP:
            return True
        if request.op is Op.APPEND:
            if request.act in _PRIVILEGED or (request.intent and not peer.courier):
                return False
            try:
                wire.check_note(request.act, request.detail)
            except ValueError:
                return False
            return True
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
            self._epoll.modify(peer.socket.fileno(), select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP)

    def _flush(self, peer: Connection) -> None:
        try:
            del peer.outbound[: peer.socket.send(peer.outbound)]
        except BlockingIOError:
            return
        except OSError:
            self._close(peer)
            return
        if not peer.outbound:
            self._epoll.modify(peer.socket.fileno(), select.EPOLLIN | select.EPOLLRDHUP)


def record_of(waiting: Waiting, permitted: bool) -> dict[str, object]:
    """Return what the audit log says of a request, but for its number, link and time."""
    request, peer = waiting.request, waiting.peer
    detail: dict[str, str | int] = dict(request.detail)
    act = request.act if request.op is Op.APPEND else _ACTS[request.op]
    if not permitted:
        act, detail = "denied", {"op": request.op.name.lower()}
    record: dict[str, object] = {
        "act": act,
        "actor": request.actor,
        "role": request.role,
        "purpose": request.purpose,
        "session": request.session,
        "uid": peer.uid,
        "pid": peer.pid,
        "obj": [[group.kid.hex(), group.subject.hex(), b"".join(group.objects).hex()] for group in request.groups],
    }
    if request.reason is not None:
        record["reason"] = request.reason
    if request.intent:
        record |= {"intent": request.intent.hex(), "at": request.at}
    if detail:
        record["detail"] = detail
    return record


_ACTS = {Op.UNWRAP: "unwrap", Op.BOOT: "boot", Op.SHRED: "shred", Op.POOL: "mint"}


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
