"""A phone's or a trunk's leg: RTP and RTCP on a pair of ports, plain or protected, from where the far end really is.

Packets are read in the loop's own callback and sent from it or from the pacer's. Once it is settled where the far end
is, they go through a socket that is connected to it, with a reader for plain packets or one for protected ones.
"""

import socket
from collections.abc import Callable
from typing import Any

from media import comfort
from media.dtls import RECORDS
from media.errors import ProtocolError
from media.exchange import Exchange
from media.handshake import Meeting
from media.latch import Address, Latch, is_global, reachable
from media.leg import AudioLeg
from media.offer import Agreed
from media.pacer import Pacer
from media.ports import Pair
from media.protection import UNPROTECTED, Protection, Terms
from media.report import Reporter
from media.rtcp import KINDS
from media.rtp import HEADER, LONGEST
from media.sdp import Direction, Session
from media.sound import Sound
from media.srtp import Key, Place, Reader, Writer

REPORTS = 20
"RTCP packets a second that are read."


class PhoneLeg(AudioLeg):
    """One party's sound; made by `relay.BuiltinRelay`. For one event loop, not thread-safe."""

    __slots__ = (
        "_handshake",
        "_in",
        "_latch",
        "_loose",
        "_out",
        "_pair",
        "_place",
        "_reader",
        "_reporter",
        "_reports",
        "_reports_from",
        "_reports_since",
        "_settled",
        "_socket",
        "_terms",
        "_writer",
        "exchange",
        "protection",
    )

    def __init__(
        self,
        pair: Pair,
        pacer: Pacer,
        buffer: bytearray,
        music: Sound,
        closed: Callable[[Any], None],
        *,
        reporter: Reporter | None = None,
        secure: bool = False,
        least: str = "rtp",
    ) -> None:
        """Take its ports, what all legs share, and what `relay.Wanted` says."""
        super().__init__(pacer, buffer, music, closed)
        self.protection = "rtp"
        self.local = pair.local
        self._pair = pair
        self._socket: socket.socket = pair.rtp
        self._place = Place(buffer)
        self.exchange = Exchange(pair.local, Protection(secure=secure, least=least))
        "What it says of itself; its `codecs` may be more where the other leg of a bridge speaks them too."
        self._latch = Latch()
        self._reporter = reporter
        self._terms = UNPROTECTED
        self._reader: Reader | None = None
        self._writer: Writer | None = None
        self._handshake: Meeting | None = None
        self._settled: Address | None = None
        self._loose = False
        self._out: Callable[[memoryview], int] | None = None
        self._in: Callable[[bytearray], int] | None = None
        self._reports_from: Address | None = None
        self._reports, self._reports_since = 0, 0.0
        for each, read in ((pair.rtp, self._read), (pair.rtcp, self._read_report)):
            self._loop.add_reader(each.fileno(), read)
        if reporter is not None:
            reporter.add(self)

    # What the signalling says

    async def offer(self, direction: Direction = Direction.SENDRECV) -> Session:
        """Return our offer: the first, or the next version of what was said."""
        return self.exchange.offer(direction)

    async def answer(self, offer: Session, *, via: str | None = None) -> Session:
        """Follow the peer's offer and return the answer; `via` is the IP address that its signalling comes from.

        Raises:
            UnacceptableError: nothing in it that we speak, or less protection than will do; the leg goes on as it was.
        """
        audio = offer.audio
        natted = audio is not None and via is not None and audio.address != via and not is_global(audio.address)
        session, agreed = self.exchange.answer(offer, natted=natted)
        self.follow(agreed, via=via)
        return session

    async def settle(self, answer: Session, *, via: str | None = None) -> None:
        """Follow the peer's answer to our latest offer.

        Raises:
            UnacceptableError: it takes nothing of the offer, or less protection than will do.
        """
        self.follow(self.exchange.settle(answer), via=via)

    def follow(self, agreed: Agreed, *, via: str | None = None) -> None:
        """Speak as was agreed from now on.

        Raises:
            ProtocolError: the far end's address is no IP address, or has no port.
        """
        remote = reachable(agreed.remote if agreed.sends else None)
        before = self._latch.expected
        self._latch.expect(remote, via)
        self._protect(agreed.terms, moved=remote is not None and before not in (None, remote))
        self._speak(agreed, sends=remote is not None)
        self._settle()

    @property
    def remote(self) -> Address | None:
        """Where its packets go now."""
        return self._latch.remote

    # How it is protected

    def _protect(self, terms: Terms, *, moved: bool) -> None:
        before, self._terms = self._terms, terms
        self.protection = terms.protection
        if terms.peer is not None:
            # The association lasts as long as the far end is the same, in the same place (RFC 5763 section 6.6).
            if self._handshake is None or before.peer != terms.peer or moved:
                self._end_handshake()
                self._reader = self._writer = None
                self._unsettle()
                self._waits = True
                self._handshake = Meeting(terms.peer, self._latch, self._send_record, self._rekey, self._lose)
                self._handshake.start()
            return
        self._end_handshake()
        self._rekey(terms.reads, terms.writes)

    def _rekey(self, reads: Key | None, writes: Key | None) -> None:
        if reads is None or writes is None:
            self._reader = self._writer = None
        else:
            if self._reader is None or self._reader.key != reads:
                self._reader = Reader(reads)
            if self._writer is None or self._writer.key != writes:
                if self._outbound.packets:
                    self._outbound.anew()
                self._writer = Writer(writes)
        self._waits = False
        self._unsettle()
        self._settle()

    def _lose(self) -> None:
        self._waits, self._sends = False, False
        if self.on_lost is not None:
            self.on_lost()

    def _end_handshake(self) -> None:
        if self._handshake is not None:
            self._handshake.close()
            self._handshake = None

    def _send_record(self, record: bytes, to: Address | None) -> None:
        to = self._latch.remote if to is None else to
        try:
            if to is not None:
                self._socket.sendto(record, to)
        except OSError:
            self._unsent += 1  # it is sent again

    # What it sends

    def _transmit(self, start: int, end: int) -> None:
        if self._writer is not None:
            end = self._writer.protect_at(self._place, start, end)
        elif self._handshake is not None:
            end = 0  # nothing leaves in the clear while keys are awaited
        try:
            if self._out is not None and end:
                self._out(self._view[start:end])
            elif end and self._latch.remote is not None:
                self._socket.sendto(self._view[start:end], self._latch.remote)
            else:
                self._unsent += 1
        except OSError as error:
            self._unsent += 1  # a full buffer or an unreachable network costs this packet, not the call
            self._stumble(error)

    # What it hears

    def _settle(self) -> None:
        """Read from and write to the far end's place alone, once it is known; the rest of the world is `_read`'s."""
        if self._waits:
            return  # what comes next is the handshake's, and in its order
        source = self._latch.source if self._latch.remote == self._latch.source and not self._loose else None
        if source == self._settled:
            return
        self._unsettle()
        if source is None:
            return
        self._settled = source
        if (made := self._pair.settle(source)) is None:
            return
        self._out, self._in = made.send, made.recv_into
        try:
            # What came to it before it was connected may be anybody's.
            while True:
                size, stranger = made.recvfrom_into(self._buffer)
                self._arrived(size, stranger[:2], self._loop.time())
        except OSError:
            pass
        if self._pair.settled is made:
            self._loop.add_reader(made.fileno(), self._read_plain if self._reader is None else self._read_protected)

    def _unsettle(self) -> None:
        if self._pair.settled is not None:
            self._loop.remove_reader(self._pair.settled.fileno())
        self._out = self._in = self._settled = None
        self._pair.unsettle()

    def _stumble(self, error: OSError) -> None:
        """Go back to the socket that is connected to nobody, once told that the far end's port is shut.

        A connected one loses a packet by each such word, and libuv watches it no more. Many a far end opens late.
        """
        if isinstance(error, ConnectionRefusedError):
            self._loose = True
            self._unsettle()

    def _read_plain(self) -> None:
        try:
            size = self._in(self._buffer) if self._in is not None else 0
        except OSError as error:
            self._stumble(error)
            return
        self._hear(size, self._loop.time())

    def _read_protected(self) -> None:
        reader, buffer = self._reader, self._buffer
        try:
            size = self._in(buffer) if self._in is not None else 0
        except OSError as error:
            self._stumble(error)
            return
        if reader is None or buffer[0] >> 6 != 2 or 192 <= buffer[1] <= 223 or size > LONGEST:
            self._other(size)
            return
        if size := reader.open_at(self._place, size):
            self._hear(size, self._loop.time())
        else:
            self._forged += 1

    def _read(self) -> None:
        try:
            size, source = self._socket.recvfrom_into(self._buffer)
        except OSError:
            return
        self._arrived(size, source[:2], self._loop.time())
        self._settle()

    def _arrived(self, size: int, source: Address, now: float) -> None:
        """Take a packet from a place that is not settled: who sent it?"""
        buffer, latch = self._buffer, self._latch
        rtp = HEADER.size <= size <= LONGEST and buffer[0] >> 6 == 2 and buffer[1] not in KINDS
        if not rtp:
            if size and buffer[0] in RECORDS:
                self._record(bytes(self._view[:size]), source)
            elif source == latch.source or latch.source is None:
                self._other(size)
            else:
                self._refused += 1
            return
        if self._reader is not None:
            size = self._reader.open_at(self._place, size)
            if not size:
                self._forged += 1
                return
            latch.prove(source)
        elif self._handshake is not None:
            self._strange += 1
            return
        else:
            _, second, sequence, _, ssrc = HEADER.unpack_from(buffer)
            if second & 0x7F not in (self._type_in, self._event_in, comfort.PAYLOAD_TYPE):
                self._strange += 1
                return
            known, heard = self._reception.ssrc, self._reception.highest & 0xFFFF
            if self._out is not None and known is not None and self.heard_at is not None:
                latch.note(known, heard, self.heard_at)
            if not latch.admits(source, ssrc, sequence, now):
                self._refused += 1
                return
        self._hear(size, now)

    def _other(self, size: int) -> None:
        first, second = self._buffer[0], self._buffer[1]
        if size > 1 and first >> 6 == 2 and second in KINDS and self._terms.mux and size <= LONGEST:
            self._report(bytes(self._view[:size]))
        elif size and first in RECORDS and self._latch.source is not None:
            self._record(bytes(self._view[:size]), self._latch.source)
        else:
            self._strange += 1

    def _record(self, record: bytes, source: Address) -> None:
        if self._handshake is None:
            self._strange += 1
        elif not self._handshake.heard(record, source):
            self._refused += 1

    # What the two ends tell each other of it

    def send_report(self, now: float, *, goodbye: bool = False) -> None:
        """Send our report; for the reporter."""
        if self._terms.peer is not None and self._writer is None:
            return
        remote = self._latch.remote
        to = remote if self._terms.mux else self._report_place(remote)
        if to is None or self.closed:
            return
        report = self.report.make(now, goodbye=goodbye)
        try:
            if self._writer is not None:
                report = self._writer.protect_rtcp(report)
            (self._socket if self._terms.mux else self._pair.rtcp).sendto(report, to)
        except (OSError, ProtocolError):
            pass  # the next one tells the same

    def _report_place(self, remote: Address | None) -> Address | None:
        if remote is None or self._reports_from is not None:
            return remote and self._reports_from
        # Behind a NAT, what the description says of RTCP is as wrong as what it says of RTP.
        return self._terms.rtcp if remote == self._latch.expected and self._terms.rtcp else (remote[0], remote[1] + 1)

    def _read_report(self) -> None:
        try:
            size, source = self._pair.rtcp.recvfrom_into(self._buffer)
        except OSError:
            return
        latch = self._latch
        hosts = {each[0] for each in (latch.source, latch.expected, self._terms.rtcp) if each is not None}
        if size > LONGEST or source[0] not in hosts | {latch.via}:
            self._refused += 1
        elif self._report(bytes(self._view[:size])):
            self._reports_from = source[:2]

    def _report(self, data: bytes) -> bool:
        now = self._loop.time()
        if now - self._reports_since >= 1:
            self._reports, self._reports_since = 0, now
        self._reports += 1
        if self._reports > REPORTS or (self._terms.peer is not None and self._reader is None):
            self._refused += 1
            return False
        try:
            self.report.read(data if self._reader is None else self._reader.open_rtcp(data))
        except ProtocolError:
            self.report.strange += 1
            return False
        return True

    # Its end

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._socket.fileno() < 0

    def close(self) -> None:
        """Give its ports back; what is being played ends with `LegClosedError`. Closing twice is once."""
        if self.closed:
            return
        if self._outbound.packets:
            self.send_report(self._loop.time(), goodbye=True)
        self._end_handshake()
        if self._reporter is not None:
            self._reporter.remove(self)
        self._unsettle()
        for each in (self._socket, self._pair.rtcp):
            self._loop.remove_reader(each.fileno())
        self._pair.close()
        self._end()
