"""Setting calls up: the gateway with plans given against sippy's B2BUA, the same sipp scenario, the same run.

Each caller proves who it is by digest, each call has two legs; ours allocates and bridges their media too, sippy has
none. The program under test has the first core to itself, sipp at both ends the last one; where this user may, both run
before all else there (SCHED_FIFO).
"""

import asyncio
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hub.demo.ports import free_port
from media.sip.hop import Hop
from tests.bench._datagram import ahead, first_in_line
from tests.bench._switch import PASSWORD, USER
from tests.bench.figure import Figure
from tests.bench.signalling import ENVIRONMENT, LOG, START_SECONDS, Round, cpu_s, family, pinned, resident_kb, sippy
from tests.peers.sipp import HOST, T1_MS, Sipp, until_taken

SECONDS = 3
HELD_MS = 1000
GOAL = 400
"Calls a second that are set up with none failed."

LIMIT_MS = 1.5
"Of processor time, for one call."

LADDER = (100, 200, 300, 400, 600, 800)
"Calls a second, climbed until one is not passed."

TIMES = 1.3
"What is wanted of sippy's highest rate."

GROWTH = 1.1
"What a call may cost at most at the goal's rate, times what it costs at a quarter of it."


@dataclass(frozen=True, slots=True)
class Stretch:
    """What one program did with one stretch of calls."""

    rate: int
    round: Round
    kb_a_call: float
    "Memory that a call holds, what is kept of it for 32 seconds after its end included."

    @property
    def cpu_ms(self) -> float:
        """Processor time of one call in milliseconds."""
        return self.round.cpu_s * 1000 / max(1, self.round.outcome.successful)

    @property
    def failed(self) -> int:
        """Calls that did not go through to their end."""
        return self.round.calls - self.round.outcome.successful


def command_of(name: str, port: int, following: int) -> list[str]:
    """Return the command that serves on `port` and calls on to `following`."""
    if name == "sippy":
        sippy()
        script = Path(__file__).with_name("_sippy_switch.py")
        return [str(ENVIRONMENT / "bin" / "python"), "-P", str(script), str(port), str(following), USER, PASSWORD]
    return [sys.executable, "-m", "tests.bench._switch", str(port), str(following)]


async def stretch(name: str, rate: int, work: Path) -> Stretch:
    """Send calls at `rate` a second through a fresh process of `name`."""
    calls = rate * SECONDS
    place = work / f"{name}-at-{rate}"
    place.mkdir()
    peers = Sipp(place, T1_MS)
    apart = [*pinned(-1), *ahead()]
    phone = await peers.start("phone", calls=calls + 1, before=apart)
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *pinned(0),
        *command_of(name, port, phone.port),
        env={**os.environ, **LOG},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await until_taken(port, process, START_SECONDS)
        for pid in family(process.pid):
            first_in_line(pid)
        before, held = cpu_s(process.pid), resident_kb(process.pid)
        outcome = await peers.run(
            "call-authenticated",
            Hop(HOST, port),
            calls=calls,
            rate=rate,
            hold_ms=HELD_MS,
            login=(USER, PASSWORD),
            keys={"user": USER},
            before=apart,
        )
        spent = cpu_s(process.pid) - before
        return Stretch(rate, Round(outcome, spent, calls), (resident_kb(process.pid) - held) / calls)
    finally:
        process.kill()
        await process.wait()
        await phone.stop()


async def climb(name: str, work: Path) -> list[Stretch]:
    """Return the stretches up to the first rate of the ladder that `name` does not pass, that one included."""
    done: list[Stretch] = []
    for rate in LADDER:
        done.append(await stretch(name, rate, work))
        if not done[-1].round.passed:
            break
    return done


def _best(stretches: list[Stretch]) -> Stretch:
    passed = [each for each in stretches if each.round.passed]
    return passed[-1] if passed else stretches[0]


def _figures(ours: list[Stretch], theirs: list[Stretch]) -> list[Figure]:
    at = {each.rate: each for each in ours}
    goal, quarter = at.get(GOAL, ours[-1]), at[GOAL // 4]
    peer = _best(theirs)
    rates = [_best(each).rate if each[0].round.passed else 0 for each in (ours, theirs)]
    reached = goal.rate == GOAL and goal.failed == 0
    growth = goal.cpu_ms / quarter.cpu_ms
    return [
        Figure("media.setup.failed", goal.failed, f"calls of {goal.round.calls}", goal=f"0 at {GOAL}/s", holds=reached),
        Figure(
            "media.setup.cpu",
            goal.cpu_ms,
            "ms a call",
            None,
            {"sippy": peer.cpu_ms},
            f"at most {LIMIT_MS:g} ms, less than sippy",
            goal.cpu_ms <= LIMIT_MS and goal.cpu_ms < peer.cpu_ms,
        ),
        Figure.over_peers("media.setup.rate", rates[0], "calls/s", {"sippy": rates[1]}, {"sippy": TIMES}),
        Figure("media.setup.p99", goal.round.within_ms(0.99), "ms to 200", None, {"sippy": peer.round.within_ms(0.99)}),
        Figure("media.setup.memory", goal.kb_a_call, "KiB a call", None, {"sippy": peer.kb_a_call}),
        Figure("media.setup.cpu_growth", growth, "times", goal=f"at most {GROWTH:g} times", holds=growth <= GROWTH),
    ]


async def _measured(work: Path) -> list[Figure]:
    return _figures(await climb("chartline", work), await climb("sippy", work))


def set_up() -> list[Figure]:
    """Measure how many calls a second can be set up, and what one costs."""
    with tempfile.TemporaryDirectory() as work:
        return asyncio.run(_measured(Path(work)))
