"""Run the hub process of an instance: `python -m hub.api --dir DIR`."""

import gc

if __name__ == "__main__":
    gc.disable()  # a fifth of the start went to looking for garbage in what is imported; `pace.collect` begins

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Generator
from pathlib import Path

import structlog
import uvicorn
import uvloop

from hub import pace
from hub.api.app import create
from hub.api.flows import Flows
from hub.instance import Instance
from hub.logs import configure, follow
from hub.outside import Outside
from hub.settings import Address, Paths
from hub.supervisor import say_ready

log = structlog.get_logger()

BACKLOG = 2048
LONGEST_MESSAGE = 64 * 1024
"Bytes of a WebSocket message; the SIP messages of a browser have a few thousand."

GRACE_S = 5
"Requests under way may take so long once the process is told to end."


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers; says when it listens."""

    def __init__(self, config: uvicorn.Config, paths: Paths) -> None:
        super().__init__(config)
        self._paths = paths

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to the process."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        pace.collect_rarely()
        say_ready(self._paths, "hub")


def main() -> int:
    """Serve until SIGTERM; 1 where the address cannot be had."""
    pace.collect()
    parser = argparse.ArgumentParser(prog="python -m hub.api", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--dir", type=Path, required=True, help="instance directory")
    paths = Paths(parser.parse_args().dir.resolve())
    configure("hub")
    return uvloop.run(_serve(paths))


async def _serve(paths: Paths) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    follow(loop)
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    instance = await Instance.open_when_possible(paths, "hub", stop)
    if instance is None:
        return 0
    try:
        _, practice = instance.policy()
        listener = _listener(practice.http.bind)
        if listener is None:
            return 1
        app = create(instance, Outside(instance, os.environ, actor="system:hub"), Flows(instance))
        # No access log: addresses hold tokens and what is searched for.
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            ws="websockets-sansio",
            ws_max_size=LONGEST_MESSAGE,
            timeout_graceful_shutdown=GRACE_S,
        )
        await _until(_Server(config, paths), listener, stop)
    finally:
        instance.close()
    return 0


async def _until(server: _Server, listener: socket.socket, stop: asyncio.Event) -> None:
    serving = asyncio.create_task(server.serve([listener]))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    await serving
    stopped.cancel()


def _listener(bind: Address) -> socket.socket | None:
    family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
    try:
        return socket.create_server((bind.host, bind.port), family=family, backlog=BACKLOG)
    except OSError as error:
        log.error("cannot listen", bind=str(bind), reason=os.strerror(error.errno or 0))
        return None


if __name__ == "__main__":
    sys.exit(main())
