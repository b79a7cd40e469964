"""How one leg's packets are protected: what is offered, what is accepted, and what that is truly worth.

What is chosen and why stands in docs/why/decisions/0010-protection.md. Pure but for fresh keys: descriptions in, terms
out.
"""

from dataclasses import dataclass

from media.dtls import identity
from media.errors import UnacceptableError
from media.keying import (
    MUX,
    Crypto,
    Fingerprint,
    cryptos_of,
    fingerprints_of,
    muxed,
    rtcp_of,
    setup_of,
    values_of,
)
from media.latch import Address
from media.sdp import PROTOCOL, Media, Session
from media.srtp import SUITES, Key

RANKS = {"rtp": 0, "sdes-srtp": 1, "dtls-srtp": 2, "sframe": 3}
"The more, the better protected."

PLAIN = (PROTOCOL, "RTP/AVPF")
SECURED = ("RTP/SAVP", "RTP/SAVPF")
OVER_DTLS = ("UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF")
"RFC 5764 section 8."


@dataclass(frozen=True, slots=True)
class Peer:
    """The far end of a DTLS association."""

    fingerprints: tuple[Fingerprint, ...]
    active: bool
    "Whether the handshake is ours to begin."


@dataclass(frozen=True, slots=True)
class Terms:
    """What two descriptions say of protection, as this side sees it."""

    protection: str = "rtp"
    "Of `RANKS`: true, so packets under keys that everybody on the way could read count as rtp."

    protocol: str = PROTOCOL
    reads: Key | None = None
    writes: Key | None = None
    peer: Peer | None = None
    "Whose handshake will give the keys."

    mux: bool = False
    "Whether RTCP shares the port."

    rtcp: Address | None = None
    "Where it goes where it does not."

    tag: int = 0
    "Of the a=crypto line that was taken."

    def lines(self) -> tuple[str, ...]:
        """Return the attributes of our answer."""
        own: tuple[str, ...] = ()
        if self.peer is not None:
            own = (f"fingerprint:{identity().fingerprint}", f"setup:{'active' if self.peer.active else 'passive'}")
        elif self.writes is not None:
            own = (f"crypto:{Crypto(self.tag, self.writes)}",)
        return (*own, MUX) if self.mux else own


UNPROTECTED = Terms()
"Plain RTP."


class Protection:
    """One leg's terms over its versions of descriptions: keys stay as long as the far end's do."""

    def __init__(self, *, secure: bool = False, least: str = "rtp") -> None:
        """`secure` says that nobody on the way reads the signalling, `least` is the least of `RANKS` that will do."""
        self.agreed: Terms | None = None
        "Set by the leg once it follows them."
        self._secure, self._least = secure, least
        self._own = [Crypto(number, Key.new(suite)) for number, suite in enumerate(SUITES, 1)]

    def offer(self) -> tuple[str, tuple[str, ...]]:
        """Return the protocol and the attributes of our next offer."""
        now = self.agreed
        if now is not None and now.peer is None:
            return now.protocol, now.lines()
        if now is not None or self._least not in ("rtp", "sdes-srtp") or (self._least != "rtp" and not self._secure):
            protocol = OVER_DTLS[0] if now is None else now.protocol
            return protocol, (f"fingerprint:{identity().fingerprint}", "setup:actpass", MUX)
        if not self._secure:
            return PROTOCOL, ()
        return PROTOCOL if self._least == "rtp" else SECURED[0], tuple(f"crypto:{each}" for each in self._own)

    def answer(self, session: Session, media: Media, *, natted: bool = False) -> Terms | None:
        """Return the best terms for a section of an offer, or None where there are none that will do.

        `natted`: the far end does not know its own address, and so must send first.
        """
        found = self._by_handshake(session, media, natted) or self._by_line(media)
        if found is None and media.protocol in PLAIN:
            found = Terms("rtp", media.protocol, mux=muxed(media), rtcp=rtcp_of(media))
        return found if found is not None and self._does(found) else None

    def settle(self, ours: Media, session: Session, theirs: Media) -> Terms:
        """Return what the answer's section makes of ours.

        Raises:
            UnacceptableError: not what was offered, or less than will do.
        """
        mux = muxed(ours) and muxed(theirs)
        peer = self._settled_peer(session, theirs) if any(values_of("fingerprint", ours.attributes)) else None
        offered = {crypto.tag: crypto.key for crypto in cryptos_of(ours)}
        taken = next((each for each in cryptos_of(theirs) if each.tag in offered), None)
        found: Terms | None = None
        if peer is not None:
            found = Terms("dtls-srtp", theirs.protocol, peer=peer, mux=mux, rtcp=rtcp_of(theirs))
        elif taken is not None and taken.key.suite == offered[taken.tag].suite:
            found = Terms(
                self._worth,
                theirs.protocol,
                taken.key,
                offered[taken.tag],
                mux=mux,
                rtcp=rtcp_of(theirs),
                tag=taken.tag,
            )
        elif theirs.protocol in PLAIN:
            found = Terms("rtp", theirs.protocol, mux=mux, rtcp=rtcp_of(theirs))
        fits = found is not None and (theirs.protocol == ours.protocol or (taken is not None and _sdes(theirs)))
        if found is None or not fits or not self._does(found):
            raise UnacceptableError("the answer protects less than was asked for")
        return found

    @property
    def _worth(self) -> str:
        # A key that stands in signalling which anybody on the way can read protects from nobody there.
        return "sdes-srtp" if self._secure else "rtp"

    def _does(self, terms: Terms) -> bool:
        return RANKS[terms.protection] >= RANKS[self._least]

    def _by_handshake(self, session: Session, media: Media, natted: bool) -> Terms | None:
        prints, role = fingerprints_of(session, media), setup_of(session, media) or "active"
        if not prints or role == "holdconn" or media.protocol not in (*PLAIN, *SECURED, *OVER_DTLS):
            return None
        now = self.agreed.peer if self.agreed is not None else None
        if now is not None and now.fingerprints == prints and role in ("actpass", _other(active=now.active)):
            active = now.active  # the association goes on (RFC 8842 section 5.3)
        else:
            # RFC 5763 section 5: whoever answers had better be active, so that sound comes sooner.
            active = role == "passive" or (role == "actpass" and not natted)
        peer = Peer(prints, active)
        return Terms("dtls-srtp", media.protocol, peer=peer, mux=muxed(media), rtcp=rtcp_of(media))

    def _by_line(self, media: Media) -> Terms | None:
        if not _sdes(media) and not (self._secure and media.protocol in PLAIN):
            return None
        lines = cryptos_of(media)
        if not lines:
            return None
        # The writer would take any of them, so the strongest is taken.
        taken = min(lines, key=lambda each: SUITES.index(each.key.suite))
        now = self.agreed
        same = now is not None and now.reads == taken.key and now.writes is not None
        writes = now.writes if same and now is not None else Key.new(taken.key.suite)
        return Terms(
            self._worth,
            media.protocol,
            taken.key,
            writes,
            mux=muxed(media),
            rtcp=rtcp_of(media),
            tag=taken.tag,
        )

    def _settled_peer(self, session: Session, theirs: Media) -> Peer | None:
        prints, role = fingerprints_of(session, theirs), setup_of(session, theirs)
        if not prints or role not in ("active", "passive"):
            return None
        return Peer(prints, role == "passive")


def _sdes(media: Media) -> bool:
    return media.protocol in SECURED


def _other(*, active: bool) -> str:
    return "passive" if active else "active"
