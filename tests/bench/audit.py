"""The vault under callers in other processes, against an interleaved fdatasync floor; sealing; checking the log.

The callers are processes that use the product's own client; they share the machine's cores with the vault. Floor: 600
bytes appended and fdatasync'ed in the audit log's directory, measured between the rounds, while the vault is idle.
"""

import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from sqlalchemy import MetaData

from hub.db import Database, now
from hub.security import lane
from hub.security.sealed import Sealer, Table
from hub.settings.paths import Paths
from hub.vault import keys, verify
from hub.vault.client import Access, Group, Vault, VaultUnavailableError
from hub.vault.layout import SECRET_BYTES, SUITE, lane_info
from tests.bench.figure import BENCH_JSON, Figure

ROUNDS = 7
LOAD_S = 0.5
FLOOR_S = 0.3
RESTARTS = 5
RECORD = bytes(600)
ACCESS = Access("staff-0001", "front-desk", "treatment", session="call-0001")

GOALS = {1: 0.4, 8: 1.6, 64: 6.0}
"Callers, and how many times the floor they should get (issue: warm lanes)."


@dataclass(frozen=True)
class Round:
    """What callers did in one stretch of time."""

    per_s: float
    latencies_s: list[float]


class Callers:
    """Processes that each ask for one object again and again, while told to."""

    def __init__(self, socket: Path, groups: Sequence[Group]) -> None:
        fork = multiprocessing.get_context("fork")
        self._lines: list[Connection] = []
        self._processes = []
        for group in groups:
            ours, theirs = fork.Pipe()
            process = fork.Process(target=_call, args=(socket, group, theirs), daemon=True)
            process.start()
            theirs.close()
            self._lines.append(ours)
            self._processes.append(process)

    def load(self, seconds: float) -> Round:
        """Have all of them call for so long."""
        begin = time.monotonic() + 0.05
        for line in self._lines:
            line.send((begin, begin + seconds))
        answers: list[tuple[int, list[float]]] = [line.recv() for line in self._lines]
        count = sum(done for done, _ in answers)
        return Round(count / seconds, [latency for _, latencies in answers for latency in latencies])

    def cpu_s(self) -> float:
        """Return the processor time that all of them have had, seconds."""
        return sum(cpu_s(process.pid) for process in self._processes if process.pid is not None)

    def close(self) -> None:
        """End them."""
        for line, process in zip(self._lines, self._processes, strict=True):
            line.send(None)
            process.join()
            line.close()


def _call(socket: Path, group: Group, line: Connection) -> None:
    vault = Vault(socket)
    asked = [group]
    clock = time.monotonic
    while (span := line.recv()) is not None:
        begin, end = span
        time.sleep(max(0.0, begin - clock()))
        latencies = []
        before = clock()
        while before < end:
            vault.unwrap(ACCESS, asked)
            after = clock()
            latencies.append(after - before)
            before = after
        line.send((len(latencies), latencies))


def floor(directory: Path, seconds: float = FLOOR_S) -> float:
    """Return how often a second this disk makes 600 appended bytes durable."""
    path = directory / "floor"
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        count, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            os.write(file, RECORD)
            os.fdatasync(file)
            count += 1
    finally:
        os.close(file)
    path.unlink()
    return count / seconds


def cpu_s(pid: int) -> float:
    """Return the processor time that `pid` has had, seconds (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def instance() -> Iterator[Paths]:
    """Yield a new instance on the disk that the repository lies on."""
    BENCH_JSON.parent.mkdir(exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="vault-", dir=BENCH_JSON.parent))
    try:
        paths = Paths(directory)
        keys.init(paths, uuid4())
        yield paths
    finally:
        shutil.rmtree(directory)


@contextmanager
def running(paths: Paths) -> Iterator[int]:
    """Yield the process id of a vault that answers."""
    process = subprocess.Popen([sys.executable, "-m", "hub.vault", "--dir", str(paths.root)])
    try:
        with Vault(paths.vault_socket) as vault:
            while True:
                try:
                    vault.health()
                    break
                except VaultUnavailableError:
                    if process.poll() is not None:
                        raise
                    time.sleep(0.01)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def groups_of(paths: Paths, count: int, *, objects: int = 1) -> list[Group]:
    """Make `count` subjects with a lane each."""
    root = keys.load(paths)
    ring = root.ring(paths)
    made = []
    for kid, public, _ in ring.mint(count):
        subject = uuid4()
        info = lane_info(root.tenant.bytes, kid, subject.bytes)
        blob = SUITE.encrypt(os.urandom(SECRET_BYTES), X25519PublicKey.from_public_bytes(public), info=info)
        made.append(Group(kid, subject, blob, tuple((Table.PATIENT, uuid4()) for _ in range(objects))))
    ring.close()
    return made


def unwraps(paths: Paths) -> list[Figure]:
    """Measure unwraps with one, eight and sixty-four callers."""
    groups = groups_of(paths, max(GOALS))
    figures = []
    with running(paths) as pid:
        for count, times in GOALS.items():
            callers = Callers(paths.vault_socket, groups[:count])
            callers.load(0.2)  # opens lanes and connections
            floors, rounds = [floor(paths.root)], []
            used, spent = cpu_s(pid), callers.cpu_s()
            for _ in range(ROUNDS):
                rounds.append(callers.load(LOAD_S))
                floors.append(floor(paths.root))
            used, spent = cpu_s(pid) - used, callers.cpu_s() - spent
            callers.close()
            around = [(before + after) / 2 for before, after in pairwise(floors)]
            ratio = statistics.median(r.per_s / low for r, low in zip(rounds, around, strict=True))
            low = statistics.median(around)
            name = f"audit.unwrap.{count}"
            figures.append(Figure.over_floor(name, ratio * low, "requests/s", low, times))
            latencies = sorted(latency for r in rounds for latency in r.latencies_s)
            done = len(latencies)
            for label, place in (("p50", done // 2), ("p99", done * 99 // 100)):
                figures.append(Figure(f"{name}.{label}", latencies[place] * 1e3, "ms"))
            figures.append(Figure(f"{name}.cpu", used / done * 1e6, "us/request"))
            figures.append(Figure(f"{name}.cpu-of-callers", spent / done * 1e6, "us/request"))
    return figures


def restarts(paths: Paths) -> list[Figure]:
    """Measure from the start of a vault that was killed to its first answered unwrap."""
    group, spent = groups_of(paths, 1), []
    for _ in range(RESTARTS):
        begin = time.monotonic()
        process = subprocess.Popen([sys.executable, "-m", "hub.vault", "--dir", str(paths.root)])
        with Vault(paths.vault_socket) as vault:
            while True:
                try:
                    vault.unwrap(ACCESS, group)
                    break
                except VaultUnavailableError:
                    time.sleep(0.002)
        spent.append(time.monotonic() - begin)
        process.kill()
        process.wait()
    return [Figure.at_most("audit.restart", statistics.median(spent) * 1e3, "ms", 500.0)]


def sealing(paths: Paths) -> list[Figure]:
    """Measure what a writer pays for a row: through a lane it has, and for a subject it first sees."""
    granted = keys.load(paths).service_keys("hub")
    database = Database(paths.db, granted.database)
    metadata = MetaData()
    lane.declare(metadata)
    metadata.create_all(database.engine)
    root = keys.load(paths)
    ring = root.ring(paths)
    fields = {
        "family": "Example",
        "given": "Robin",
        "birth_date": "1970-01-01",
        "phones": ["+12125550123"],
        "note": "x" * 400,
    }
    subjects = [uuid4() for _ in range(400)]
    with database.write() as db:
        made = ring.mint(len(subjects))
        db.add_all([lane.PoolKey(kid=kid, public=public, signature=signature) for kid, public, signature in made])
        db.flush()
        sealer = Sealer(granted, "bench", now)
        for subject in subjects:
            sealer.new_subject(db, subject)

        def seal(subject: UUID) -> None:
            sealer.seal(db, subject, Table.PATIENT, uuid4(), fields)

        new = _each_us(seal, subjects)
        warm = _each_us(seal, [subjects[0]] * 900)
    ring.close()
    database.close()
    return [Figure.at_most("audit.seal.warm", warm, "us", 10.0), Figure("audit.seal.new-lane", new, "us")]


def _each_us(act: Callable[[UUID], None], over: Sequence[UUID]) -> float:
    begin = time.process_time()
    for item in over:
        act(item)
    return (time.process_time() - begin) / len(over) * 1e6


def checking(paths: Paths) -> list[Figure]:
    """Measure the verifier over the log that the rounds before have left."""
    begin = time.process_time()
    verdict = verify.verify(verify.read(*verify.instance(paths.root)[:2]), verify.instance(paths.root)[2])
    spent = time.process_time() - begin
    if not verdict.good:
        raise AssertionError(json.dumps({"first_bad": verdict.first_bad, "reason": verdict.reason}))
    per_s = verdict.records / spent
    goal = "at least 50,000 records/CPU-s"
    return [Figure("audit.verify", per_s, "records/CPU-s", goal=goal, holds=per_s >= 50_000)]


def figures() -> list[Figure]:
    """Measure the area."""
    with instance() as paths:
        return [*unwraps(paths), *restarts(paths), *checking(paths), *sealing(paths)]
