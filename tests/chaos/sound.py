"""The sound of many phones from one socket: each leg of the gateway hears 50 packets a second, and keys."""

import asyncio
import contextlib
import socket

from media.dtmf import tones_of
from media.rtp import FRAME, Packet
from tests.bench._datagram import Inbox, Volley, roomy

HOST = "127.0.0.1"
EVENT = 101
FRAME_S = 0.02
SPEECH = bytes(range(40, 40 + FRAME))

Address = tuple[str, int]


class Sound:
    """Speaks to all that `begin` named, until `end`; what comes back is counted."""

    def __init__(self) -> None:
        self._line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._line.setblocking(False)
        roomy(self._line)
        self._line.bind((HOST, 0))
        self.local: Address = self._line.getsockname()[:2]
        self.heard = 0
        self._inbox = Inbox(self._line)
        self._places: set[Address] = set()
        self._packet = bytearray(bytes(self._speech(0)))
        self._volley: Volley | None = None
        self._frame = 0
        self._task = asyncio.create_task(self._run())

    def _speech(self, frame: int) -> Packet:
        return Packet(0, False, frame & 0xFFFF, (frame * FRAME) & 0xFFFFFFFF, 0x5050, SPEECH)

    def begin(self, place: Address) -> None:
        """Speak to a leg."""
        self._places.add(place)
        self._volley = None

    def end(self, place: Address) -> None:
        """Fall silent there."""
        self._places.discard(place)
        self._volley = None

    async def press(self, place: Address, key: str) -> None:
        """Press a key for a leg; what else it hears pauses meanwhile."""
        spoke = place in self._places
        self.end(place)
        timestamp = (self._frame * FRAME) & 0xFFFFFFFF
        for number, tone in enumerate(tones_of(key, 60)):
            packet = Packet(EVENT, number == 0, (self._frame + number) & 0xFFFF, timestamp, 0x5050, bytes(tone))
            with contextlib.suppress(OSError):
                self._line.sendto(bytes(packet), place)
            await asyncio.sleep(0.01)
        if spoke:
            self.begin(place)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            self._frame += 1
            await asyncio.sleep(max(0.0, began + self._frame * FRAME_S - loop.time()))
            self._packet[:] = bytes(self._speech(self._frame))
            if self._volley is None and self._places:
                self._volley = Volley(self._line, sorted(self._places), self._packet)
            if self._volley is not None and self._places:
                self._volley.send()
            while count := self._inbox.read():
                self.heard += count

    async def close(self) -> None:
        """Fall silent everywhere."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._line.close()
