"""How sound gets from one leg to another, whatever carries the two: what any two legs offer each other.

All legs of a relay live on one event loop and read their packets into one buffer. A packet goes on before the loop does
anything else, so it is never copied on the way:

1. The leg that hears reads a packet into the shared buffer and, where it is protected, takes the protection off in
   place. Its payload then stands in `buffer[start:end]`.
2. Where the two speak different laws, it changes the payload to the other's law in its place (`translation`).
3. It calls `peer.pass_on(...)`. The peer writes an RTP header of its own into the 12 bytes before `start`, protects the
   packet in place and sends it. What it is told of the packet is what stood in its header as it was heard; the peer
   keeps order, gaps and repetitions, under its own SSRC, payload type and offsets (`rtp.Outbound.follow`).

So whoever hears must leave `HEADROOM` bytes before `start` (an RTP header is as long, so this is so by itself) and
`TAILROOM` bytes after `end` (`rtp.LONGEST` of a buffer of `BUFFER_BYTES`). Header extensions, contributing sources and
padding of the packet that was heard are not passed on. The buffer holds whatever the next reader puts there: what is
kept beyond `pass_on` is copied.

Two legs are bridged by calling `link` on each with the other; `voice.Voice` is a base class that does all of this, and
needs to be told only how a packet that stands in the buffer is sent.
"""

from typing import Protocol

from hub import g711
from media.sdp import Codec

BUFFER_BYTES = 2048
"Of the buffer that all legs of a relay share."

HEADROOM = 12
"Bytes before the payload that the peer may overwrite."

TAILROOM = 64
"Bytes behind the payload that the peer may overwrite: authentication tags, and the index of SRTCP."

LAWS = {"PCMU/8000": g711.Codec.PCMU, "PCMA/8000": g711.Codec.PCMA}
"The encodings that can be made, mixed and recorded here; every other can only be passed on."


class Mouth(Protocol):
    """What a packet that was heard is passed on to."""

    encoding: str
    "What it speaks, by `encoding_of`."

    def pass_on(
        self, event: bool, marker: int, ssrc: int, sequence: int, timestamp: int, start: int, end: int, now: float
    ) -> None:
        """Send on the payload in `buffer[start:end]`, already in this encoding, or drop it.

        `event` says that it is a telephone event (RFC 4733), not sound. `marker` is 0 or 0x80; `ssrc`, `sequence` and
        `timestamp` are those of the packet as it was heard; `now` is the loop's time in seconds.
        """
        ...

    def hush(self, level: int) -> None:
        """The peer's far end is silent and sends no more for now: send noise of `level`, -dBov, until it speaks.

        From a comfort noise payload (RFC 3389 section 3.1); 127 is silence.
        """
        ...


class Party(Mouth, Protocol):
    """A leg, as the one it is bridged to sees it."""

    @property
    def mouth(self) -> Mouth | None:
        """What takes G.711 for it: itself or what makes its codec; None where nothing can."""
        ...

    def retype(self, key: str) -> None:
        """Press a key that the peer's far end pressed, where its packets cannot be passed on."""
        ...

    @property
    def peer(self) -> "Party | None":
        """The leg it is bridged to."""
        ...

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        ...

    def link(self, peer: "Party | None") -> None:
        """Pass what is heard on to `peer`, or to nobody; whoever links two, links both ways."""
        ...

    def align(self) -> None:
        """Look anew how its sound gets to its peer, which speaks another codec than before."""
        ...


def encoding_of(codec: Codec) -> str:
    """Return name and clock of a codec in one spelling: PCMU/8000, OPUS/48000/2."""
    return str(codec).upper()


def passable(heard: str, spoken: str) -> bool:
    """Tell whether what is heard in one encoding can be passed on in another without decoding."""
    return heard == spoken or (heard in LAWS and spoken in LAWS)


def translation(heard: str, spoken: str) -> bytes | None:
    """Return the `bytes.translate` table from one law to the other; None where the bytes stay as they are."""
    if heard == spoken:
        return None
    return g711.table_between(LAWS[heard], LAWS[spoken])
