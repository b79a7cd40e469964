"""Offer and answer for one audio stream (RFC 3264): pure functions from descriptions to what was agreed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from media.errors import UnacceptableError
from media.protection import PLAIN, RANKS, UNPROTECTED, Terms
from media.sdp import EVENT, EVENTS, PCMA, PCMU, PROTOCOL, PTIME_MS, Codec, Direction, Media, Origin, Session

Place = tuple[str, int]
"IP address and port."

CODECS = (PCMU, PCMA)
"What the gateway speaks, in the order it offers them."

PASSED_ON = (Codec(9, "G722", 8000), Codec(107, "opus", 48_000, 2))
"""What it can pass on between two legs that both speak it, and makes itself only for a far end without G.711.

G.722's clock is said to be 8 kHz by an old mistake that everybody keeps (RFC 3551 section 4.5.2).
"""

Protecting = Callable[[Session, Media], Terms | None]
"Finds the terms for a section of an offer; None where there are none that will do."

_PTIMES_MS = range(10, 61, 10)


@dataclass(frozen=True, slots=True)
class Agreed:
    """What an exchange settled for the audio, as this side sees it."""

    codec: Codec
    "The codec; its payload type is the one that this side sends."

    receive_type: int
    "The payload type of that codec in packets that come in."

    remote: Place
    "Where this side's packets go: address (a host name where the peer wrote one) and port."

    sends: bool
    "Whether this side may send."

    receives: bool
    "Whether the peer will send."

    send_events: int | None
    "Payload type of telephone-event in packets that go out; None where the peer does not read them."

    receive_events: int | None
    ptime: int
    "Milliseconds of audio in each packet that this side sends."

    terms: Terms = UNPROTECTED
    "How the packets are protected."


Settling = Callable[[Media, Session, Media], Terms]
"Finds the terms of an answer to an offer's section; raises UnacceptableError where there are none."


def plain(session: Session, media: Media) -> Terms | None:  # noqa: ARG001 - as `Protecting` has it
    """Take plain RTP, and nothing else."""
    return Terms(protocol=media.protocol) if media.protocol in PLAIN else None


def offer_audio(
    local: Place,
    *,
    origin: Origin | None = None,
    direction: Direction = Direction.SENDRECV,
    codecs: Sequence[Codec] = CODECS,
    protocol: str = PROTOCOL,
    attributes: tuple[str, ...] = (),
) -> Session:
    """Return an offer of these codecs in their order, with packets wanted at `local`."""
    media = Media(
        "audio",
        local[1],
        protocol,
        local[0],
        (*codecs, *_events_for(codecs)),
        direction=direction,
        ptime=PTIME_MS,
        attributes=attributes,
    )
    return Session(origin or Origin.new(local[0]), (media,), "chartline")


def answer_audio(
    offer: Session,
    local: Place,
    *,
    origin: Origin | None = None,
    direction: Direction = Direction.SENDRECV,
    codecs: Sequence[Codec] = CODECS,
    otherwise: Sequence[Codec] = (),
    protecting: Protecting = plain,
) -> tuple[Session, Agreed]:
    """Answer an offer with its best protected audio section, and the first codec there that we speak.

    `otherwise` are spoken where none of `codecs` is offered. Every other section is refused. `direction` is what we
    wish; the offer may allow less (RFC 3264 section 6.1).
    Telephone-event keeps the payload type that the offer gave it.

    Raises:
        UnacceptableError: no audio with a codec that we speak and protection that will do.
    """
    found, codec, terms = _best(offer, codecs, protecting) or _best(offer, otherwise, protecting) or _nothing()
    events = _events_of(found, codec)
    sends = found.direction.receives and direction.sends and not found.held
    receives = found.direction.sends and direction.receives
    # What is decoded here is taken 20 ms at a time.
    ptime = _ptime(found) if any(codec.is_like(each) for each in codecs) else PTIME_MS
    mine = Media(
        "audio",
        local[1],
        found.protocol,
        local[0],
        (codec, replace(events, fmtp=EVENTS.fmtp)) if events else (codec,),
        direction=Direction.of(sends=sends, receives=receives),
        ptime=ptime,
        attributes=terms.lines(),
    )
    sections = tuple(mine if media is found else replace(media, port=0, attributes=()) for media in offer.media)
    answer = Session(origin or Origin.new(local[0]), sections, "chartline")
    number = events.payload_type if events else None
    remote = found.address, found.port
    return answer, Agreed(codec, codec.payload_type, remote, sends, receives, number, number, ptime, terms)


def settle_plain(ours: Media, session: Session, theirs: Media) -> Terms:  # noqa: ARG001 - as `Settling` has it
    """Take plain RTP, and nothing else.

    Raises:
        UnacceptableError: something else.
    """
    if theirs.protocol not in PLAIN:
        raise UnacceptableError("the answer takes another transport than was offered")
    return Terms(protocol=theirs.protocol)


def settle(offer: Session, answer: Session, *, settling: Settling = settle_plain) -> Agreed:
    """Return what the peer's `answer` makes of our `offer`.

    Raises:
        UnacceptableError: the answer refuses the audio, or picks nothing that was offered.
    """
    ours = offer.audio
    place = offer.media.index(ours) if ours is not None else 0
    theirs = answer.media[place] if place < len(answer.media) else None
    codec = _speakable(theirs, ours.codecs) if ours is not None and theirs is not None else None
    mine = ours.codec(codec.name, codec.rate, codec.channels) if ours is not None and codec is not None else None
    if ours is None or theirs is None or codec is None or mine is None:
        raise UnacceptableError("the answer takes no codec of the offer")
    terms = settling(ours, answer, theirs)
    their_events, our_events = _events_of(theirs, codec), _events_of(ours, codec)
    return Agreed(
        codec,
        mine.payload_type,
        (theirs.address, theirs.port),
        sends=ours.direction.sends and theirs.direction.receives and not theirs.held,
        receives=ours.direction.receives and theirs.direction.sends,
        send_events=their_events.payload_type if their_events and our_events else None,
        receive_events=our_events.payload_type if their_events and our_events else None,
        ptime=_ptime(theirs),
        terms=terms,
    )


def _best(offer: Session, codecs: Sequence[Codec], protecting: Protecting) -> tuple[Media, Codec, Terms] | None:
    found: list[tuple[Media, Codec, Terms]] = []
    for media in offer.media:
        codec = _speakable(media, codecs)
        terms = protecting(offer, media) if codec is not None else None
        if codec is not None and terms is not None:
            found.append((media, codec, terms))
    # Of two that are alike, the first: max keeps it.
    return max(found, key=lambda each: RANKS[each[2].protection], default=None)


def _nothing() -> NoReturn:
    raise UnacceptableError("no codec or transport in common")


def _speakable(media: Media, codecs: Sequence[Codec]) -> Codec | None:
    """Return the first codec of a section that we speak, or None where the section is none of ours."""
    if media.kind != "audio" or not media.port or not media.address:
        return None
    for codec in media.codecs:
        if any(codec.is_like(each) for each in codecs):
            return codec
    return None


def _events_of(media: Media, beside: Codec) -> Codec | None:
    return media.codec(EVENT, beside.rate)


def _events_for(codecs: Sequence[Codec]) -> tuple[Codec, ...]:
    # Events share the clock of the sound they stand beside (RFC 4733 section 2.1).
    more = (Codec(110, EVENT, 48_000, fmtp=EVENTS.fmtp),) if any(codec.rate == 48_000 for codec in codecs) else ()
    return (EVENTS, *more)


def _ptime(media: Media) -> int:
    return media.ptime if media.ptime is not None and media.ptime in _PTIMES_MS else PTIME_MS
