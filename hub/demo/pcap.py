"""Voices for a real SIP client: a capture file with G.711 audio and RFC 4733 digits that sipp plays as RTP."""

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hub.g711 import Codec, encode

FRAME_MS = 20
FRAME_SAMPLES = 160
RATE = 8000
EVENT_PAYLOAD_TYPE = 101
DIGIT_FRAMES = 5
"A key held for 100 ms."

KEYS = "0123456789*#"
_LOOPBACK = bytes([127, 0, 0, 1])
_PCAP_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)


def tone(frequency: float, seconds: float, level: float = 0.3) -> bytes:
    """Return a sine as mu-law, 8 kHz."""
    at = np.arange(int(seconds * RATE)) / RATE
    pcm = (np.sin(2 * np.pi * frequency * at) * level * 32767).astype(np.int16)
    return encode(Codec.PCMU, pcm)


def write(path: Path, *, frequency: float, seconds: float, digits: Mapping[float, str] | None = None) -> None:
    """Write a capture: a voice of one frequency, with keys pressed at the given seconds."""
    voice = tone(frequency, seconds)
    presses = {round(at * 1000 / FRAME_MS): key for at, key in (digits or {}).items()}
    out, sequence, frame = [_PCAP_HEADER], 1, 0
    while frame * FRAME_SAMPLES < len(voice):
        if frame in presses:
            packets = list(_press(presses[frame]))
            for offset, (marker, payload) in enumerate(packets):
                when = frame + min(offset, DIGIT_FRAMES - 1)
                out.append(_packet(when, sequence, frame * FRAME_SAMPLES, EVENT_PAYLOAD_TYPE, marker, payload))
                sequence += 1
            frame += DIGIT_FRAMES
            continue
        payload = voice[frame * FRAME_SAMPLES : (frame + 1) * FRAME_SAMPLES]
        out.append(_packet(frame, sequence, frame * FRAME_SAMPLES, 0, frame == 0, payload))
        sequence, frame = sequence + 1, frame + 1
    path.write_bytes(b"".join(out))


def _press(key: str) -> list[tuple[bool, bytes]]:
    """Return marker and payload of each packet of one key press; the last is sent three times (section 2.5.1.4)."""
    event = KEYS.index(key)
    lasting = [(i == 0, struct.pack(">BBH", event, 10, FRAME_SAMPLES * (i + 1))) for i in range(DIGIT_FRAMES - 1)]
    end = struct.pack(">BBH", event, 0x80 | 10, FRAME_SAMPLES * DIGIT_FRAMES)
    return [*lasting, (False, end), (False, end), (False, end)]


def _packet(frame: int, sequence: int, timestamp: int, payload_type: int, marker: bool, payload: bytes) -> bytes:
    rtp = struct.pack(">BBHII", 0x80, payload_type | marker << 7, sequence & 0xFFFF, timestamp, 0x43484152) + payload
    udp = struct.pack(">HHHH", 6000, 6000, 8 + len(rtp), 0) + rtp
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, _LOOPBACK, _LOOPBACK) + udp
    ethernet = bytes(12) + b"\x08\x00" + ip
    micros = frame * FRAME_MS * 1000
    return struct.pack("<IIII", micros // 1_000_000, micros % 1_000_000, len(ethernet), len(ethernet)) + ethernet
