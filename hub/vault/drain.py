"""The vault's courier: carries audit intents from the databases to the log, and public keys to the pools.

A process of its own, started by the vault at the other end of a socket pair: waiting for a busy database's write turn
must not keep the vault from its callers. It ends with the vault, and a new one starts where the rows stand. A row is
deleted only after its record is durable; a crash between the two writes the record again, with the same intent id.
"""

import argparse
import os
import select
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from hub.vault import file, guard, wire
from hub.vault.client import ServiceKeys
from hub.vault.home import Home
from hub.vault.journal import Journal
from hub.vault.keys import DRAIN
from hub.vault.store import Store
from hub.vault.wire import Op, Reply, Status

log = Journal("vault-drain")

POLL_S = 0.1
BATCHES = 20
"Of intents from one database before the other one is looked at."

POOL, INBOX_POOL = 10_000, 256
"Keys kept ready: one a new patient in chartline.db, one a line and day in inbox.db."

READY = 256
"Keys that a pool has, at the least, once the vault says that it is settled."

TOP_UP_S = 0.02
"Between two mintings, so that start-up's many leave the vault to its callers."

ANSWER_S = 10.0

WHO = ("system:drain", "system", "operations", "", None)
"Actor, role, purpose, session, reason of its own requests."


class GoneError(Exception):
    """The vault closed the connection, or does not answer: this process has nothing left to do."""


class Desk:
    """The privileged connection to the vault."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(ANSWER_S)
        self._socket = connection
        self._buffer = bytearray()
        self._number = 0
        self.wish = 0
        "The last wish to have the intents in the log at once that the vault passed on."

    def request(self, op: Op, who: Sequence[Any] = WHO, groups: Sequence[Any] = (), rest: Sequence[Any] = ()) -> bytes:
        """Return the next request as it goes over the socket; `rest` is act, detail, intent, time."""
        self._number += 1
        deadline = int((time.monotonic() + ANSWER_S) * 1e6)
        return wire.frame((wire.VERSION, self._number, op, deadline, *who, groups, *rest))

    def ask(self, requests: Sequence[bytes]) -> list[Reply]:
        """Send the requests made last, together, and return their replies in order.

        Raises:
            GoneError: no answer.
        """
        last = self._number
        self.send(b"".join(requests))
        replies: dict[int, Reply] = {}
        while len(replies) < len(requests):
            replies |= {reply.id: reply for reply in self._read()}
        return [replies[number] for number in range(last - len(requests) + 1, last + 1)]

    def send(self, message: bytes) -> None:
        """Send what gets no reply.

        Raises:
            GoneError: nobody is there.
        """
        try:
            self._socket.sendall(message)
        except OSError:
            raise GoneError from None

    def rest(self, seconds: float) -> None:
        """Wait so long, or until the vault says something: only that somebody wants the intents now.

        Raises:
            GoneError: nobody is there.
        """
        if select.select([self._socket], [], [], seconds)[0]:
            for reply in self._read():
                log.warning("an answer to nothing", id=reply.id)

    def _read(self) -> Iterator[Reply]:
        try:
            data = self._socket.recv(1 << 18)
        except OSError:
            raise GoneError from None
        if not data:
            raise GoneError
        self._buffer += data
        for body in wire.frames(self._buffer):
            reply = wire.reply_of(body)
            if reply.id == wire.NUDGE:
                self.wish = reply.seq
            else:
                yield reply


class Courier:
    """Does the rounds of the databases."""

    def __init__(self, desk: Desk, stores: Sequence[Store]) -> None:
        self._desk = desk
        self._stores = stores
        self._left: set[Store] = set()
        self._failing: set[Store] = set()
        self._settled = 0
        self._topping = False

    def run(self) -> None:
        """Go round until the vault is gone.

        Raises:
            GoneError: always, in the end.
        """
        while True:
            self._desk.rest(self.round())

    def round(self) -> float:
        """Look at every database once; return how long to rest after that, in seconds.

        Raises:
            GoneError: the vault is gone.
        """
        wish, self._topping = self._desk.wish, False
        wished = wish > self._settled
        visited = [self._visited(store, wished) for store in self._stores]
        well = all(visited)
        if wished and well and not self._left:
            self._settled = wish
            self._desk.send(self._desk.request(Op.SETTLE, rest=("", {}, b"", wish)))
        if (well and self._left) or self._desk.wish > wish:
            return 0.0
        return TOP_UP_S if self._topping else POLL_S

    def _visited(self, store: Store, wished: bool) -> bool:
        """Do what one database needs; return False where something kept it from that."""
        try:
            well = self._carried(store, look=wished)
            while well and wished and store.lacks(READY):
                well = self._topped_up(store)
            if well and store.lacks():
                well = self._topped_up(store)
        except file.Error as error:
            if store not in self._failing:
                log.warning("a database cannot be used", code=getattr(error, "sqlite_errorname", "unknown"))
            self._failing.add(store)
            store.close()
            return False
        self._failing.discard(store)
        return well

    def _carried(self, store: Store, *, look: bool) -> bool:
        """Carry what there is, up to a limit; return False when the log takes nothing at present."""
        if not (store.changed() or look or store in self._left):
            return True
        self._left.add(store)
        for _ in range(BATCHES):
            rows = store.intents()
            if not rows:
                self._left.discard(store)
                return True
            if not self._carry(store, rows):
                return False
        return True

    def _carry(self, store: Store, rows: Sequence[tuple[str, bytes]]) -> bool:
        """Write one batch of intents to the log, then delete them; return whether it is worth going on."""
        requests, asked = [], []
        for row, body in rows:
            try:
                said = msgspec.msgpack.decode(body, type=wire.Intent)
            except msgspec.DecodeError:
                store.step_over(row)
                log.error("an intent cannot be read", intent=row)
                continue
            who = (said.actor, said.role, said.purpose, said.session, said.reason)
            groups = [(kid, subject, b"", objects) for kid, subject, objects in said.subjects]
            rest = (said.act, said.detail, bytes.fromhex(row), said.at)
            requests.append(self._desk.request(Op.APPEND, who, groups, rest))
            asked.append(row)
        done, down = [], False
        for row, reply in zip(asked, self._desk.ask(requests), strict=True):
            if reply.status is Status.OK:
                done.append(row)
            elif reply.status in (Status.DENIED, Status.MALFORMED):
                store.step_over(row)
                log.error("an intent is refused", intent=row)
            else:
                down = True
        if done:
            store.forget(done)
        return not down

    def _topped_up(self, store: Store) -> bool:
        """Have some keys made and put them into the pool; return False when the vault can make none at present."""
        (reply,) = self._desk.ask([self._desk.request(Op.POOL)])
        if reply.status is not Status.OK:
            return False
        store.stock(reply.keys)
        self._topping = True
        return True


def main(argv: Sequence[str] | None = None) -> int:
    """Run until the vault is gone; return 0 then."""
    parser = argparse.ArgumentParser(prog="python -m hub.vault.drain")
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--fd", type=int, required=True, help="the connection that the vault made for it")
    parser.add_argument("--vault", type=int, required=True, help="its process id")
    given = parser.parse_args(argv)
    guard.harden()
    guard.end_with(given.vault)
    home = Home(given.dir)
    desk = Desk(socket.socket(fileno=given.fd))
    try:
        (reply,) = desk.ask([desk.request(Op.BOOT, rest=("", {"service": DRAIN}))])
        if reply.status is not Status.OK:
            return 1
        granted = msgspec.convert(reply.detail, ServiceKeys)
        os.nice(5)
        record = Store(home.db, granted.database, pool=POOL)
        inbox = Store(home.inbox, granted.inbox, pool=INBOX_POOL)
        Courier(desk, (record, inbox)).run()
    except GoneError:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
