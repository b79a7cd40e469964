"""A far end that speaks as browsers do, without a browser: ICE by aioice, DTLS-SRTP by our own halves of it."""

import asyncio
import contextlib

from aioice import Candidate, Connection

from media.browser.description import Way
from media.dtls import Dtls, identity
from media.keying import values_of
from media.rtp import FRAME, Packet
from media.sdp import Session
from media.srtp import Place, Reader, Writer

SDP = """v=0\r
o=- 4611686018427387904 {version} IN IP4 127.0.0.1\r
s=-\r
t=0 0\r
a=group:BUNDLE 0\r
m=audio 9 UDP/TLS/RTP/SAVPF {types}\r
c=IN IP4 0.0.0.0\r
a=rtcp:9 IN IP4 0.0.0.0\r
a=ice-ufrag:{ufrag}\r
a=ice-pwd:{password}\r
a=ice-options:trickle\r
a=fingerprint:{fingerprint}\r
a=setup:{setup}\r
a=mid:0\r
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r
a={direction}\r
a=rtcp-mux\r
a=rtpmap:111 opus/48000/2\r
a=rtpmap:0 PCMU/8000\r
a=rtpmap:110 telephone-event/48000\r
a=rtpmap:126 telephone-event/8000\r
a=ssrc:1234 cname:page\r
"""


class _Loopback(Connection):
    async def gather_candidates(self) -> None:
        """Gather the one address that aioice leaves out."""
        self._local_candidates_start = True
        self._local_candidates += await self.get_component_candidates(1, ["127.0.0.1"])
        self._local_candidates_end = True


class FarPage:
    """One peer connection of a page."""

    def __init__(self) -> None:
        self.heard: list[Packet] = []
        self.more = asyncio.Event()
        self.keyed = asyncio.Event()
        self.closed = asyncio.Event()
        self.version = 1
        self.sequence, self.timestamp = 65_530, 0xFFFFFF00
        self.fingerprint = str(identity().fingerprint)
        self._ice: _Loopback | None = None
        self._opened: list[_Loopback] = []
        self._dtls: Dtls | None = None
        self._reader: Reader | None = None
        self._writer: Writer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def describe(self, setup: str, *, direction: str = "sendrecv", types: str = "111 0 110 126") -> Session:
        """Return a description of this page; the first call opens its socket."""
        if self._ice is None:
            await self._open(controlling=setup == "actpass")
        assert self._ice is not None
        said = SDP.format(
            version=self.version,
            types=types,
            ufrag=self._ice.local_username,
            password=self._ice.local_password,
            fingerprint=self.fingerprint,
            setup=setup,
            direction=direction,
        )
        self.version += 1
        return Session.parse(said.encode())

    async def restart(self) -> None:
        """Gather anew; the next description asks for an ICE restart."""
        await self._open(controlling=True)

    async def _open(self, *, controlling: bool) -> None:
        self._ice = _Loopback(ice_controlling=controlling)
        self._opened.append(self._ice)
        await self._ice.gather_candidates()

    async def take(self, session: Session, *, active: bool = True) -> None:
        """Connect with who said this."""
        ice, way = self._ice, Way.of(session)
        assert ice is not None
        assert session.audio is not None
        ice.remote_username, ice.remote_password = way.ufrag, way.password
        for text in values_of("candidate", session.audio.attributes):
            await ice.add_remote_candidate(Candidate.from_sdp(text))
        await ice.add_remote_candidate(None)
        async with asyncio.timeout(20):
            await ice.connect()
        self._tasks.append(asyncio.create_task(self._read(ice)))
        if self._dtls is None:
            self._dtls = Dtls(identity(), active=active, fingerprints=way.fingerprints)
            await self._send_all(self._dtls.start())

    async def _read(self, ice: _Loopback) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                data = await ice.recv()
                if data[0] < 64:
                    await self._record(data)
                elif self._reader is not None and data[1] not in range(192, 224):
                    self._take_packet(data)

    async def _record(self, data: bytes) -> None:
        assert self._dtls is not None
        await self._send_all(self._dtls.heard(data))
        if self._dtls.reads is not None and self._dtls.writes is not None and self._writer is None:
            self._reader, self._writer = Reader(self._dtls.reads), Writer(self._dtls.writes)
            self.keyed.set()
        if self._dtls.ended:
            self.closed.set()

    def _take_packet(self, data: bytes) -> None:
        assert self._reader is not None
        place = Place(bytearray(data.ljust(2048, b"\0")))
        size = self._reader.open_at(place, len(data))
        assert size
        self.heard.append(Packet.parse(bytes(place.buffer[:size])))
        self.more.set()

    async def _send_all(self, datagrams: list[bytes]) -> None:
        for each in datagrams:
            await self.send_raw(each)

    async def send_raw(self, data: bytes) -> None:
        assert self._ice is not None
        await self._ice.send(data)

    async def say(self, payload: bytes, payload_type: int = 0, extension: bytes = b"") -> None:
        """Send one packet, with a header extension as Chromium does."""
        assert self._writer is not None
        self.sequence, self.timestamp = self.sequence + 1 & 0xFFFF, self.timestamp + FRAME & 0xFFFFFFFF
        extended = (0xBEDE, extension) if extension else None
        packet = Packet(payload_type, False, self.sequence, self.timestamp, 1234, payload, extension=extended)
        await self.send_raw(self._writer.protect(bytes(packet)))

    async def hear(self, count: int) -> list[Packet]:
        async with asyncio.timeout(20):
            while len(self.heard) < count:
                self.more.clear()
                await self.more.wait()
        return self.heard

    async def close(self) -> None:
        """Say good-bye as a page does that is closed."""
        if self._dtls is not None and self._ice is not None:
            with contextlib.suppress(ConnectionError):
                await self._send_all(self._dtls.close())
        await self.vanish()

    async def vanish(self) -> None:
        """Be gone without a word."""
        for ice in self._opened:
            await ice.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
