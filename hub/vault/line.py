"""Who waits for the vault, and who is next."""

import socket

from hub.vault import wire
from hub.vault.wire import Op, Request

BATCH_REQUESTS = 256
BATCH_OBJECTS = 2000
"Of one insert: what comes after waits for the next, so that a bulk read delays nobody for long."

PATIENCE = 50
"Objects by which a request counts as smaller for each batch it was passed over in."


class Connection:
    """One peer."""

    __slots__ = ("courier", "inbound", "open", "outbound", "pid", "socket", "uid")

    def __init__(self, peer: socket.socket, *, courier: bool = False) -> None:
        peer.setblocking(False)
        self.socket = peer
        self.pid, self.uid = wire.peer(peer)
        self.courier = courier
        "Whether it is the vault's own, which may carry intents and ask for pool keys."

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

    def record(self, permitted: bool) -> dict[str, object]:
        """Return what the audit log says of the request, but for its number, link and time."""
        request, peer = self.request, self.peer
        detail: dict[str, str | int] = request.detail
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
            record["intent"] = request.intent.hex()
            record["at"] = request.at
        if detail:
            record["detail"] = detail
        return record


_ACTS = {Op.UNWRAP: "unwrap", Op.BOOT: "boot", Op.SHRED: "shred", Op.POOL: "mint"}


class Line:
    """The requests that wait, and the order they are taken in: small ones first, nobody forever."""

    def __init__(self) -> None:
        self._waiting: list[Waiting] = []
        self._turn = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, peer: Connection, request: Request) -> None:
        """Put a request in line."""
        self._waiting.append(Waiting(peer, request, self._turn))

    def next(self, now: int) -> tuple[list[Waiting], list[Waiting]]:
        """Take out the next batch, and apart from it all whose deadline is before `now` (CLOCK_MONOTONIC, us).

        What nobody waits for any more, because its peer closed the connection, is dropped.
        """
        expired: list[Waiting] = []
        line: list[Waiting] = []
        objects = 0
        for waiting in self._waiting:
            if not waiting.peer.open:
                continue
            if waiting.request.deadline < now:
                expired.append(waiting)
            else:
                line.append(waiting)
                objects += waiting.weight
        self._turn += 1
        if objects == len(line) <= BATCH_REQUESTS:  # small ones, as nearly always: all are next, in any order
            self._waiting = []
            return line, expired
        count = self._first(line)
        self._waiting = line[count:]
        return line[:count], expired

    def _first(self, line: list[Waiting]) -> int:
        """Put those who are next first, and return how many of them there are."""
        turn = self._turn
        line.sort(key=lambda waiting: waiting.weight - PATIENCE * (turn - waiting.turn))
        objects = count = 0
        for waiting in line[:BATCH_REQUESTS]:
            objects += waiting.weight
            if count and objects > BATCH_OBJECTS:
                break
            count += 1
        return count
