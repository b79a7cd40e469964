"""RTP: a packet and its inverse, what is counted of a stream that is heard, and the one that is sent (RFC 3550)."""

import secrets
import struct
from dataclasses import dataclass

from media.errors import ProtocolError

RATE = 8000
"Timestamp units a second: both laws of G.711, and telephone events beside them (RFC 3551 section 6)."

FRAME = 160
"Samples in the 20 ms that one packet carries."

FRAME_SECONDS = 0.02
HEADER = struct.Struct(">BBHII")
"Version and flags, marker and payload type, sequence number, timestamp, SSRC (section 5.1)."

PLAIN = 0x80
"First byte of a packet of version 2 with no padding, extension or contributing source."

LONGEST = 1500
"Bytes of the longest datagram that is looked at; 20 ms of G.711 are 172."

MAX_DROPOUT = 3000
"A sequence number further ahead than this starts a stream anew (appendix A.1)."

_PAUSE_SECONDS = 3 * FRAME_SECONDS
"A sender that was silent longer than this catches its timestamp up with the clock."


@dataclass(frozen=True, slots=True)
class Packet:
    """One RTP packet."""

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    csrcs: tuple[int, ...] = ()
    extension: tuple[int, bytes] | None = None
    "Profile and body, a multiple of four bytes (section 5.3.1)."

    @classmethod
    def parse(cls, data: bytes) -> "Packet":
        """Parse a datagram; padding is taken off.

        Raises:
            ProtocolError: not version 2, or shorter than its own header says.
        """
        start, end = span(data, len(data))
        first, second, sequence, timestamp, ssrc = HEADER.unpack_from(data)
        at = 12 + 4 * (first & 0x0F)
        extension = (int.from_bytes(data[at : at + 2]), bytes(data[at + 4 : start])) if first & 0x10 else None
        return cls(
            payload_type=second & 0x7F,
            marker=bool(second & 0x80),
            sequence=sequence,
            timestamp=timestamp,
            ssrc=ssrc,
            payload=bytes(data[start:end]),
            csrcs=struct.unpack_from(f">{first & 0x0F}I", data, 12),
            extension=extension,
        )

    def __bytes__(self) -> bytes:
        first = PLAIN | len(self.csrcs) | (0x10 if self.extension else 0)
        second = self.payload_type | (0x80 if self.marker else 0)
        parts = [
            HEADER.pack(first, second, self.sequence, self.timestamp, self.ssrc),
            struct.pack(f">{len(self.csrcs)}I", *self.csrcs),
        ]
        if self.extension:
            profile, body = self.extension
            parts.append(struct.pack(">HH", profile, len(body) // 4) + body)
        return b"".join([*parts, self.payload])


def span(data: bytes | bytearray | memoryview, size: int) -> tuple[int, int]:
    """Return where the payload of the packet in the first `size` bytes begins and ends.

    Raises:
        ProtocolError: not version 2, or shorter than its own header says.
    """
    if size < HEADER.size or data[0] >> 6 != 2:
        raise ProtocolError("not an RTP packet", spec="RFC 3550 section 5.1")
    start, end = HEADER.size + 4 * (data[0] & 0x0F), size
    if data[0] & 0x10:
        if start + 4 > size:
            raise ProtocolError("an RTP header extension is cut short", spec="RFC 3550 section 5.3.1")
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4])
    if data[0] & 0x20:
        # The last byte of the padding counts the padding, itself included; zero would be none at all.
        padding = data[size - 1]
        end = size - padding if padding else -1
    if start > end:
        raise ProtocolError("an RTP packet is shorter than its header says", spec="RFC 3550 section 5.1")
    return start, end


def ahead(number: int, of: int, bits: int = 16) -> int:
    """Return how far `number` is ahead of `of` in a counter that wraps; negative when it is behind."""
    half = 1 << bits - 1
    return (number - of + half & (1 << bits) - 1) - half


class Reception:
    """What is known of the stream that a leg hears: packets, loss, jitter (RFC 3550 sections 6.4.1 and A.3)."""

    __slots__ = ("_bad", "_base", "_before", "_last_at", "_last_stamp", "clock", "highest", "jitter", "packets", "ssrc")

    def __init__(self) -> None:
        self.clock = RATE
        "Timestamp units a second."
        self.ssrc: int | None = None
        self.packets = 0
        "All that were heard, of whatever stream."
        self.jitter = 0.0
        "In timestamp units."
        self.highest = 0
        "Sequence number, with the cycles in the bits above 16 (section 6.4.1)."
        self._base = 0
        # Expected packets of the streams before this one.
        self._before = 0
        self._bad: int | None = None
        self._last_at: float | None = None
        self._last_stamp = 0

    def heard(self, ssrc: int, sequence: int, timestamp: int, now: float, *, timed: bool = True) -> None:
        """Count one packet that came at `now` (seconds of any steady clock).

        A telephone event is not `timed`: its timestamp stands still while it is pressed.
        """
        self.packets += 1
        if ssrc != self.ssrc:
            self._begin(ssrc, sequence)
        elif sequence == (self.highest + 1) & 0xFFFF:
            self.highest += 1
        else:
            self._place(sequence)
        if timed:
            if self._last_at is not None:
                # `ahead` of 32 bits, without the call: this is done for every packet.
                step = ((timestamp - self._last_stamp + 0x80000000) & 0xFFFFFFFF) - 0x80000000
                off = (now - self._last_at) * self.clock - step
                self.jitter += ((off if off > 0 else -off) - self.jitter) / 16
            self._last_at, self._last_stamp = now, timestamp

    def _place(self, sequence: int) -> None:
        step = ahead(sequence, self.highest & 0xFFFF)
        if 0 < step < MAX_DROPOUT:
            self.highest += step
        elif step >= MAX_DROPOUT or step < -MAX_DROPOUT:
            # A jump is believed when the next packet follows on it (appendix A.1).
            if sequence == self._bad:
                self._begin(self.ssrc, sequence)
                return
            self._bad = sequence + 1 & 0xFFFF

    def _begin(self, ssrc: int | None, sequence: int) -> None:
        if self.ssrc is not None:
            self._before = self.expected
        self.ssrc = ssrc
        self._base = self.highest = sequence
        self._bad = self._last_at = None

    @property
    def expected(self) -> int:
        """Packets that the sequence numbers promise."""
        return self._before + (0 if self.ssrc is None else self.highest - self._base + 1)

    @property
    def lost(self) -> int:
        """Packets that never came; one that came twice makes up for one that did not (appendix A.3)."""
        return max(0, self.expected - self.packets)

    @property
    def loss(self) -> float:
        """Lost packets as a share of the expected ones, 0 to 1."""
        return self.lost / self.expected if self.expected else 0.0

    @property
    def jitter_ms(self) -> float:
        """Interarrival jitter in milliseconds."""
        return self.jitter * 1000 / self.clock


class Outbound:
    """The one stream that a far end hears, whatever it is made of: prompts, music, another leg's packets.

    One SSRC, sequence numbers without a hole of our own making, a timestamp that follows the clock. The methods give
    the marker bit (0 or 0x80), the sequence number and the timestamp of the packet that is sent now.
    """

    __slots__ = (
        "_at",
        "_floor",
        "_followed",
        "_high",
        "_sequence_off",
        "_timestamp_off",
        "clock",
        "earlier",
        "octets",
        "packets",
        "sequence",
        "ssrc",
        "timestamp",
    )

    def __init__(self) -> None:
        self.ssrc = secrets.randbits(32)
        self.sequence = secrets.randbits(15)
        "Of the last packet."
        self.timestamp = secrets.randbits(32)
        "Of the last packet."
        self.packets = 0
        self.octets = 0
        "Of payload; whoever sends counts them."
        self.earlier = 0
        "Packets of the streams before this one."
        self.clock = RATE
        "Timestamp units a second."
        self._at = 0.0
        self._followed: int | None = None
        self._high = self._floor = self._sequence_off = self._timestamp_off = 0

    def next(self, now: float) -> tuple[int, int, int]:
        """Return the header of the next 20 ms made here."""
        pause = not self.packets or self._followed is not None or now - self._at > _PAUSE_SECONDS
        self.timestamp = self._due(now) if pause else self.timestamp + self.clock // 50 & 0xFFFFFFFF
        self.sequence = self.sequence + 1 & 0xFFFF
        self._followed = None
        self._at = now
        self.packets += 1
        return 0x80 if pause else 0, self.sequence, self.timestamp

    def follow(self, ssrc: int, sequence: int, timestamp: int, now: float) -> tuple[int, int, int] | None:
        """Return the header under which another stream's packet goes on; None for one from before it was followed.

        Order, gaps and repetitions of that stream stay as they are, for the far end's jitter buffer to deal with.
        """
        if ssrc == self._followed and sequence == (self._high + 1) & 0xFFFF:
            # In order, as nearly all are.
            out_timestamp = timestamp + self._timestamp_off & 0xFFFFFFFF
            out_sequence = sequence + self._sequence_off & 0xFFFF
            self._high = sequence
        else:
            step = ahead(sequence, self._high)
            if ssrc != self._followed or abs(step) > MAX_DROPOUT:
                return self._take_up(ssrc, sequence, timestamp, now)
            if ahead(sequence, self._floor) < 0:
                return None
            out_timestamp = timestamp + self._timestamp_off & 0xFFFFFFFF
            out_sequence = sequence + self._sequence_off & 0xFFFF
            if step <= 0:
                self.packets += 1
                return 0, out_sequence, out_timestamp
            self._high = sequence
        self.sequence, self.timestamp, self._at = out_sequence, out_timestamp, now
        # The floor comes after, so that it is never half a counter away.
        if (sequence - self._floor & 0xFFFF) > MAX_DROPOUT:
            self._floor = sequence - MAX_DROPOUT & 0xFFFF
        self.packets += 1
        return 0, out_sequence, out_timestamp

    def anew(self) -> None:
        """Begin another stream: another SSRC, and a sequence number that does not wrap soon.

        A receiver of SRTP counts the wraps from the first packet it hears (RFC 3711 section 3.3.1).
        """
        self.ssrc, self.sequence = secrets.randbits(32), secrets.randbits(15)
        self.timestamp = secrets.randbits(32)
        self._followed = None
        self.earlier += self.packets
        self.packets = self.octets = 0

    def stamp(self, now: float) -> int:
        """Return the timestamp that belongs to the instant `now`, for a sender report (section 6.4.1)."""
        return self.timestamp + round((now - self._at) * self.clock) & 0xFFFFFFFF

    def _take_up(self, ssrc: int, sequence: int, timestamp: int, now: float) -> tuple[int, int, int]:
        self.timestamp = self._due(now)
        self.sequence = self.sequence + 1 & 0xFFFF
        self._followed = ssrc
        self._high = self._floor = sequence
        self._sequence_off = self.sequence - sequence
        self._timestamp_off = self.timestamp - timestamp
        self._at = now
        self.packets += 1
        return 0x80, self.sequence, self.timestamp

    def _due(self, now: float) -> int:
        if not self.packets:
            return self.timestamp
        return self.timestamp + max(self.clock // 50, int((now - self._at) * self.clock)) & 0xFFFFFFFF
