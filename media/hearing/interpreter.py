"""Stands between a leg whose far end speaks no G.711 and all here that does: prompts, recordings, a peer.

What the far end says goes through a jitter buffer and the bench, and comes out as 20 ms of mu-law; what it is to hear
goes through the bench, and comes out as its packets. Nothing of it is opened before something has to be understood or
made: where two legs share a codec, their packets never come here.
"""

import secrets
from collections.abc import Callable

from hub.g711 import Codec
from media import passing
from media.codec.bench import Bench
from media.codec.coder import Decoder, Encoder, span_of
from media.hearing.attention import Tap
from media.hearing.jitter import JitterBuffer
from media.pacer import Pacer
from media.rtp import FRAME, HEADER, RATE

_HEAD = HEADER.size
_MARKER = 0x80


class Interpreter:
    """A `Tap` of what the leg hears, and the `passing.Mouth` that a peer speaks mu-law to."""

    encoding = "PCMU/8000"

    def __init__(
        self,
        encoding: str,
        clock: int,
        bench: Bench,
        pacer: Pacer,
        buffer: bytearray,
        say: Callable[[bytes, float], None],
        hush: Callable[[int], None],
        admits: Callable[[], bool],
    ) -> None:
        """Take the far end's codec and RTP clock, what sends it a packet or noise, and whether a peer may speak now."""
        self.behind: Tap | None = None
        "Who is given what is heard, as mu-law."
        self.mouth: passing.Mouth | None = None
        "Whom what is heard is passed on to."
        self._encoding, self._clock = encoding, clock
        self._bench, self._pacer = bench, pacer
        self._buffer = buffer
        self._say, self._hush, self._admits = say, hush, admits
        self._decoder, self._encoder = Decoder(encoding), Encoder(encoding)
        self._jitter = JitterBuffer(clock)
        self._closed = False
        self._table: bytes | None = None
        self._ssrc = secrets.randbits(32)
        self._sequence = self._timestamp = 0
        self._said_at = 0.0

    def speak_to(self, mouth: passing.Mouth | None) -> None:
        """Pass what is heard on to `mouth`, in its law, or to nobody."""
        self.mouth = mouth
        self._table = None if mouth is None else passing.translation(self.encoding, mouth.encoding)

    @property
    def wanted(self) -> bool:
        """Whether what the far end says has to be understood."""
        return self.behind is not None or self.mouth is not None

    # What the far end says

    def heard(self, codec: Codec, ssrc: int, timestamp: int, payload: bytes, now: float) -> None:  # noqa: ARG002 - `Tap`
        """Take one packet of the far end's."""
        length = span_of(self._encoding, payload) * self._clock // 1000
        self._jitter.put(ssrc, timestamp, payload, length, now)
        self._pacer.add(self)

    def send_frame(self, now: float) -> None:
        """Have what is due decoded; for the pacer."""
        taken = self._jitter.take(now)
        if taken != "wait":
            self._bench.ask(
                self._decoder.decode, None if taken == "lost" else taken, lambda said: self._heard(said, now)
            )
        elif self._jitter.idle:
            self._pacer.remove(self)

    def _heard(self, ulaw: bytes, now: float) -> None:
        for at in range(0, 0 if self._closed else len(ulaw) - FRAME + 1, FRAME):
            self._tell(ulaw[at : at + FRAME], now)

    def _tell(self, frame: bytes, now: float) -> None:
        due = int(now * RATE) & 0xFFFFFFFF
        begins = not self._sequence or now - self._said_at > 0.2
        self._timestamp = due if begins else self._timestamp + FRAME & 0xFFFFFFFF
        self._sequence, self._said_at = self._sequence + 1 & 0xFFFF, now
        if self.behind is not None:
            self.behind.heard(Codec.PCMU, self._ssrc, self._timestamp, frame, now)
        if self.mouth is not None:
            end = _HEAD + FRAME
            self._buffer[_HEAD:end] = frame if self._table is None else frame.translate(self._table)
            marker = _MARKER if begins else 0
            self.mouth.pass_on(False, marker, self._ssrc, self._sequence, self._timestamp, _HEAD, end, now)

    # What the far end is to hear

    def speak(self, ulaw: bytes, now: float) -> None:
        """Have some mu-law made into the far end's codec, and sent."""
        self._bench.ask(self._encoder.encode, ulaw, lambda packets: self._made(packets, now))

    def _made(self, packets: list[bytes], now: float) -> None:
        for packet in [] if self._closed else packets:
            self._say(packet, now)

    def pass_on(
        self,
        event: bool,
        marker: int,  # noqa: ARG002 - `passing.Mouth`
        ssrc: int,  # noqa: ARG002
        sequence: int,  # noqa: ARG002
        timestamp: int,  # noqa: ARG002
        start: int,
        end: int,
        now: float,
    ) -> None:
        """Take a peer's sound, in mu-law; its keys are pressed anew instead (`Party.retype`)."""
        if not event and self._admits():
            self.speak(bytes(self._buffer[start:end]), now)

    def hush(self, level: int) -> None:
        """Let the far end hear noise while the peer says nothing."""
        self._hush(level)

    def close(self) -> None:
        """Take and give nothing more."""
        self._closed = True
        self._pacer.remove(self)
