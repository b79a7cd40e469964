"""One DTLS handshake of one leg, with its time: what is sent again, and when it is given up."""

import asyncio
from collections.abc import Callable, Iterable

from media.dtls import GIVE_UP_SECONDS, Dtls, HandshakeError, identity
from media.protection import Peer
from media.srtp import Key


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
