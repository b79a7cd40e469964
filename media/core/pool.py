"""The media core processes of one signalling process: a slot for each, and one more that stands by.

A slot has a share of the ports. Whose process dies gets the one that stands by, in a moment and with the same ports:
the system frees a dead process's sockets at once. Then another is started to stand by.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from hub.supervisor import write_pid
from media.core import wire
from media.core.leg import RemoteLeg
from media.core.process import CoreLostError, Process
from media.core.recording import RemoteRecording
from media.ports import NoPortError
from media.sound import Sound

log = structlog.get_logger()

PAUSE_S = 0.1
"Before a core that could not be started is tried again; doubles up to `LONGEST_PAUSE_S`."

LONGEST_PAUSE_S = 5.0
READY_S = 30.0
"How long a core may take to listen."


@dataclass(eq=False, slots=True)
class Slot:
    """One core's share of the work."""

    ordinal: int
    first: int
    "Ports for RTP, from the first to the last."

    last: int
    process: Process | None = None
    "None while another one takes the place of one that died."

    legs: dict[int, RemoteLeg] = field(default_factory=dict)
    recordings: dict[int, RemoteRecording] = field(default_factory=dict)

    @property
    def pairs(self) -> int:
        """How many legs there are ports for."""
        return (self.last + 1 - self.first) // 2


def shares(first: int, last: int, count: int) -> list[Slot]:
    """Divide the ports among `count` cores, or fewer where there are not so many pairs.

    Raises:
        NoPortError: there is no whole pair.
    """
    low = first + first % 2
    pairs = (last + 1 - low) // 2
    if pairs < 1:
        raise NoPortError(f"no pair of ports from {first} to {last}")
    count = min(count, pairs)
    edges = [low + 2 * (pairs * number // count) for number in range(count + 1)]
    return [Slot(number + 1, edges[number], edges[number + 1] - 1) for number in range(count)]


class Pool:
    """Keeps a process in every slot."""

    def __init__(self, address: str, slots: list[Slot], music: Sound, run: Path | None) -> None:
        """Take the IP address for RTP, and the directory for pid files, which tells others who is to be looked at."""
        self.slots = slots
        self.on_lost: Callable[[Slot], None] = lambda _: None
        "Called with a slot whose process died, before another is in it."

        self.on_told: Callable[[Slot, Any], None] = lambda _, __: None
        "Given what a core tells without being asked."

        self._address = address
        self._music = music
        self._run = run
        self._next: asyncio.Task[Process] | None = None
        "Who stands by, or is being started to."

        self._filled, self._stands = asyncio.Event(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Return once every slot has a process that listens."""
        await asyncio.gather(*(self._fill(slot) for slot in self.slots))
        self._stand_by()

    async def steady(self) -> None:
        """Return once somebody stands by."""
        await self._stands.wait()

    async def roomiest(self) -> Slot:
        """Return the slot with the fewest legs of those that have a process, as soon as one has."""
        while (slot := self.roomiest_now()) is None:
            self._filled.clear()
            await self._filled.wait()
        return slot

    def roomiest_now(self) -> Slot | None:
        """Return the slot with the fewest legs of those that have a process; None where none has."""
        filled = [slot for slot in self.slots if slot.process is not None]
        return min(filled, key=lambda slot: len(slot.legs), default=None)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it beside everything else, until the pool is closed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End every process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        processes = [slot.process for slot in self.slots if slot.process is not None]
        if self._next is not None:
            self._next.cancel()
            processes += [
                each for each in await asyncio.gather(self._next, return_exceptions=True) if isinstance(each, Process)
            ]
        for slot in self.slots:
            slot.process = None
            self._forget_pid(slot)
        await asyncio.gather(*(process.end() for process in processes))

    async def _fill(self, slot: Slot) -> None:
        """Put a process into a slot: the one that stands by, or a new one."""
        standing, self._next = self._next, None
        self._stands.clear()
        process = await (standing if standing is not None else self._started())
        while process.lost:
            process = await self._started()
        process.on_lost = lambda: self._lost(slot, process)
        process.on_told = lambda report: self.on_told(slot, report)
        process.tell(wire.Begin(self._address, slot.first, slot.last, self._music.ulaw))
        slot.process = process
        if self._run is not None:
            write_pid(self._run / f"media-core-{slot.ordinal}.pid", process.pid)
        self._filled.set()

    def _stand_by(self) -> None:
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._started())
            self._next.add_done_callback(lambda _: self._stands.set())

    async def _started(self) -> Process:
        """Start a process and return it once it listens, however often that has to be tried."""
        pause = PAUSE_S
        while True:
            try:
                process = await Process.start()
                try:
                    async with asyncio.timeout(READY_S):
                        await asyncio.shield(process.ready)
                except BaseException:
                    await process.end()
                    raise
                process.on_lost = partial(self._standby_lost, process)
                return process
            except (OSError, TimeoutError, CoreLostError) as error:
                log.error("media core process not started", kind=type(error).__name__, again_in_s=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    def _lost(self, slot: Slot, process: Process) -> None:
        if slot.process is not process:
            return
        log.error("media core process died", core=slot.ordinal, legs=len(slot.legs))
        slot.process = None
        self._forget_pid(slot)
        self.spawn(self._replace(slot, process))
        self.on_lost(slot)

    async def _replace(self, slot: Slot, dead: Process) -> None:
        # Its ports are free once it is reaped, which is at once: it was killed, or ended.
        await dead.reaped()
        await self._fill(slot)
        self._stand_by()

    def _standby_lost(self, process: Process) -> None:
        if self._next is not None and self._next.done() and self._next.result() is process:
            log.error("media core process died", core=0, legs=0)
            self._next = None
            self._stands.clear()
            self._stand_by()

    def _forget_pid(self, slot: Slot) -> None:
        if self._run is not None:
            with suppress(OSError):
                (self._run / f"media-core-{slot.ordinal}.pid").unlink(missing_ok=True)
