"""From where a leg's packets are believed to come, and so where its own go: symmetric RTP with a guard (RFC 4961).

What SDP says is often wrong behind a NAT, so the source of what is heard counts. But whoever sends to an open port must
not get a call's sound by it: a source is taken the sooner the nearer it is to what the signalling said.
"""

from dataclasses import dataclass
from ipaddress import ip_address

from media.errors import ProtocolError
from media.rtp import FRAME_SECONDS, ahead

Address = tuple[str, int]
"IP address and port."

FAR, NEAR, EXACT = 0, 1, 2
"Ranks of a source: anywhere; a signalled IP address with another port; the signalled address and port."

FAR_PACKETS = 5
"Packets in sequence, from where nothing was expected, that are taken for the far end while nobody else is heard."

NEAR_PACKETS = 3
"Packets in sequence from another port of a signalled address that take over from a silent source."

SILENT_SECONDS = 1.0
"A source that was quiet this long may be replaced from a signalled address."

GONE_SECONDS = 3 * FRAME_SECONDS
"A source that was quiet this long may have moved, if its stream goes on elsewhere."

_CANDIDATES = 8
_STRETCH = 500
"Packets that may be lost while a NAT changes its mind: 10 s."


@dataclass(slots=True)
class _Candidate:
    ssrc: int
    sequence: int
    packets: int = 1


class Latch:
    """The guard of one leg.

    - Nothing heard yet: a packet from a signalled address is taken at once, whatever its port; from elsewhere the
      fifth in sequence is.
    - A source of higher rank replaces one of lower rank at once.
    - The same stream (SSRC, sequence numbers going on) from a new place, once the old one is quiet, has moved.
    - Another stream from a signalled address is taken when the present one was silent for a second.
    - Anything else is refused, however much of it comes.

    Packets go where the source is. Only to a source of the lowest rank they do not while the signalled address can be
    reached from everywhere: a far end with an address of its own knows it, and need not be guessed.
    """

    __slots__ = (
        "_candidates",
        "_heard_at",
        "_rank",
        "_sequence",
        "_ssrc",
        "expected",
        "refused",
        "remote",
        "source",
        "via",
    )

    def __init__(self) -> None:
        self.expected: Address | None = None
        "What SDP said."
        self.via: str | None = None
        "The IP address that the signalling itself comes from: behind a NAT, the media's too."
        self.source: Address | None = None
        "Whose packets are taken."
        self.remote: Address | None = None
        "Where packets are sent; None is nowhere."
        self.refused = 0
        "Packets of others."
        self._rank = FAR
        self._ssrc = self._sequence = 0
        self._heard_at = 0.0
        self._candidates: dict[Address, _Candidate] = {}

    def expect(self, address: Address | None, via: str | None = None) -> None:
        """Take what the signalling says; another address than before starts anew, None is on hold."""
        if address != self.expected:
            self.source = None
            self._candidates.clear()
        self.expected, self.via = address, via
        self.remote = self._reply_address()

    def admits(self, source: Address, ssrc: int, sequence: int, now: float) -> bool:
        """Return whether a packet from `source` is the far end's, and remember what it says of it."""
        if source != self.source and not self._takes(source, ssrc, sequence, now):
            self.refused += 1
            return False
        self._ssrc, self._sequence, self._heard_at = ssrc, sequence, now
        return True

    def note(self, ssrc: int, sequence: int, now: float) -> None:
        """Remember the latest packet of the source, which was read without asking."""
        self._ssrc, self._sequence, self._heard_at = ssrc, sequence, now

    def prove(self, source: Address) -> None:
        """Take a source whose packet was made with the far end's key, wherever it is."""
        self.source, self._rank = source, EXACT
        self.remote = self._reply_address()
        self._candidates.clear()

    def rank(self, source: Address) -> int:
        """Return how near a source is to what was signalled: `FAR`, `NEAR` or `EXACT`; the present one is near."""
        return max(self._rank_of(source), NEAR if source == self.source else FAR)

    def _takes(self, source: Address, ssrc: int, sequence: int, now: float) -> bool:
        rank = self._rank_of(source)
        packets = self._in_sequence(source, ssrc, sequence)
        quiet = now - self._heard_at
        if self.source is None:
            taken = rank > FAR or packets >= FAR_PACKETS
        elif rank > self._rank:
            taken = True
        elif ssrc == self._ssrc and 0 < ahead(sequence, self._sequence) <= _STRETCH:
            taken = packets >= 2 and quiet >= GONE_SECONDS
            rank = max(rank, min(self._rank, NEAR))
        else:
            taken = rank > FAR and packets >= NEAR_PACKETS and quiet >= SILENT_SECONDS
        if taken:
            self.source, self._rank = source, rank
            self.remote = self._reply_address()
            self._candidates.clear()
        return taken

    def _rank_of(self, source: Address) -> int:
        if source == self.expected:
            return EXACT
        return NEAR if self.expected is not None and source[0] in (self.expected[0], self.via) else FAR

    def _reply_address(self) -> Address | None:
        if self.expected is None or self.source is None:
            return self.expected
        if self._rank == FAR and ip_address(self.expected[0]).is_global:
            return self.expected
        return self.source

    def _in_sequence(self, source: Address, ssrc: int, sequence: int) -> int:
        known = self._candidates.get(source)
        if known is not None and known.ssrc == ssrc and 0 < ahead(sequence, known.sequence) <= FAR_PACKETS:
            known.sequence = sequence
            known.packets += 1
            return known.packets
        if known is None and len(self._candidates) >= _CANDIDATES:
            self._candidates.clear()
        self._candidates[source] = _Candidate(ssrc, sequence)
        return 1


def is_global(address: str) -> bool:
    """Tell whether an address can be reached from everywhere; a host name cannot be told."""
    try:
        return ip_address(address).is_global
    except ValueError:
        return False


def reachable(remote: Address | None) -> Address | None:
    """Return where to send, as the system writes it; None for an address that means hold (RFC 3264 section 8.4).

    Raises:
        ProtocolError: no IP address, or no port.
    """
    if remote is None:
        return None
    address, port = remote
    try:
        parsed = ip_address(address)
    except ValueError:
        raise ProtocolError("not an IP address for RTP", spec="RFC 4566 section 5.7") from None
    if not 0 <= port <= 65535:
        raise ProtocolError("not a port for RTP", spec="RFC 4566 section 5.14")
    return None if parsed.is_unspecified or port == 0 else (str(parsed), port)
