"""One media core process: `python -m media.core --fd NUMBER`; started by the signalling process, and ends with it."""

import gc

if __name__ == "__main__":
    gc.disable()  # a fifth of the start went to looking for garbage in what is imported; `pace.collect` begins

import argparse
import asyncio
import os
import signal
import socket

import structlog
import uvloop

from hub import pace
from hub.logs import configure, follow
from media.core.obey import Core
from media.core.wire import VERSION, Ready

log = structlog.get_logger()

CLOSING_S = 5.0
"How long what is being recorded may take to be sealed; a disk that hangs keeps no core alive."


def main() -> None:
    """Serve until the socket closes."""
    pace.collect()
    parser = argparse.ArgumentParser(prog="python -m media.core", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--fd", type=int, required=True, help="descriptor of the socket to the signalling process")
    sock = socket.socket(fileno=parser.parse_args().fd)
    # What it starts in turn must not hold the socket open behind it.
    sock.set_inheritable(False)
    configure("media-core")
    pace.take_short_turns()
    for signum in (signal.SIGINT, signal.SIGTERM):
        # Whoever signals the whole group means the signalling process, which hangs up first and then ends this one.
        signal.signal(signum, signal.SIG_IGN)
    uvloop.run(serve(sock))
    # The recorder's thread may still wait for a disk that hangs.
    os._exit(0)


async def serve(sock: socket.socket) -> None:
    """Obey the signalling process at the other end of `sock` until it closes it, or dies."""
    loop = asyncio.get_running_loop()
    follow(loop)
    ended = asyncio.Event()
    core = Core(ended.set)
    await loop.create_unix_connection(lambda: core.link, sock=sock)
    core.link.say(Ready(VERSION))
    pace.collect_rarely()
    await ended.wait()
    try:
        async with asyncio.timeout(CLOSING_S):
            await core.close()
    except TimeoutError:
        log.error("recordings not sealed in time")


if __name__ == "__main__":
    main()
