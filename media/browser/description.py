"""What a browser's session description says beside the codecs: where ICE and DTLS find each other (RFC 8829).

One audio section, always with rtcp-mux and bundled; every other section of an offer is refused. Addresses and ports
that a browser writes say nothing: ICE finds where it is, so what was agreed on names our own address in their place.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from media.errors import UnacceptableError
from media.offer import Agreed
from media.sdp import EVENT, EVENTS, PCMA, PCMU, PTIME_MS, Codec, Direction, Media, Origin, Session

SECURED = ("UDP/TLS/RTP/SAVPF", "RTP/SAVPF", "UDP/TLS/RTP/SAVP")
"What browsers call it; the first is what RFC 8829 section 5.1.2 wants."

CODECS = (PCMU, PCMA)

_HASHES = frozenset({"sha-256", "sha-384", "sha-512"})


@dataclass(frozen=True, slots=True)
class Way:
    """How the side that wrote a description can be reached."""

    ufrag: str
    password: str
    "Of ICE (RFC 8839 section 5.4); they authenticate checks and never stand in a log."

    fingerprints: tuple[tuple[str, str], ...]
    "Hash function and value of its DTLS certificate (RFC 8122 section 5)."

    setup: str
    "actpass, active or passive (RFC 4145 section 4)."

    mid: str

    @classmethod
    def of(cls, session: Session) -> "Way":
        """Read it from a description.

        Raises:
            UnacceptableError: no audio, no ICE credentials, no fingerprint that we can check, or RTCP on its own port.
        """
        media, _ = audio_of(session)
        said = dict(_pairs((*session.attributes, *media.attributes)))  # what the section says goes before
        prints = [value for name, value in _pairs((*session.attributes, *media.attributes)) if name == "fingerprint"]
        known = tuple((function.lower(), value) for function, _, value in (each.partition(" ") for each in prints))
        known = tuple(each for each in known if each[0] in _HASHES)
        ufrag, password = said.get("ice-ufrag", ""), said.get("ice-pwd", "")
        if len(ufrag) < 4 or len(password) < 22 or not known or "rtcp-mux" not in said:
            raise UnacceptableError("no ICE, no DTLS or no rtcp-mux")
        return cls(ufrag, password, known, said.get("setup", "actpass"), said.get("mid", ""))


@dataclass(frozen=True, slots=True)
class Own:
    """How we can be reached, as it is written."""

    ufrag: str
    password: str
    candidate: str
    "As a= candidate writes it."

    fingerprint: str
    "As a= fingerprint writes it."

    ssrc: int
    "Of all that we send."

    def lines(self, setup: str, mid: str) -> tuple[str, ...]:
        """Return the attributes of a section."""
        return (
            *([f"mid:{mid}"] if mid else []),
            "rtcp-mux",
            f"ice-ufrag:{self.ufrag}",
            f"ice-pwd:{self.password}",
            f"candidate:{self.candidate}",
            "end-of-candidates",
            f"fingerprint:{self.fingerprint}",
            f"setup:{setup}",
            f"ssrc:{self.ssrc} cname:chartline",
        )


def audio_of(session: Session) -> tuple[Media, Codec]:
    """Return the first audio section that a browser's sound can go by, and the codec of it that is to be spoken.

    Raises:
        UnacceptableError: there is none.
    """
    for media in session.media:
        if media.kind == "audio" and media.port and media.protocol in SECURED:
            for codec in CODECS:
                found = media.codec(codec.name)
                if found is not None:
                    return media, found
    raise UnacceptableError("no codec or transport in common")


def offer_of(own: Own, local: tuple[str, int], origin: Origin, direction: Direction, extra: tuple[str, ...]) -> Session:
    """Return an offer of all we speak; `extra` are attributes of the section that are passed on."""
    lines = (*own.lines("actpass", "0"), *extra)
    media = Media(
        "audio", local[1], SECURED[0], local[0], (*CODECS, EVENTS), (), direction, PTIME_MS, lines
    )  # one section, so that both sides bundle it trivially
    return Session(origin, (media,), "chartline", ("group:BUNDLE 0",))


def answer_of(
    offer: Session, own: Own, local: tuple[str, int], origin: Origin, setup: str, extra: tuple[str, ...]
) -> tuple[Session, Agreed]:
    """Answer an offer; telephone-event and the codec keep the payload types that the offer gave them.

    Raises:
        UnacceptableError: no audio in common.
    """
    theirs, codec = audio_of(offer)
    events = theirs.codec(EVENT)
    sends = theirs.direction.receives
    receives = theirs.direction.sends
    mid = Way.of(offer).mid
    codecs = (codec, replace(events, fmtp=EVENTS.fmtp)) if events else (codec,)
    direction = Direction.of(sends=sends, receives=receives)
    lines = (*own.lines(setup, mid), *extra)
    mine = Media("audio", local[1], theirs.protocol, local[0], codecs, (), direction, PTIME_MS, lines)
    sections = tuple(mine if media is theirs else replace(media, port=0, attributes=()) for media in offer.media)
    bundle = (f"group:BUNDLE {mid}",) if mid else ()
    number = events.payload_type if events else None
    agreed = Agreed(codec, codec.payload_type, local, sends, receives, number, number, PTIME_MS)
    return Session(origin, sections, "chartline", bundle), agreed


def settled(offer: Session, answer: Session) -> Agreed:
    """Return what the browser's answer makes of our offer.

    Raises:
        UnacceptableError: it takes nothing of it.
    """
    ours = offer.media[0]
    theirs, codec = audio_of(answer)
    mine = ours.codec(codec.name)
    if mine is None:
        raise UnacceptableError("the answer takes no codec of the offer")
    their_events, our_events = theirs.codec(EVENT), ours.codec(EVENT)
    both = their_events is not None and our_events is not None
    return Agreed(
        codec,
        mine.payload_type,
        (ours.address, ours.port),
        sends=ours.direction.sends and theirs.direction.receives,
        receives=ours.direction.receives and theirs.direction.sends,
        send_events=their_events.payload_type if both and their_events else None,
        receive_events=our_events.payload_type if both and our_events else None,
        ptime=PTIME_MS,
    )


def _pairs(attributes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for text in attributes:
        name, _, value = text.partition(":")
        yield name, value
