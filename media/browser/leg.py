"""A browser's leg: the sound of any other leg over ICE and DTLS-SRTP, negotiated as browsers do (RFC 8827, RFC 8834).

Packets are read, opened, passed on, closed and sent in the loop's own callback, payloads as they are where both legs
share a law. What was said before is said again for a new offer (hold, resume): one session, one DTLS association.
"""

import asyncio
from collections.abc import Callable

import pylibsrtp

from media.browser.association import Association
from media.browser.description import Own, Way, answer_of, offer_of, settled
from media.errors import UnacceptableError
from media.latch import Address, Latch
from media.leg import AudioLeg
from media.offer import Agreed
from media.pacer import Pacer
from media.ports import NoPortError, Ports
from media.sdp import Direction, Origin, Session
from media.sound import Sound

_RTCP = range(192, 224)
"Second bytes that mean RTCP where it shares the port (RFC 5761 section 4)."


class Route(Latch):
    """Where a browser is: what ICE has proven, whatever a description or a packet says."""

    def expect(self, address: Address | None, via: str | None = None) -> None:
        """Send, or with None do not."""
        self.expected, self.via = address, via
        self.remote = self.source if address is not None else None

    def prove(self, remote: Address) -> None:
        """Send there from now on, unless the leg is on hold."""
        self.source = remote
        self.expect(self.expected, self.via)

    def admits(self, source: Address, ssrc: int, sequence: int, now: float) -> bool:  # noqa: ARG002 - as Latch has it
        """Take it: whoever could close it with the key is the browser."""
        return True


class BrowserLeg(AudioLeg):
    """One browser's sound; made by `relay.BuiltinRelay`. For one event loop, not thread-safe."""

    protection = "dtls-srtp"

    def __init__(
        self,
        ports: Ports,
        pacer: Pacer,
        buffer: bytearray,
        music: Sound,
        closed: Callable[[AudioLeg], None],
    ) -> None:
        """Take what an `AudioLeg` takes.

        Raises:
            NoPortError: there is none.
        """
        pair = ports.take()
        super().__init__(pacer, buffer, music, closed)
        self.local = pair.local
        self.on_gone: Callable[[], None] | None = None
        "Told once when the browser is lost: a page that was closed or reloaded, or a network that is gone."
        self.connected: asyncio.Future[None] = self._loop.create_future()
        "Done when the first packet can be sent."
        self._route = Route()
        self._way = Association(ports, pair, buffer, self._packet, self._open, self._gone)
        self._origin = Origin.new(pair.local[0])
        self._said: Session | None = None
        self._offered: Session | None = None
        self._setup = ""
        self._held = self._over = False
        self._reader: pylibsrtp.Session | None = None
        self._writer: pylibsrtp.Session | None = None

    # What the signalling says

    async def offer(self, direction: Direction = Direction.SENDRECV) -> Session:
        """Return our offer: the first, or the next version of what was said."""
        if self._way.peer is None:
            self._way.controls()
        self._offered = self._say_next(offer_of(self._own(), self._way.local, self._next(), direction, ()))
        return self._offered

    async def answer(self, offer: Session, *, via: str | None = None) -> Session:
        """Follow the browser's offer and return the answer; an ICE restart opens a path beside the present one.

        Raises:
            UnacceptableError: nothing in it that we speak; the leg goes on as it was.
        """
        way, before = Way.of(offer), self._way.peer
        setup = self._setup or ("active" if way.setup == "passive" else "passive")
        # Refused before anything changes.
        answer_of(offer, self._own(), self._way.local, self._next(), setup, ())
        if before is not None and way.fingerprints != before.fingerprints:
            raise UnacceptableError("another certificate than before")
        if self._way.restarts(way):
            try:
                self._way.restart()
            except NoPortError as error:
                raise UnacceptableError("no port for another path") from error
        session, agreed = answer_of(offer, self._own(), self._way.local, self._next(), setup, ())
        self._setup = setup
        self._held = not agreed.sends
        self.follow(agreed, via=via)
        self._way.begin(way, active=setup == "active")
        return self._say_next(session)

    async def settle(self, answer: Session, *, via: str | None = None) -> None:
        """Follow the browser's answer to our latest offer.

        Raises:
            UnacceptableError: it takes nothing of the offer.
        """
        if self._offered is None:
            raise UnacceptableError("an answer to no offer")
        agreed, way = settled(self._offered, answer), Way.of(answer)
        before = self._way.peer
        if before is not None and (way.fingerprints != before.fingerprints or self._way.restarts(way)):
            raise UnacceptableError("an answer from somebody else")
        self._setup = self._setup or ("passive" if way.setup == "active" else "active")
        self.follow(agreed, via=via)
        self._way.begin(way, active=self._setup == "active")

    def follow(self, agreed: Agreed, *, via: str | None = None) -> None:
        """Speak as was agreed from now on; where to, ICE finds out."""
        self._route.expect(agreed.remote if agreed.sends else None, via)
        self._speak(agreed, sends=self._route.remote is not None)

    @property
    def remote(self) -> Address | None:
        """Where its packets go now."""
        return self._route.remote

    @property
    def profile(self) -> str:
        """SRTP's protection profile, once it is connected."""
        return self._way.profile

    def _own(self) -> Own:
        return self._way.own(self._outbound.ssrc)

    def _next(self) -> Origin:
        return self._origin if self._said is None else self._said.origin.next()

    def _say_next(self, session: Session) -> Session:
        self._said = session
        return session

    # Its way

    def _open(self) -> None:
        self._reader, self._writer = self._way.keys
        remote = self._way.path.remote
        if remote is not None:
            self._route.prove(remote)
            self._sends = self._route.remote is not None
        if not self.connected.done():
            self.connected.set_result(None)

    def _gone(self) -> None:
        self._route.expect(None)
        self._sends = False
        if self.on_gone is not None:
            self.on_gone()

    def _packet(self, size: int, source: Address) -> None:  # noqa: ARG002 - whoever has the key is the browser
        reader = self._reader
        if reader is None or self._over:
            return
        data = bytes(self._view[:size])
        try:
            if data[1] in _RTCP:
                reader.unprotect_rtcp(data)
                return
            packet = reader.unprotect(data)
        except (pylibsrtp.Error, ValueError, IndexError):
            self._strange += 1
            return
        now = self._loop.time()
        if self._held and packet[1] & 0x7F == self._type_in:
            # On hold a browser sends silence all the same; the far end hears music meanwhile.
            self.heard_at = now
            return
        size = len(packet)
        self._buffer[:size] = packet
        self._hear(size, now)

    def _transmit(self, start: int, end: int) -> None:
        writer, remote = self._writer, self._route.remote
        packet = bytes(self._view[start:end])
        if writer is None or remote is None or not self._way.path.send(writer.protect(packet), remote):
            self._unsent += 1

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
        self._way.shut()
        self._end()
