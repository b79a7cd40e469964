"""rtpengine itself for tests: in user space on loopback, with nothing of the system's configuration."""

import asyncio
import itertools
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from hub.demo.ports import free_port
from hub.settings.value import Address
from media.errors import MediaError
from media.relay import BuiltinRelay
from media.rtpengine.ng import Engine
from media.rtpengine.relay import RtpengineRelay
from media.sound import Sound
from tests.media.farend import relay

HOST = "127.0.0.1"
ENGINE_PORTS = range(22_000, 28_000)
"Where rtpengines have their media; no practice of a test has its own there."

_RANGES = itertools.cycle(ENGINE_PORTS[os.getpid() % 4 * 100 :: 400])


class Daemon:
    """One rtpengine."""

    def __init__(self, work: Path, port: int) -> None:
        self.address = Address(f"{HOST}:{port}")
        first = next(_RANGES)
        # It goes with us, also where we are killed before we could end it.
        command = ["setpriv", "--pdeathsig", "KILL"]
        command += ["rtpengine", "--foreground", f"--interface={HOST}", f"--listen-ng={HOST}:{port}", "--table=-1"]
        command += ["--config-file=none", "--num-threads=1", f"--port-min={first}", f"--port-max={first + 99}"]
        command += ["--log-stderr", "--log-level=4", f"--pidfile={work / f'rtpengine-{port}.pid'}"]
        self._said = (work / f"rtpengine-{port}.log").open("ab")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=self._said)

    async def ready(self) -> None:
        """Return once it answers."""
        engine = Engine((self.address.host, self.address.port))
        async with asyncio.timeout(20):
            try:
                await engine.open()
                while not engine.up:
                    try:
                        await engine.ping()
                    except MediaError:
                        assert self.process.poll() is None
                        await asyncio.sleep(0.02)
            finally:
                engine.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._said.close()


@asynccontextmanager
async def daemon(work: Path, port: int | None = None) -> AsyncIterator[Daemon]:
    one = Daemon(work, port or free_port())
    try:
        await one.ready()
        yield one
    finally:
        one.kill()


@asynccontextmanager
async def edged(*daemons: Daemon, music: Sound | None = None) -> AsyncIterator[tuple[RtpengineRelay, BuiltinRelay]]:
    """A relay with these at its edge, and the one behind it."""
    async with relay(music) as inner:
        outer = RtpengineRelay(inner, [each.address for each in daemons])
        await outer.start()
        try:
            yield outer, inner
        finally:
            await outer.close()
