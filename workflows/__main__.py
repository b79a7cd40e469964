"""Run the worker of an instance: `python -m workflows --dir DIR`."""

import gc

if __name__ == "__main__":
    gc.disable()  # a fifth of the start went to looking for garbage in what is imported; `pace.collect` begins

import argparse
import asyncio
import logging
import os
import signal
from pathlib import Path

import structlog
import uvloop

from hub import pace
from hub.instance import Instance
from hub.logs import configure
from hub.settings import Paths
from hub.supervisor import say_ready
from workflows.worker import serve

log = structlog.get_logger()

NAME = "worker"


def main() -> None:
    """Work until SIGTERM."""
    pace.collect()
    parser = argparse.ArgumentParser(prog="python -m workflows", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--dir", type=Path, required=True, help="instance directory")
    paths = Paths(parser.parse_args().dir.resolve())
    configure(NAME)
    logging.getLogger("temporalio.activity").setLevel(logging.ERROR)  # workflows.fault says it in one line
    pace.take_short_turns()
    uvloop.run(_serve(paths))


async def _serve(paths: Paths) -> None:
    stop, ready = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    instance = await Instance.open_when_possible(paths, "workflows", stop)
    if instance is None:
        return
    saying = asyncio.create_task(_say_ready(paths, ready))
    try:
        await serve(instance, os.environ, stop, ready=ready)
    finally:
        saying.cancel()
        instance.close()


async def _say_ready(paths: Paths, ready: asyncio.Event) -> None:
    await ready.wait()
    pace.collect_rarely()
    say_ready(paths, NAME)
    log.info("working")


if __name__ == "__main__":
    main()
