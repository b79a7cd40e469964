"""A small driver of sipp (Debian `sip-tester`): runs one of our scenarios and says how it went."""

import asyncio
import csv
import itertools
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from hub.demo.ports import free_port, listens
from media.sip.hop import Hop
from tests.peers import require

SCENARIOS = Path(__file__).parent / "scenarios"
HOST = "127.0.0.1"


T1_MS = 500
"After how long a user agent sends again over UDP what nobody answered (RFC 3261 section 17.1.1.1)."

LONG = 10
"""How many times as long both sides wait in tests: loopback loses nothing, what is late comes from a busy machine, and
sipp takes most of what comes twice for a fault."""


def unhurried() -> float:
    """Return the time on a clock for endpoints that goes so slowly that they send nothing again."""
    return time.monotonic() / LONG


class SippError(Exception):
    """sipp could not be started, or ended by itself before it listened."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run of sipp went."""

    successful: int
    "Calls whose scenario ran to its end."

    failed: int
    retransmissions: int
    "Messages that sipp sent again."

    unexpected: int
    "Messages that the scenario did not wait for."

    response_ms: Sequence[float]
    "For each call the time between the two messages that the scenario marks with start_rtd and rtd."

    detail: str
    "sipp's own words about what it did not expect."


async def until_taken(port: int, by: asyncio.subprocess.Process, seconds: float, transport: str = "udp") -> None:
    """Wait until a program listens on a port of loopback.

    Raises:
        ChildProcessError: it ended instead.
        TimeoutError: it took longer than `seconds`.
    """
    async with asyncio.timeout(seconds):
        while not listens(port, "udp" if transport == "udp" else "tcp"):
            if by.returncode is not None:
                raise ChildProcessError(by.returncode)
            await asyncio.sleep(0.01)


@asynccontextmanager
async def listening(port: int, *command: str) -> AsyncIterator[None]:
    """Run a program of ours that sipp speaks to, from when it listens on a port of loopback."""
    process = await asyncio.create_subprocess_exec(*command)
    try:
        await until_taken(port, process, 60)
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


_FLAGS = {"udp": "u1", "tcp": "t1"}
"""sipp's names for one socket, or one connection, for all calls; Debian's knows no TLS."""


class Run:
    """One sipp process."""

    def __init__(self, process: asyncio.subprocess.Process, hop: Hop, work: Path, name: str) -> None:
        self.process = process
        self.hop = hop
        self.port = hop.port
        self._work = work
        self._name = name

    async def done(self) -> Outcome:
        """Wait until all its calls are over, and return how they went."""
        await self.process.wait()
        return Outcome(*self._counts(), self._response_ms(), self._detail())

    async def stop(self) -> None:
        """End it now."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def listens(self, seconds: float = 20.0) -> None:
        """Wait until its port is taken.

        Raises:
            SippError: it ended instead.
            TimeoutError: it took longer than `seconds`.
        """
        try:
            await until_taken(self.port, self.process, seconds, self.hop.transport)
        except ChildProcessError as error:
            raise SippError(self._detail()) from error

    def _file(self, kind: str) -> Path:
        return self._work / f"{self._name}.{kind}"

    def _counts(self) -> tuple[int, int, int, int]:
        rows = _rows(self._file("stat"))
        if not rows:
            return 0, 0, 0, 0
        last = rows[-1]
        unexpected = int(last["FailedUnexpectedMessage(C)"]) + int(last["OutOfCallMsgs(C)"])
        return (
            int(last["SuccessfulCall(C)"]),
            int(last["FailedCall(C)"]),
            int(last["Retransmissions(C)"]),
            unexpected,
        )

    def _response_ms(self) -> list[float]:
        found = self._work.glob(f"{self._name}_*_rtt.csv")
        return [float(row["response_time_ms"]) for path in found for row in _rows(path)]

    def _detail(self) -> str:
        path = self._file("err")
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""


class Sipp:
    """Starts sipp with the scenarios beside this module; its files go to `work`."""

    def __init__(self, work: Path, t1_ms: int = T1_MS * LONG) -> None:
        """Take where files go, and after how long sipp sends again what nobody answered."""
        require("sipp")
        self._work = work
        self._t1_ms = t1_ms
        self._count = itertools.count()
        self._runs: list[Run] = []

    async def start(
        self,
        scenario: str,
        target: Hop | None = None,
        *,
        calls: int = 1,
        rate: float = 10.0,
        hold_ms: int = 0,
        service: str = "+12125550100",
        login: tuple[str, str] = ("", ""),
        keys: Mapping[str, str] | None = None,
        seconds: int = 60,
        transport: str = "udp",
        flags: Sequence[str] = (),
        before: Sequence[str] = (),
    ) -> Run:
        """Start a scenario: towards `target` over its transport, or as one that is called over `transport`.

        `calls` at `rate` a second, `hold_ms` for its pauses without a length; ends by itself after `seconds`.
        `flags` are sipp's own; `before` is put before the command, such as taskset.
        """
        name = f"{scenario}-{next(self._count)}"
        transport = target.transport if target is not None else transport
        port = free_port()
        # sipp names its files after the scenario's: a copy keeps them in `work`.
        text = (SCENARIOS / f"{scenario}.xml").read_text()
        (self._work / f"{name}.xml").write_text(text.replace(f'retrans="{T1_MS}"', f'retrans="{self._t1_ms}"'))
        command = [*before, "sipp", "-sf", f"{name}.xml", "-i", HOST, "-p", str(port), "-nostdin"]
        command += ["-t", _FLAGS[transport]]
        command += ["-m", str(calls), "-r", f"{rate:g}", "-d", str(hold_ms), "-s", service, "-timeout", str(seconds)]
        command += ["-timeout_error", "-au", login[0], "-ap", login[1]] if login[0] else ["-timeout_error"]
        command += ["-trace_stat", "-stf", f"{name}.stat", "-fd", "1", "-trace_err", "-error_file", f"{name}.err"]
        command += ["-trace_rtt", "-rtt_freq", "1"] if target is not None else []
        for key, value in (keys or {}).items():
            command += ["-key", key, value]
        command += flags
        if target is not None:
            command.append(f"{target.host}:{target.port}")
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=self._work,
        )
        run = Run(process, Hop(HOST, port, transport), self._work, name)
        self._runs.append(run)
        if target is None:
            await run.listens()
        return run

    async def close(self) -> None:
        """End all that still run."""
        for run in self._runs:
            await run.stop()

    async def run(self, scenario: str, target: Hop, **options: object) -> Outcome:
        """Run a scenario towards `target` to its end; options as `start` takes them."""
        run = await self.start(scenario, target, **options)  # type: ignore[arg-type]
        try:
            return await run.done()
        finally:
            await run.stop()


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines(), delimiter=";")) if path.exists() else []
