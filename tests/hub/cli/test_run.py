"""Running an instance: all of it once, whatever a crash has left behind."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from hub.cli import run, setup
from hub.cli.app import run_command
from hub.cli.instance import answers
from hub.cli.run import Part, RunningError, alive, end_orphans, only_one
from hub.demo.ports import free_port
from hub.settings import Paths
from tests.hub.cli.conftest import Shell
from tests.hub.vault.house import until

UP_S = 60.0

POLICY = """
[practice]
name = "Harbor Family Medicine"
timezone = "America/New_York"

[http]
bind = "127.0.0.1:{http}"

[sip]
udp = "127.0.0.1:{sip}"
rtp_ports = "21000-21199"

[[connection]]
name = "adt"
connector = "hl7v2"
settings = {{ listen = "127.0.0.1:{mllp}", timezone = "America/New_York" }}
"""


@asynccontextmanager
async def upped(paths: Paths) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `chartline up` until it says so, and end what is left of it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hub.cli", "up", "--dir", str(paths.root)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(UP_S):
            while (line := await process.stdout.readline()) != b"up\n":
                assert line, "up ended"
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(UP_S):
                await process.wait()


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path / "practice")
    ports = {"http": free_port(), "mllp": free_port(), "sip": free_port()}
    setup.make(paths, POLICY.format(**ports))
    return paths


def pids(paths: Paths) -> dict[Part, int | None]:
    return {part: alive(part, paths) for part in Part}


async def test_up_runs_everything_once_and_a_crash_leaves_nothing_that_stays(
    paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    async with upped(paths) as first:
        running = pids(paths)
        assert None not in running.values()
        capsys.readouterr()
        for words, reason in (
            (("up",), f"the instance is up already, by process {first.pid}\n"),
            (("serve", "hub"), f"hub runs already, as process {running[Part.HUB]}\n"),
        ):
            assert await asyncio.to_thread(run_command, [*words, "--dir", str(paths.root)]) == 1
            assert capsys.readouterr().err == reason
        assert await asyncio.to_thread(run_command, ["status", "--dir", str(paths.root)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[:2] for line in lines[:6]] == [[part.value, "up"] for part in Part]
        bind = paths.practice_toml.read_text().split('bind = "')[1].split('"')[0]
        async with httpx.AsyncClient(trust_env=False) as http:
            health = (await http.get(f"http://{bind}/v1/health")).json()
        assert health == {"status": "ok", "vault": "ok", "temporal": "ok"}
        first.kill()
        await first.wait()
        await asyncio.to_thread(end_orphans, paths)
        assert {alive(part, paths) for part in Part if part is not Part.TEMPORAL} == {None}
        await asyncio.to_thread(until, lambda: alive(Part.TEMPORAL, paths) is None)


def test_what_a_killed_up_left_behind_is_ended(paths: Paths) -> None:
    command = run.command(Part.VAULT, paths)
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as orphan:
        (paths.run / "vault.pid").write_text(f"{orphan.pid}\n")
        until(lambda: answers(paths))
        end_orphans(paths, patience_s=UP_S)
        assert alive(Part.VAULT, paths) is None
        assert orphan.wait(UP_S) == 0
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as stubborn:
        (paths.run / "vault.pid").write_text(f"{stubborn.pid}\n")
        until(lambda: answers(paths))
        stubborn.send_signal(signal.SIGSTOP)
        end_orphans(paths, patience_s=0.1)
        assert stubborn.wait(UP_S) == -signal.SIGKILL


async def test_up_ends_in_order_when_it_is_told_to(paths: Paths) -> None:
    temporal = {**os.environ, "TEMPORAL_ADDRESS": "127.0.0.1:9"}  # the operator's own, and it is down
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hub.cli", "up", "--dir", str(paths.root)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
        env=temporal,
    )
    try:
        await asyncio.to_thread(until, lambda: alive(Part.VAULT, paths) is not None and answers(paths))
        assert alive(Part.TEMPORAL, paths) is None
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(UP_S):
            out, _ = await process.communicate()
    assert process.returncode == 0
    lines = out.decode().splitlines()
    assert lines[0] == f"Chartline {paths.root}"
    assert "run as one user" in lines[1]
    assert set(pids(paths).values()) == {None}
    assert not list(paths.run.glob("*.pid"))


def test_a_stale_pid_file_is_nobody(shell: Shell) -> None:
    for text in (f"{os.getpid()}\n", "4194305\n", "", "x\n"):
        (shell.paths.run / "media.pid").write_text(text)
        assert alive(Part.MEDIA, shell.paths) is None
        end_orphans(shell.paths)
        assert shell("status", "--json").said["processes"]["media"] == {"pid": None, "ready": False}
    (shell.paths.run / "media.pid").unlink()


def test_a_process_of_another_instance_is_not_ours(shell: Shell, tmp_path: Path) -> None:
    other = Paths(tmp_path)
    other.run.mkdir()
    (other.run / "vault.pid").write_text(f"{shell.vault.popen.pid}\n")
    (shell.paths.run / "vault.pid").write_text(f"{shell.vault.popen.pid}\n")
    try:
        assert alive(Part.VAULT, other) is None
        assert alive(Part.VAULT, shell.paths) == shell.vault.popen.pid
    finally:
        (shell.paths.run / "vault.pid").unlink()


def test_only_one_up_holds_the_lock_and_a_crash_frees_it(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    with only_one(paths), pytest.raises(RunningError, match=str(os.getpid())), only_one(paths):
        pass
    holder = (
        "import sys,os; from pathlib import Path; from hub.settings import Paths; from hub.cli.run import only_one\n"
    )
    holder += "with only_one(Paths(Path(sys.argv[1]))): print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(RunningError, match=str(process.pid)), only_one(paths):
            pass
        process.kill()
        process.wait()
    with only_one(paths):
        pass


def test_serve_becomes_the_process(paths: Paths) -> None:
    command = [sys.executable, "-m", "hub.cli", "serve", "vault", "--dir", str(paths.root)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: alive(Part.VAULT, paths) is not None and answers(paths))
            assert alive(Part.VAULT, paths) == process.pid
        finally:
            process.terminate()
        assert process.wait(UP_S) == 0
    assert alive(Part.VAULT, paths) is None
    assert run_command(["serve", "kitchen", "--dir", str(paths.root)]) == 2


def test_nothing_runs_where_there_is_no_instance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("up",), ("serve", "vault"), ("status",), ("apply",), ("audit", "verify")):
        assert run_command([*words, "--dir", str(tmp_path)]) == 1
        assert capsys.readouterr().err == f"{tmp_path} is no instance; make one with: chartline init {tmp_path}\n"
    assert os.listdir(tmp_path) == []
