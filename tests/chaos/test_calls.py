"""An hour of fifty calls at a time through a media process with its record: nothing leaks, every call ends as it did.

CHARTLINE_SOAK_S says how long; a short one with fewer calls is in every test run. Temporal is away: the published plan
routes.
"""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import pytest
from sqlmodel import Session, select

from hub import audio
from hub.cli import setup
from hub.cli.instance import opened
from hub.db import now
from hub.demo.ports import free_port
from hub.instance import Instance
from hub.record import staff
from hub.record.call import Call
from hub.settings import Paths
from media.gateway import REALM

SOAK_S = int(os.environ.get("CHARTLINE_SOAK_S", "3600"))
AT_ONCE = 50
AGENTS = 20
WARM_S = 180.0
"Until all that is kept for a while has been kept once, and the collector has looked at what is old."

LONG_S = 600
"From so long on the memory is compared: before, it still fills its caches."

GROWTH = 1.05
"What the memory may be after all calls, times what it was after the first of them."

LINGER_S = 45.0
"Transactions are remembered for 32 s (RFC 3261 table 4), and it takes a while to notice."

IDLE_S = 60.0
"How long the last call's row, events and tasks may take."

START_S = 30.0

SPOKEN = "please-hold invalid-choice no-choice leave-message-after-tone goodbye this-call-may-be-recorded"
STAFF = """
[[staff]]
email = "agent{number}@cove.example"
roles = ["front-desk"]
queues = ["desk"]
extension = "{extension}"
"""


@dataclass(frozen=True)
class Held:
    """What the media process holds."""

    sockets: int
    tasks: int
    blocks: int
    "Pieces of memory that Python has in use in the signalling process."

    memory_kb: int


class Media:
    """The media process of an instance, and what can be seen of it."""

    def __init__(self, process: asyncio.subprocess.Process, instance: Instance, told: Path, secrets: dict[str, str]):
        self._process = process
        self._told = told
        self._secrets = secrets
        self.instance = instance
        self.port = instance.policy()[1].sip.udp.port

    async def held(self) -> Held:
        """Return what it and its children hold."""
        pids = _family(self._process.pid)
        links = [link for pid in pids for link in _links(pid)]
        memory = sum(_resident_kb(pid) for pid in pids)
        tasks, blocks = await self._inside()
        return Held(sum(link.startswith("socket:") for link in links), tasks, blocks, memory)

    async def _inside(self) -> tuple[int, int]:
        self._told.unlink(missing_ok=True)
        self._process.send_signal(signal.SIGUSR1)
        async with asyncio.timeout(START_S):
            while not self._told.exists():  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.01)
        tasks, blocks = self._told.read_text().split()
        return int(tasks), int(blocks)

    async def quiet(self, like: Held | None = None) -> Held:
        """Return what it holds once all calls are over: as much as `like`, or when that does not change any more."""
        held = await self.held()
        until = asyncio.get_running_loop().time() + IDLE_S
        while asyncio.get_running_loop().time() < until:
            await asyncio.sleep(1.0)
            before, held = held, await self.held()
            if like is not None and (held.sockets, held.tasks) == (like.sockets, like.tasks):
                break
            if like is None and (held.sockets, held.tasks) == (before.sockets, before.tasks):
                break
        return held

    async def called(self, seconds: float, at_once: int, first: int) -> list[dict[str, Any]]:
        """Let people call for so long; return what each of them tells."""
        driver = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.chaos.callers",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        told: dict[str, Any] = {
            "gateway": self.port,
            "seconds": seconds,
            "at_once": at_once,
            "first": first,
            "seed": SEED,
        }
        told["secrets"] = self._secrets
        out, _ = await driver.communicate(json.dumps(told).encode() + b"\n")
        assert driver.returncode == 0
        return [json.loads(line) for line in out.splitlines()]


SEED = int(os.environ.get("CHARTLINE_SEED", "4475"))


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in _family(int(child)))]


def _links(pid: int) -> Iterator[str]:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            yield str(entry.readlink())
        except FileNotFoundError:
            continue


def _resident_kb(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().partition("RssAnon:")[2].split()[0])


def _phones(db: Session) -> dict[str, str]:
    secrets = {}
    for number in range(AGENTS):
        person = staff.find(db, f"agent{number}@cove.example")
        assert person is not None
        secrets[str(201 + number)] = staff.add_device(db, person.id, str(201 + number), REALM, now())
    return secrets


@asynccontextmanager
async def media(root: Path) -> AsyncIterator[Media]:
    """Have an instance with agents, and its media process."""
    people = "".join(STAFF.format(number=number, extension=201 + number) for number in range(AGENTS))
    ports = {"http": free_port(), "sip": free_port(), "staff": people}
    text = Template(Path(__file__).with_name("calls.toml").read_text()).substitute(ports)
    setup.make(Paths(root), text)
    (root / "prompts").mkdir()
    for name in [*(f"{name}.en" for name in [*SPOKEN.split(), "callback-offered"]), "menu-main.en"]:
        (root / "prompts" / f"{name}.wav").write_bytes(audio.wav(audio.tone(300.0, seconds=0.1)))
    with opened(root) as instance:
        secrets = await instance.db.run(_phones, write=True)
        told = root / "tasks"
        nobody = {"TEMPORAL_ADDRESS": f"127.0.0.1:{free_port()}"}
        errors = (root / "media.err").open("wb")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.chaos._media", str(told), "--dir", str(root)),
            env={**os.environ, **nobody},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=errors,
        )
        try:
            async with asyncio.timeout(START_S):
                while not (instance.paths.run / "media.ready").exists():
                    assert process.returncode is None
                    await asyncio.sleep(0.05)
            yield Media(process, instance, told, secrets)
        finally:
            if process.returncode is None:
                process.terminate()
            errors.close()
            assert await process.wait() == 0


async def astray(instance: Instance, told: Sequence[dict[str, Any]]) -> list[str]:
    """Return what the record says otherwise than those who called."""

    def look(db: Session) -> list[str]:
        rows = {row.caller_key: row for row in db.exec(select(Call)).all()}
        found = []
        for one in told:
            row = rows.get(instance.index.phone(one["number"]))
            ends = [tuple(end) for end in one["ends"]]
            if one["fault"]:
                found.append(f"{one['what']}: {one['fault']}")
            elif row is None:
                found.append(f"{one['what']}: no row")
            elif row.ended_at is None:
                found.append(f"{one['what']}: never ended")
            elif (row.path, row.cause) not in ends:
                found.append(f"{one['what']}: {row.path} by {row.cause}, not {ends}")
        return found

    return await instance.db.run(look)


async def soaked(root: Path, seconds: float, at_once: int, warm_s: float, linger_s: float) -> tuple[Held, Held]:
    """Let people call, and compare what they tell with the record; return what the process held before and after."""
    async with media(root) as process:
        # More of them than ever after: what that takes of the system is not given back, and would look like growth.
        told = await process.called(warm_s, 2 * at_once, 0)
        await asyncio.sleep(linger_s)
        before = await process.quiet()
        told += await process.called(seconds, at_once, 20_000)
        await asyncio.sleep(linger_s)
        after = await process.quiet(before)
        wrong = Counter(await astray(process.instance, told))
        said = Counter(one["what"] for one in told)
    print(f"{len(told)} calls, {before} before, {after} after")
    assert not wrong, f"{wrong} of {said}"
    assert any(what.startswith(("talks-", "chooses")) and what.endswith("hangs-up") for what in said), said
    assert len(told) > at_once
    return before, after


async def test_calls_end_as_they_did_and_leave_nothing_behind(tmp_path: Path) -> None:
    before, after = await soaked(tmp_path / "i", seconds=5.0, at_once=10, warm_s=1.0, linger_s=0.0)
    assert (after.sockets, after.tasks) == (before.sockets, before.tasks)


@pytest.mark.chaos
@pytest.mark.timeout(SOAK_S + 900)
async def test_an_hour_of_calls_leaves_nothing_behind(tmp_path: Path) -> None:
    before, after = await soaked(tmp_path / "i", SOAK_S, AT_ONCE, WARM_S, LINGER_S)
    assert (after.sockets, after.tasks) == (before.sockets, before.tasks)
    if SOAK_S >= LONG_S:
        assert after.memory_kb <= before.memory_kb * GROWTH, f"{before} {after}"
        assert after.blocks <= before.blocks * GROWTH, f"{before} {after}"
