"""What a browser's session description says beside the codecs: where ICE and DTLS find each other (RFC 8829).

One audio section, always with rtcp-mux and bundled; every other section of an offer is refused. Addresses and ports
that a browser writes say nothing: ICE finds where it is, so our own address is read in their place.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from media.errors import UnacceptableError
from media.keying import MUX, Fingerprint, fingerprints_of, muxed, setup_of, values_of
from media.latch import Address
from media.offer import Agreed, answer_audio, offer_audio, settle
from media.protection import OVER_DTLS, Terms
from media.sdp import Codec, Direction, Media, Origin, Session

SECURED = OVER_DTLS[1]
"What browsers call it (RFC 8829 section 5.1.2)."


@dataclass(frozen=True, slots=True)
class Way:
    """How the side that wrote a description can be reached."""

    ufrag: str
    password: str
    "Of ICE (RFC 8839 section 5.4); they authenticate checks and never stand in a log."

    fingerprints: tuple[Fingerprint, ...]
    setup: str
    "actpass, active or passive (RFC 4145 section 4)."

    mid: str

    @classmethod
    def of(cls, session: Session) -> "Way":
        """Read it from a description.

        Raises:
            UnacceptableError: no audio, no ICE credentials, no fingerprint that we trust, or RTCP on a port of its own.
        """
        audio = session.audio
        if audio is None or audio.protocol not in OVER_DTLS:
            raise UnacceptableError("no audio as browsers send it")
        ufrag, password = _said("ice-ufrag", session, audio), _said("ice-pwd", session, audio)
        prints = fingerprints_of(session, audio)
        if len(ufrag) < 4 or len(password) < 22 or not prints or not muxed(audio):
            raise UnacceptableError("no ICE, no DTLS or no rtcp-mux")
        mid = next(values_of("mid", audio.attributes), "")
        return cls(ufrag, password, prints, setup_of(session, audio) or "actpass", mid)


@dataclass(frozen=True, slots=True)
class Own:
    """How we can be reached, as it is written."""

    local: Address
    ufrag: str
    password: str
    candidate: str
    fingerprint: str
    ssrc: int
    name: str
    "Canonical name of RTCP."

    def lines(self, setup: str, mid: str) -> tuple[str, ...]:
        """Return the attributes of a section."""
        return (
            *([f"mid:{mid}"] if mid else []),
            MUX,
            f"ice-ufrag:{self.ufrag}",
            f"ice-pwd:{self.password}",
            f"candidate:{self.candidate}",
            "end-of-candidates",
            f"fingerprint:{self.fingerprint}",
            f"setup:{setup}",
            f"ssrc:{self.ssrc} cname:{self.name}",
        )

    def offer(self, origin: Origin, direction: Direction, codecs: Sequence[Codec]) -> Session:
        """Return an offer."""
        made = offer_audio(
            self.local,
            origin=origin,
            direction=direction,
            codecs=codecs,
            protocol=SECURED,
            attributes=self.lines("actpass", "0"),
        )
        return replace(made, attributes=("group:BUNDLE 0",))

    def answer(self, offer: Session, origin: Origin, setup: str, codecs: Sequence[Codec]) -> tuple[Session, Agreed]:
        """Answer an offer; telephone-event and the codec keep the payload types that the offer gave them.

        Raises:
            UnacceptableError: no audio in common.
        """
        way, audio = Way.of(offer), offer.audio

        def protecting(_session: Session, media: Media) -> Terms | None:
            return _Said(lines_=self.lines(setup, way.mid), protocol=media.protocol) if media is audio else None

        # Sections are told apart by what they are, so the offer is placed first.
        offer = placed(offer, self.local)
        audio = offer.audio
        made, agreed = answer_audio(offer, self.local, origin=origin, codecs=codecs, protecting=protecting)
        return replace(made, attributes=(f"group:BUNDLE {way.mid}",) if way.mid else ()), agreed

    def settle(self, offer: Session, answer: Session) -> Agreed:
        """Return what the browser's answer makes of our offer.

        Raises:
            UnacceptableError: it takes nothing of it.
        """
        return settle(offer, placed(answer, self.local), settling=lambda _ours, _session, theirs: _terms(theirs))


@dataclass(frozen=True, slots=True)
class _Said(Terms):
    """The terms of an answer, with what is written of them."""

    lines_: tuple[str, ...] = ()

    def lines(self) -> tuple[str, ...]:
        return self.lines_


def placed(session: Session, local: Address) -> Session:
    """Return a description with our own address in the place of what a browser wrote, which may be 0.0.0.0."""
    return replace(
        session, media=tuple(replace(each, address=local[0]) if each.port else each for each in session.media)
    )


def _terms(theirs: Media) -> Terms:
    if theirs.protocol not in OVER_DTLS:
        raise UnacceptableError("the answer takes another transport than was offered")
    return Terms(protocol=theirs.protocol)


def _said(name: str, session: Session, media: Media) -> str:
    return next(values_of(name, media.attributes, session.attributes), "")
