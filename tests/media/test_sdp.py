"""Session descriptions: what peers write, and the inverse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.errors import ProtocolError
from media.sdp import EVENTS, PCMA, PCMU, Codec, Direction, Media, Origin, Session

ASTERISK = (
    b"v=0\r\n"
    b"o=- 1821378401 1821378403 IN IP4 203.0.113.5\r\n"
    b"s=Asterisk\r\n"
    b"c=IN IP4 203.0.113.5\r\n"
    b"t=0 0\r\n"
    b"a=sendonly\r\n"
    b"a=tool:x\r\n"
    b"m=audio 11520 RTP/AVP 0 8 9 96 101\r\n"
    b"a=rtpmap:0 PCMU/8000\r\n"
    b"a=rtpmap:9 G722/8000\r\n"
    b"a=rtpmap:96 opus/48000/2\r\n"
    b"a=fmtp:96 useinbandfec=1\r\n"
    b"a=rtpmap:101 telephone-event/8000\r\n"
    b"a=fmtp:101 0-16\r\n"
    b"a=ptime:20\r\n"
    b"a=maxptime:150\r\n"
    b"m=video 0 RTP/AVP 99\r\n"
    b"c=IN IP6 2001:db8::5\r\n"
    b"a=inactive\r\n"
    b"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
)


def test_a_description_of_a_real_switch_is_read() -> None:
    session = Session.parse(ASTERISK)
    assert session.origin == Origin("1821378401", "1821378403", "203.0.113.5")
    assert (session.name, session.attributes) == ("Asterisk", ("tool:x",))
    audio, video, data = session.media
    assert audio == session.audio
    assert (audio.kind, audio.port, audio.protocol, audio.address) == ("audio", 11520, "RTP/AVP", "203.0.113.5")
    assert audio.codecs == (
        PCMU,
        PCMA,  # a static type needs no rtpmap (RFC 3551 section 6)
        Codec(9, "G722", 8000),
        Codec(96, "opus", 48000, 2, "useinbandfec=1"),
        Codec(101, "telephone-event", 8000, fmtp="0-16"),
    )
    assert (audio.direction, audio.ptime, audio.attributes) == (Direction.SENDONLY, 20, ("maxptime:150",))
    assert (video.port, video.address, video.direction) == (0, "2001:db8::5", Direction.INACTIVE)
    assert video.codecs == (Codec(99, "", 0),)
    assert (data.formats, data.codecs, data.direction) == (("webrtc-datachannel",), (), Direction.SENDONLY)


def test_what_was_read_is_written_and_read_again() -> None:
    session = Session.parse(ASTERISK)
    assert Session.parse(bytes(session)) == session


def test_what_this_side_writes() -> None:
    media = Media("audio", 20000, "RTP/AVP", "192.0.2.1", (PCMU, EVENTS), direction=Direction.SENDRECV, ptime=20)
    assert bytes(Session(Origin("7", "1", "192.0.2.1"), (media,), "chartline")) == (
        b"v=0\r\n"
        b"o=- 7 1 IN IP4 192.0.2.1\r\n"
        b"s=chartline\r\n"
        b"c=IN IP4 192.0.2.1\r\n"
        b"t=0 0\r\n"
        b"m=audio 20000 RTP/AVP 0 101\r\n"
        b"a=rtpmap:0 PCMU/8000\r\n"
        b"a=rtpmap:101 telephone-event/8000\r\n"
        b"a=fmtp:101 0-15\r\n"
        b"a=ptime:20\r\n"
        b"a=sendrecv\r\n"
    )


def test_lines_may_end_in_a_line_feed_alone() -> None:
    assert Session.parse(ASTERISK.replace(b"\r\n", b"\n")) == Session.parse(ASTERISK)
    assert Session.parse(ASTERISK + b"\r\n\r\n") == Session.parse(ASTERISK)


def test_every_truncation_is_read_or_refused() -> None:
    whole = Session.parse(ASTERISK)
    for end in range(len(ASTERISK)):
        try:
            cut = Session.parse(ASTERISK[:end])
        except ProtocolError:
            continue
        assert cut.origin.session_id == whole.origin.session_id
        assert Session.parse(bytes(cut)) == cut


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_protocol_error(data: bytes) -> None:
    for prefix in (b"", b"v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\n", b"v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\nm=audio 1 RTP/AVP "):
        try:
            session = Session.parse(prefix + data)
        except ProtocolError:
            continue
        assert Session.parse(bytes(session)) == session


TOKENS = st.text("abcXYZ019-", min_size=1, max_size=9)
TEXTS = st.builds("{}:{}".format, st.sampled_from(["tool", "mid", "ssrc", "rtcp-fb"]), st.text("ab1 :=/", max_size=9))
ADDRESSES = st.sampled_from(["192.0.2.1", "2001:db8::1", "host.example", "198.51.100.77"])
CODECS = st.builds(
    Codec,
    st.integers(96, 127),
    TOKENS,
    st.sampled_from([8000, 16000, 48000]),
    st.integers(1, 2),
    st.text("ab1;=-", max_size=9),
)
MEDIA = st.builds(
    Media,
    st.sampled_from(["audio", "video"]),
    st.integers(0, 65535),
    st.sampled_from(["RTP/AVP", "RTP/SAVP", "UDP/TLS/RTP/SAVPF"]),
    ADDRESSES,
    st.lists(CODECS, min_size=1, max_size=5, unique_by=lambda codec: codec.payload_type).map(tuple),
    st.just(()),
    st.sampled_from(Direction),
    st.none() | st.integers(1, 200),
    st.lists(TEXTS, max_size=3).map(tuple),
)
SESSIONS = st.builds(
    Session,
    st.builds(Origin, st.integers(0, 2**62).map(str), st.integers(0, 2**62).map(str), ADDRESSES, TOKENS),
    st.lists(MEDIA, max_size=4).map(tuple),
    TOKENS,
    st.lists(TEXTS, max_size=3).map(tuple),
)


@given(SESSIONS)
def test_every_description_survives_its_own_bytes(session: Session) -> None:
    assert Session.parse(bytes(session)) == session


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"v=0", b"v=1"),
        (b"o=- 1821378401 1821378403 IN IP4 203.0.113.5\r\n", b""),
        (b"o=- 1821378401 1821378403 IN IP4 203.0.113.5", b"o=- 1 1 IN IP4"),
        (b"o=- 1821378401 1821378403", b"o=- 1821378401 later"),
        (b"c=IN IP4 203.0.113.5", b"c=IN IP4 2001:db8::5"),
        (b"c=IN IP4 203.0.113.5", b"c=ATM NSAP 203.0.113.5"),
        (b"c=IN IP4 203.0.113.5", b"c=IN IP4 "),
        (b"m=audio 11520", b"m=audio 65536"),
        (b"m=audio 11520", b"m=audio x"),
        (b"RTP/AVP 0 8 9 96 101", b"RTP/AVP"),
        (b"RTP/AVP 0 8 9 96 101", b"RTP/AVP 128"),
        (b"RTP/AVP 0 8 9 96 101", b"RTP/AVP pcmu"),
        (b"RTP/AVP 0 8 9 96 101", b"RTP/AVP" + b" 0" * 65),
        (b"a=tool:x", b"tool:x"),
        (b"a=tool:x", b"a=tool:\rx"),
        (b"m=video 0", b"m=video 0 RTP/AVP 99\r\n" * 16 + b"m=video 0"),
        (b"a=tool:x", b"a=tool:" + b"x" * 16_384),
    ],
)
def test_what_cannot_be_read_is_refused(before: bytes, after: bytes) -> None:
    assert before in ASTERISK
    with pytest.raises(ProtocolError):
        Session.parse(ASTERISK.replace(before, after, 1))


@pytest.mark.parametrize("rtpmap", [b"96 opus", b"96 opus/fast", b"96 ", b"96"])
def test_an_encoding_that_cannot_be_read_is_a_type_that_nobody_knows(rtpmap: bytes) -> None:
    session = Session.parse(ASTERISK.replace(b"96 opus/48000/2", rtpmap))
    assert [codec.name for codec in session.media[0].codecs] == ["PCMU", "PCMA", "G722", "", "telephone-event"]
    assert Session.parse(bytes(session)) == session


def test_a_type_with_a_meaning_of_its_own_keeps_it() -> None:
    session = Session.parse(ASTERISK.replace(b"a=rtpmap:0 PCMU/8000", b"a=rtpmap:0 PCMU/fast"))
    assert session.media[0].codecs[0] == PCMU


@pytest.mark.parametrize(("text", "ptime"), [("30", 30), ("20.0", 20), ("0", None), ("x", None), ("99999", None)])
def test_a_packet_time_that_cannot_be_read_says_nothing(text: str, ptime: int | None) -> None:
    session = Session.parse(ASTERISK.replace(b"ptime:20", f"ptime:{text}".encode()))
    assert session.media[0].ptime == ptime


def test_a_multicast_address_loses_its_time_to_live() -> None:
    session = Session.parse(ASTERISK.replace(b"c=IN IP4 203.0.113.5", b"c=IN IP4 224.2.1.1/127"))
    assert session.media[0].address == "224.2.1.1"


def test_codecs_are_known_by_name_whatever_its_case_and_by_their_clock() -> None:
    media = Media(
        "audio", 1, "RTP/AVP", "a", (Codec(96, "pcmu", 16000), Codec(97, "Pcmu", 8000, 2), Codec(98, "pcMU", 8000))
    )
    assert media.codec("PCMU") == Codec(98, "pcMU", 8000)
    assert media.codec("PCMA") is None


def test_the_next_version_of_a_session_counts_one_up() -> None:
    origin = Origin.new("192.0.2.1")
    assert (origin.next().session_id, origin.version, origin.next().version) == (origin.session_id, "1", "2")


@pytest.mark.parametrize("direction", list(Direction))
def test_a_direction_is_what_is_sent_and_what_is_received(direction: Direction) -> None:
    assert Direction.of(sends=direction.sends, receives=direction.receives) is direction
