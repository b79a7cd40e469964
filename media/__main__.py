"""Run the media process of an instance: `python -m media --dir DIR`."""

import gc

if __name__ == "__main__":
    gc.disable()  # a fifth of the start went to looking for garbage in what is imported; `pace.collect` begins

import argparse
import asyncio
import os
import resource
import signal
import socket
from pathlib import Path

import structlog
import uvloop

from hub import pace
from hub.instance import Instance
from hub.logs import configure, follow
from hub.settings import Paths
from hub.supervisor import say_ready
from media.gateway import Gateway

log = structlog.get_logger()


def main() -> None:
    """Serve until SIGTERM."""
    pace.collect()
    parser = argparse.ArgumentParser(prog="python -m media", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--dir", type=Path, required=True, help="instance directory")
    paths = Paths(parser.parse_args().dir.resolve())
    configure("media")
    _open_many_files()
    pace.take_short_turns()
    uvloop.run(_serve(paths))


def _open_many_files() -> None:
    """Raise this process's limit to what it may have: a leg takes two descriptors."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _serve(paths: Paths) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    follow(loop)
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    instance = await Instance.open_when_possible(paths, "media", stop)
    if instance is None:
        return
    gateway = await Gateway.open(instance, os.environ, f"media-{socket.gethostname()}")
    await gateway.start()
    pace.collect_rarely()
    say_ready(paths, "media")
    for local in gateway.endpoint.listening.values():
        log.info("listening", address=local.host, port=local.port, transport=local.transport)
    await stop.wait()
    await gateway.close()
    instance.close()


if __name__ == "__main__":
    main()
