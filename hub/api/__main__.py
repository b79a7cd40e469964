"""Run the hub process of an instance: `python -m hub.api --dir DIR`."""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
from pathlib import Path

import structlog
import uvicorn
import uvloop

from hub.api.app import create
from hub.instance import Instance
from hub.logs import configure, follow
from hub.outside import Outside
from hub.settings import Paths
from hub.supervisor import say_ready
from hub.temporal import connect

log = structlog.get_logger()


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers; says when it listens."""

    def __init__(self, config: uvicorn.Config, paths: Paths) -> None:
        super().__init__(config)
        self._paths = paths

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        """Leave signals to the process."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        say_ready(self._paths, "hub")


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m hub.api", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--dir", type=Path, required=True, help="instance directory")
    paths = Paths(parser.parse_args().dir.resolve())
    configure("hub")
    uvloop.run(_serve(paths))


async def _serve(paths: Paths) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    follow(loop)
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    instance = await Instance.open_when_possible(paths, "hub", stop)
    if instance is None:
        return
    _, practice = instance.policy()
    bind = practice.http.bind
    client = await connect(paths, instance.keys, os.environ, lazy=True)
    app = create(instance, Outside(instance, os.environ), client)
    # No access log: addresses hold tokens.
    config = uvicorn.Config(app, host=bind.host, port=bind.port, log_config=None, access_log=False, server_header=False)
    server = _Server(config, paths)
    serving = asyncio.create_task(server.serve())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    await serving
    stopped.cancel()
    instance.close()


if __name__ == "__main__":
    main()
