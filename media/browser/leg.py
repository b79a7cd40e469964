"""A browser's leg: the sound of any other leg over ICE and DTLS-SRTP, negotiated as browsers do (RFC 8827, RFC 8834).

Packets are read, opened, passed on, closed and sent in the loop's own callback, payloads as they are where both legs
share a codec. What was said before is said again for a new offer (hold, resume): one session, one DTLS association.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from media.browser.association import Association
from media.browser.description import Own, Way
from media.browser.sealing import said_in
from media.dtls import identity
from media.errors import ProtocolError, SealedError, UnacceptableError
from media.hearing.attention import Attention
from media.latch import Address
from media.leg import AudioLeg, Tap
from media.offer import CODECS, Agreed
from media.pacer import Pacer
from media.ports import NoPortError, Ports
from media.report import Reporter
from media.rtcp import KINDS
from media.rtp import LONGEST
from media.sdp import Codec, Direction, Origin, Session
from media.sound import Sound
from media.srtp import Key, Place, Reader, Writer

_SEALED = "the call is encrypted from page to page"


class BrowserLeg(AudioLeg):
    """One browser's sound; made by `relay.BuiltinRelay`. For one event loop, not thread-safe."""

    protection = "dtls-srtp"

    def __init__(
        self,
        ports: Ports,
        pacer: Pacer,
        buffer: bytearray,
        music: Sound,
        closed: Callable[[Any], None],
        *,
        reporter: Reporter | None = None,
    ) -> None:
        """Take what an `AudioLeg` takes.

        Raises:
            NoPortError: there is none.
        """
        super().__init__(pacer, buffer, music, closed)
        pair = ports.take()
        self.local = pair.local
        self.codecs: Sequence[Codec] = CODECS
        "What the next description offers or accepts."
        self.sealed = False
        "Whether its page encrypts for another page (`sealing`)."
        self.connected: asyncio.Future[None] = self._loop.create_future()
        "Done when the first packet can be sent."
        self._place = Place(buffer)
        self._reporter = reporter
        self._identity = identity()
        self._way = Association(
            ports,
            pair,
            buffer,
            on_media=self._packet,
            on_keys=self._keyed,
            on_moved=self._moved,
            on_gone=self._gone,
        )
        self._origin = Origin.new(pair.local[0])
        self._said: Session | None = None
        self._offered: Session | None = None
        self._setup = ""
        self._held = self._over = False
        self._reader: Reader | None = None
        self._writer: Writer | None = None
        self._waits = True  # what is played begins once it can be heard

    # What the signalling says

    async def offer(self, direction: Direction = Direction.SENDRECV) -> Session:
        """Return our offer: the first, or the next version of what was said."""
        if self._way.peer is None:
            self._way.controls()
        self._offered = self._said = self._own().offer(self._next(), direction, self.codecs)
        return self._offered

    async def answer(self, offer: Session, *, via: str | None = None) -> Session:  # noqa: ARG002 - ICE finds it
        """Follow the browser's offer and return the answer; an ICE restart opens a path beside the present one.

        Raises:
            UnacceptableError: nothing in it that we speak; the leg goes on as it was.
        """
        way = Way.of(offer)
        setup = self._setup or ("active" if way.setup == "passive" else "passive")
        self._own().answer(offer, self._next(), setup, self.codecs)  # refused before anything changes
        self._same(way)
        if self._way.restarts(way):
            try:
                self._way.restart()
            except NoPortError as error:
                raise UnacceptableError("no port for another path") from error
        session, agreed = self._own().answer(offer, self._next(), setup, self.codecs)
        self._follow(agreed, way, setup, sealed=bool(said_in(offer)))
        self._said = session
        return session

    async def settle(self, answer: Session, *, via: str | None = None) -> None:  # noqa: ARG002 - ICE finds it
        """Follow the browser's answer to our latest offer.

        Raises:
            UnacceptableError: it takes nothing of the offer, or comes from somebody else than before.
        """
        if self._offered is None:
            raise UnacceptableError("an answer to no offer")
        agreed, way = self._own().settle(self._offered, answer), Way.of(answer)
        self._same(way)
        if self._way.restarts(way):
            raise UnacceptableError("an ICE restart that was not offered")
        setup = self._setup or ("passive" if way.setup == "active" else "active")
        self._follow(agreed, way, setup, sealed=bool(said_in(answer)))

    def _same(self, way: Way) -> None:
        before = self._way.peer
        if before is not None and way.fingerprints != before.fingerprints:
            raise UnacceptableError("another certificate than before")

    def _follow(self, agreed: Agreed, way: Way, setup: str, *, sealed: bool) -> None:
        self._setup, self.sealed = setup, sealed
        self.follow(agreed)
        self._way.begin(way, active=setup == "active")

    def follow(self, agreed: Agreed, *, via: str | None = None) -> None:  # noqa: ARG002 - ICE finds it
        """Speak as was agreed from now on."""
        self._held = not agreed.sends
        self._speak(agreed, sends=agreed.sends)

    @property
    def remote(self) -> Address | None:
        """Where its packets go now."""
        return self._way.path.remote

    def _speak(self, agreed: Agreed, *, sends: bool) -> None:
        super()._speak(agreed, sends=sends)
        self.protection = "dtls-srtp"
        if self.sealed:
            # Only another leg of the same call can do anything with it; there is no law to decode it by.
            self.protection = "sframe"
            self.encoding, self._law = f"{self.encoding} sealed", None
            self._interpret(agreed.codec.rate)  # which there is none for
            self._event_in = self._event_out = None
            if self._attention is not None:
                self._attention.end(SealedError(_SEALED))
                self._attention = None
            self.align()
            if self._peer is not None:
                self._peer.align()

    @property
    def profile(self) -> str:
        """SRTP's protection profile, once it is connected."""
        return self._writer.key.suite.name if self._writer is not None else ""

    def _own(self) -> Own:
        path, ice = self._way.latest, self._way.latest.ice
        return Own(
            path.pair.local,
            ice.local_username,
            ice.local_password,
            ice.candidate.to_sdp(),
            str(self._identity.fingerprint),
            self._outbound.ssrc,
            self.report.name,
        )

    def _next(self) -> Origin:
        return self._origin if self._said is None else self._said.origin.next()

    # Its way

    def _keyed(self, reads: Key, writes: Key) -> None:
        self._reader, self._writer = Reader(reads), Writer(writes)
        self._waits = False
        if self._reporter is not None:
            self._reporter.add(self)
        if not self.connected.done():
            self.connected.set_result(None)

    def _moved(self) -> None:
        self.local = self._way.path.pair.local

    def _gone(self) -> None:
        self._sends = self._waits = False
        if self.on_gone is not None:
            self.on_gone()

    def _packet(self, size: int) -> None:
        reader, buffer = self._reader, self._buffer
        if reader is None or self._over or size > LONGEST or size < 2:
            return
        if buffer[1] in KINDS:
            self._read_report(bytes(self._view[:size]), reader)
            return
        size = reader.open_at(self._place, size)
        if not size:
            self._forged += 1
        elif self._held and buffer[1] & 0x7F == self._type_in:
            # On hold a browser sends silence all the same; the far end hears music meanwhile.
            self.heard_at = self._loop.time()
        else:
            self._hear(size, self._loop.time())

    def _transmit(self, start: int, end: int) -> None:
        writer, path = self._writer, self._way.path
        remote = path.remote
        end = writer.protect_at(self._place, start, end) if writer is not None else 0
        if not end or remote is None or not path.send(self._view[start:end], remote):
            self._unsent += 1

    # What the two ends tell each other of it

    def send_report(self, now: float) -> None:
        """Send our report; for the reporter."""
        remote = self._way.path.remote
        if self._writer is not None and remote is not None:
            self._way.path.send(self._writer.protect_rtcp(self.report.make(now)), remote)

    def _read_report(self, data: bytes, reader: Reader) -> None:
        try:
            self.report.read(reader.open_rtcp(data))
        except ProtocolError:
            self.report.strange += 1

    # What a sealed call refuses

    async def play(self, sound: Sound, *, barge_in: bool = False) -> bool:
        """Play a sound, as every leg does.

        Raises:
            SealedError: only the two pages can speak.
        """
        self.understand()
        return await super().play(sound, barge_in=barge_in)

    async def press(self, keys: str) -> None:
        """Press keys, as every leg does.

        Raises:
            SealedError: only the two pages can speak.
        """
        self.understand()
        await super().press(keys)

    def tap(self, tap: Tap | None) -> None:
        """Give what is heard to `tap`, as every leg does.

        Raises:
            SealedError: there is nothing that could be understood.
        """
        if tap is not None:
            self.understand()
        super().tap(tap)

    def understand(self) -> None:
        """Do nothing where what it hears can be understood.

        Raises:
            SealedError: it is for the other page alone.
        """
        if self.sealed:
            raise SealedError(_SEALED)

    def _attend(self) -> Attention:
        self.understand()
        return super()._attend()

    # Its end

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._over

    def close(self) -> None:
        """Tell the browser so and give its ports back; what is being played ends with `LegClosedError`."""
        if self._over:
            return
        self._over = True
        if self._reporter is not None:
            self._reporter.remove(self)
        self._way.shut()
        self._end()
