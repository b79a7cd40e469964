"""What every leg does, whatever carries its packets: it hears and speaks, plays what it is told to, and passes on.

How a packet gets into the shared buffer, and how one that stands there is sent, is the business of the kinds of legs:
`phone.PhoneLeg` for phones and trunks, `browser.leg.BrowserLeg`. No task and no queue for a packet.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from hub.g711 import Codec
from media import comfort
from media.dtmf import Keypad, Tone
from media.errors import ProtocolError
from media.hearing.attention import Tap as Tap
from media.hearing.hearer import Hearer
from media.latch import Address
from media.offer import Agreed
from media.pacer import Pacer
from media.passing import LAWS, Mouth, Party, encoding_of, passable, translation
from media.playback import Press
from media.player import DIGITS as DIGITS
from media.player import LegClosedError as LegClosedError
from media.report import Report
from media.rtp import HEADER, LONGEST, PLAIN, Reception, span
from media.sdp import PCMA, PCMU, PTIME_MS, Direction, Session
from media.sound import Sound
from media.stats import LegStats as LegStats

FLOOD = 400
"Packets a second that one leg takes; 20 ms each are 50. It ends a loop of legs that echo, and a flood."

_HEAD = HEADER.size


class AudioLeg(Hearer):
    """One party's sound. For one event loop, not thread-safe."""

    __slots__ = (
        "_flooded",
        "_forged",
        "_keypad",
        "_on_closed",
        "_quota",
        "_quota_from",
        "_reception",
        "_refused",
        "_strange",
        "_table",
        "_target",
        "_type_in",
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
        self._on_closed = closed
        # Payload types of what is heard.
        self._type_in = 0
        self._reception, self._keypad = Reception(), Keypad()
        self.report = Report(self._reception, self._outbound)
        self._target: Mouth | None = None
        self._table: bytes | None = None
        self._strange = self._flooded = self._refused = self._forged = 0
        self._quota, self._quota_from = FLOOD, 0.0

    @abstractmethod
    async def offer(self, direction: Direction = Direction.SENDRECV) -> Session:
        """Return our offer: the first, or the next version of what was said."""

    @abstractmethod
    async def answer(self, offer: Session, *, via: str | None = None) -> Session:
        """Follow the peer's offer and return the answer; `via` is the IP address that its signalling comes from.

        Raises:
            UnacceptableError: nothing in it that we speak, or less protection than will do; the leg goes on as it was.
        """

    @abstractmethod
    async def settle(self, answer: Session, *, via: str | None = None) -> None:
        """Follow the peer's answer to our latest offer.

        Raises:
            UnacceptableError: it takes nothing of the offer, or less protection than will do.
        """

    @abstractmethod
    def follow(self, agreed: Agreed, *, via: str | None = None) -> None:
        """Speak as was agreed from now on.

        Raises:
            ProtocolError: the far end's address is no IP address, or has no port.
        """

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
    @abstractmethod
    def remote(self) -> Address | None:
        """Where its packets go now."""

    def _speak(self, agreed: Agreed, *, sends: bool) -> None:
        """Hear and speak what was agreed on from now on; `sends` is False on hold."""
        self.encoding = encoding_of(agreed.codec)
        self._law = LAWS.get(self.encoding)
        self._type_out, self._type_in = agreed.codec.payload_type, agreed.receive_type
        self._event_out, self._event_in = agreed.send_events, agreed.receive_events
        self._outbound.clock = self._reception.clock = agreed.codec.rate
        self._sends = sends
        self._interpret(agreed.codec.rate)
        self.align()
        if self._peer is not None:
            self._peer.align()
        elif self._background is None:
            self.quiet()

    # What it hears

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
            self._tap.heard(self.codec, ssrc, timestamp, heard, now)

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
            if self._peer is not None and self._target is not self._peer:
                self._peer.retype(key)

    # What it passes on (`passing.Party`)

    def link(self, peer: Party | None) -> None:
        """Pass what is heard on to `peer`, or to nobody; for the relay, which links both ways."""
        self._peer = peer
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
        self._target, self._table, made = None, None, None
        if peer is not None and passable(self.encoding, peer.encoding):
            self._target = peer
        elif peer is not None and self._law is not None:
            self._target = peer.mouth
        elif peer is not None:
            made = peer.mouth
        if self._target is not None:
            self._table = translation(self.encoding, self._target.encoding)
        if self._interpreter is not None:
            self._interpreter.speak_to(made)
        self._listen()

    def _own_mouth(self) -> Mouth:
        return self

    def retype(self, key: str) -> None:
        """Press a key that the peer's far end pressed, where its packets cannot be passed on."""
        pressed = Press(key)
        pressed.done.add_done_callback(lambda done: done.exception())
        self._foreground.append(pressed)
        self._pacer.add(self)

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

    @abstractmethod
    def close(self) -> None:
        """Give its ports back; what is being played ends with `LegClosedError`. Closing twice is once."""

    def _end(self) -> None:
        self._end_hearing()
        self._stop()
        # Whoever listens holds the leg, and the leg its keys: no ring is left that only the collector would break.
        self.on_gone = self.on_lost = None
        self._on_closed(self)
