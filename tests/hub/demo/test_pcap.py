"""The voices that sipp plays: a capture whose packets are one unbroken RTP stream with the keys in their places."""

import struct
from dataclasses import dataclass
from pathlib import Path

import pytest

from hub import audio
from hub.demo import pcap
from hub.g711 import Codec, decode


@dataclass(frozen=True)
class Packet:
    at_ms: float
    marker: bool
    payload_type: int
    sequence: int
    timestamp: int
    payload: bytes


def packets(path: Path) -> list[Packet]:
    """Read a capture by the format's own page, not by the code that wrote it."""
    data = path.read_bytes()
    magic, major, minor, _, _, _, network = struct.unpack("<IHHiIII", data[:24])
    assert (magic, major, minor, network) == (0xA1B2C3D4, 2, 4, 1)
    found, at = [], 24
    while at < len(data):
        seconds, micros, size, full = struct.unpack("<IIII", data[at : at + 16])
        frame = data[at + 16 : at + 16 + size]
        assert size == full == len(frame)
        assert frame[12:14] == b"\x08\x00"
        assert struct.unpack(">H", frame[16:18])[0] == size - 14
        rtp = frame[42:]
        first, second, sequence, timestamp, _ = struct.unpack(">BBHII", rtp[:12])
        assert first == 0x80
        at_ms = seconds * 1000 + micros / 1000
        found.append(Packet(at_ms, bool(second & 0x80), second & 0x7F, sequence, timestamp, rtp[12:]))
        at += 16 + size
    return found


def test_voice_is_the_tone_in_packets_of_twenty_milliseconds(tmp_path: Path) -> None:
    pcap.write(tmp_path / "a.pcap", frequency=440.0, seconds=1.0)
    found = packets(tmp_path / "a.pcap")
    assert [packet.sequence for packet in found] == list(range(1, 51))
    assert [packet.timestamp for packet in found] == [index * 160 for index in range(50)]
    assert [packet.at_ms for packet in found] == [index * 20 for index in range(50)]
    assert [packet.marker for packet in found] == [True] + [False] * 49
    sound = decode(Codec.PCMU, b"".join(packet.payload for packet in found))
    assert any(abs(peak.hz - 440) < 5 for peak in audio.frequencies(sound))


@pytest.mark.parametrize("key", ["0", "5", "9", "*", "#"])
def test_key_is_pressed_once_and_its_end_is_told_three_times(tmp_path: Path, key: str) -> None:
    pcap.write(tmp_path / "a.pcap", frequency=440.0, seconds=1.0, digits={0.4: key})
    found = packets(tmp_path / "a.pcap")
    events = [packet for packet in found if packet.payload_type == pcap.EVENT_PAYLOAD_TYPE]
    assert [packet.sequence for packet in found] == list(range(1, len(found) + 1))
    assert {packet.timestamp for packet in events} == {20 * 160}
    assert [packet.marker for packet in events] == [True] + [False] * (len(events) - 1)
    told = [struct.unpack(">BBH", packet.payload) for packet in events]
    assert {event for event, _, _ in told} == {"0123456789*#".index(key)}
    assert [bool(flags & 0x80) for _, flags, _ in told] == [False] * 4 + [True] * 3
    assert [duration for _, _, duration in told] == [160, 320, 480, 640, 800, 800, 800]


def test_voice_goes_on_after_the_key(tmp_path: Path) -> None:
    pcap.write(tmp_path / "a.pcap", frequency=440.0, seconds=1.0, digits={0.4: "1"})
    sound = [packet for packet in packets(tmp_path / "a.pcap") if packet.payload_type == 0]
    assert [packet.timestamp // 160 for packet in sound] == [*range(20), *range(25, 50)]
