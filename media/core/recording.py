"""A recording that a media core process makes, as the signalling process sees it."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from media.core import wire
from media.core.leg import RemoteLeg
from media.core.process import Process
from media.recorder import Place, Recorded

LOST = "the media core process died"
"Why a recording failed whose file holds an authentic prefix, and whose lock died with the process."

MOVED = "what was recorded went to another media core process"
"Why a recording was sealed that goes on there, in another file."


class RemoteRecording:
    """A `relay.Recording`; made by `CoreRelay`."""

    def __init__(self, number: int, place: Place, legs: Sequence[RemoteLeg]) -> None:
        self.number = number
        self.legs = legs
        self.path = place.path
        self.ended: asyncio.Future[Recorded] = asyncio.get_running_loop().create_future()
        "Set once, when it is sealed or has failed."

        self.paused = False
        self._began_at = asyncio.get_running_loop().time()
        self._moved = False
        self._core: Process | None = None
        self._early: list[wire.Command] = []

    def begin(self, core: Process, order: wire.Record) -> None:
        """Let a core make it; for the relay."""
        self._core = core
        for each in (order, *self._early):
            core.tell(each)

    async def stop(self) -> Recorded:
        """Seal it, and return once it is durable, or say that it failed; stopping twice is once."""
        if not self.ended.done():
            self._tell(wire.Seal(self.number))
        return await asyncio.shield(self.ended)

    def pause(self) -> None:
        """Keep nothing of what is heard from now on; pausing twice is once."""
        self.paused = True
        self._tell(wire.Pause(self.number, True))

    def resume(self) -> None:
        """Go on; what comes stands where the clock says, behind a gap in which nobody is heard."""
        self.paused = False
        self._tell(wire.Pause(self.number, False))

    def part(self) -> None:
        """Seal it because what it hears moves, and say so; for the relay."""
        self._moved = True
        self._tell(wire.Seal(self.number))

    def end(self, recorded: Recorded) -> None:
        """Take it that it has ended; for the relay."""
        if not self.ended.done():
            moved = self._moved and recorded.state == "sealed"
            self.ended.set_result(replace(recorded, reason=MOVED) if moved else recorded)

    def lose(self) -> None:
        """Take it that its core has died: what is sealed of it is as long as it has run, at most; for the relay."""
        self.end(Recorded("failed", asyncio.get_running_loop().time() - self._began_at, LOST))

    def _tell(self, order: wire.Command) -> None:
        if self._core is not None:
            self._core.tell(order)
        else:
            self._early.append(order)
