"""One media core process as the signalling process sees it: it is started, told, asked, and found dead."""

import asyncio
import itertools
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog

from media.core import wire
from media.core.link import Link
from media.errors import MediaError, ProtocolError, SealedError, UnacceptableError
from media.leg import LegClosedError
from media.ports import NoPortError

log = structlog.get_logger()

SILENT_LOOKS = 3
"So often, a second apart, a core may be found to have answered nothing before it is taken for hung, and killed."

LOOK_S = 1.0
GRACE_S = 6.0
"How long a core may take to end once its socket is closed."


class CoreLostError(MediaError):
    """The media core process is gone; what it did goes on in another."""

    code = "core-lost"
    status = 503
    retry = True


_ERRORS: dict[str, type[MediaError]] = {
    kind.code: kind for kind in (LegClosedError, NoPortError, ProtocolError, SealedError, UnacceptableError)
}


def error_of(report: wire.Refused | wire.Unplaced) -> MediaError:
    """Return the error that a core told of."""
    return _ERRORS.get(report.code, MediaError)(report.text)


class Process:
    """One media core process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        loop = asyncio.get_running_loop()
        self.pid = process.pid
        self.ready: asyncio.Future[None] = loop.create_future()
        "Done once it listens."

        self.lost = False
        self.on_lost: Callable[[], None] = lambda: None
        "Called once, when it is gone without having been ended."

        self.on_told: Callable[[Any], None] = lambda _: None
        "Given what it tells without being asked."

        self.link = Link(wire.Report, self._heard, self._gone)
        self.sounds: set[int] = set()
        "What it has learned."

        self._process = process
        self._loop = loop
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._silent = 0
        self._asked_at = 0.0
        self._ending = False
        self._look: asyncio.TimerHandle = loop.call_later(LOOK_S, self._looked)

    @classmethod
    async def start(cls) -> "Process":
        """Start one; `ready` tells when it listens.

        Raises:
            OSError: no process or no socket can be had.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            try:
                argv = (sys.executable, "-m", "media.core", "--fd", str(theirs.fileno()))
                # Its log lines go where ours go. Our end is closed in it, as in whatever else is started here: the
                # socket closes when this process dies, however it dies.
                started = await asyncio.create_subprocess_exec(
                    *argv, stdin=asyncio.subprocess.DEVNULL, pass_fds=(theirs.fileno(),)
                )
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        self = cls(started)
        try:
            await self._loop.create_unix_connection(lambda: self.link, sock=ours)
        except BaseException:
            await self.end()
            raise
        return self

    def tell(self, message: wire.Command) -> None:
        """Tell it something; nothing where it is gone."""
        self.link.say(message)

    def mention(self, message: wire.Command) -> None:
        """Tell it something that is in no hurry; nothing where it is gone."""
        self.link.mention(message)

    def request(self, make: Callable[[int], wire.Command]) -> tuple[int, "asyncio.Future[Any]"]:
        """Ask for what `make` makes of a number; return that number and what will be the answer.

        Raises:
            CoreLostError: it is gone.
        """
        if self.lost:
            raise CoreLostError("the media core process is gone")
        number = next(self._numbers)
        answer: asyncio.Future[Any] = self._loop.create_future()
        self.link.say(make(number))
        self._asked[number] = answer
        return number, answer

    async def answer(self, number: int, answer: "asyncio.Future[Any]") -> Any:
        """Return the answer to a request; who is cancelled here withdraws it.

        Raises:
            CoreLostError: it is gone.
            MediaError: what was asked for cannot be.
        """
        try:
            return await answer
        except asyncio.CancelledError:
            self.tell(wire.Withdraw(number))
            raise
        finally:
            self._asked.pop(number, None)

    async def ask(self, make: Callable[[int], wire.Command]) -> Any:
        """Make a request and return its answer.

        Raises:
            CoreLostError: it is gone.
            MediaError: what was asked for cannot be.
        """
        return await self.answer(*self.request(make))

    def cut(self, number: int, answer: "wire.Report | MediaError") -> None:
        """Answer a request here, and withdraw it."""
        if number in self._asked:
            self._answer(number, answer)
            self.tell(wire.Withdraw(number))

    async def end(self) -> None:
        """Let it seal what it records, and end; one that does not is killed."""
        self._ending = True
        self._look.cancel()
        self.link.close()
        try:
            async with asyncio.timeout(GRACE_S):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()

    def kill(self) -> None:
        """Kill it."""
        with suppress(ProcessLookupError):
            self._process.kill()

    async def reaped(self) -> None:
        """Return once nothing is left of it."""
        await self._process.wait()

    def _heard(self, report: Any) -> None:
        if isinstance(report, wire.Done | wire.Described | wire.Settled | wire.Seen):
            self._answer(report.request, report)
        elif isinstance(report, wire.Refused):
            self._answer(report.request, error_of(report))
        elif isinstance(report, wire.Ready):
            self._greeted(report)
        else:
            self.on_told(report)

    def _answer(self, request: int, answer: Any) -> None:
        waiting = self._asked.get(request)
        if waiting is None or waiting.done():
            return
        if isinstance(answer, MediaError):
            waiting.set_exception(answer)
        else:
            waiting.set_result(answer)

    def _greeted(self, report: wire.Ready) -> None:
        if report.version == wire.VERSION:
            self.ready.set_result(None)
        else:
            log.error("media core process of another release", version=report.version, wanted=wire.VERSION)
            self.link.close()

    def _looked(self) -> None:
        """Ask whether it is still there. Looks are counted, not time: a machine that slept finds its cores well."""
        silent = self.link.heard_at < self._asked_at
        self._silent = self._silent + 1 if silent else 0
        if self._silent > SILENT_LOOKS and self.ready.done():
            log.error("media core process hangs", core=self.pid)
            self.kill()
            return
        self._asked_at = self._loop.time()
        self.tell(wire.Ping(0))
        self._look = self._loop.call_later(LOOK_S, self._looked)

    def _gone(self) -> None:
        self.lost = True
        self._look.cancel()
        if not self._ending:
            # It may live on without its socket; what it holds is wanted by its successor.
            self.kill()
        error = CoreLostError("the media core process is gone")
        if not self.ready.done():
            self.ready.set_exception(error)
            self.ready.exception()
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_exception(error)
        if not self._ending:
            self.on_lost()
