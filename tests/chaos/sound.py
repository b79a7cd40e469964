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
CALLER, AGENT = bytes(range(40, 40 + FRAME)), bytes(range(60, 60 + FRAME))
"A frame of each one's voice."

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
        self._places: dict[Address, bytes] = {}
        self._packets = {voice: bytearray(_speech(0, voice)) for voice in (CALLER, AGENT)}
        self._volleys: list[Volley] | None = None
        self._frame = 0
        self._listening: dict[tuple[int, bytes], asyncio.Future[None]] = {}
        "By the port that a voice comes from."

        self._task = asyncio.create_task(self._run())

    def begin(self, place: Address, voice: bytes) -> None:
        """Speak to a leg."""
        self._places[place] = voice
        self._volleys = None

    def end(self, place: Address) -> bytes | None:
        """Fall silent there; return in whose voice it was spoken to."""
        self._volleys = None
        return self._places.pop(place, None)

    def hears(self, place: Address, voice: bytes) -> asyncio.Future[None]:
        """Return what comes true once this voice comes from a leg."""
        heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._listening[place[1], voice] = heard
        heard.add_done_callback(lambda _: self._listening.pop((place[1], voice), None))
        return heard

    async def press(self, place: Address, key: str) -> None:
        """Press a key for a leg; what else it hears pauses meanwhile."""
        spoke = self.end(place)
        timestamp = (self._frame * FRAME) & 0xFFFFFFFF
        for number, tone in enumerate(tones_of(key, 60)):
            packet = Packet(EVENT, number == 0, (self._frame + number) & 0xFFFF, timestamp, 0x5050, bytes(tone))
            with contextlib.suppress(OSError):
                self._line.sendto(bytes(packet), place)
            await asyncio.sleep(0.01)
        if spoke is not None:
            self.begin(place, spoke)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            self._frame += 1
            await asyncio.sleep(max(0.0, began + self._frame * FRAME_S - loop.time()))
            self._speak()
            while count := self._inbox.read():
                self.heard += count
                if self._listening:
                    self._listen(count)

    def _speak(self) -> None:
        for voice, packet in self._packets.items():
            packet[:] = _speech(self._frame, voice)
        if self._volleys is None:
            spoken = [
                (packet, [to for to, its in self._places.items() if its == voice])
                for voice, packet in self._packets.items()
            ]
            self._volleys = [Volley(self._line, places, packet) for packet, places in spoken if places]
        for volley in self._volleys:
            volley.send()

    def _listen(self, count: int) -> None:
        ports = {port for port, _ in self._listening}
        for number in range(count):
            port = self._inbox.source(number)
            if port in ports:
                heard = self._listening.get((port, self._inbox.datagram(number)[-FRAME:]))
                if heard is not None and not heard.done():
                    heard.set_result(None)

    async def close(self) -> None:
        """Fall silent everywhere."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._line.close()


def _speech(frame: int, voice: bytes) -> bytes:
    return bytes(Packet(0, False, frame & 0xFFFF, (frame * FRAME) & 0xFFFFFFFF, 0x5050, voice))
