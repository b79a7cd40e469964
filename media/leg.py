"""One leg's sound: a socket that hears and speaks G.711 and telephone events, plays what it is told to, and passes on.

Packets are read in the loop's own callback and sent from it or from the pacer's: no task and no queue a packet.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Protocol

from hub.g711 import Codec, table_between
from media.dtmf import Keypad, Tone
from media.errors import MediaError, ProtocolError
from media.exchange import Exchange
from media.latch import Address, Latch
from media.offer import Agreed
from media.pacer import Pacer
from media.playback import Background, Loop, Once, Piece, Playback, Press, Quiet
from media.ports import Pair
from media.rtp import HEADER, LONGEST, PLAIN, Outbound, Reception, span
from media.sdp import Direction, Session
from media.sound import SILENCE, Sound

COMFORT_NOISE = 13
"Payload type (RFC 3551 section 6); heard as silence, not passed on."

FLOOD = 400
"Packets a second that one leg takes; 20 ms each are 50. It ends a loop of legs that echo, and a flood."

DIGITS = 64
"Keys that wait to be read; of more, the oldest are forgotten."


class LegClosedError(MediaError):
    """The leg is gone: its call ended while something was being played."""

    code = "leg-closed"
    status = 410


class Tap(Protocol):
    """Who is given each packet of sound that a leg hears."""

    def heard(self, codec: Codec, ssrc: int, timestamp: int, payload: bytes, now: float) -> None:
        """Take one packet's sound; `now` is the loop's time in seconds."""
        ...


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


class AudioLeg:
    """One party's sound; made by `relay.BuiltinRelay`. For one event loop, not thread-safe."""

    protection = "rtp"
    "How its packets are protected: plain RTP."

    def __init__(self, pair: Pair, pacer: Pacer, buffer: bytearray, music: Sound, closed: "Callable[[AudioLeg], None]"):
        self.local: Address = pair.local
        "IP address and port that the far end is told."
        self.digits: asyncio.Queue[str] = asyncio.Queue(DIGITS)
        "Keys the far end presses, each once, when it is pressed."
        self.heard_at: float | None = None
        "When the last packet came, in the loop's time."
        self._loop = asyncio.get_running_loop()
        self._pair = pair
        self._socket: socket.socket = pair.rtp
        self._pacer = pacer
        self._buffer, self._view = buffer, memoryview(buffer)
        self._music = music
        self._on_closed = closed
        self._codec = Codec.PCMU
        self._event_type: int | None = None
        self._event_type_in: int | None = None
        self._event_began = 0
        self._exchange = Exchange(pair.local)
        self._latch = Latch()
        self._reception, self._outbound, self._keypad = Reception(), Outbound(), Keypad()
        self._foreground: deque[Playback] = deque()
        self._background: Background | None = None
        self._peer: AudioLeg | None = None
        self._table: bytes | None = None
        self._tap: Tap | None = None
        self._strange = self._unsent = self._flood = 0
        self._second_began = self._in_second = 0
        self._listen()

    def _listen(self) -> None:
        self._loop.add_reader(self._socket.fileno(), self._read)

    # What the signalling says

    async def offer(self, direction: Direction = Direction.SENDRECV) -> Session:
        """Return our offer: the first, or the next version of what was said."""
        return self._exchange.offer(direction)

    async def answer(self, offer: Session, *, via: str | None = None) -> Session:
        """Follow the peer's offer and return the answer; `via` is the IP address that its signalling comes from.

        Raises:
            UnacceptableError: nothing in it that we speak; the leg goes on as it was.
        """
        session, agreed = self._exchange.answer(offer)
        self._agreed(agreed, via)
        return session

    async def settle(self, answer: Session, *, via: str | None = None) -> None:
        """Follow the peer's answer to our latest offer.

        Raises:
            UnacceptableError: it takes nothing of the offer.
        """
        self._agreed(self._exchange.settle(answer), via)

    def _agreed(self, agreed: Agreed, via: str | None) -> None:
        remote = agreed.remote if agreed.sends else None
        codec, events = Codec[agreed.codec.name.upper()], agreed.send_events
        self.connect(remote, codec, events, event_type_in=agreed.receive_events, via=via)

    def connect(
        self,
        remote: Address | None,
        codec: Codec,
        event_type: int | None,
        *,
        event_type_in: int | None = None,
        via: str | None = None,
    ) -> None:
        """Speak `codec` with `remote`, the IP address and port of its SDP; None puts it on hold. May be called again.

        `event_type` is the payload type of telephone events that the far end named, `event_type_in` the one that it was
        told, where the two differ. `via` is the IP address that its signalling comes from.

        Raises:
            ProtocolError: no IP address, or no port.
        """
        self._latch.expect(_reachable(remote), via)
        self._codec = codec
        self._event_type = event_type
        self._event_type_in = event_type if event_type_in is None else event_type_in
        self._align()
        if self._peer is None and self._background is None:
            self.quiet()

    @property
    def codec(self) -> Codec:
        """The law it speaks."""
        return self._codec

    @property
    def remote(self) -> Address | None:
        """Where its packets go now."""
        return self._latch.remote

    # What it plays

    async def play(self, sound: Sound, *, barge_in: bool = False) -> bool:
        """Play a sound and return True when it is over; behind what is being played already.

        With `barge_in` a key cuts it short, also one that waits in `digits` already; then False comes back. A task that
        is cancelled here stops the sound at once.

        Raises:
            LegClosedError: the leg was closed meanwhile.
        """
        if barge_in and not self.digits.empty():
            return False
        return await self._perform(Once(sound, barge_in=barge_in))

    async def press(self, keys: str) -> None:
        """Press keys for the far end to hear as telephone events; silence where it agreed on none.

        Raises:
            ProtocolError: not keys.
            LegClosedError: the leg was closed meanwhile.
        """
        await self._perform(Press(keys))

    def loop(self, sound: Sound) -> None:
        """Play a sound over and over whenever nothing else is; ends when the leg is bridged."""
        self._behind(Loop(sound))

    def hold_music(self) -> None:
        """Play the practice's hold music like `loop`."""
        self.loop(self._music)

    def quiet(self) -> None:
        """Send silence whenever nothing else is played."""
        self._behind(Quiet())

    def send_frame(self, now: float) -> None:
        """Send the next 20 ms of what is played; for the pacer."""
        while self._foreground:
            piece = self._foreground[0].next_piece(self._codec)
            if piece is not None:
                self._say(piece, now)
                return
            _finish(self._foreground.popleft(), True)
        if self._background is not None:
            self._say(self._background.piece(self._codec), now)
        else:
            self._pacer.remove(self)

    async def _perform(self, playback: Playback) -> bool:
        if self.closed:
            raise LegClosedError("the leg is closed")
        self._foreground.append(playback)
        self._pacer.add(self)
        try:
            return await playback.done
        finally:
            if playback in self._foreground:
                self._foreground.remove(playback)

    def _behind(self, background: Background | None) -> None:
        self._background = background
        if background is not None and not self.closed:
            self._pacer.add(self)

    def _say(self, piece: Piece, now: float) -> None:
        remote = self._latch.remote
        if remote is None:
            return
        marker, sequence, timestamp = self._outbound.next(now)
        payload, payload_type = piece.payload, int(self._codec)
        if piece.event:
            if self._event_type is None:
                payload = SILENCE[self._codec]
            else:
                # All reports of a press carry the moment at which it began.
                self._event_began = timestamp if piece.first else self._event_began
                marker, timestamp, payload_type = 0x80 if piece.first else 0, self._event_began, self._event_type
        head = HEADER.pack(PLAIN, marker | payload_type, sequence, timestamp, self._outbound.ssrc)
        self._send(head + payload, remote)

    def _send(self, packet: bytes | memoryview, remote: Address) -> None:
        try:
            self._socket.sendto(packet, remote)
        except OSError:
            # A full buffer or an unreachable network costs this packet, not the call.
            self._unsent += 1

    # What it hears

    def tap(self, tap: Tap | None) -> None:
        """Give each packet of sound that is heard to `tap` as well, or to nobody."""
        self._tap = tap

    def _read(self) -> None:
        try:
            size, source = self._socket.recvfrom_into(self._buffer)
        except OSError:
            return
        self._hear(size, source[:2], self._loop.time())

    def _hear(self, size: int, source: Address, now: float) -> None:
        """Take the RTP packet that lies, in the clear, in the first `size` bytes of the shared buffer."""
        buffer = self._buffer
        try:
            start, end = (HEADER.size, size) if buffer[0] == PLAIN and size >= HEADER.size else span(buffer, size)
        except ProtocolError:
            self._strange += 1
            return
        _, second, sequence, timestamp, ssrc = HEADER.unpack_from(buffer)
        payload_type = second & 0x7F
        sound, event = payload_type == self._codec, payload_type == self._event_type_in
        if size > LONGEST or not (sound or event or payload_type == COMFORT_NOISE):
            self._strange += 1
            return
        if not self._latch.admits(source, ssrc, sequence, now) or self._floods(int(now)):
            return
        if ssrc != self._reception.ssrc:
            self._keypad = Keypad()
        self._reception.heard(ssrc, sequence, timestamp, now, timed=sound)
        self.heard_at = now
        # Copied first: what is passed on is changed to the other leg's law in its place.
        heard = bytes(self._view[start:end]) if event or self._tap is not None else b""
        if self._peer is not None and (sound or event):
            if sound and self._table is not None:
                buffer[start:end] = buffer[start:end].translate(self._table)
            self._peer._pass_on(event, second & 0x80, ssrc, sequence, timestamp, start, end, now)
        if event:
            self._key(heard, timestamp)
        elif sound and self._tap is not None:
            self._tap.heard(self._codec, ssrc, timestamp, heard, now)

    def _floods(self, second: int) -> bool:
        if second != self._second_began:
            self._second_began, self._in_second = second, 0
        self._in_second += 1
        if self._in_second <= FLOOD:
            return False
        self._flood += 1
        return True

    def _key(self, payload: bytes, timestamp: int) -> None:
        try:
            key = self._keypad.heard(Tone.parse(payload), timestamp)
        except ProtocolError:
            self._strange += 1
            return
        if key is None:
            return
        if self.digits.full():
            self.digits.get_nowait()
        self.digits.put_nowait(key)
        for playback in [each for each in self._foreground if each.barge_in]:
            self._foreground.remove(playback)
            _finish(playback, False)

    # What it passes on

    def link(self, peer: "AudioLeg | None") -> None:
        """Pass what is heard on to `peer`, or to nobody; for the relay, which links both ways."""
        self._peer = peer
        self._align()
        if peer is not None:
            self._behind(None)
        elif not self.closed:
            self.quiet()

    @property
    def peer(self) -> "AudioLeg | None":
        """The leg it is bridged to."""
        return self._peer

    def _align(self) -> None:
        for leg in (self, self._peer):
            if leg is not None:
                leg._table = None if leg._peer is None else table_between(leg._codec, leg._peer._codec)

    def _pass_on(
        self, event: bool, marker: int, ssrc: int, sequence: int, timestamp: int, start: int, end: int, now: float
    ) -> None:
        # The payload lies in the buffer that all legs share, in this leg's law; its header is written in front of it.
        remote = self._latch.remote
        payload_type = self._event_type if event else self._codec
        if remote is None or payload_type is None or self._foreground:
            return
        header = self._outbound.follow(ssrc, sequence, timestamp, now)
        if header is None:
            return
        first, sequence, timestamp = header
        at = start - HEADER.size
        second = first | marker | payload_type
        HEADER.pack_into(self._buffer, at, PLAIN, second, sequence, timestamp, self._outbound.ssrc)
        self._send(self._view[at:end], remote)

    # Its end

    @property
    def stats(self) -> LegStats:
        """What is known of its sound so far."""
        heard = self._reception
        return LegStats(
            packets=heard.packets,
            lost=heard.lost,
            loss=heard.loss,
            jitter_ms=heard.jitter_ms,
            sent=self._outbound.packets - self._unsent,
            unsent=self._unsent,
            refused=self._latch.refused + self._flood,
            strange=self._strange,
            protection=self.protection,
        )

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._socket.fileno() < 0

    def close(self) -> None:
        """Give its ports back; what is being played ends with `LegClosedError`. Closing twice is once."""
        if self.closed:
            return
        self._loop.remove_reader(self._socket.fileno())
        self._pair.close()
        self._end()

    def _end(self) -> None:
        self._pacer.remove(self)
        self._tap = None
        while self._foreground:
            playback = self._foreground.popleft()
            if not playback.done.done():
                playback.done.set_exception(LegClosedError("the leg was closed"))
        self._on_closed(self)


def _finish(playback: Playback, whole: bool) -> None:
    if not playback.done.done():
        playback.done.set_result(whole)


def _reachable(remote: Address | None) -> Address | None:
    """Return where to send, None for an address that means hold (RFC 3264 section 8.4)."""
    if remote is None:
        return None
    address, port = remote
    try:
        unspecified = ip_address(address).is_unspecified
    except ValueError:
        raise ProtocolError("not an IP address for RTP", spec="RFC 4566 section 5.7") from None
    if not 0 <= port <= 65535:
        raise ProtocolError("not a port for RTP", spec="RFC 4566 section 5.14")
    return None if unspecified or port == 0 else (address, port)
