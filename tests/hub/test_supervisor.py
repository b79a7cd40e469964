"""The supervisor: starts everything, restarts what dies, ends everything."""

import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hub import supervisor
from hub.settings import Paths
from hub.supervisor import Program, Supervisor

OBEDIENT = (
    "import signal, time; term = [signal.SIGTERM]; signal.pthread_sigmask(signal.SIG_BLOCK, term);"
    " print('here', flush=True); signal.sigwait(term)"
)
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True); time.sleep(60)"
)
BROKEN = "import sys, time; print('here', time.monotonic(), flush=True); sys.exit(3)"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path)
    paths.run.mkdir()
    paths.log.mkdir()
    return paths


def program(paths: Paths, name: str, source: str) -> Program:
    async def ready() -> bool:
        log = paths.log / f"{name}.log"
        return log.exists() and "here" in log.read_text()

    return Program(name, (sys.executable, "-c", source), ready)


def pid_of(paths: Paths, name: str) -> int:
    return int((paths.run / f"{name}.pid").read_text())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - other processes set no event of ours
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(watch: Supervisor) -> AsyncIterator[None]:
    stop, started = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(watch.run(stop, started=started.set))
    try:
        async with asyncio.timeout(60):
            await started.wait()
        yield
    finally:
        stop.set()
        async with asyncio.timeout(60):
            await task


def alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


async def test_programs_all_start_and_all_end(paths: Paths) -> None:
    watch = Supervisor(paths, [program(paths, name, OBEDIENT) for name in ("first", "second")], os.environ)
    async with running(watch):
        pids = [pid_of(paths, "first"), pid_of(paths, "second")]
        assert all(alive(pid) for pid in pids)
    assert not any(alive(pid) for pid in pids)
    assert list(paths.run.glob("*.pid")) == []


async def test_who_answers_before_its_process_is_known_is_not_up_yet(paths: Paths) -> None:
    async def at_once() -> bool:
        return True

    early = dataclasses.replace(program(paths, "early", OBEDIENT), ready=at_once)
    async with running(Supervisor(paths, [early], os.environ)):
        assert alive(pid_of(paths, "early"))


async def test_foundation_ends_after_those_that_stand_on_it(paths: Paths) -> None:
    last_words = f"{OBEDIENT}; print(time.time_ns(), flush=True)"
    base = dataclasses.replace(program(paths, "base", last_words), foundation=True)
    slow = f"{OBEDIENT}; time.sleep(0.3); print(time.time_ns(), flush=True)"
    async with running(Supervisor(paths, [base, program(paths, "top", slow)], os.environ)):
        pass
    ended = {name: int((paths.log / f"{name}.log").read_text().split()[1]) for name in ("base", "top")}
    assert ended["top"] < ended["base"]


async def test_killed_program_comes_back_under_a_new_process_id(paths: Paths) -> None:
    watch = Supervisor(paths, [program(paths, "vault", OBEDIENT)], os.environ)
    async with running(watch):
        before = pid_of(paths, "vault")
        os.kill(before, signal.SIGKILL)
        await until(lambda: watch.restarts["vault"] == 1 and (paths.run / "vault.pid").exists())
        assert pid_of(paths, "vault") != before


SUPERVISOR = """
import asyncio, os, sys
from pathlib import Path
from hub.settings import Paths
from hub.supervisor import Program, Supervisor
async def ready():
    said = paths.log / "child.log"
    return said.exists() and "here" in said.read_text()
paths = Paths(Path(sys.argv[1]))
programs = [Program("child", (sys.executable, "-c", sys.argv[2]), ready)]
asyncio.run(Supervisor(paths, programs, os.environ).run(asyncio.Event(), started=lambda: print("up", flush=True)))
"""


async def test_programs_end_with_a_supervisor_that_is_killed(paths: Paths) -> None:
    last_words = f"{OBEDIENT}; print('over', flush=True)"
    command = (sys.executable, "-c", SUPERVISOR, str(paths.root), last_words)
    up = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert up.stdout is not None
    try:
        async with asyncio.timeout(60):
            assert await up.stdout.readline() == b"up\n"
    finally:
        up.kill()
        await up.wait()
    await until(lambda: "over" in (paths.log / "child.log").read_text())


async def test_program_that_ends_at_once_is_started_ever_more_slowly(paths: Paths) -> None:
    watch = Supervisor(paths, [program(paths, "broken", BROKEN)], os.environ)
    async with running(watch):
        await until(lambda: watch.restarts["broken"] >= 3)
    first, second, third = map(float, (paths.log / "broken.log").read_text().split()[1:6:2])
    assert second - first >= supervisor.PAUSE_S
    assert third - second >= supervisor.PAUSE_S * 2


async def test_stop_ends_a_program_that_does_not_listen(paths: Paths) -> None:
    watch = Supervisor(paths, [program(paths, "stubborn", STUBBORN)], os.environ, grace_s=0.2)
    async with running(watch):
        pid = pid_of(paths, "stubborn")
    assert not alive(pid)


async def test_program_that_is_being_started_while_the_others_are_ended_is_ended_too(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, gate, stop = list[asyncio.subprocess.Process](), asyncio.Event(), asyncio.Event()
    begin = asyncio.create_subprocess_exec

    async def slowly(*words: str, **how: Any) -> asyncio.subprocess.Process:
        if "late" in words:
            await gate.wait()
        started.append(await begin(*words, **how))
        return started[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", slowly)
    late = program(paths, "late", OBEDIENT)
    late = dataclasses.replace(late, argv=(*late.argv, "late"))
    waits = f"{OBEDIENT}\nfrom pathlib import Path\nwhile not Path({str(paths.log / 'late.log')!r}).stat().st_size:"
    first = program(paths, "first", f"{waits} time.sleep(0.01)")
    (paths.log / "late.log").touch()
    watch = Supervisor(paths, [first, late], os.environ, grace_s=60)
    task = asyncio.create_task(watch.run(stop, started=pytest.fail))
    await until(lambda: (paths.log / "first.log").exists() and "here" in (paths.log / "first.log").read_text())
    stop.set()
    await until(watch._stopping.is_set)
    gate.set()
    async with asyncio.timeout(60):
        await task
    ended = [process.returncode is not None for process in started]
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    assert ended == [True, True]


async def test_stop_before_everything_answers_ends_what_was_started(paths: Paths) -> None:
    async def never() -> bool:
        return False

    stop = asyncio.Event()
    slow = Program("slow", (sys.executable, "-c", OBEDIENT), never)
    task = asyncio.create_task(Supervisor(paths, [slow], os.environ).run(stop, started=pytest.fail))
    await until(lambda: (paths.run / "slow.pid").exists())
    pid = pid_of(paths, "slow")
    stop.set()
    async with asyncio.timeout(60):
        await task
    assert not alive(pid)
