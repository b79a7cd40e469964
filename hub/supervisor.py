"""Starts the processes of an instance, restarts what dies, and ends them again.

Each program is one process with a pid file in run/ and a log file in log/. A program that keeps dying is restarted
ever more slowly, up to once in five seconds; one that ran for a while starts at once again.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from hub.settings import Paths

log = structlog.get_logger()

PAUSE_S = 0.1
"Before the first restart; doubles up to `LONGEST_PAUSE_S`."

LONGEST_PAUSE_S = 5.0
STEADY_S = 10.0
"A program that ran so long is taken to be well: its pause starts again."

GRACE_S = 8.0
"Between SIGTERM and SIGKILL."

TETHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""
"""Becomes a program that the kernel ends when the supervisor dies (prctl(2), PR_SET_PDEATHSIG): what outlived it would
keep ports and locks from those that the next supervisor starts."""


@dataclass(frozen=True, slots=True)
class Program:
    """One process to keep alive."""

    name: str
    argv: tuple[str, ...]
    ready: Callable[[], Awaitable[bool]]
    "Whether it answers."

    foundation: bool = False
    "The others stand on it: it is ended after them."


class Supervisor:
    """Keeps the programs of one instance running until told to stop."""

    def __init__(
        self, paths: Paths, programs: Sequence[Program], environment: Mapping[str, str], *, grace_s: float = GRACE_S
    ) -> None:
        self._paths = paths
        self._programs = programs
        self._environment = dict(environment)
        self._grace_s = grace_s
        self._stopping = asyncio.Event()
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self.restarts: dict[str, int] = {program.name: 0 for program in programs}

    async def run(self, stop: asyncio.Event, *, started: Callable[[], None] = lambda: None) -> None:
        """Start every program, call `started` when all answer, and stop them when `stop` is set.

        They start side by side: whoever needs another waits for it by itself.
        """
        keepers = [asyncio.create_task(self._keep(program)) for program in self._programs]
        try:
            for program in self._programs:
                await self._until_ready(program, stop)
            if not stop.is_set():
                started()
            await stop.wait()
        finally:
            self._stopping.set()
            for foundation in (False, True):
                names = [program.name for program in self._programs if program.foundation is foundation]
                await asyncio.gather(*(self._end(name) for name in names))
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)

    async def _until_ready(self, program: Program, stop: asyncio.Event) -> None:
        # Who answers before its process is known here is another's, or could not be ended, nor found by its pid file.
        while not stop.is_set() and not (program.name in self._running and await program.ready()):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    await stop.wait()

    async def _keep(self, program: Program) -> None:
        pause = PAUSE_S
        while not self._stopping.is_set():
            began = time.monotonic()
            status = await self._run_once(program)
            if self._stopping.is_set():
                return
            if time.monotonic() - began > STEADY_S:
                pause = PAUSE_S
            self.restarts[program.name] += 1
            log.warning("program ended", program=program.name, status=status, again_in_s=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _run_once(self, program: Program) -> int:
        out = os.open(self._paths.log / f"{program.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            process = await asyncio.create_subprocess_exec(
                *_tethered(program.argv),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self._environment,
                start_new_session=True,  # Ctrl-C in the terminal reaches the supervisor alone, which ends them in order
            )
        finally:
            os.close(out)
        self._running[program.name] = process
        pid_file = self._paths.run / f"{program.name}.pid"
        write_pid(pid_file, process.pid)
        try:
            return await process.wait()
        except asyncio.CancelledError:
            await self._end(program.name)  # it came to be while the others were being ended
            raise
        finally:
            self._running.pop(program.name, None)
            pid_file.unlink(missing_ok=True)

    async def _end(self, name: str) -> None:
        process = self._running.get(name)
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self._grace_s):
                await process.wait()
        except TimeoutError:
            log.warning("program did not end in time", program=name)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def write_pid(path: Path, pid: int) -> None:
    """Write a pid file whole: whoever reads it meanwhile finds the old number or the new one."""
    part = path.with_suffix(".new")
    part.write_text(f"{pid}\n")
    part.chmod(0o644)  # the vault may have a user of its own, and the others look whether it runs
    part.replace(path)


def _tethered(argv: Sequence[str]) -> Sequence[str]:
    if sys.platform != "linux":
        return argv
    return (sys.executable, "-I", "-S", "-c", TETHER, str(os.getpid()), *argv)


def say_ready(paths: Paths, program: str) -> None:
    """Say that this process answers: run/PROGRAM.ready holds its process id."""
    told = paths.run / f"{program}.ready"
    unfinished = told.with_suffix(f".ready-{os.getpid()}")
    unfinished.write_text(f"{os.getpid()}\n")
    unfinished.replace(told)
