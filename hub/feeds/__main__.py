"""The feeds process: `python -m hub.feeds --dir DIR`."""

import gc

if __name__ == "__main__":
    gc.disable()  # a fifth of the start went to looking for garbage in what is imported; `pace.collect` begins

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import structlog
import uvloop

from hub import pace
from hub.feeds.running import Connections
from hub.feeds.waker import Waker
from hub.feeds.writer import Writer
from hub.instance import Instance
from hub.logs import configure
from hub.record import inbox
from hub.settings import Paths
from hub.supervisor import say_ready
from hub.temporal import Reach, wake_feed
from hub.vault.client import VaultUnavailableError

log = structlog.get_logger()

VAULT_AGAIN_S = 0.25


async def run(instance: Instance, stop: asyncio.Event, ready: Callable[[], None]) -> None:
    """Bring in what the connections tell until `stop` is set; `ready` is called once they are begun."""
    reach = Reach(instance.paths, instance.keys, os.environ)

    async def wake(connection: str) -> None:
        await wake_feed(await reach.client(), connection)

    waker = Waker(wake)
    writer = Writer(instance.inbox, seal=instance.sealer, index=instance.index, clock=instance.clock, stored=waker.note)
    connections = Connections(instance, writer, waker.note)
    waker.note(await instance.inbox.run(inbox.waiting))  # what was acknowledged, and its wake lost
    tasks = [asyncio.create_task(connections.run(ready)), asyncio.create_task(waker.run())]
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
    for task in (*tasks, stopped):
        task.cancel()
    await asyncio.gather(*tasks, stopped, return_exceptions=True)
    await writer.close()
    for task in done - {stopped}:
        task.result()


async def _opened(paths: Paths, stop: asyncio.Event) -> Instance | None:
    """Return the open instance once the vault answers, or None if it is to stop before that."""
    told = False
    while not stop.is_set():
        try:
            return await asyncio.to_thread(Instance.open, paths, "feeds")
        except VaultUnavailableError as error:
            if not told:
                log.warning("waiting for the vault", code=error.code)
                told = True
            await asyncio.sleep(VAULT_AGAIN_S)
    return None


async def _main(paths: Paths) -> None:
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    instance = await _opened(paths, stop)
    if instance is None:
        return
    try:
        await run(instance, stop, lambda: _say_ready(paths))
    finally:
        instance.close()


def _say_ready(paths: Paths) -> None:
    pace.collect_rarely()
    say_ready(paths, "feeds")


def main() -> int:
    """Run until told to stop."""
    pace.collect()
    parser = argparse.ArgumentParser(prog="python -m hub.feeds", description="Bring in what outside systems tell.")
    parser.add_argument("--dir", type=Path, required=True, help="instance directory")
    arguments = parser.parse_args()
    configure("feeds")
    pace.take_short_turns()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(Paths(arguments.dir.resolve())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
