"""A small driver of coturn (Debian `coturn`): a TURN server on loopback that takes the hub's time-limited passwords."""

import asyncio
import os
import struct
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from hub.demo.ports import free_port
from tests.peers import require
from tests.peers.sipp import HOST

REALM = "chartline"
PATIENCE_S = 10.0
_MAGIC = 0x2112A442
_BINDING, _BOUND = 0x0001, 0x0101

_CONFIG = """
listening-ip={host}
listening-port={port}
relay-ip={host}
allow-loopback-peers
realm={realm}
use-auth-secret
static-auth-secret={secret}
no-cli
no-tls
no-dtls
relay-threads=1
userdb={work}/turndb
pidfile={work}/turnserver.pid
log-file=stdout
verbose
"""


class TurnServer:
    """One turnserver."""

    def __init__(self, work: Path, secret: str) -> None:
        require("turnserver", "setpriv")
        self.port = free_port()
        self.url = f"turn:{HOST}:{self.port}?transport=udp"
        config = work / "turnserver.conf"
        config.write_text(_CONFIG.format(host=HOST, port=self.port, realm=REALM, secret=secret, work=work))
        self._log = work / "turnserver.log"
        # It goes with us, also where we are killed before we could end it.
        command = ["setpriv", "--pdeathsig", "KILL", "turnserver", "-c", str(config)]
        with self._log.open("ab") as said:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)

    def said(self, word: str) -> list[str]:
        """Return the lines of its log that hold a word."""
        return [line for line in self._log.read_text(errors="replace").splitlines() if word in line]

    async def ready(self) -> None:
        """Return once it answers.

        Raises:
            ChildProcessError: it ended instead.
        """
        loop = asyncio.get_running_loop()
        transport, asker = await loop.create_datagram_endpoint(_Asker, remote_addr=(HOST, self.port))
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not asker.answered.is_set():
                    if self.process.poll() is not None:
                        raise ChildProcessError(self.process.returncode)
                    transport.sendto(struct.pack("!HHI", _BINDING, 0, _MAGIC) + os.urandom(12))
                    await asyncio.sleep(0.02)
        finally:
            transport.close()

    def kill(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


class _Asker(asyncio.DatagramProtocol):
    """Asks where it is (RFC 8489 section 2)."""

    def __init__(self) -> None:
        self.answered = asyncio.Event()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:  # noqa: ARG002 - asyncio's signature
        if data[:2] == struct.pack("!H", _BOUND):
            self.answered.set()


@asynccontextmanager
async def turnserver(work: Path, secret: str) -> AsyncIterator[TurnServer]:
    """Start a TURN server and end it; its log is in `work`."""
    one = TurnServer(work, secret)
    try:
        await one.ready()
        yield one
    finally:
        one.kill()
