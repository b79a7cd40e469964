"""Provisional responses that arrive for certain: RSeq, RAck, PRACK (RFC 3262)."""

import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from media.errors import ProtocolError
from media.sip.header import parse_sequence
from media.sip.message import Message, Response
from media.sip.timer import Timer, Timers
from media.sip.transaction import LIFETIME, T1, InviteServer

TAG = "100rel"
"The option tag (RFC 3262 section 8.1)."

_MAX_NUMBER = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Rack:
    """A RAck value: which provisional response a PRACK acknowledges (RFC 3262 section 7.2)."""

    number: int
    "The RSeq of the response."

    sequence: int
    method: str
    "Number and method of its CSeq."

    @classmethod
    def parse(cls, value: str) -> "Rack":
        """Parse a RAck value.

        Raises:
            ProtocolError: not two numbers and a method.
        """
        number, _, rest = value.replace("\t", " ").strip().partition(" ")
        sequence, method = parse_sequence(rest.strip())
        return cls(parse_rseq(number), sequence, method)

    def __str__(self) -> str:
        return f"{self.number} {self.sequence} {self.method}"


def parse_rseq(value: str) -> int:
    """Parse an RSeq value, 1 to 2**32 - 1 (RFC 3262 section 7.1).

    Raises:
        ProtocolError: not such a number.
    """
    value = value.strip()
    if not (value.isascii() and value.isdigit() and len(value) <= 10) or not 0 < int(value) <= _MAX_NUMBER:
        raise ProtocolError("RSeq is not a number", spec="RFC 3262 section 7.1")
    return int(value)


def requires(message: Message) -> bool:
    """Tell whether a message insists on reliable provisional responses, or is one."""
    return any(word.lower() == TAG for word in message.all("Require"))


class Order:
    """The reliable responses of one early dialog, in their order, at the side that calls (RFC 3262 section 4)."""

    def __init__(self) -> None:
        self._latest = 0

    def takes(self, number: int) -> bool:
        """Tell whether a response is the next one; a copy and one whose forerunner is missing are not."""
        if self._latest and number != self._latest + 1:
            return False
        self._latest = number
        return True


@dataclass(slots=True)
class _Sent:
    response: Response
    number: int
    wait: float = T1


class Provisionals:
    """The reliable responses to one INVITE at the side that is called (RFC 3262 section 3).

    One is under way at a time, and repeated until its PRACK comes; what is said meanwhile waits behind it.
    """

    def __init__(self, server: InviteServer, timers: Timers, on_lost: Callable[[], None]) -> None:
        """Take the INVITE's transaction; `on_lost` hears that no PRACK came in 32 s."""
        self._server = server
        self._timers = timers
        self._on_lost = on_lost
        self._number = secrets.randbelow(2**31 - 1) + 1
        self._queue: deque[Response] = deque()
        self._current: _Sent | None = None
        self._repeat: Timer | None = None
        self._deadline: Timer | None = None
        self.on_clear: Callable[[], None] | None = None
        "Called once when nothing waits for its PRACK any more."

    @property
    def open(self) -> bool:
        """Whether one with a session is not acknowledged: no 2xx may go out before (RFC 3262 section 3)."""
        sent = [self._current.response] if self._current is not None else []
        return any(response.body for response in [*sent, *self._queue])

    def send(self, response: Response) -> None:
        """Send a provisional response reliably, in its turn."""
        self._queue.append(response)
        if self._current is None:
            self._next()

    def acknowledge(self, rack: Rack) -> bool:
        """Take a PRACK; False where it names no response that waits for one: 481."""
        current, request = self._current, self._server.request
        if current is None or rack != Rack(current.number, request.sequence, request.method):
            return False
        self._rest()
        self._current = None
        return True

    def proceed(self) -> None:
        """Go on after a PRACK was answered: with the next response, or with the final one that waited."""
        if self._current is None and self._queue:
            self._next()
        if not self.open and self.on_clear is not None:
            clear, self.on_clear = self.on_clear, None
            clear()

    def answered(self) -> None:
        """Send nothing more: a 2xx goes out. The PRACK of what was sent may cross it, and is taken (section 3)."""
        self._rest()
        self._queue.clear()
        self.on_clear = None

    def stop(self) -> None:
        """Send nothing more, and wait for no PRACK: the call is refused, or over."""
        self.answered()
        self._current = None

    def _next(self) -> None:
        response = self._queue.popleft()
        response.headers["Require"] = [TAG]
        response.headers["RSeq"] = [str(self._number)]
        self._current = _Sent(response, self._number)
        self._number += 1
        self._server.respond(response)
        self._repeat = self._timers.after(T1, self._late)
        self._deadline = self._timers.after(LIFETIME, self._overdue)

    def _late(self) -> None:
        current = self._current
        if current is not None:
            self._server.repeat(bytes(current.response))
            current.wait *= 2
            self._repeat = self._timers.after(current.wait, self._late)

    def _overdue(self) -> None:
        self.stop()
        self._on_lost()

    def _rest(self) -> None:
        for timer in (self._repeat, self._deadline):
            if timer is not None:
                timer.cancel()
        self._repeat = self._deadline = None
