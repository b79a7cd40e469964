"""Relaying: calls of two G.711 legs through our relay, a bare uvloop one and rtpengine, the same load, the same run.

The relay has the first core to itself, the load the last one; where this user may, both run before all else there
(SCHED_FIFO), since a busy machine delays even a relay in C by tens of milliseconds. What the load measures of itself,
sent to its own socket, is taken off as the machine's.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench._datagram import first_in_line
from tests.bench.figure import Figure
from tests.bench.ng import Rtpengine
from tests.bench.signalling import cpu_s, family, pinned, resident_kb

SECONDS = 4
WARM_S = 1
CALLS = 600
RECORDED = 400
SECURE = 350
BROWSERS = 250
DOUBLING = (100, 200, 400)
GROWTH = 1.1
"What a call may cost at most, times what it costs among half as many, for timers' noise."

LIMIT_MS = 1.0


@dataclass(frozen=True, slots=True)
class Carried:
    """What came of one load."""

    due: int
    "Packets that the load was to send."
    sent: int
    received: int
    wrong: int
    p99_ms: float
    cpu_s: float
    "Of the relay, while the load lasted."
    kb_a_call: float
    calls: int
    seconds: float
    load_share: float
    "Of a core that the load itself took."

    @property
    def lost(self) -> int:
        """Packets that did not come back, and those that came back as another."""
        return self.due - self.received + self.wrong

    @property
    def cpu_ms(self) -> float:
        """Processor time of one call in one second, in milliseconds."""
        return self.cpu_s * 1000 / self.calls / self.seconds


class Load:
    """The process that sends and counts."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [*pinned(-1), sys.executable, "-m", "tests.bench._rtp_load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.said = self._line()
        "Of itself, in JSON."
        self.port = int(json.loads(self.said)["port"])

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def run(self, told: dict[str, Any], pid: int | None, calls: int, seconds: float = SECONDS) -> Carried:
        """Send to the legs that were told, and return what came of it."""
        assert self._process.stdin is not None
        said = {"seconds": seconds, "warm": min(WARM_S, seconds), **told}
        self._process.stdin.write(json.dumps(said) + "\n")
        self._process.stdin.flush()
        self._line()
        before = 0.0 if pid is None else cpu_s(pid)
        answer = json.loads(self._line())
        spent = 0.0 if pid is None else cpu_s(pid) - before
        # Keys of pages come last of all, so it is looked at when everything has been carried.
        held = 0.0 if pid is None else (resident_kb(pid) - told["idle_kb"]) / calls
        self._process.wait()
        fields = {name: answer[name] for name in ("due", "sent", "received", "wrong")}
        fields |= {"cpu_s": spent, "kb_a_call": held, "load_share": answer["cpu_share"]}
        p99 = answer["p99_ms"] if answer["p99_ms"] is not None else float("inf")
        return Carried(**fields, p99_ms=p99, calls=calls, seconds=seconds)

    def close(self) -> None:
        """End it, whether or not it ended by itself."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def load() -> Iterator[Load]:
    """Have a load ready."""
    made = Load()
    try:
        yield made
    finally:
        made.close()


def itself(calls: int, seconds: float = SECONDS, *, browser: bool = False) -> Carried:
    """Return what the load measures of itself; `browser` is one page for each call and one plain leg."""
    told = {"ports": [], "legs": calls if browser else 2 * calls, "ends": calls if browser else 0}
    with load() as sender:
        return sender.run(told, None, calls, seconds)


def carried(kind: str, calls: int, seconds: float = SECONDS) -> Carried:
    """Return what `_relay` of that kind makes of so many calls."""
    with tempfile.TemporaryDirectory() as work, load() as sender:
        relay = subprocess.Popen(
            [*pinned(0), sys.executable, "-m", "tests.bench._relay", kind, str(calls), sender.said, work],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert relay.stdout is not None
            told = json.loads(relay.stdout.readline())
            for pid in family(relay.pid):
                first_in_line(pid)
            return sender.run(told, relay.pid, calls, seconds)
        finally:
            relay.kill()
            relay.communicate()


def by_rtpengine(calls: int, seconds: float = SECONDS) -> Carried:
    """Return what rtpengine makes of so many calls."""
    with tempfile.TemporaryDirectory() as work, load() as sender:
        daemon = Rtpengine(Path(work), pinned(0))
        try:
            idle_kb = resident_kb(daemon.process.pid)
            ports = [port for number in range(calls) for port in daemon.bridge(number, sender.port)]
            first_in_line(daemon.process.pid)
            return sender.run({"ports": ports, "idle_kb": idle_kb}, daemon.process.pid, calls, seconds)
        finally:
            daemon.close()


def _bridged() -> list[Figure]:
    machine, floor, ours = itself(CALLS), carried("uvloop", CALLS), carried("plain", CALLS)
    peers = {"rtpengine": by_rtpengine(CALLS)} if shutil.which("rtpengine") else {}
    added = ours.p99_ms - machine.p99_ms
    return [
        _lossless("media.relay.lost", ours, floor, peers),
        Figure(
            "media.relay.added_p99",
            added,
            "ms",
            floor.p99_ms - machine.p99_ms,
            {name: peer.p99_ms - machine.p99_ms for name, peer in peers.items()},
            f"at most {LIMIT_MS:g} ms",
            added <= LIMIT_MS,
        ),
        Figure(
            "media.relay.cpu",
            ours.cpu_ms,
            "ms/s a call",
            floor.cpu_ms,
            {name: peer.cpu_ms for name, peer in peers.items()},
        ),
        Figure(
            "media.relay.memory",
            ours.kb_a_call,
            "KiB a call",
            floor.kb_a_call,
            {name: peer.kb_a_call for name, peer in peers.items()},
        ),
    ]


def _lossless(
    name: str, ours: Carried, floor: Carried | None = None, peers: dict[str, Carried] | None = None
) -> Figure:
    said = f"packets of {ours.due}"
    lost = {peer: float(one.lost) for peer, one in (peers or {}).items()}
    return Figure(name, ours.lost, said, None if floor is None else floor.lost, lost, "0", ours.lost == 0)


def _under(kind: str, calls: int) -> list[Figure]:
    machine, ours = itself(calls, browser=kind == "browser"), carried(kind, calls)
    return [
        _lossless(f"media.{kind}.lost", ours),
        Figure.at_most(f"media.{kind}.added_p99", ours.p99_ms - machine.p99_ms, "ms", LIMIT_MS),
        Figure(f"media.{kind}.cpu", ours.cpu_ms, "ms/s a call"),
        Figure(f"media.{kind}.memory", ours.kb_a_call, "KiB a call"),
        Figure(f"media.{kind}.load", ours.load_share, "of a core for the load itself"),
    ]


def _doubling() -> list[Figure]:
    costs = [carried("plain", calls).cpu_ms for calls in DOUBLING]
    figures = [
        Figure(f"media.relay.cpu_of_{calls}", cost, "ms/s a call") for calls, cost in zip(DOUBLING, costs, strict=True)
    ]
    return [*figures, Figure.at_most("media.relay.cpu_growth", costs[-1] / costs[0], "times", GROWTH)]


def relayed() -> list[Figure]:
    """Measure bridged calls of each kind, what one costs among more and more, and its memory."""
    figures = [*_bridged(), *_under("recorded", RECORDED), *_under("srtp", SECURE), *_under("browser", BROWSERS)]
    return [*figures, *_doubling()]
