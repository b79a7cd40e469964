"""RTP: whatever packets come, each is read or refused, and what is counted and sent on stays within its bounds.

An input is packets one after the other, each with two bytes before it: where it comes from and when, and its length.
"""

from collections.abc import Iterator

from media.dtmf import KEYS, Keypad, Tone
from media.errors import ProtocolError
from media.latch import Latch
from media.rtp import Outbound, Packet, Reception, span

SOURCES = [("192.0.2.7", 30000), ("192.0.2.7", 30002), ("198.51.100.9", 4000), ("203.0.113.5", 5000)]
MOST = 200


def packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the first byte before each packet, and the packet."""
    at = 0
    for _ in range(MOST):
        if at + 2 > len(data):
            return
        yield data[at], data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]


def one(data: bytes) -> None:
    """Hear the packets of `data`, and pass them on."""
    latch, reception, outbound, keypad = Latch(), Reception(), Outbound(), Keypad()
    latch.expect(SOURCES[0], via=SOURCES[2][0])
    now = 100.0
    sent: list[int] = []
    for before, raw in packets(data):
        now += (before >> 2) / 50
        packet = _read(raw)
        if packet is None:
            continue
        if not latch.admits(SOURCES[before & 3], packet.ssrc, packet.sequence, now):
            continue
        assert latch.source in SOURCES
        reception.heard(packet.ssrc, packet.sequence, packet.timestamp, now, timed=not packet.marker)
        _follow(outbound, packet, now, sent)
        _press(keypad, packet)
        assert reception.packets + reception.lost >= 1
        assert 0.0 <= reception.loss <= 1.0
        assert reception.jitter_ms >= 0.0


def _read(raw: bytes) -> Packet | None:
    try:
        packet = Packet.parse(raw)
    except ProtocolError:
        return None
    start, end = span(raw, len(raw))
    assert raw[start:end] == packet.payload
    assert Packet.parse(bytes(packet)) == packet
    return packet


def _follow(outbound: Outbound, packet: Packet, now: float, sent: list[int]) -> None:
    header = (
        outbound.follow(packet.ssrc, packet.sequence, packet.timestamp, now) if now % 1 < 0.9 else outbound.next(now)
    )
    if header is not None:
        marker, sequence, timestamp = header
        assert marker in (0, 0x80)
        assert 0 <= sequence < 1 << 16
        assert 0 <= timestamp < 1 << 32
        sent.append(sequence)
        assert outbound.packets == len(sent)


def _press(keypad: Keypad, packet: Packet) -> None:
    try:
        tone = Tone.parse(packet.payload)
    except ProtocolError:
        return
    assert Tone.parse(bytes(tone)) == tone
    key = keypad.heard(tone, packet.timestamp)
    assert key is None or key in KEYS
