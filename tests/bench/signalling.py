"""INVITE to 200 through a back-to-back user agent: ours and sippy's, the same sipp scenario, the same run.

The program under test has the first core to itself, sipp at both ends has the last one. Floor: sipp calling sipp.
sippy lives in an environment of its own under build/, since it installs a top-level package `tests`.
"""

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hub.demo.ports import free_port
from media.sip import Hop
from tests.bench.figure import BENCH_JSON, Figure
from tests.peers.sipp import HOST, T1_MS, Outcome, Sipp, until_taken

SIPPY = "sippy==2.5.0"
ENVIRONMENT = BENCH_JSON.parent / "sippy"
LOG = {"SIPLOG_BEND": "none", "SIPLOG_LVL": "CRIT"}
"sippy without its log, which would cost it more than the calls."

ROUNDS = 3
STEADY = 100
"Calls a second in the rounds whose CPU time is compared; each call is held for a second."

SECONDS = 3
LADDER = (100, 200, 300, 400, 600, 800)
"Calls a second, climbed until one is not passed."

RESENT_SHARE = 0.001
START_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Round:
    """What one program did with one stretch of calls."""

    outcome: Outcome
    cpu_s: float
    calls: int

    @property
    def passed(self) -> bool:
        """Whether every call went through and hardly anything was sent twice."""
        resent = self.outcome.retransmissions
        return self.outcome.successful == self.calls and resent <= max(1, RESENT_SHARE * self.calls * 7)

    def within_ms(self, share: float) -> float:
        """Return the time within which that share of the calls was answered."""
        times = sorted(self.outcome.response_ms)
        return times[min(len(times) - 1, int(len(times) * share))] if times else float("inf")


def pinned(core: int) -> list[str]:
    """Return what keeps a program on one core: the first (0) or the last (-1); nothing where there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cores[core])] if len(cores) > 1 and shutil.which("taskset") else []


def sippy() -> Path:
    """Return sippy's B2BUA, installed at its first use.

    Raises:
        subprocess.CalledProcessError: pip could not.
    """
    program = ENVIRONMENT / "bin" / "b2bua_simple"
    if not program.exists():
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        python = str(ENVIRONMENT / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", SIPPY], check=True)
    return program


def command_of(name: str, port: int, following: int) -> list[str]:
    """Return the command that serves on `port` and calls on to `following`."""
    if name == "sippy":
        return [str(sippy()), "-f", "-l", HOST, "-p", str(port), "-n", f"{HOST}:{following}"]
    return [sys.executable, "-m", "tests.bench.b2bua", str(port), str(following)]


def family(pid: int) -> list[int]:
    """Return a process and those that it started, and theirs."""
    with suppress(FileNotFoundError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *(each for child in children for each in family(int(child)))]
    return []


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process with all its threads, and of those that it started, seconds."""
    spent = 0
    for each in family(pid):
        with suppress(FileNotFoundError, ProcessLookupError):  # one that ends meanwhile
            for task in Path(f"/proc/{each}/task").iterdir():
                spent += int((task / "schedstat").read_text().split()[0])
    return spent / 1e9


def resident_kb(pid: int) -> int:
    """Return the memory of a process, and of those that it started, that is their own, KiB."""
    held = 0
    for each in family(pid):
        with suppress(FileNotFoundError):
            held += int(Path(f"/proc/{each}/status").read_text().partition("RssAnon:")[2].split()[0])
    return held


async def measure(name: str, rate: int, work: Path) -> Round:
    """Send calls at `rate` a second through a fresh process of `name`; for the floor, `sipp`, straight to the phone."""
    calls = rate * SECONDS
    peers = Sipp(work, T1_MS)
    # One call more than comes, so that it does not end before its CPU time is read.
    phone = await peers.start("phone", calls=calls + 1, before=pinned(-1 if name != "sipp" else 0))
    process = None
    try:
        port = phone.port
        if name != "sipp":
            port = free_port()
            process = await asyncio.create_subprocess_exec(
                *pinned(0),
                *command_of(name, port, phone.port),
                env={**os.environ, **LOG},
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            await until_taken(port, process, START_SECONDS)
        pid = process.pid if process is not None else phone.process.pid
        before = cpu_s(pid)
        outcome = await peers.run("call", Hop(HOST, port), calls=calls, rate=rate, hold_ms=1000, before=pinned(-1))
        return Round(outcome, cpu_s(pid) - before, calls)
    finally:
        if process is not None:
            process.kill()
            await process.wait()
        await phone.stop()


async def steady(work: Path) -> dict[str, list[Round]]:
    """Return rounds at a steady rate, the programs taking turns."""
    rounds: dict[str, list[Round]] = {"chartline": [], "sippy": [], "sipp": []}
    for number in range(ROUNDS):
        for name, done in rounds.items():
            place = work / f"{name}-{number}"
            place.mkdir()
            done.append(await measure(name, STEADY, place))
    return rounds


async def highest(name: str, work: Path) -> int:
    """Return the highest rate of the ladder that `name` passes, 0 where it passes none."""
    best = 0
    for rate in LADDER:
        place = work / f"{name}-at-{rate}"
        place.mkdir()
        if not (await measure(name, rate, place)).passed:
            break
        best = rate
    return best


def _median(rounds: Sequence[Round], share: float) -> float:
    return statistics.median(done.within_ms(share) for done in rounds)


def _per_cpu_s(rounds: Sequence[Round]) -> float:
    return statistics.median(done.outcome.successful / done.cpu_s for done in rounds)


def _at_most_peer(name: str, share: float, rounds: dict[str, list[Round]]) -> Figure:
    ours, peer, floor = (_median(rounds[program], share) for program in ("chartline", "sippy", "sipp"))
    return Figure(name, ours, "ms", floor or None, {"sippy": peer}, "at most 1 x sippy", ours <= peer)


async def _figures(work: Path) -> list[Figure]:
    rounds = await steady(work)
    rates = {name: await highest(name, work) for name in ("chartline", "sippy")}
    return [
        Figure.over_peers(
            "calls.signalled",
            _per_cpu_s(rounds["chartline"]),
            "calls/CPU-s",
            {"sippy": _per_cpu_s(rounds["sippy"])},
            {"sippy": 2},
            floor=_per_cpu_s(rounds["sipp"]),
        ),
        _at_most_peer("calls.invite_to_200.p50", 0.5, rounds),
        _at_most_peer("calls.invite_to_200.p99", 0.99, rounds),
        Figure.over_peers(
            "calls.signalled_rate", rates["chartline"], "calls/s", {"sippy": rates["sippy"]}, {"sippy": 1}
        ),
    ]


def invite_to_200() -> list[Figure]:
    """Measure INVITE to 200: CPU time and latency at a steady rate, and the highest rate that is passed."""
    with tempfile.TemporaryDirectory() as work:
        return asyncio.run(_figures(Path(work)))
