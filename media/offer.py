"""Offer and answer for one audio stream (RFC 3264): pure functions from descriptions to what was agreed."""

from dataclasses import dataclass, replace

from media.errors import UnacceptableError
from media.sdp import EVENT, EVENTS, PCMA, PCMU, PROTOCOL, PTIME_MS, Codec, Direction, Media, Origin, Session

Place = tuple[str, int]
"IP address and port."

CODECS = (PCMU, PCMA)
"What the gateway speaks, in the order it offers them."

RATE = 8000
"Hz."

_NAMES = frozenset(codec.name for codec in CODECS)
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


def offer_audio(local: Place, *, origin: Origin | None = None, direction: Direction = Direction.SENDRECV) -> Session:
    """Return an offer of every codec we speak, with packets wanted at `local`."""
    media = Media("audio", local[1], PROTOCOL, local[0], (*CODECS, EVENTS), direction=direction, ptime=PTIME_MS)
    return Session(origin or Origin.new(local[0]), (media,), "chartline")


def answer_audio(
    offer: Session, local: Place, *, origin: Origin | None = None, direction: Direction = Direction.SENDRECV
) -> tuple[Session, Agreed]:
    """Answer an offer with the first audio section and codec that we speak; every other section is refused.

    `direction` is what we wish; the offer may allow less (RFC 3264 section 6.1). Telephone-event keeps the payload
    type that the offer gave it.

    Raises:
        UnacceptableError: no plain RTP audio with a codec that we speak.
    """
    found, codec = next(((media, codec) for media in offer.media if (codec := _speakable(media))), (None, None))
    if found is None or codec is None:
        raise UnacceptableError("no codec or transport in common")
    events = found.codec(EVENT)
    sends = found.direction.receives and direction.sends and not found.held
    receives = found.direction.sends and direction.receives
    mine = Media(
        "audio",
        local[1],
        found.protocol,
        local[0],
        (codec, replace(events, fmtp=EVENTS.fmtp)) if events else (codec,),
        direction=Direction.of(sends=sends, receives=receives),
        ptime=_ptime(found),
    )
    sections = tuple(mine if media is found else replace(media, port=0, attributes=()) for media in offer.media)
    answer = Session(origin or Origin.new(local[0]), sections, "chartline")
    number = events.payload_type if events else None
    remote = found.address, found.port
    return answer, Agreed(codec, codec.payload_type, remote, sends, receives, number, number, _ptime(found))


def settle(offer: Session, answer: Session) -> Agreed:
    """Return what the peer's `answer` makes of our `offer`.

    Raises:
        UnacceptableError: the answer refuses the audio, or picks nothing that was offered.
    """
    ours = offer.audio
    place = offer.media.index(ours) if ours is not None else 0
    theirs = answer.media[place] if place < len(answer.media) else None
    codec = _speakable(theirs) if theirs is not None else None
    mine = ours.codec(codec.name) if ours is not None and codec is not None else None
    if ours is None or theirs is None or codec is None or mine is None:
        raise UnacceptableError("the answer takes no codec of the offer")
    their_events, our_events = theirs.codec(EVENT), ours.codec(EVENT)
    return Agreed(
        codec,
        mine.payload_type,
        (theirs.address, theirs.port),
        sends=ours.direction.sends and theirs.direction.receives and not theirs.held,
        receives=ours.direction.receives and theirs.direction.sends,
        send_events=their_events.payload_type if their_events and our_events else None,
        receive_events=our_events.payload_type if their_events and our_events else None,
        ptime=_ptime(theirs),
    )


def _speakable(media: Media) -> Codec | None:
    """Return the first codec of a section that we speak, or None where the section is none of ours."""
    if media.kind != "audio" or not media.port or media.protocol != PROTOCOL or not media.address:
        return None
    for codec in media.codecs:
        if codec.rate == RATE and codec.channels == 1 and codec.name.upper() in _NAMES:
            return codec
    return None


def _ptime(media: Media) -> int:
    return media.ptime if media.ptime is not None and media.ptime in _PTIMES_MS else PTIME_MS
