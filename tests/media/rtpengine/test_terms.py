"""What rtpengine is asked to say to far ends, what of their offers is taken, and what that is worth."""

from dataclasses import replace

import pytest

from media.errors import UnacceptableError
from media.keying import Crypto
from media.offer import offer_audio
from media.relay import Wanted
from media.rtpengine.terms import answered, bare, chosen, outward, place_of, placed, spoken, worth
from media.sdp import PCMA, PCMU, Codec, Media, Session
from media.srtp import SUITES, Key

HOST = "192.0.2.7"
SECURE = Wanted(secure=True)
SDES = Wanted(secure=True, least="sdes-srtp")
DTLS = Wanted(least="dtls-srtp")
PRINT = "fingerprint:sha-256 " + ":".join(["AB"] * 32)
KEYS = [f"crypto:{number} {Crypto(number, Key.new(suite))}".split(" ", 1)[1] for number, suite in enumerate(SUITES, 1)]
LINES = tuple(f"crypto:{key}" for key in KEYS)
NULL = "crypto:1 NULL_HMAC_SHA1_80 inline:IP09fi4bl9VLDsD9yB8ymR9XxvHPjQyL+cJpT3jg"


def saying(protocol: str = "RTP/AVP", *lines: str) -> Session:
    return offer_audio((HOST, 4000), protocol=protocol, attributes=lines)


@pytest.mark.parametrize(
    ("wanted", "protocol", "more"),
    [
        (Wanted(), "RTP/AVP", {"DTLS"}),
        (SECURE, "RTP/AVP", {"SDES", "DTLS", "OSRTP"}),
        (SDES, "RTP/SAVP", {"SDES", "DTLS"}),
        (Wanted(least="sdes-srtp"), "UDP/TLS/RTP/SAVP", {"SDES", "rtcp-mux"}),
        (DTLS, "UDP/TLS/RTP/SAVP", {"SDES", "rtcp-mux"}),
    ],
)
def test_what_is_offered_depends_on_the_signalling_and_on_the_least(
    wanted: Wanted, protocol: str, more: set[str]
) -> None:
    said = outward(wanted, None)
    assert (said["transport-protocol"], said["ICE"]) == (protocol, "remove")
    assert set(said) == {"transport-protocol", "ICE"} | more
    assert ("NULL" in str(said.get("SDES"))) is (said.get("SDES") not in (None, ["off"]))


def test_a_later_offer_is_as_the_far_end_spoke_before() -> None:
    for protocol, lines in (("RTP/SAVP", LINES[:1]), ("UDP/TLS/RTP/SAVP", (PRINT,)), ("RTP/AVP", LINES[:1])):
        said = outward(SECURE, saying(protocol, *lines).media[0])
        assert said["transport-protocol"] == protocol
        assert ("OSRTP" in said) is (protocol == "RTP/AVP")
    assert "OSRTP" not in outward(SECURE, saying().media[0])


def test_between_us_and_rtpengine_are_no_keys() -> None:
    ours = saying("RTP/AVP", *LINES, PRINT, "setup:actpass", "rtcp-mux")
    assert bare(ours).media[0].attributes == ("rtcp-mux",)


def test_of_an_offer_the_best_protected_section_is_taken_with_its_best_key() -> None:
    both = saying()
    keyed = saying("RTP/SAVP", NULL, *LINES[::-1]).media[0]
    offer = replace(both, media=(*both.media, keyed, Media("video", 5000, "RTP/AVP", HOST)))
    taken = chosen(offer, SECURE)
    assert [media.port for media in taken.media] == [0, 4000, 0]
    assert taken.media[1].attributes == (LINES[0],)
    plain = chosen(offer, Wanted())
    assert [media.port for media in plain.media] == [4000, 0, 0]
    assert plain.media[0].attributes == ()


def test_a_handshake_is_taken_where_the_protocol_says_so_and_keys_beside_it_fall() -> None:
    taken = chosen(saying("UDP/TLS/RTP/SAVP", PRINT, "setup:actpass", *LINES), SECURE)
    assert taken.media[0].attributes == (PRINT, "setup:actpass")
    beside = saying("RTP/AVP", PRINT, "setup:actpass")
    assert chosen(beside, Wanted()).media[0].attributes == ()
    with pytest.raises(UnacceptableError):
        chosen(beside, DTLS)


@pytest.mark.parametrize(
    ("offer", "wanted"),
    [
        (saying(), SDES),
        (saying("RTP/SAVP", NULL), SECURE),
        (saying("RTP/SAVP", *LINES), Wanted(least="sdes-srtp")),
        (saying("RTP/SAVP", *LINES), DTLS),
        (offer_audio((HOST, 4000), codecs=(Codec(18, "G729", 8000),)), Wanted()),
        (replace(saying(), media=()), Wanted()),
    ],
)
def test_what_will_not_do_is_refused(offer: Session, wanted: Wanted) -> None:
    with pytest.raises(UnacceptableError):
        chosen(offer, wanted)


def test_ice_and_keys_are_answered_where_they_were_offered() -> None:
    assert answered(saying()) == {"ICE": "remove", "DTLS": "passive"}
    assert answered(saying("RTP/SAVP", "ice-ufrag:abcd", LINES[0]))["ICE"] == "force"
    assert answered(saying("RTP/AVP", LINES[0]))["OSRTP"] == ["accept"]


def test_protection_is_what_both_said_and_who_could_read_it() -> None:
    keyed, print_ = saying("RTP/SAVP", *LINES), saying("UDP/TLS/RTP/SAVP", PRINT)
    assert worth(keyed, saying("RTP/SAVP", LINES[1]), secure=True) == "sdes-srtp"
    assert worth(keyed, saying("RTP/SAVP", LINES[1]), secure=False) == "rtp"
    assert worth(keyed, saying("RTP/SAVP", NULL), secure=True) == "rtp"
    assert worth(saying("RTP/AVP", *LINES), saying(), secure=True) == "rtp"
    assert worth(print_, print_, secure=False) == "dtls-srtp"
    assert worth(print_, saying("UDP/TLS/RTP/SAVP"), secure=True) == "rtp"
    assert worth(saying(), replace(saying(), media=()), secure=True) == "rtp"


def test_sound_can_be_wanted_elsewhere() -> None:
    moved = placed(saying(), ("127.0.0.1", 30_000))
    assert place_of(moved) == ("127.0.0.1", 30_000)
    with pytest.raises(UnacceptableError):
        place_of(replace(saying(), media=()))


def test_two_speak_alike_only_where_every_number_is_the_same() -> None:
    offer = saying()
    answer = offer_audio((HOST, 5000), codecs=(PCMU,))
    assert spoken(offer, answer) == (PCMU, 101)
    assert spoken(offer, offer_audio((HOST, 5000), codecs=(PCMA,))) == (PCMA, 101)
    other = replace(answer.media[0], codecs=(replace(PCMU, payload_type=96), answer.media[0].codecs[1]))
    assert spoken(offer, replace(answer, media=(other,))) is None
    silent = replace(answer, media=(replace(answer.media[0], codecs=(PCMU,)),))
    assert spoken(offer, silent) is None
    assert spoken(silent, silent) == (PCMU, None)
    assert spoken(offer, replace(answer, media=())) is None
