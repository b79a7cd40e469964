"""What the signalling process and a media core process say to each other: msgpack on a Unix stream socket.

A message is four bytes of length and one msgpack array whose first item is its kind. Whatever is said within one turn
of the event loop goes out in one write.
"""

from typing import Any, Literal

import msgspec

from media.errors import ProtocolError
from media.hearing.machine import Finding
from media.leg import LegStats
from media.recorder import Recorded
from media.relay import Wanted
from media.sdp import Direction, Session

VERSION = 5
"Counted up with every change of a message: the two sides may be of different releases while one is being installed."

LONGEST = 64 << 20
"Bytes of one message; a sound of an hour is 29 MB."


Heard = Literal["silence", "fax", "picked-up", "beep"]
"What may be listened for."

Said = Session | bytes
"A description; as bytes where its text is none that Unicode knows."


class _Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message; its tag is its kind."""


# What a core is told. `leg`, `sound`, `recording` and `request` are numbers that the signalling process gives.


class Begin(_Message, frozen=True, tag=0):
    """The first thing that is said: where sound is carried."""

    address: str
    first: int
    "Ports for RTP, from the first to the last."

    last: int
    music: bytes
    "Hold music, mu-law."


class Allocate(_Message, frozen=True, tag=1):
    """Make a leg; answered by `Done`."""

    request: int
    leg: int
    wanted: Wanted


class Place(_Message, frozen=True, tag=22):
    """Make a leg for which there is room; `Unplaced` says that there is none."""

    leg: int
    wanted: Wanted


class Offer(_Message, frozen=True, tag=2):
    """Answered by `Described`."""

    request: int
    leg: int
    direction: Direction


class Answer(_Message, frozen=True, tag=3):
    """Follow an offer; answered by `Described`."""

    request: int
    leg: int
    offer: Said
    via: str | None


class Settle(_Message, frozen=True, tag=4):
    """Follow an answer; answered by `Settled`."""

    request: int
    leg: int
    answer: Said
    via: str | None


class Learn(_Message, frozen=True, tag=5):
    """Keep a sound under a number."""

    sound: int
    ulaw: bytes


class Forget(_Message, frozen=True, tag=6):
    """Keep a sound no longer."""

    sound: int


class Play(_Message, frozen=True, tag=7):
    """Answered by `Done` when it is over."""

    request: int
    leg: int
    sound: int
    barge_in: bool


class Press(_Message, frozen=True, tag=8):
    """Answered by `Done` when it is over."""

    request: int
    leg: int
    keys: str


class Withdraw(_Message, frozen=True, tag=9):
    """Nobody waits for the answer to a request any more; what it asked for ends."""

    request: int


class Loop(_Message, frozen=True, tag=10):
    """Play a sound over and over."""

    leg: int
    sound: int


class Music(_Message, frozen=True, tag=11):
    """Play hold music."""

    leg: int


class Quiet(_Message, frozen=True, tag=12):
    """Send silence."""

    leg: int


class Bridge(_Message, frozen=True, tag=13):
    """Let two legs hear each other."""

    leg: int
    other: int


class Unbridge(_Message, frozen=True, tag=14):
    """Part a leg from the one it hears."""

    leg: int


class Record(_Message, frozen=True, tag=15):
    """Record legs, the caller's first; `Ended` says how it ended."""

    recording: int
    path: str
    key: bytes
    aad: bytes
    lane_id: bytes
    legs: list[int]

    def __repr__(self) -> str:
        return f"Record({self.recording})"


class Seal(_Message, frozen=True, tag=16):
    """End a recording."""

    recording: int


class Pause(_Message, frozen=True, tag=17):
    """Keep nothing of what is heard until it is to go on."""

    recording: int
    paused: bool


class Look(_Message, frozen=True, tag=18):
    """Answered by `Seen`."""

    request: int
    leg: int


class Close(_Message, frozen=True, tag=19):
    """Give a leg up; answered by `Gone`."""

    leg: int


class Ping(_Message, frozen=True, tag=20):
    """Answered by `Done`."""

    request: int


class Listen(_Message, frozen=True, tag=21):
    """Wait for what is heard; answered by `Done` then."""

    request: int
    leg: int
    what: Heard
    seconds: float = 0.0
    "Of silence."


Command = (Begin | Allocate | Place | Offer | Answer | Settle | Learn | Forget | Play | Press | Withdraw | Loop) | (
    Music | Quiet | Bridge | Unbridge | Record | Seal | Pause | Look | Close | Ping | Listen
)


# What a core says.


class Ready(_Message, frozen=True, tag=0):
    """The first thing that a core says."""

    version: int


class Done(_Message, frozen=True, tag=1):
    """What a request asked for is done."""

    request: int
    whole: bool = True
    "False for a sound that a key cut short."
    finding: Finding | None = None
    "Who picked up, where that was asked."


class Described(_Message, frozen=True, tag=2):
    """A description that the far end is to get."""

    request: int
    session: Said
    protection: str


class Settled(_Message, frozen=True, tag=3):
    """An answer was followed."""

    request: int
    protection: str


class Refused(_Message, frozen=True, tag=4):
    """What a request asked for cannot be."""

    request: int
    code: str
    text: str


class Digit(_Message, frozen=True, tag=5):
    """The far end pressed a key."""

    leg: int
    key: str

    def __repr__(self) -> str:
        return f"Digit({self.leg})"


class Ended(_Message, frozen=True, tag=6):
    """A recording ended."""

    recording: int
    recorded: Recorded


class Seen(_Message, frozen=True, tag=7):
    """What is known of a leg's sound."""

    request: int
    stats: LegStats


class Figures(_Message, frozen=True, tag=8):
    """The same of all legs, which is told every few seconds."""

    legs: list[tuple[int, LegStats]]


class Gone(_Message, frozen=True, tag=9):
    """A leg is closed: it was told so, or its far end left by itself."""

    leg: int
    stats: LegStats
    lost: bool = False
    "Whether its far end will never be heard: its handshake failed."


class Unplaced(_Message, frozen=True, tag=10):
    """There is no leg of that number, since there is no room for it, or for another reason."""

    leg: int
    code: str
    text: str


Report = Ready | Done | Described | Settled | Refused | Digit | Ended | Seen | Figures | Gone | Unplaced

_encoder = msgspec.msgpack.Encoder()


def said(session: Session) -> Said:
    """Return a description as it is sent: its text may hold bytes that are no Unicode, and is then sent as bytes."""
    try:
        _encoder.encode(session)
    except UnicodeEncodeError:
        return bytes(session)
    return session


def session_of(description: Said) -> Session:
    """Return what `said` sent."""
    return Session.parse(description) if isinstance(description, bytes) else description


def packed(message: Command | Report) -> bytes:
    """Return the bytes of one message."""
    body = _encoder.encode(message)
    return len(body).to_bytes(4) + body


class Unpacker:
    """Cuts what comes over the socket into messages."""

    def __init__(self, kinds: Any) -> None:
        """Take the union of what may come: `Command` or `Report`."""
        self._decode = msgspec.msgpack.Decoder(kinds).decode
        self._rest = b""

    def messages(self, data: bytes) -> list[Any]:
        """Return the messages that are whole with `data`.

        Raises:
            ProtocolError: longer than any message is, or none of those that may come.
        """
        data = self._rest + data if self._rest else data
        found, at, view = [], 0, memoryview(data)
        while len(data) - at >= 4:
            end = at + 4 + int.from_bytes(view[at : at + 4])
            if end - at > LONGEST:
                raise ProtocolError("a message between processes is too long")
            if end > len(data):
                break
            try:
                found.append(self._decode(view[at + 4 : end]))
            except (msgspec.DecodeError, UnicodeDecodeError):
                # No cause: it would quote what was said.
                raise ProtocolError("a message between processes that is none") from None
            at = end
        self._rest = data[at:]
        return found
