"""The processes of a relay: how many, who is where, and what becomes of one that hangs or does not start."""

import asyncio
import os
import resource
import signal
from pathlib import Path

import pytest

from hub.demo.ports import free_media_port
from hub.settings.practice import Sip
from media.core import pool
from media.core.pool import shares
from media.core.process import SILENT_LOOKS, Process
from media.core.relay import CoreRelay, cores_of, relay_for
from media.ports import NoPortError
from media.relay import BuiltinRelay
from media.sound import Sound
from tests.media.core.cores import alive, cores, pid_of, started, until


def pids_in(run: Path) -> set[int]:
    return {int(path.read_text()) for path in run.glob("media-core-*.pid")}


async def test_no_port_left_is_said() -> None:
    async with cores(first=free_media_port(), pairs=2) as small:
        legs = [await small.allocate() for _ in range(2)]
        with pytest.raises(NoPortError):
            await small.allocate()
        legs[0].close()
        await small.last_stats(legs[0])
        assert (await small.allocate()).core is not None


async def test_legs_are_spread_over_the_cores_and_bridged_ones_share_one(tmp_path: Path) -> None:
    async with cores(2, run=tmp_path) as relay:
        first, second = await relay.allocate(), await relay.allocate()
        assert pid_of(first) != pid_of(second)
        assert pids_in(tmp_path) == {pid_of(first), pid_of(second)}
        beside = [await relay.allocate(beside=first) for _ in range(3)]
        assert {pid_of(leg) for leg in beside} == {pid_of(first)}
        assert pid_of(await relay.allocate()) == pid_of(second)
    assert pids_in(tmp_path) == set()


async def test_a_core_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    async with cores() as relay:
        leg = await relay.allocate()
        pid = pid_of(leg)
        monkeypatch.setattr("media.core.process.LOOK_S", 0.2)
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: leg.core is not None and leg.core.pid != pid)
        assert (await relay.last_stats(leg)).packets == 0


async def test_one_that_stands_by_and_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("media.core.process.LOOK_S", 0.2)
    async with cores(steady=True) as relay:
        standing = relay._pool._next
        assert standing is not None
        pid = (await standing).pid
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: relay._pool._next not in (None, standing))
        await relay.steady()
        assert not alive(pid)


async def test_a_core_that_is_late_and_answers_is_let_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("media.core.process.LOOK_S", 0.25)
    async with cores() as relay:
        leg = await relay.allocate()
        core = leg.core
        assert core is not None
        for _ in range(3):
            os.kill(core.pid, signal.SIGSTOP)
            await until(lambda: core._silent >= SILENT_LOOKS - 1)
            os.kill(core.pid, signal.SIGCONT)
            await until(lambda: core._silent == 0)
        assert leg.core is core


def test_ports_are_divided_in_pairs() -> None:
    divided = shares(20_001, 20_012, 3)
    assert [(slot.first, slot.last) for slot in divided] == [(20_002, 20_003), (20_004, 20_007), (20_008, 20_011)]
    assert len(shares(20_000, 20_003, 8)) == 2
    with pytest.raises(NoPortError):
        shares(20_001, 20_001, 1)


async def test_practice_toml_says_how_many_processes_carry_sound(tmp_path: Path) -> None:
    silence = Sound(b"\xff" * 160)
    inside = relay_for(Sip(cores=0), silence, tmp_path)
    assert isinstance(inside, BuiltinRelay)
    await inside.close()
    assert isinstance(relay_for(Sip(cores=3), silence, tmp_path), CoreRelay)
    assert isinstance(relay_for(Sip(), silence, tmp_path), CoreRelay)
    assert [cores_of(cpus) for cpus in (1, 2, 3, 16)] == [1, 1, 3, 16]


async def test_a_core_that_cannot_be_started_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pool, "PAUSE_S", 0.01)
    monkeypatch.setattr("sys.executable", "/bin/false")
    starting = asyncio.create_task(_start_and_end())
    async with asyncio.timeout(30):
        out = ""
        while "not started" not in out:
            await asyncio.sleep(0.01)
            out += "".join(capfd.readouterr())
    monkeypatch.undo()
    await starting


@pytest.mark.parametrize("turns", range(6))
async def test_a_core_that_nobody_waits_for_any_more_as_it_starts_is_ended(turns: int) -> None:
    before = started()
    starting = asyncio.create_task(Process.start())
    for _ in range(turns):
        await asyncio.sleep(0)
    starting.cancel()
    for made in await asyncio.gather(starting, return_exceptions=True):
        if isinstance(made, Process):
            await made.end()
    assert not set(started()) - set(before)


async def _start_and_end() -> None:
    async with cores():
        pass


async def test_a_core_that_could_not_make_a_leg_after_all_says_why() -> None:
    async with cores(pairs=20) as relay:
        first = await relay.allocate()
        assert first.core is not None
        resource.prlimit(first.core.pid, resource.RLIMIT_NOFILE, (10, 10))
        leg = await relay.allocate()
        with pytest.raises(NoPortError, match="may open no more sockets"):
            await leg.offer()
        assert leg.closed
        assert (await relay.last_stats(leg)).packets == 0
        assert (await relay.last_stats(first)).packets == 0
