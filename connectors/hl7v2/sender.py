"""Send HL7 v2 messages to one receiver, in order: one connection, one message at a time, each until it is answered.

An answer is known by MSA-2; any other is dropped and counted. Where none comes, nobody knows whether the message had
its effect: it keeps its place, and the same message is sent again under the same MSH-10, by which the receiver knows
it, after pauses that grow. Everything else waits behind it, so that a receiver in trouble sees one message at a time.

Nothing runs by itself here. Of the calls that wait, one drives the line, with the way out that it was lent; what it
sends is the head of the line, whosever message that is. A call that has waited long enough gives up: a message of its
that was never sent leaves the line, one that was sent stays the head, and the next call goes on with it.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from connectors.api import Connect, RateLimitedError, RejectedError, TransientError, UnknownOutcomeError
from connectors.hl7v2.link import Link, Reply, error_of, reply_of

log = structlog.get_logger()

T = TypeVar("T")

ANSWER_S = 15.0
"How long an acknowledgment may take."

PATIENCE_S = 45.0
"How long a call waits in all; the activity that makes it has ninety seconds."

PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
"Between tries: after each that failed twice as long as before."

WAITING = 16
"Messages in the line at most: each has a call that waits, and a process has room for so many, for other things, too."

SILENCES = 2
"How often an answer may not come before the connection is given up: a slow receiver answers late, a dead one never."

FORGOTTEN_S = 3600.0
"After so long without a call for it a message that was sent is not sent again: whoever wanted it has given up."

REMEMBERED = 256
"Answers kept, so that a call that is repeated sends nothing again."


class _LateError(Exception):
    """The call has waited long enough."""


class _ElapsedError(Exception):
    """What was waited for did not come in its time; no TimeoutError, which a broken connection raises, too."""


@dataclass(slots=True, eq=False)
class _Entry:
    """A message in the line."""

    control_id: str
    message: bytes
    calls: int = 0
    "How many wait for it."

    left_at: float = 0.0
    "When the last of them gave up."

    sent: int = 0
    link: Link | None = None
    "Where it was sent last."

    due: float = 0.0
    "When its answer is late there."

    late: bool = False
    reply: Reply | None = None


class Sender:
    """The line to one receiver.

    `time` and `sleep` count in seconds of one clock.
    """

    def __init__(
        self,
        url: str,
        *,
        application: bool = False,
        answer_s: float = ANSWER_S,
        patience_s: float = PATIENCE_S,
        time: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Begin with nothing in the line; `application`: a commit accept (CA) is not yet the answer."""
        self._url = url
        self._application = application
        self._answer_s = answer_s
        self._patience_s = patience_s
        self._time = time
        self._sleep = sleep
        self._line: deque[_Entry] = deque()
        self._answers: dict[str, Reply] = {}
        self._calls = 0
        self._driven = False
        self._changed = asyncio.Event()
        self._link: Link | None = None
        self._pause_s = 0.0
        self._resume_at = 0.0
        self.counts: Counter[str] = Counter()
        """Since the start: sent, resent, answered, late (no answer in time), broken (the connection, before one came),
        unreachable, and dropped answers: mismatched (MSA-2 is another's, or came twice), unreadable."""

    async def send(self, connect: Connect, message: bytes, *, control_id: str) -> Reply:
        """Return the receiver's word on `message`, whose MSH-10 is `control_id`; a repeat has no second effect.

        Raises:
            RateLimitedError: the line is full.
            TransientError: it was surely not taken; try again.
            UnknownOutcomeError: it was sent, and no answer came.
            RejectedError: the receiver will never take it.
            AuthExpiredError: the receiver does not take our certificate.
        """
        reply = self._answers.get(control_id)
        if reply is None:
            reply = await self._answered(connect, self._place(control_id, message))
        error = error_of(reply)
        if error is not None:
            self._answers.pop(control_id, None)
            raise error
        return reply

    def _place(self, control_id: str, message: bytes) -> _Entry:
        """Return the message's place in the line: the one it has, or the last."""
        while self._line and not self._line[0].calls and self._time() - self._line[0].left_at > FORGOTTEN_S:
            self._line.popleft()
        for entry in self._line:
            if entry.control_id == control_id:
                return entry
        if len(self._line) >= WAITING:
            raise RateLimitedError(max(self._resume_at - self._time(), self._answer_s))
        entry = _Entry(control_id, message)
        self._line.append(entry)
        return entry

    async def _answered(self, connect: Connect, entry: _Entry) -> Reply:
        deadline = self._time() + self._patience_s
        entry.calls += 1
        self._calls += 1
        try:
            while entry.reply is None:
                if self._time() >= deadline:
                    raise _LateError
                if self._driven:
                    await self._within(deadline - self._time(), self._changed.wait())
                else:
                    await self._drive(connect, deadline)
            return entry.reply
        except (_LateError, _ElapsedError):
            pass
        finally:
            await self._leave(entry)
        if entry.sent:
            raise UnknownOutcomeError("sent, and no answer came")
        raise TransientError("not sent")

    async def _leave(self, entry: _Entry) -> None:
        entry.calls -= 1
        entry.left_at = self._time()
        if not (entry.calls or entry.sent or entry.reply):
            self._line.remove(entry)
        self._calls -= 1
        if not self._calls:
            await self._part()  # a connection lives as long as calls do, and has a way out that is theirs

    async def _drive(self, connect: Connect, deadline: float) -> None:
        self._driven = True
        try:
            await self._step(self._line[0], connect, deadline)
        finally:
            self._driven = False
            self._changed.set()
            self._changed = asyncio.Event()

    async def _step(self, head: _Entry, connect: Connect, deadline: float) -> None:
        """Bring the head of the line one step on: hear whether its answer comes, or else send it."""
        until = self._resume_at if head.late else head.due
        if head.link is not None and head.link is self._link and self._time() < until:
            if not await self._heard(head, head.link, until, deadline) and head.link is self._link and not head.late:
                head.late = True
                head.link.silences += 1
                self._slow_down("late")
            return
        if self._resume_at > deadline:
            raise _LateError
        if self._resume_at > self._time():
            await self._sleep(self._resume_at - self._time())
        link = await self._linked(connect)
        if link is not None and self._line[0] is head:  # whoever wanted it may have left meanwhile
            await self._hand_over(head, link, deadline)

    async def _linked(self, connect: Connect) -> Link | None:
        if self._link is not None and (self._link.ended or self._link.silences >= SILENCES):
            await self._part()
        if self._link is None:
            try:
                self._link = await Link.open(connect, self._url)
            except TransientError:
                self._slow_down("unreachable")
        return self._link

    async def _hand_over(self, head: _Entry, link: Link, deadline: float) -> None:
        self.counts["resent" if head.sent else "sent"] += 1
        head.sent += 1
        head.link, head.late, head.due = link, False, self._time() + self._answer_s
        try:
            await self._within(min(head.due, deadline) - self._time(), link.send(head.message))
        except _ElapsedError:
            link.silences = SILENCES  # it does not even read
        except OSError:
            await self._broken(link)

    async def _heard(self, head: _Entry, link: Link, until: float, deadline: float) -> bool:
        """Wait for the head's answer until then, and return whether it came.

        Raises:
            _LateError: the call's own time is over first.
        """
        end = min(until, deadline)
        try:
            while (left := end - self._time()) > 0:
                reply = reply_of(await self._within(left, link.receive()))
                if reply is None or reply.control_id != head.control_id:
                    self._drop("unreadable" if reply is None else "mismatched")
                elif reply.code != "CA" or not self._application:
                    self._settle(head, link, reply)
                    return True
        except _ElapsedError:
            pass
        except OSError:
            await self._broken(link)
            return False
        if until > deadline:
            raise _LateError
        return False

    def _settle(self, head: _Entry, link: Link, reply: Reply) -> None:
        self.counts["answered"] += 1
        self._line.popleft()
        head.reply = reply
        link.answered, link.silences = True, 0
        self._pause_s = self._resume_at = 0.0
        error = error_of(reply)
        if error is None or (isinstance(error, RejectedError) and not head.calls):
            self._answers[head.control_id] = reply
            if len(self._answers) > REMEMBERED:
                del self._answers[next(iter(self._answers))]

    async def _broken(self, link: Link) -> None:
        """Part from a receiver that parted; one that does so after each answer is not in trouble."""
        if link.answered:
            self.counts["broken"] += 1
        else:
            self._slow_down("broken")
        await self._part()

    async def _part(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    def _slow_down(self, why: str) -> None:
        self._pause_s = min(self._pause_s * 2 or PAUSE_S, LONGEST_PAUSE_S)
        self._resume_at = self._time() + self._pause_s
        self.counts[why] += 1
        log.warning(
            "receiver in trouble", receiver=self._url, reason=why, again_in_s=self._pause_s, waiting=len(self._line)
        )

    def _drop(self, why: str) -> None:
        self.counts[why] += 1
        if self.counts[why].bit_count() == 1:  # the first, second, fourth, ...: a receiver may go on for ever
            log.warning("acknowledgment dropped", receiver=self._url, reason=why, dropped=self.counts[why])

    async def _within(self, seconds: float, doing: Coroutine[Any, Any, T]) -> T:
        work, clock = asyncio.ensure_future(doing), asyncio.ensure_future(self._sleep(seconds))
        try:
            await asyncio.wait({work, clock}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            raise _ElapsedError
        finally:
            work.cancel()
            clock.cancel()
            await asyncio.gather(work, clock, return_exceptions=True)


__all__ = ["Sender"]
