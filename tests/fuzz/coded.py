"""G.722 and Opus: whatever packets come, each taking gives a packet, a loss or nothing, and each decoding mu-law."""

from media.codec.coder import MADE, Decoder, span_of
from media.hearing.jitter import JitterBuffer

CLOCKS = {"G722/8000": 8000, "OPUS/48000/2": 48_000}
_decoders = {encoding: Decoder(encoding) for encoding in MADE}


def one(data: bytes) -> None:
    """Take `data` for packets: how far each is ahead of the last, its length, and that many bytes."""
    encoding = list(MADE)[data[0] & 1 if data else 0]
    buffer, decoder, at, timestamp, now = JitterBuffer(CLOCKS[encoding]), _decoders[encoding], 1, 0, 0.0
    while at + 2 <= len(data) and now < 1:
        payload = data[at + 2 : at + 2 + data[at + 1]]
        timestamp = timestamp + (data[at] - 64) * 80 & 0xFFFFFFFF
        length = span_of(encoding, payload)
        assert 0 < length <= 1500
        buffer.put(data[at] >> 7, timestamp, payload, length * CLOCKS[encoding] // 1000, now)
        taken = buffer.take(now)
        assert taken in ("lost", "wait") or isinstance(taken, bytes)
        if taken != "wait":
            assert len(decoder.decode(None if isinstance(taken, str) else taken)) <= 8 * 1500
        now += 0.02
        at += 2 + len(payload)
