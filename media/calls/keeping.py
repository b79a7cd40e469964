"""What is kept of a call's talks: a recording for each that somebody carried on, stopped and taken up at the phone.

Each part is a recording of its own (docs/reference/container.md): the caller, and whoever of the practice talked to
them from then on. A part that a media core process leaves behind is recovered by `media.calls.taping`.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol
from uuid import UUID

import structlog
from sqlmodel import Session

from hub.record import recording
from hub.record.trail import touch
from hub.rules.recording import recorded
from hub.security.sealed import Table
from media.calls.taping import Tape, Taping
from media.ledger import Ledger
from media.line import Line
from media.recorder import Recorded
from media.relay import Leg

log = structlog.get_logger()


class Archive(Protocol):
    """What it works with; `house.House` has it."""

    @property
    def line(self) -> Line:
        """The practice as it is now."""
        ...

    @property
    def ledger(self) -> Ledger:
        """Who writes rows."""
        ...

    @property
    def taping(self) -> Taping:
        """Who makes recordings."""
        ...


async def _nobody() -> None:
    """Whose call it is that is over."""


class Keeping:
    """The recording of one call, part by part."""

    def __init__(self, house: Archive, call_id: UUID, whose: Callable[[], Awaitable[UUID | None]]) -> None:
        self.consented = False
        "Whether the call may be recorded: the announcement was played to its last sample, or the caller agreed."

        self.on_changed: Callable[[], None] | None = None
        "Told whenever `standing` may be another."

        self._house = house
        self._call_id = call_id
        self._whose = whose
        self._legs: tuple[Leg, ...] = ()
        self._wanted = False
        "Whether the talk is to be recorded now."

        self._stopped = False
        "Whether a phone has stopped it, and none has taken it up since."

        self._tape: Tape | None = None
        self._failed = False
        "Whether it could not be begun."

        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, queue: str | None, legs: Sequence[Leg]) -> None:
        """Record a talk, the caller's leg first, where the caller consented and the policy says so of its queue.

        What was stopped in a talk before it stays so until somebody takes it up.
        """
        self._wanted = self.consented and not self._stopped and recorded(self._house.line.practice, queue)
        if self._policy_changed not in self._house.line.on_policy:
            self._house.line.on_policy.append(self._policy_changed)
        self._follow(legs)

    def pass_on(self, legs: Sequence[Leg]) -> None:
        """Go on with another part, as it was: what is stopped stays so until somebody takes it up."""
        self._follow(legs)

    def pause(self) -> None:
        """End the part: nobody talks to the caller."""
        self._follow(())

    @property
    def standing(self) -> str:
        """How the talk is recorded: `recording`, `paused`, or `off`, with a reason where nobody turned it off.

        The reasons: `policy`, as the practice keeps no recordings; `consent`, as the caller did not agree to it;
        `failed`. It is `recording` or `paused` only while there is a recording that goes on; what is being recorded is
        never told to be off.
        """
        tape = self._tape
        goes_on = tape is not None and not tape.recording.ended.done()
        if tape is not None and goes_on and not tape.recording.paused:
            return "recording"
        if not self._house.line.practice.recording.calls:
            return "off policy"
        if not self.consented:
            return "off consent"
        if goes_on:
            return "paused"
        return "off failed" if tape is not None or (self._failed and self._wanted) else "off"

    def press(self, by: UUID | None, on: bool) -> bool:
        """Stop the recording, take it up again, or begin one; `by` is whose phone asked. False where it may not be.

        A talk may always be stopped. Nothing that is heard after that is kept, whatever else has to wait. What was done
        is audited.
        """
        allowed = self.consented and self._house.line.practice.recording.calls
        if not self._legs or (on and not allowed):
            return False
        self._stopped = not on
        self._want(by, on)
        return True

    async def end(self) -> None:
        """Seal what runs; what its row says is noted then."""
        with contextlib.suppress(ValueError):  # it has never begun
            self._house.line.on_policy.remove(self._policy_changed)
        self._legs = ()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._change(())
        self._whose, self.on_changed = _nobody, None  # they hold whose call it is, which holds this

    # Inside

    def _policy_changed(self) -> None:
        """Stop what is recorded where the practice keeps no recordings any more; that is not taken up by itself."""
        if not self._house.line.practice.recording.calls:
            self._want(None, False)
        self._tell()

    def _want(self, by: UUID | None, on: bool) -> None:
        if on is self._wanted:
            return
        self._wanted = on
        if self._tape is not None and not on:
            self._tape.recording.pause()
        self._tell()
        self._spawn(self._obey(by))

    def _follow(self, legs: Sequence[Leg]) -> None:
        self._legs = tuple(legs)
        self._spawn(self._change(self._legs))

    async def _change(self, legs: tuple[Leg, ...]) -> None:
        async with self._turn:
            before, after = self._tape, None
            if legs and self._wanted and legs == self._legs:
                # The caller's sound goes over to the next part as that begins; a stop before that stops this one.
                after = await self._start()
            self._tape = after
            self._tell()
            if before is not None:
                await self._seal(before)

    async def _obey(self, by: UUID | None) -> None:
        """Do what the phone asked for, unless it asked for something else meanwhile."""
        async with self._turn:
            wanted = self._wanted
            if self._tape is None and wanted and self._legs:
                self._tape = await self._start()
            elif self._tape is not None and wanted:
                self._tape.recording.resume()
            elif self._tape is not None:
                self._tape.recording.pause()
            self._tell()
            if self._tape is not None:
                await self._audit(by, "resume" if wanted else "pause", self._tape.id)

    async def _start(self) -> Tape | None:
        tape = await self._house.taping.start(self._call_id, await self._whose(), self._legs)
        self._failed = tape is None
        if tape is not None and not self._wanted:
            tape.recording.pause()  # stopped while it began
        if tape is not None:
            self._watch(tape)
        return tape

    def _watch(self, tape: Tape) -> None:
        """Tell when a recording ends by itself, and when it goes on in another part."""

        def ended(_: "asyncio.Future[Recorded]") -> None:
            self._tell()
            if tape.next_part is not None:
                tape.next_part.add_done_callback(went_on)

        def went_on(done: "asyncio.Task[None]") -> None:
            if not done.cancelled() and not tape.recording.ended.done():
                self._watch(tape)
                self._tell()

        tape.recording.ended.add_done_callback(ended)

    def _tell(self) -> None:
        if self.on_changed is not None:
            self.on_changed()

    async def _seal(self, tape: Tape) -> None:
        seconds = await tape.stop()
        at = self._house.line.now()

        def change(db: Session) -> None:
            recording.end(db, tape.id, seconds, at, state=tape.state)

        self._house.ledger.note(change)

    async def _audit(self, by: UUID | None, act: str, tape_id: UUID) -> None:
        subject, who = await self._whose(), "system:media" if by is None else str(by)
        log.info("recording changed", call=str(self._call_id), what=act)
        if subject is not None:
            whose = subject
            self._house.ledger.note(lambda db: touch(db, who, act, whose, Table.RECORDING, tape_id))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("recording not changed", call=str(self._call_id), kind=type(task.exception()).__name__)
