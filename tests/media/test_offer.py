"""Offer and answer for one audio stream."""

from dataclasses import replace

import pytest

from media.errors import UnacceptableError
from media.offer import CODECS, PASSED_ON, Agreed, answer_audio, offer_audio, settle
from media.sdp import EVENTS, PCMA, PCMU, Codec, Direction, Media, Origin, Session

OURS = ("192.0.2.1", 20000)
THEIRS = ("198.51.100.7", 30000)
G722 = Codec(9, "G722", 8000)


def session(*codecs: Codec, **changes: object) -> Session:
    media = Media("audio", THEIRS[1], "RTP/AVP", THEIRS[0], codecs or (PCMU, EVENTS))
    return Session(Origin("7", "1", THEIRS[0]), (replace(media, **changes),))  # type: ignore[arg-type]


def audio(of: Session) -> Media:
    assert of.audio is not None
    return of.audio


def test_two_of_us_agree() -> None:
    offer = offer_audio(THEIRS)
    answer, ours = answer_audio(offer, OURS)
    theirs = settle(offer, answer)
    assert ours == Agreed(PCMU, 0, THEIRS, True, True, 101, 101, 20)
    assert theirs == Agreed(PCMU, 0, OURS, True, True, 101, 101, 20)
    assert [codec.name for codec in audio(answer).codecs] == ["PCMU", "telephone-event"]


def test_the_first_codec_of_the_offer_that_we_speak_is_taken() -> None:
    answer, agreed = answer_audio(session(G722, PCMA, PCMU, EVENTS), OURS)
    assert agreed.codec == PCMA
    assert audio(answer).codecs == (PCMA, EVENTS)


def test_a_codec_under_another_number_keeps_it() -> None:
    answer, agreed = answer_audio(
        session(Codec(97, "pcmu", 8000), Codec(96, "Telephone-Event", 8000, fmtp="0-11")), OURS
    )
    assert (agreed.codec.payload_type, agreed.receive_type, agreed.send_events) == (97, 97, 96)
    assert [codec.payload_type for codec in audio(answer).codecs] == [97, 96]
    assert audio(answer).codecs[1].fmtp == "0-15"


def test_an_answer_may_number_its_types_its_own_way() -> None:
    offer = offer_audio(OURS)
    agreed = settle(offer, session(Codec(98, "PCMA", 8000), Codec(99, "telephone-event", 8000)))
    assert (agreed.codec.payload_type, agreed.receive_type) == (98, 8)
    assert (agreed.send_events, agreed.receive_events) == (99, 101)


def test_without_telephone_event_there_are_no_events() -> None:
    answer, agreed = answer_audio(session(PCMU), OURS)
    assert (agreed.send_events, agreed.receive_events) == (None, None)
    assert audio(answer).codecs == (PCMU,)
    assert settle(offer_audio(OURS), session(PCMU)).receive_events is None


@pytest.mark.parametrize(
    ("offered", "wished", "answered"),
    [
        (Direction.SENDRECV, Direction.SENDRECV, Direction.SENDRECV),
        (Direction.SENDONLY, Direction.SENDRECV, Direction.RECVONLY),
        (Direction.RECVONLY, Direction.SENDRECV, Direction.SENDONLY),
        (Direction.INACTIVE, Direction.SENDRECV, Direction.INACTIVE),
        (Direction.SENDRECV, Direction.SENDONLY, Direction.SENDONLY),
        (Direction.SENDONLY, Direction.SENDONLY, Direction.INACTIVE),
    ],
)
def test_the_answer_s_direction_is_the_offer_s_turned_round(
    offered: Direction, wished: Direction, answered: Direction
) -> None:
    offer = session(direction=offered)
    answer, agreed = answer_audio(offer, OURS, direction=wished)
    assert audio(answer).direction is answered
    assert (agreed.sends, agreed.receives) == (answered.sends, answered.receives)
    theirs = settle(offer, answer)
    assert (theirs.sends, theirs.receives) == (agreed.receives, agreed.sends)


def test_the_hold_of_old_phones_stops_what_we_send() -> None:
    _, agreed = answer_audio(session(address="0.0.0.0"), OURS)
    assert (agreed.sends, agreed.receives) == (False, True)
    assert settle(offer_audio(OURS), session(address="0.0.0.0")).sends is False


@pytest.mark.parametrize(
    "offer",
    [
        session(G722),
        session(Codec(0, "PCMU", 16000)),
        session(kind="video"),
        session(protocol="RTP/SAVP"),
        session(port=0),
        session(address=""),
        Session(Origin("7", "1", THEIRS[0])),
    ],
    ids=["codec", "clock", "kind", "protocol", "port", "address", "empty"],
)
def test_what_we_cannot_do_is_refused(offer: Session) -> None:
    with pytest.raises(UnacceptableError):
        answer_audio(offer, OURS)


def test_every_other_section_is_refused_in_its_place() -> None:
    one, video = session().media[0], Media("video", 9000, "RTP/AVP", THEIRS[0], (Codec(99, "H264", 90000),))
    secure = replace(one, protocol="RTP/SAVP", attributes=("crypto:1 x",))
    offer = Session(Origin("7", "1", THEIRS[0]), (secure, video, one, replace(one, port=30010)))
    answer, agreed = answer_audio(offer, OURS)
    assert [(media.kind, media.port) for media in answer.media] == [
        ("audio", 0),
        ("video", 0),
        ("audio", 20000),
        ("audio", 0),
    ]
    assert answer.media[1].codecs == video.codecs
    assert agreed.remote == THEIRS
    assert Session.parse(bytes(answer)) == answer


@pytest.mark.parametrize(
    "answer",
    [
        session(G722),
        session(port=0),
        Session(Origin("7", "1", THEIRS[0])),
        session(protocol="RTP/SAVP"),
        session(kind="video"),
    ],
    ids=["codec", "refused", "empty", "protocol", "kind"],
)
def test_an_answer_that_takes_nothing_is_refused(answer: Session) -> None:
    with pytest.raises(UnacceptableError):
        settle(offer_audio(OURS), answer)


def test_an_answer_to_an_offer_without_audio_settles_nothing() -> None:
    with pytest.raises(UnacceptableError):
        settle(Session(Origin("7", "1", OURS[0])), session())


@pytest.mark.parametrize(("asked", "given"), [(30, 30), (None, 20), (25, 20), (200, 20)])
def test_the_packet_time_that_the_peer_asks_for_is_kept_where_it_is_sane(asked: int | None, given: int) -> None:
    answer, agreed = answer_audio(session(ptime=asked), OURS)
    assert (agreed.ptime, audio(answer).ptime) == (given, given)


def test_a_later_version_keeps_the_session() -> None:
    first, _ = answer_audio(session(), OURS)
    again, _ = answer_audio(session(), OURS, origin=first.origin.next())
    assert again.origin.session_id == first.origin.session_id
    assert again.origin.version == "2"


def test_more_codecs_are_offered_behind_the_two_laws_only_where_that_is_asked_for() -> None:
    assert [codec.name for codec in audio(offer_audio(OURS)).codecs] == ["PCMU", "PCMA", "telephone-event"]
    offer = offer_audio(OURS, codecs=(*CODECS, *PASSED_ON))
    assert [str(codec) for codec in audio(offer).codecs] == [
        "PCMU/8000",
        "PCMA/8000",
        "G722/8000",
        "opus/48000/2",
        "telephone-event/8000",
        "telephone-event/48000",
    ]


@pytest.mark.parametrize(("codec", "events"), [(G722, 101), (Codec(96, "OPUS", 48_000, 2), 98)])
def test_a_codec_that_is_only_passed_on_is_agreed_with_the_events_of_its_clock(codec: Codec, events: int) -> None:
    offered = session(codec, PCMU, EVENTS, Codec(98, "telephone-event", 48_000))
    with_it, agreed = answer_audio(offered, OURS, codecs=(*CODECS, *PASSED_ON))
    assert (agreed.codec, agreed.receive_events) == (codec, events)
    assert audio(with_it).codecs[0] == codec
    without, agreed = answer_audio(offered, OURS)
    assert (agreed.codec, audio(without).codecs[0]) == (PCMU, PCMU)


def test_an_answer_may_take_a_codec_that_is_only_passed_on() -> None:
    offer = offer_audio(OURS, codecs=(*CODECS, *PASSED_ON))
    agreed = settle(offer, session(Codec(111, "opus", 48_000, 2), Codec(112, "telephone-event", 48_000)))
    assert (agreed.codec.payload_type, agreed.receive_type) == (111, 107)
    assert (agreed.send_events, agreed.receive_events) == (112, 110)
    with pytest.raises(UnacceptableError):
        settle(offer_audio(OURS), session(Codec(111, "opus", 48_000, 2)))
