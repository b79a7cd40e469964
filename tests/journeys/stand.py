"""A real instance for a test: made by the command line, run by `chartline up`, ended with it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from hub.cli import setup
from hub.cli.instance import opened
from hub.cli.run import Part, Ready
from hub.instance import Instance
from hub.settings import Paths, Practice, load

UP_S = 60.0

CORE = "media-core-"
"Begins the name of a media core process among the parts; its number follows."


class Stand:
    """A running instance."""

    def __init__(self, paths: Paths, practice: Practice, environment: Mapping[str, str]) -> None:
        self.paths = paths
        self.practice = practice
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Run `chartline up`; return once everything answers.

        What it says goes to log/up.log, beside what its processes say.
        """
        log = os.open(self.paths.log / "up.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                "from hub.cli.app import main; main()",
                "up",
                "--dir",
                str(self.paths.root),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, **self._environment},
                start_new_session=True,
            )
        finally:
            os.close(log)
        async with asyncio.timeout(UP_S):
            await _up(self._process, self.paths)

    async def end(self) -> None:
        """End everything in order; what does not end in time is killed, so that other tests do not meet it.

        Raises:
            TimeoutError: it did not end by itself.
        """
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(UP_S):
                await self._process.communicate()
        except TimeoutError:
            await self.cut_power()
            raise

    async def cut_power(self) -> None:
        """Kill `chartline up`, its processes and theirs with SIGKILL at one moment; return once all are dead."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)  # it starts nothing again and tidies nothing up meanwhile
        struck = [*_offspring(self._process.pid), self._process.pid]
        for pid in struck:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self._process.communicate()
        await until(lambda: all_dead(struck))

    def pid(self, part: str) -> int:
        """Return the process id of one part."""
        return int((self.paths.run / f"{part}.pid").read_text())

    async def kill(self, part: str) -> int:
        """Kill one part with SIGKILL, once it runs, and return the process id that it had."""
        struck: list[int] = []

        def strike() -> bool:
            try:
                pid = self.pid(part)
                os.kill(pid, signal.SIGKILL)
            except (FileNotFoundError, ProcessLookupError):  # it is being started again just now
                return False
            struck.append(pid)
            return True

        await until(strike)
        return struck[0]

    async def back(self, part: str, before: int) -> None:
        """Wait until a part that was killed runs under another process id and says that it is ready.

        A media core process is ready when it has its place: its file is written then.
        """
        ready = None if part.startswith(CORE) else Ready(Part(part), self.paths)

        async def again() -> bool:
            try:
                now = self.pid(part)
            except (FileNotFoundError, ValueError):
                return False
            return now != before and (ready is None or await ready())

        await until(again, seconds=UP_S)

    def started_by(self, part: str) -> list[int]:
        """Return the processes that one part has started; of media, its cores and the one that stands by."""
        try:
            return _offspring(self.pid(part))
        except FileNotFoundError:
            return []

    @contextmanager
    def stopped(self, part: str) -> Iterator[None]:
        """Hold one part still (SIGSTOP), as if its machine hung, and let it go on afterwards."""
        with _held(self.pid(part)):
            yield

    @contextmanager
    def dead(self, part: str) -> Iterator[None]:
        """Kill one part with SIGKILL and keep it from being started again until the end of the block.

        `chartline up` is held still meanwhile, so nothing else that dies is started again either.
        """
        assert self._process is not None
        with _held(self._process.pid):
            os.kill(self.pid(part), signal.SIGKILL)
            yield

    @contextmanager
    def open(self) -> Iterator[Instance]:
        """Open the instance beside its processes."""
        with opened(self.paths.root) as instance:
            yield instance


def all_dead(pids: Iterable[int]) -> bool:
    """Tell whether none of these processes runs; one that nobody has waited for yet does not."""
    return all(_stat(pid)[:1] in ([], ["Z"]) for pid in pids)


@contextmanager
def _held(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _stat(pid: int) -> list[str]:
    """Return state, parent and what else /proc says of a process (Linux); nothing where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _offspring(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have."""
    started: dict[int, list[int]] = {}
    for each in (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()):
        if stat := _stat(each):
            started.setdefault(int(stat[1]), []).append(each)
    found = [pid]
    for each in found:
        found += started.get(each, [])
    return found[1:]


@asynccontextmanager
async def running(
    root: Path,
    toml: str,
    *,
    prepare: Callable[[Paths], None] = lambda _: None,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Stand]:
    """Make an instance with this policy in `root`, run all of it, and end it."""
    paths = Paths(root)
    await asyncio.to_thread(made, paths, toml, prepare)
    stand = Stand(paths, load(toml), environment or {})
    try:
        await stand.start()
        yield stand
    finally:
        await stand.end()


def made(paths: Paths, toml: str, prepare: Callable[[Paths], None]) -> None:
    """Make the instance."""
    paths.keys.parent.mkdir(parents=True, exist_ok=True)
    setup.make(paths, toml)
    prepare(paths)


async def _up(process: asyncio.subprocess.Process, paths: Paths) -> None:
    assert process.stdout is not None
    while line := await process.stdout.readline():
        if line == b"up\n":
            return
    raise AssertionError((paths.log / "up.log").read_text()[-2000:])


async def until(
    holds: Callable[[], bool] | Callable[[], Awaitable[bool]], *, seconds: float = 30.0, every: float = 0.05
) -> None:
    """Return once `holds`; other processes set no event of ours, so they are asked again and again."""
    async with asyncio.timeout(seconds):
        while True:
            answer = holds()
            if (await answer) if not isinstance(answer, bool) else answer:
                return
            await asyncio.sleep(every)
