"""The DTLS handshake of one leg, with its time: what is sent again, when it is given up, and with whom it is made."""

import asyncio
from collections.abc import Callable, Iterable

from media.dtls import GIVE_UP_SECONDS, Dtls, HandshakeError, greets, identity
from media.latch import EXACT, FAR, Address, Latch
from media.protection import Peer
from media.srtp import Key

TRIES = 8
"Places with which a handshake is tried, while it is not proven which of them is the far end's."


class Handshake:
    """Drives a `Dtls`; `keyed` is told the keys that read and write, once, or `failed` that there will be none."""

    def __init__(
        self, peer: Peer, send: Callable[[bytes], None], keyed: Callable[[Key, Key], None], failed: Callable[[], None]
    ) -> None:
        """Take whom it is with, and how its datagrams are sent."""
        self.peer = peer
        self._dtls = Dtls(identity(), active=peer.active, fingerprints=peer.fingerprints)
        self._send, self._keyed, self._failed = send, keyed, failed
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + GIVE_UP_SECONDS
        self._alarm: asyncio.TimerHandle | None = None
        self._over = False

    @property
    def done(self) -> bool:
        """Whether there are keys."""
        return self._dtls.done

    @property
    def ended(self) -> bool:
        """Whether the far end has said that it is over."""
        return self._dtls.ended

    def start(self) -> None:
        """Begin, or wait for the far end to."""
        self._step(self._dtls.start)

    def heard(self, datagram: bytes) -> None:
        """Take a record of the far end's."""
        self._step(lambda: self._dtls.heard(datagram))

    def _step(self, work: Callable[[], Iterable[bytes]]) -> None:
        if self._over:
            return
        before = self._dtls.done
        try:
            flights = work()
        except HandshakeError:
            self._give_up()
            return
        for each in flights:
            self._send(each)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if not self._dtls.done:
            # A passive side that waits for the first word has nothing due.
            due = self._dtls.due
            left = self._until - self._loop.time()
            self._alarm = self._loop.call_later(max(0.01, left if due is None else min(due, left)), self._late)
        elif not before and self._dtls.reads is not None and self._dtls.writes is not None:
            self._keyed(self._dtls.reads, self._dtls.writes)

    def _late(self) -> None:
        self._alarm = None
        if self._loop.time() >= self._until:
            self._give_up()
        else:
            self._step(self._dtls.late)

    def _give_up(self) -> None:
        self._stop()
        self._failed()

    def _stop(self) -> None:
        self._over = True
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def close(self) -> None:
        """Say good-bye, and wait for nothing more; closing twice is once."""
        if not self._over:
            for each in self._dtls.close():
                self._send(each)
            self._stop()


class Meeting:
    """The handshake of a leg without ICE, where anybody can send to the port and SDP is often wrong behind a NAT.

    Where the far end begins, each place that greets has a handshake of its own. The first that gives keys was with the
    far end, by its certificate; what others say spoils theirs alone. Those who are near where the signalling said come
    before those from elsewhere, of whom each IP address has one. Where it is ours to begin, only who is near is heard.
    """

    def __init__(
        self,
        peer: Peer,
        latch: Latch,
        send: Callable[[bytes, Address | None], None],
        keyed: Callable[[Key, Key], None],
        failed: Callable[[], None],
    ) -> None:
        """Take whom it is with, the guard that learns where that is, and how datagrams are sent: None is there."""
        self._peer, self._latch = peer, latch
        self._send, self._keyed, self._failed = send, keyed, failed
        self._place: Address | None = None
        self._found: Handshake | None = None
        self._tries: dict[Address, tuple[int, Handshake]] = {}
        self._alarm: asyncio.TimerHandle | None = None
        self._over = False

    def start(self) -> None:
        """Begin, or wait for the far end to."""
        if self._peer.active:
            self._found = Handshake(self._peer, lambda record: self._send(record, self._place), self._agree, self._lose)
            self._found.start()
        else:
            self._alarm = asyncio.get_running_loop().call_later(GIVE_UP_SECONDS, self._lose)

    def heard(self, record: bytes, source: Address) -> bool:
        """Take a record, and return whether it came from anybody who is listened to."""
        rank = self._latch.rank(source)
        if self._found is not None:
            if rank == FAR:
                return False
            self._place = None if self._found.done else source
            self._found.heard(record)
            return True
        if source not in self._tries:
            if not greets(record) or not self._has_room(source, rank):
                return False
            self._tries[source] = rank, self._try(source, rank)
        self._tries[source][1].heard(record)
        return True

    def _has_room(self, source: Address, rank: int) -> bool:
        if self._over or (rank == FAR and any(host == source[0] for host, _ in self._tries)):
            return False
        if len(self._tries) == TRIES:
            farthest = min(self._tries, key=lambda each: self._tries[each][0])
            if self._tries[farthest][0] >= rank:
                return False
            self._tries.pop(farthest)[1].close()
        return True

    def _try(self, source: Address, rank: int) -> Handshake:
        def agree(reads: Key, writes: Key) -> None:
            self._place, self._found = source, self._tries.pop(source)[1]
            self._stop()
            self._agree(reads, writes)

        # One that failed is kept: it takes its place's turn.
        failed = self._lose if rank == EXACT else lambda: None
        return Handshake(self._peer, lambda record: self._send(record, None if self._found else source), agree, failed)

    def _agree(self, reads: Key, writes: Key) -> None:
        if self._place is not None:
            self._latch.prove(self._place)
            self._place = None
        self._keyed(reads, writes)

    def _lose(self) -> None:
        self._over = True
        self._stop()
        self._failed()

    def _stop(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        for _, each in self._tries.values():
            each.close()
        self._tries.clear()

    def close(self) -> None:
        """Say good-bye, and wait for nothing more; closing twice is once."""
        self._over = True
        self._stop()
        if self._found is not None:
            self._found.close()
            self._found = None
