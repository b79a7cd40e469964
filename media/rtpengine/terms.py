"""What rtpengine is asked to say to a far end, and what an exchange was worth: pure functions over descriptions."""

from dataclasses import replace

from media.errors import UnacceptableError
from media.keying import cryptos_of, fingerprints_of, values_of
from media.latch import Address
from media.offer import CODECS
from media.protection import OVER_DTLS, PLAIN, RANKS, SECURED, Protection, Terms
from media.relay import Wanted
from media.rtpengine.bencode import Value
from media.rtpengine.ng import Fields
from media.sdp import EVENT, Codec, Media, Session

INSIDE, OUTSIDE = "inside", "outside"
"Names of rtpengine's interfaces towards us and towards far ends; where it has none of that name, it takes its first."

GATE, FAR = "gate", "far"
"Tags of the two sides of a call in rtpengine: our leg, and whoever it is for."

FLAGS: list[Value] = ["port latching", "strict source"]
"""A description that names another place of ours must not move the far end's port; and once it is settled from where a
far end sends, nobody else is heard."""

WEAK: list[Value] = [
    f"no-{suite}" for suite in ("NULL_HMAC_SHA1_80", "NULL_HMAC_SHA1_32", "F8_128_HMAC_SHA1_80", "F8_128_HMAC_SHA1_32")
]
"What rtpengine would offer and we do not: no encryption at all (RFC 4568 has none; RFC 3711 section 4.1.3), and F8."

_KEYED = ("crypto", "fingerprint", "setup", "tls-id")


def outward(wanted: Wanted, before: Media | None) -> Fields:
    """Return how our offer is to be put to the far end, as `Protection.offer` would; `before` is what it last said."""
    if before is not None:
        protocol, keyed = before.protocol, bool(cryptos_of(before))
    elif wanted.least not in ("rtp", "sdes-srtp") or (wanted.least != "rtp" and not wanted.secure):
        protocol, keyed = OVER_DTLS[0], False
    else:
        protocol, keyed = (PLAIN if wanted.least == "rtp" else SECURED)[0], wanted.secure
    said: Fields = {"transport-protocol": protocol, "ICE": "remove"}
    if protocol in OVER_DTLS:
        return said | {"SDES": ["off"], "rtcp-mux": ["offer"]}
    if protocol in SECURED:
        return said | {"SDES": WEAK, "DTLS": "off"}
    # RFC 8643: keys beside a protocol that does without.
    beside: Fields = {"SDES": WEAK, "OSRTP": ["offer"]} if keyed else {}
    return said | beside | {"DTLS": "off"}


def bare(session: Session) -> Session:
    """Return a description of ours without keys: between us and rtpengine there is nobody."""
    media = tuple(
        replace(each, attributes=tuple(line for line in each.attributes if line.partition(":")[0] not in _KEYED))
        for each in session.media
    )
    return replace(session, media=media)


def chosen(offer: Session, wanted: Wanted) -> Session:
    """Return a far end's offer with one section left, and with one kind of keys: what rtpengine will take.

    Raises:
        UnacceptableError: no codec that we speak, or less protection than will do.
    """
    ways = Protection(secure=wanted.secure, least=wanted.least)
    found: list[tuple[Terms, Media, Media]] = []
    for media in offer.media:
        if media.kind == "audio" and media.port and any(mine.is_like(each) for mine in media.codecs for each in CODECS):
            terms = ways.answer(offer, media)
            if terms is not None and terms.peer is not None and media.protocol not in OVER_DTLS:
                # rtpengine shakes hands only where the protocol says so: the keys beside it are looked at alone.
                media_now = _without(media, ("fingerprint", "setup"))
                terms = ways.answer(_without_prints(offer), media_now)
            if terms is not None:
                found.append((terms, media, _with_one_key(media, terms)))
    if not found:
        raise UnacceptableError("no codec or transport in common")
    _, taken, narrowed = max(found, key=lambda each: RANKS[each[0].protection])
    sections = tuple(narrowed if media is taken else replace(media, port=0) for media in offer.media)
    return replace(offer, media=sections)


def _with_one_key(media: Media, terms: Terms) -> Media:
    if terms.peer is not None:
        return _without(media, ("crypto",))
    media = _without(media, ("fingerprint", "setup"))
    if terms.writes is None:
        return _without(media, ("crypto",))
    rest = _without(media, ("crypto",)).attributes
    taken = next(line for line in media.attributes if _tag_of(media, line) == terms.tag)
    return replace(media, attributes=(*rest, taken))


def _tag_of(media: Media, line: str) -> int | None:
    """Return the tag of a line of keys that we can follow."""
    return next((crypto.tag for crypto in cryptos_of(replace(media, attributes=(line,)))), None)


def _without(media: Media, names: tuple[str, ...]) -> Media:
    return replace(media, attributes=tuple(line for line in media.attributes if line.partition(":")[0] not in names))


def _without_prints(session: Session) -> Session:
    kept = tuple(line for line in session.attributes if line.partition(":")[0] not in ("fingerprint", "setup"))
    return replace(session, attributes=kept)


def answered(offer: Session) -> Fields:
    """Return how our answer is to be put to a far end that offered this."""
    audio = offer.audio
    ice = audio is not None and any(values_of("ice-ufrag", audio.attributes, offer.attributes))
    keyed = audio is not None and audio.protocol in PLAIN and cryptos_of(audio)
    # Whoever offered begins the handshake: it has our answer then, and from behind a NAT has to be first.
    said: Fields = {"ICE": "force" if ice else "remove", "DTLS": "passive"}
    return said | ({"OSRTP": ["accept"]} if keyed else {})


def worth(ours: Session, theirs: Session, *, secure: bool) -> str:
    """Return the protection that two descriptions of one exchange agree on: true, as `Terms.protection` says."""
    mine, other = ours.audio, theirs.audio
    if mine is None or other is None:
        return "rtp"
    if other.protocol in OVER_DTLS and fingerprints_of(ours, mine) and fingerprints_of(theirs, other):
        return "dtls-srtp"
    suites = {crypto.key.suite for crypto in cryptos_of(mine)} & {crypto.key.suite for crypto in cryptos_of(other)}
    return "sdes-srtp" if suites and secure else "rtp"


def place_of(session: Session) -> Address:
    """Return where the sound of a description is wanted.

    Raises:
        UnacceptableError: nowhere.
    """
    audio = session.audio
    if audio is None:
        raise UnacceptableError("the answer takes no codec of the offer")
    return audio.address, audio.port


def placed(session: Session, place: Address) -> Session:
    """Return the description with its sound wanted at `place`."""
    media = tuple(replace(each, address=place[0], port=place[1]) if each.port else each for each in session.media)
    return replace(session, media=media)


Spoken = tuple[Codec, int | None]
"A codec with its payload type, and the payload type of digits beside it."


def spoken(offer: Session, answer: Session) -> Spoken | None:
    """Return what both ways of a call are spoken in; None where that is not one and the same for both."""
    asked, said = offer.audio, answer.audio
    codec = next((each for each in said.codecs if not each.is_named(EVENT)), None) if said is not None else None
    if asked is None or said is None or codec is None:
        return None
    numbers = [_numbers(media, codec) for media in (asked, said)]
    if numbers[0] != numbers[1]:
        return None
    return replace(codec, fmtp=""), numbers[0][1]


def _numbers(media: Media, codec: Codec) -> tuple[int | None, int | None]:
    same, events = media.codec(codec.name, codec.rate, codec.channels), media.codec(EVENT, codec.rate)
    return (same.payload_type if same else None), (events.payload_type if events else None)
