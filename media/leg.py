"""What every leg does, whatever carries its packets: it hears and speaks, plays what it is told to, and passes on.

How a packet gets into the shared buffer, and how one that stands there is sent, is the business of the kinds of legs:
`phone.PhoneLeg` for phones and trunks, `browser.leg.BrowserLeg`. No task and no queue for a packet.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hub.g711 import Codec
from media import comfort
from media.attention import Attention
from media.attention import Tap as Tap
from media.dtmf import Keypad, Presses, Tone
from media.errors import ProtocolError
from media.latch import Address
from media.offer import Agreed
from media.pacer import Pacer
from media.passing import LAWS, Party, encoding_of, passable, translation
from media.player import DIGITS as DIGITS
from media.player import LegClosedError as LegClosedError
from media.player import Player
from media.report import Report
from media.rtp import HEADER, LONGEST, PLAIN, Reception, span
from media.sdp import PCMA, PCMU, PTIME_MS, Direction, Session
from media.sound import Sound

FLOOD = 400
"Packets a second that one leg takes; 20 ms each are 50. It ends a loop of legs that echo, and a flood."

_HEAD = HEADER.size


@dataclass(frozen=True, slots=True)
class LegStats:
    """What is known of a leg's sound."""

    packets: int
    "Heard."
    lost: int
    loss: float
    "Lost as a share of what should have come, 0 to 1."
    jitter_ms: float
    sent: int
    unsent: int
    "That the system did not take."
    refused: int
    "From somebody else (`Latch`), or beyond `FLOOD`."
    strange: int
    "No RTP, or of a payload type that was not agreed on."
    protection: str
    encoding: str = ""
    "What is spoken: name and clock, as PCMU/8000."
    forged: int = 0
    "Protected packets that could not be opened: another key, changed on the way, or heard before."
    rtt_ms: float | None = None
    "Round trip to the far end; None where it sends no reports (RFC 3550 section 6.4.1)."
    remote_loss: float | None = None
    "What the far end lost of ours, 0 to 1, as it last reported."
    remote_jitter_ms: float | None = None
    mos: float | None = None
    "Estimate of how the worse of the two ways sounds, 1 to 4.5 (`quality.mos`)."


class AudioLeg(Player):
    """One party's sound. For one event loop, not thread-safe."""

    __slots__ = (
        "_attention",
        "_event_in",
        "_flooded",
        "_forged",
        "_keypad",
        "_loop",
        "_on_closed",
        "_peer",
        "_presses",
        "_quota",
        "_quota_from",
        "_reception",
        "_refused",
        "_strange",
        "_table",
        "_taken",
        "_tap",
        "_target",
        "_type_in",
        "encoding",
        "heard_at",
        "local",
        "on_gone",
        "on_lost",
        "report",
    )

    protection = "rtp"
    "How its packets are protected, as it was agreed: rtp, sdes-srtp, dtls-srtp, sframe."

    def __init__(self, pacer: Pacer, buffer: bytearray, music: Sound, closed: Callable[[Any], None]) -> None:
        """Take the clock of what is played, the buffer that all legs share, and who is told of the end."""
        super().__init__(pacer, buffer, music)
        self.local: Address = ("", 0)
        "IP address and port that the far end is told."
        self.on_gone: Callable[[], None] | None = None
        "Told once when the far end has left by itself: a page that was closed or loaded anew, or lost its network."
        self.on_lost: Callable[[], None] | None = None
        "Told once when the far end will never be heard: its handshake failed."
        self.heard_at: float | None = None
        "When the last packet came, in the loop's time."
        self.encoding = "PCMU/8000"
        self._loop = asyncio.get_running_loop()
        self._on_closed = closed
        # Payload types of what is heard.
        self._type_in = 0
        self._event_in: int | None = None
        self._reception, self._keypad = Reception(), Keypad()
        self.report = Report(self._reception, self._outbound)
        self._peer: Party | None = None
        self._target: Party | None = None
        self._table: bytes | None = None
        # What the packets go to, which is what was given or what listens before it.
        self._tap: Tap | None = None
        self._taken: Tap | None = None
        self._attention: Attention | None = None
        self._presses = Presses()
        self._strange = self._flooded = self._refused = self._forged = 0
        self._quota, self._quota_from = FLOOD, 0.0

    async def offer(self, direction: Direction = Direction.SENDRECV) -> Session:
        """Return our offer: the first, or the next version of what was said."""
        raise NotImplementedError

    async def answer(self, offer: Session, *, via: str | None = None) -> Session:
        """Follow the peer's offer and return the answer; `via` is the IP address that its signalling comes from.

        Raises:
            UnacceptableError: nothing in it that we speak, or less protection than will do; the leg goes on as it was.
        """
        raise NotImplementedError

    async def settle(self, answer: Session, *, via: str | None = None) -> None:
        """Follow the peer's answer to our latest offer.

        Raises:
            UnacceptableError: it takes nothing of the offer, or less protection than will do.
        """
        raise NotImplementedError

    def follow(self, agreed: Agreed, *, via: str | None = None) -> None:
        """Speak as was agreed from now on.

        Raises:
            ProtocolError: the far end's address is no IP address, or has no port.
        """
        raise NotImplementedError

    def connect(
        self,
        remote: Address | None,
        codec: Codec,
        event_type: int | None,
        *,
        event_type_in: int | None = None,
        via: str | None = None,
    ) -> None:
        """Speak `codec` in plain RTP with `remote`, None is on hold: what `follow` does for those who have no SDP.

        `event_type` is the payload type of telephone events that the far end named, `event_type_in` the one that it was
        told, where the two differ.

        Raises:
            ProtocolError: no IP address, or no port.
        """
        heard = event_type if event_type_in is None else event_type_in
        spoken = PCMU if codec is Codec.PCMU else PCMA
        place, sends = remote or ("", 0), remote is not None
        self.follow(Agreed(spoken, int(codec), place, sends, True, event_type, heard, PTIME_MS), via=via)

    @property
    def remote(self) -> Address | None:
        """Where its packets go now."""
        raise NotImplementedError

    def _speak(self, agreed: Agreed, *, sends: bool) -> None:
        """Hear and speak what was agreed on from now on; `sends` is False on hold."""
        self.encoding = encoding_of(agreed.codec)
        self._law = LAWS.get(self.encoding)
        self._type_out, self._type_in = agreed.codec.payload_type, agreed.receive_type
        self._event_out, self._event_in = agreed.send_events, agreed.receive_events
        self._outbound.clock = self._reception.clock = agreed.codec.rate
        self._sends = sends
        self._listen()
        self.align()
        if self._peer is not None:
            self._peer.align()
        elif self._background is None:
            self.quiet()

    # What it hears

    def tap(self, tap: Tap | None) -> None:
        """Give each packet of sound that is heard to `tap` as well, or to nobody."""
        self._taken = tap
        self._listen()

    async def silence(self, seconds: float) -> None:
        """Return once the far end has not spoken for `seconds`, counted from now at the earliest.

        Raises:
            LegClosedError: the leg was closed meanwhile.
        """
        await self._attend().silence(seconds)

    async def fax(self) -> None:
        """Return once a fax machine is heard calling (ITU-T T.30).

        Raises:
            LegClosedError: the leg was closed meanwhile.
        """
        await self._attend().fax()

    def pressed(self, key: str) -> None:
        """Take a key that the far end's signalling told of (INFO) like one that is heard; of both, it counts once."""
        self._press(key, signalled=True)

    def _attend(self) -> Attention:
        if self.closed:
            raise LegClosedError("the leg is closed")
        if self._attention is None:
            self._attention = Attention(self._press, self._listen)
        return self._attention

    def _listen(self) -> None:
        """Look anew who is given what is heard; listening costs, so it is done only where somebody wants it."""
        if self.closed:
            return
        keys = self._event_in is None and self._law is not None and self._peer is None
        if keys or self._attention is not None:
            self._attend().hear_keys(keys)
        attention = self._attention if self._attention is not None and self._attention.wanted else None
        if attention is not None:
            attention.behind = self._taken
        self._tap = attention or self._taken

    def _hear(self, size: int, now: float) -> None:
        """Take the far end's packet, which lies in the clear in the first `size` bytes of the shared buffer."""
        buffer = self._buffer
        try:
            start, end = (_HEAD, size) if buffer[0] == PLAIN and size >= _HEAD else span(buffer, size)
        except ProtocolError:
            self._other(size)
            return
        _, second, sequence, timestamp, ssrc = HEADER.unpack_from(buffer)
        payload_type = second & 0x7F
        sound = payload_type == self._type_in
        if size > LONGEST or not (sound or payload_type == self._event_in or payload_type == comfort.PAYLOAD_TYPE):
            self._other(size)
            return
        self._quota -= 1
        if self._quota < 0 and self._floods(now):
            return
        if ssrc != self._reception.ssrc:
            self._keypad = Keypad()
        self._reception.heard(ssrc, sequence, timestamp, now, timed=sound)
        self.heard_at = now
        target = self._target
        if not sound:
            self._aside(payload_type, second & 0x80, ssrc, sequence, timestamp, start, end, now)
        elif self._tap is None:
            if target is not None:
                if self._table is not None:
                    buffer[start:end] = buffer[start:end].translate(self._table)
                target.pass_on(False, second & 0x80, ssrc, sequence, timestamp, start, end, now)
        else:
            # Copied first: what is passed on is changed to the other leg's law in its place.
            heard = bytes(self._view[start:end])
            if target is not None:
                if self._table is not None:
                    buffer[start:end] = heard.translate(self._table)
                target.pass_on(False, second & 0x80, ssrc, sequence, timestamp, start, end, now)
            if self._law is not None:
                self._tap.heard(self._law, ssrc, timestamp, heard, now)

    def _other(self, size: int) -> None:  # noqa: ARG002 - for legs that share their port with more than RTP
        """Take a packet of the far end's that is no RTP, or of no payload type that was agreed on."""
        self._strange += 1

    def _aside(
        self, kind: int, marker: int, ssrc: int, sequence: int, timestamp: int, start: int, end: int, now: float
    ) -> None:
        payload, target = bytes(self._view[start:end]), self._target
        if kind != self._event_in:
            if target is not None:
                target.hush(comfort.level_of(payload))
            return
        if target is not None:
            target.pass_on(True, marker, ssrc, sequence, timestamp, start, end, now)
        self._key(payload, timestamp)

    def _floods(self, now: float) -> bool:
        if now - self._quota_from < 1:
            self._flooded += 1
            return True
        self._quota, self._quota_from = FLOOD - 1, now
        return False

    def _key(self, payload: bytes, timestamp: int) -> None:
        try:
            key = self._keypad.heard(Tone.parse(payload), timestamp)
        except ProtocolError:
            self._strange += 1
            return
        if key is not None:
            self._press(key)

    def _press(self, key: str, *, signalled: bool = False) -> None:
        if self._presses.fresh(key, signalled=signalled, now=self._loop.time()):
            if self.digits.full():
                self.digits.get_nowait()
            self.digits.put_nowait(key)
            self._cut_short()

    # What it passes on (`passing.Party`)

    def link(self, peer: Party | None) -> None:
        """Pass what is heard on to `peer`, or to nobody; for the relay, which links both ways."""
        self._peer = peer
        self._listen()
        self.align()
        if peer is not None:
            peer.align()
            self._behind(None)
        elif not self.closed:
            self.quiet()

    @property
    def peer(self) -> Party | None:
        """The leg it is bridged to."""
        return self._peer

    def align(self) -> None:
        """Look anew how its sound gets to its peer; to one that speaks what we cannot make, it does not."""
        peer = self._peer
        self._target = peer if peer is not None and passable(self.encoding, peer.encoding) else None
        self._table = translation(self.encoding, self._target.encoding) if self._target is not None else None

    def pass_on(
        self, event: bool, marker: int, ssrc: int, sequence: int, timestamp: int, start: int, end: int, now: float
    ) -> None:
        """Send on what a peer has heard, in the place where it lies in the shared buffer."""
        payload_type = self._event_out if event else self._type_out
        if not self._sends or payload_type is None or self._foreground:
            return
        if self._noisy:
            self._behind(None)
        outbound = self._outbound
        header = outbound.follow(ssrc, sequence, timestamp, now)
        if header is None:
            return
        first, sequence, timestamp = header
        at = start - _HEAD
        HEADER.pack_into(self._buffer, at, PLAIN, first | marker | payload_type, sequence, timestamp, outbound.ssrc)
        outbound.octets += end - start
        self._transmit(at, end)

    # Its end

    @property
    def stats(self) -> LegStats:
        """What is known of its sound so far."""
        heard, report = self._reception, self.report
        return LegStats(
            packets=heard.packets,
            lost=heard.lost,
            loss=heard.loss,
            jitter_ms=heard.jitter_ms,
            sent=self._outbound.earlier + self._outbound.packets - self._unsent,
            unsent=self._unsent,
            refused=self._refused + self._flooded,
            strange=self._strange,
            protection=self.protection,
            encoding=self.encoding,
            forged=self._forged,
            rtt_ms=report.rtt_ms,
            remote_loss=report.remote_loss,
            remote_jitter_ms=report.remote_jitter_ms,
            mos=report.mos,
        )

    def close(self) -> None:
        """Give its ports back; what is being played ends with `LegClosedError`. Closing twice is once."""
        raise NotImplementedError

    def _end(self) -> None:
        self._tap = self._taken = None
        if self._attention is not None:
            self._attention.end()
        self._stop()
        self._on_closed(self)
