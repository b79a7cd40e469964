"""HL7 v2: reading and normalising, and acknowledging what is durable, each beside what others do in the same minute.

Reading: all 1,178 public messages through `Hl7v2.read`, as the product does it, facts and all; the floor splits
segments and fields and nothing else; python-hl7 parses, and is asked for nothing. Rounds are interleaved.

hl7apy is 1,000 times too slow for all of them: it parses a fixed random sample, tolerantly, beside ours on the same.

Acknowledging: a real feeds process beside a real vault, every message sealed and committed before its answer, under one
load client in a process of its own (16 connections, stop and wait). The peers keep nothing. The memory of the feeds
process is read after the first 10,000 messages and again after 100,000.
"""

import gc
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import hl7
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message

from connectors.api import RejectedError
from connectors.hl7v2 import Hl7v2
from connectors.hl7v2.settings import Hl7v2Settings
from connectors.telephone import e164
from hub.cli import setup
from hub.demo.ports import free_port
from hub.settings import Paths
from tests.bench.figure import Figure
from tests.corpus import CORPUS

ROUNDS = 25
PEER_ROUNDS = 2
CONNECTIONS = 16
LOAD_S = 2.5
LOAD_ROUNDS = 3
START_S = 30.0

FLOOR_TIMES = 0.35
PYTHON_HL7_TIMES = 30
HL7APY_TIMES = 500
SAMPLE = 80
"Messages that hl7apy parses, the same in every run."

DURABLE_TIMES = {"python-hl7": 3.0, "hl7apy": 20.0}
LATENCY_MS = 25.0

WARM = 10_000
MANY = 100_000
"Messages after which the memory of the feeds process is read, and read again."

GROWTH_PERCENT = 5.0

ZONE = ZoneInfo("America/New_York")

READER = Hl7v2(Hl7v2Settings(listen="127.0.0.1:0"))

Corpus = list[tuple[bytes, str]]
"Message, and the region whose numbers it holds: one of the seven sources is British."


def figures() -> list[Figure]:
    """Measure; nothing where the public messages are not beside the repository."""
    if CORPUS is None:
        return []
    folder = CORPUS / "hl7v2"
    messages = [
        (path.read_bytes(), "GB" if path.parent.name == "simhospital" else "US") for path in sorted(folder.glob("*/*"))
    ]
    return [*reading(messages), *acknowledging(messages)]


# Reading.


def cpu_s(work: Callable[[Corpus], object], messages: Corpus) -> float:
    began = time.process_time()
    work(messages)
    return time.process_time() - began


def split(messages: Corpus) -> list[list[str]]:
    fields: list[list[str]] = []
    for raw, _ in messages:
        fields = [line.split("|") for line in decoded(raw).split("\r")]
    return fields


def decoded(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return text.replace("\r\n", "\r").replace("\n", "\r") if "\n" in text else text


def normalise(messages: Corpus) -> int:
    """Read as the product does; numbers seen in an earlier round are new again."""
    e164.cache_clear()
    facts = 0
    for raw, region in messages:
        try:
            facts += len(READER.read(raw, timezone=ZONE, region=region))
        except RejectedError:
            continue
    return facts


def parse_by_python_hl7(messages: Corpus) -> None:
    for raw, _ in messages:
        with suppress(Exception):  # it fails on two of them, in several ways; they count as read
            hl7.parse(decoded(raw))


def parse_by_hl7apy(messages: Corpus) -> None:
    for raw, _ in messages:
        with suppress(Exception):  # it refuses some: unknown versions, delimiters of 2.7; they count as read
            parse_message(decoded(raw), validation_level=VALIDATION_LEVEL.TOLERANT)


def beside_hl7apy(messages: Corpus) -> Figure:
    sample = random.Random(7).sample(messages, SAMPLE)
    ours, theirs = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parse_by_hl7apy(sample[:2])  # it loads a version's tables with the first message of it
        for _ in range(PEER_ROUNDS):
            theirs.append(cpu_s(parse_by_hl7apy, sample) / SAMPLE)
            ours += [cpu_s(normalise, sample) / SAMPLE for _ in range(ROUNDS)]
    peers = {"hl7apy": 1 / min(theirs)}
    return Figure.over_peers(
        "hl7.normalise.sample", 1 / min(ours), "messages/CPU-s", peers, {"hl7apy": float(HL7APY_TIMES)}
    )


def reading(messages: Corpus) -> list[Figure]:
    gc.collect()
    gc.freeze()  # what the bench itself has loaded is not the readers' garbage
    telling = [message for message in messages if normalise([message])]
    times: dict[str, list[float]] = {"floor": [], "ours": [], "telling": [], "python-hl7": []}
    for number in range(ROUNDS):
        times["floor"].append(cpu_s(split, messages) / len(messages))
        times["ours"].append(cpu_s(normalise, messages) / len(messages))
        times["telling"].append(cpu_s(normalise, telling) / len(telling))
        if number < PEER_ROUNDS:
            times["python-hl7"].append(cpu_s(parse_by_python_hl7, messages) / len(messages))
    per_s = {name: 1 / min(taken) for name, taken in times.items()}  # the round that was disturbed least
    ours, floor, peer = per_s["ours"], per_s["floor"], per_s["python-hl7"]
    unit = "messages/CPU-s"
    return [
        Figure(
            "hl7.normalise",
            ours,
            unit,
            floor,
            {"python-hl7": peer},
            f"{FLOOR_TIMES:g} x floor, {PYTHON_HL7_TIMES} x python-hl7",
            ours >= FLOOR_TIMES * floor and ours >= PYTHON_HL7_TIMES * peer,
        ),
        # Two thirds of the messages are results that say nothing here; these are the others alone.
        Figure("hl7.normalise.telling", per_s["telling"], unit, floor, {"python-hl7": peer}),
        beside_hl7apy(messages),
    ]


# Acknowledging.


def acknowledging(messages: Corpus) -> list[Figure]:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        frames = root / "frames"
        frames.write_bytes(b"".join(b"\x0b" + raw + b"\x1c\r" for raw, region in messages if region == "GB"))
        with feeds(root / "instance") as (port, pid), peer("python-hl7") as plain, peer("hl7apy") as slow:
            load(frames, port, "W", seconds=0.5)
            runs: dict[str, list[dict[str, Any]]] = {"ours": [], "python-hl7": [], "hl7apy": []}
            for number in range(LOAD_ROUNDS):
                runs["ours"].append(load(frames, port, f"A{number}"))
                runs["python-hl7"].append(load(frames, plain, f"B{number}"))
            runs["hl7apy"].append(load(frames, slow, "C", seconds=2 * LOAD_S))
            lone = load(frames, port, "L", connections=1)
            memory = growing(frames, port, pid)
    per_s = {name: statistics.median(run["per_s"] for run in each) for name, each in runs.items()}
    refused = sum(run["refused"] for run in runs["ours"])
    p99 = statistics.median(run["p99_ms"] for run in runs["ours"])
    peers = {name: per_s[name] for name in DURABLE_TIMES}
    figure = Figure.over_peers("hl7.durable", per_s["ours"], "acks/s", peers, DURABLE_TIMES)
    if refused:
        raise RuntimeError(f"{refused} messages were not accepted")
    return [
        figure,
        Figure.at_most("hl7.durable.p99", p99, "ms", LATENCY_MS),
        Figure("hl7.durable.lone", lone["per_s"], "acks/s"),
        *memory,
    ]


def growing(frames: Path, port: int, pid: int) -> list[Figure]:
    """Return what the feeds process holds after some messages and after many, and how much more that is."""
    sent = 0
    held: list[float] = []
    for until_sent in (WARM, MANY):
        while sent < until_sent:
            run = load(frames, port, f"G{len(held)}-{sent}-")
            sent += run["count"]
            if run["refused"]:
                raise RuntimeError(f"{run['refused']} messages were not accepted")
        held.append(resident_mb(pid))
    before, after = held
    growth = 100 * (after - before) / before
    return [
        Figure(f"hl7.memory.{WARM // 1000}k", before, "MB"),
        Figure(f"hl7.memory.{MANY // 1000}k", after, "MB"),
        Figure.at_most("hl7.memory.growth", growth, "%", GROWTH_PERCENT),
    ]


def resident_mb(pid: int) -> float:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def load(
    frames: Path, port: int, prefix: str, *, connections: int = CONNECTIONS, seconds: float = LOAD_S
) -> dict[str, Any]:
    argv = [sys.executable, "-m", "tests.bench._hl7_load", frames, port, connections, seconds, prefix]
    done = subprocess.run([str(word) for word in argv], check=False, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise RuntimeError(f"the load client failed: {done.stderr[-800:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


class Feeds(NamedTuple):
    """A feeds process that listens."""

    port: int
    pid: int


@contextmanager
def feeds(root: Path) -> Iterator[Feeds]:
    """Run vault and feeds of a new instance."""
    port = free_port()
    settings = f'{{ listen = "127.0.0.1:{port}" }}'
    text = f'[[connection]]\nname = "adt"\nconnector = "hl7v2"\nsettings = {settings}\n'
    setup.make(Paths(root), f'[practice]\nname = "Bench"\ntimezone = "America/New_York"\n{text}')
    with process(["hub.vault", "--dir", str(root)]), process(["hub.feeds", "--dir", str(root)]) as pid:
        until(lambda: (root / "run" / "feeds.ready").exists())
        until(lambda: answers(port))
        yield Feeds(port, pid)


@contextmanager
def peer(name: str) -> Iterator[int]:
    """Run a library's server, and yield its port."""
    port = free_port()
    with process(["tests.bench._hl7_peer", name, str(port)]):
        until(lambda: answers(port))
        yield port


@contextmanager
def process(argv: Sequence[str]) -> Iterator[int]:
    """Run a program of ours, and yield its process id."""
    running = subprocess.Popen([sys.executable, "-m", *argv], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield running.pid
    finally:
        running.terminate()
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError("a server did not start")
        time.sleep(0.02)
