"""Pages under load: the far ends of many browser legs on one socket, as lean as they can be.

The relay's legs have a port each, by which a page tells them apart. A tab finds its leg by ICE (one check of its own,
an answer to each of the leg's: RFC 8445, RFC 7675), begins one DTLS handshake, and then has SRTP under its own keys.
"""

import contextlib
import secrets
import select
import socket
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from aioice.candidate import candidate_priority
from aioice.stun import Class, Message, Method, parse_message

from media.dtls import RECORDS, Dtls, identity
from media.keying import Fingerprint
from media.srtp import SUITES, Key, Reader, Writer
from tests.bench._datagram import roomy

HOST = "127.0.0.1"
AT_ONCE = 16
"Tabs that find their legs at the same time: a handshake of many would wait so long that it is begun again."

PATIENCE_S = 30.0
AGAIN_S = 0.5
"After which a check that nobody answered is sent again."

_POLL_S = 0.05
_STUN = range(4)
"First bytes (RFC 7983 section 7)."


class End:
    """What sends to one leg and hears it, under keys."""

    def __init__(self, port: int, key: Key | None = None) -> None:
        """Take the port of the leg, and a key where both ways have the same."""
        self.port = port
        self.ssrc = secrets.token_bytes(4)
        self.reader = Reader(key) if key is not None else None
        self.writer = Writer(key) if key is not None else None

    def heard(self, datagram: bytes) -> None:
        """Take what is no sound."""


class Tab(End):
    """One page's side of one call."""

    def __init__(self, line: socket.socket, ufrag: str, password: str, leg: dict[str, Any]) -> None:
        """Take the socket of all, what they are called for ICE, and what the leg says of itself."""
        super().__init__(leg["port"])
        self._line = line
        self._own, self._password = password.encode(), str(leg["password"]).encode()
        self._username = f"{leg['ufrag']}:{ufrag}"
        self._dtls = Dtls(identity(), active=True, fingerprints=(Fingerprint.parse(leg["fingerprint"]),))
        self._found = False
        self._again = 0.0

    def _check(self) -> None:
        said = {"USERNAME": self._username, "PRIORITY": candidate_priority(1, "prflx"), "ICE-CONTROLLED": 1}
        request = Message(Method.BINDING, Class.REQUEST, attributes=said)
        request.add_message_integrity(self._password)
        self._send([bytes(request)])
        self._again = time.monotonic() + AGAIN_S

    def _send(self, datagrams: Iterable[bytes]) -> None:
        for each in datagrams:
            self._line.sendto(each, (HOST, self.port))

    def heard(self, datagram: bytes) -> None:
        """Take what is no sound; a check is answered however late in the call it comes.

        Raises:
            HandshakeError: there will be no keys.
            ValueError: it is no STUN, where it should be.
        """
        dtls = self._dtls
        if datagram[0] in RECORDS:
            self._send(dtls.heard(datagram))
            if self.writer is None and dtls.reads is not None and dtls.writes is not None:
                self.reader, self.writer = Reader(dtls.reads), Writer(dtls.writes)
        elif datagram[0] in _STUN:
            self._bound(parse_message(datagram))

    def _bound(self, message: Message) -> None:
        if message.message_class == Class.REQUEST and message.check_message_integrity(self._own):
            said = {"XOR-MAPPED-ADDRESS": (HOST, self.port)}
            answer = Message(Method.BINDING, Class.RESPONSE, message.transaction_id, said)
            answer.add_message_integrity(self._own)
            self._send([bytes(answer)])
        elif (
            message.message_class == Class.RESPONSE
            and not self._found
            and message.check_message_integrity(self._password)
        ):
            self._found = True
            self._send(self._dtls.start())

    def go_on(self) -> None:
        """Look for the leg; send again what was not answered in time.

        Raises:
            HandshakeError: it was sent too often.
        """
        if not self._found:
            if time.monotonic() >= self._again:
                self._check()
        elif self._dtls.due == 0:
            self._send(self._dtls.late())


class Page:
    """All tabs, and their socket."""

    def __init__(self) -> None:
        self.line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        roomy(self.line)
        self.line.bind((HOST, 0))
        self.port = int(self.line.getsockname()[1])
        self._ufrag, self._password = secrets.token_hex(4), secrets.token_hex(16)
        self._ends: dict[int, End] = {}

    @property
    def said(self) -> dict[str, Any]:
        """What it tells of every tab."""
        return {"ufrag": self._ufrag, "password": self._password, "fingerprint": str(identity().fingerprint)}

    def to_itself(self, count: int) -> list[End]:
        """Return so many ends that send to this socket."""
        key = Key.new(SUITES[0])
        ends = [End(self.port, key) for _ in range(count)]
        self._ends = {end.port: end for end in ends}
        return ends

    def connect(self, legs: Sequence[dict[str, Any]]) -> list[Tab]:
        """Return a tab with keys for each leg that said this of itself: port, ufrag, password, fingerprint.

        Raises:
            HandshakeError: one of them gives no keys.
            TimeoutError: one of them does not answer.
        """
        tabs = [Tab(self.line, self._ufrag, self._password, leg) for leg in legs]
        self._ends = {tab.port: tab for tab in tabs}
        waiting = deque(tabs)
        going: list[Tab] = []
        until = time.monotonic() + PATIENCE_S
        while waiting or going:
            while waiting and len(going) < AT_ONCE:
                going.append(waiting.popleft())
            if time.monotonic() > until:
                raise TimeoutError(f"{len(waiting) + len(going)} of {len(legs)} legs do not answer")
            for tab in going:
                tab.go_on()
            self._read()
            going = [tab for tab in going if tab.writer is None]
        return tabs

    def _read(self) -> None:
        select.select([self.line], [], [], _POLL_S)
        with contextlib.suppress(BlockingIOError):
            while True:
                datagram, source = self.line.recvfrom(2048, socket.MSG_DONTWAIT)
                self.heard(source[1], datagram)

    def heard(self, port: int, datagram: bytes) -> None:
        """Take what came from a leg and is no sound."""
        end = self._ends.get(port)
        if end is not None:
            end.heard(datagram)

    def reader_of(self, port: int) -> Reader | None:
        """Return what opens the packets of a leg."""
        end = self._ends.get(port)
        return end.reader if end is not None else None
