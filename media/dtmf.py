"""Keys that a caller presses, as RTP carries them beside the voice (RFC 4733)."""

from collections.abc import Iterator
from dataclasses import dataclass

from media.errors import ProtocolError
from media.rtp import FRAME, ahead

KEYS = "0123456789*#ABCD"
"By event code (section 3.2)."

PRESS_MS = 100
"How long a key is held that is pressed here; 40 is the least that must be understood."

_LONGEST = 0xFFFF
"Ticks that one event can last; what is held longer goes on as another segment (section 2.5.1.3)."

_ENDS = 3
"How often the last packet is sent (section 2.5.1.4)."


@dataclass(frozen=True, slots=True)
class Tone:
    """One key, as one RTP packet reports it."""

    key: str
    "One of `KEYS`."

    ended: bool
    "True on the last packet, which is sent three times (section 2.5.1.4)."

    level: int
    "Power, dBm0 with the sign dropped: 0 is loudest, 63 softest."

    ticks: int
    "Duration so far, in RTP timestamp units: 8 a millisecond at 8 kHz."

    @classmethod
    def parse(cls, payload: bytes) -> "Tone":
        """Parse the payload of one telephone-event packet; of several events in one packet, the first.

        Raises:
            ProtocolError: shorter than 4 bytes, or an event that is no key.
        """
        if len(payload) < 4 or payload[0] >= len(KEYS):
            raise ProtocolError("not a key", spec="RFC 4733 section 2.3")
        return cls(KEYS[payload[0]], bool(payload[1] & 0x80), payload[1] & 0x3F, int.from_bytes(payload[2:4]))

    def __bytes__(self) -> bytes:
        return bytes((KEYS.index(self.key), (0x80 if self.ended else 0) | self.level)) + self.ticks.to_bytes(2)


def tones_of(key: str, milliseconds: int = PRESS_MS) -> Iterator[Tone]:
    """Yield the reports of one press, one each 20 ms, all under one timestamp; the end comes three times.

    Raises:
        ProtocolError: `key` is none, or it is held longer than one event can say.
    """
    held = max(2, -(-milliseconds * 8 // FRAME))
    if key not in KEYS or len(key) != 1 or held * FRAME > _LONGEST:
        raise ProtocolError("not a key that can be pressed", spec="RFC 4733 section 2.3")
    for frame in range(1, held):
        yield Tone(key, False, 10, frame * FRAME)
    for _ in range(_ENDS):
        yield Tone(key, True, 10, held * FRAME)


APART_S = 1.0
"Between two ways in which one press is told."

_AWAITED = 32
"Presses of the last second that are remembered; nobody types faster, and a flood of them is not kept."


class Presses:
    """Takes a press once that a far end tells twice: in or beside its sound, and by its signalling (INFO).

    Each press of one way has at most one counterpart of the other, the oldest of the same key that has none yet.
    """

    __slots__ = ("_alone",)

    def __init__(self) -> None:
        # Those without a counterpart: key, whether it was signalled, when.
        self._alone: list[tuple[str, bool, float]] = []

    def fresh(self, key: str, *, signalled: bool, now: float) -> bool:
        """Return whether this press was not told the other way; `now` is in seconds of any steady clock."""
        self._alone = [each for each in self._alone[-_AWAITED:] if now - each[2] < APART_S]
        other = next((each for each in self._alone if each[:2] == (key, not signalled)), None)
        if other is not None:
            self._alone.remove(other)
            return False
        self._alone.append((key, signalled, now))
        return True


class Keypad:
    """Turns one stream's reports into presses: each once, at its first report, however often it is repeated."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        # Timestamp, key, and whether the end was seen.
        self._last: tuple[int, str, bool] | None = None

    def heard(self, tone: Tone, timestamp: int) -> str | None:
        """Return the key when this report is the first of a press.

        Reports of one press share a timestamp; a report of an earlier press that comes late is none.
        """
        if self._last is not None:
            began, key, ended = self._last
            age = ahead(timestamp, began, 32)
            if age == 0 and key == tone.key:
                self._last = began, key, ended or tone.ended
                return None
            if -_LONGEST < age < 0:
                return None
            if key == tone.key and not ended and _LONGEST - 10 * FRAME <= age <= _LONGEST:
                # Held so long that the event was cut into segments.
                self._last = timestamp, key, tone.ended
                return None
        self._last = timestamp, tone.key, tone.ended
        return tone.key
