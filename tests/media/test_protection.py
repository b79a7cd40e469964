"""What protects a leg: what is offered, what is taken of an offer, what an answer makes of ours."""

from dataclasses import replace

import pytest

from media.dtls import identity
from media.errors import UnacceptableError
from media.exchange import Exchange
from media.keying import Crypto, cryptos_of
from media.offer import Agreed
from media.protection import Protection
from media.sdp import PCMU, Direction, Media, Origin, Session
from media.srtp import SUITES, Key

HERE, THERE = ("192.0.2.1", 20_000), ("192.0.2.2", 30_000)
GCM256, GCM128, CM80, CM32 = SUITES
PRINT = f"fingerprint:{identity().fingerprint}"


def exchange(*, secure: bool = False, least: str = "rtp", local: tuple[str, int] = HERE) -> Exchange:
    return Exchange(local, Protection(secure=secure, least=least))


def audio(session: Session) -> Media:
    assert session.audio is not None
    return session.audio


def offered(protocol: str, *attributes: str) -> Session:
    media = Media("audio", THERE[1], protocol, THERE[0], (PCMU,), attributes=attributes)
    return Session(Origin("1", "1", THERE[0]), (media,))


def crypto(suite: int, tag: int = 1) -> str:
    return f"crypto:{Crypto(tag, Key.new(SUITES[suite]))}"


def meet(one: Exchange, other: Exchange) -> tuple[Agreed, Agreed]:
    answer, theirs = other.answer(Session.parse(bytes(one.offer(Direction.SENDRECV))))
    return one.settle(Session.parse(bytes(answer))), theirs


@pytest.mark.parametrize(
    ("secure", "least", "protocol", "names"),
    [
        (False, "rtp", "RTP/AVP", []),
        (True, "rtp", "RTP/AVP", ["crypto"] * 4),
        (True, "sdes-srtp", "RTP/SAVP", ["crypto"] * 4),
        (False, "sdes-srtp", "UDP/TLS/RTP/SAVP", ["fingerprint", "setup", "rtcp-mux"]),
        (True, "dtls-srtp", "UDP/TLS/RTP/SAVP", ["fingerprint", "setup", "rtcp-mux"]),
        (False, "dtls-srtp", "UDP/TLS/RTP/SAVP", ["fingerprint", "setup", "rtcp-mux"]),
    ],
)
def test_what_is_offered(secure: bool, least: str, protocol: str, names: list[str]) -> None:
    media = audio(exchange(secure=secure, least=least).offer(Direction.SENDRECV))
    assert (media.protocol, [text.partition(":")[0] for text in media.attributes]) == (protocol, names)


def test_the_best_suite_is_offered_first_and_each_with_a_key_of_its_own() -> None:
    lines = cryptos_of(audio(exchange(secure=True).offer(Direction.SENDRECV)))
    assert [each.key.suite for each in lines] == list(SUITES)
    assert [each.tag for each in lines] == [1, 2, 3, 4]
    assert len({each.key.material[:16] for each in lines}) == 4


@pytest.mark.parametrize("least", ["rtp", "sdes-srtp"])
def test_two_of_us_read_what_the_other_writes(least: str) -> None:
    ours, theirs = meet(exchange(secure=True, least=least), exchange(secure=True, local=THERE))
    assert (ours.terms.protection, theirs.terms.protection) == ("sdes-srtp", "sdes-srtp")
    assert ours.terms.writes == theirs.terms.reads
    assert ours.terms.reads == theirs.terms.writes
    assert ours.terms.reads is not None
    assert ours.terms.reads.suite is GCM256
    assert ours.terms.reads != ours.terms.writes


def test_two_of_us_shake_hands_in_opposite_roles() -> None:
    ours, theirs = meet(exchange(least="dtls-srtp"), exchange(local=THERE))
    assert ours.terms.protection == theirs.terms.protection == "dtls-srtp"
    assert ours.terms.peer is not None
    assert theirs.terms.peer is not None
    assert (ours.terms.peer.active, theirs.terms.peer.active) == (False, True)
    assert ours.terms.mux
    assert theirs.terms.mux


def test_of_several_lines_the_strongest_is_taken_under_its_tag() -> None:
    offer = offered("RTP/SAVP", crypto(3, 7), crypto(2, 8), crypto(1, 9))
    answer, agreed = exchange(secure=True).answer(offer)
    (line,) = cryptos_of(audio(answer))
    assert (line.tag, line.key.suite) == (9, GCM128)
    assert line.key == agreed.terms.writes
    assert agreed.terms.reads == cryptos_of(audio(offer))[2].key


@pytest.mark.parametrize("protocol", ["RTP/SAVP", "RTP/SAVPF"])
def test_a_key_that_everybody_could_read_is_called_what_it_is_worth(protocol: str) -> None:
    offer = offered(protocol, crypto(2))
    answer, agreed = exchange().answer(offer)
    assert (agreed.terms.protection, audio(answer).protocol) == ("rtp", protocol)
    assert agreed.terms.reads is not None
    with pytest.raises(UnacceptableError):
        exchange(least="sdes-srtp").answer(offer)


def test_keys_beside_plain_rtp_are_taken_where_nobody_listens_and_passed_over_elsewhere() -> None:
    offer = offered("RTP/AVP", crypto(0))
    answer, agreed = exchange(secure=True).answer(offer)
    assert (agreed.terms.protection, audio(answer).protocol) == ("sdes-srtp", "RTP/AVP")
    answer, agreed = exchange().answer(offer)
    assert (agreed.terms.protection, audio(answer).attributes, agreed.terms.reads) == ("rtp", (), None)


@pytest.mark.parametrize("protocol", ["UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF", "RTP/SAVPF", "RTP/AVP"])
@pytest.mark.parametrize(("said", "answered"), [("actpass", "active"), ("passive", "active"), ("active", "passive")])
def test_an_offered_handshake_is_answered(protocol: str, said: str, answered: str) -> None:
    offer = offered(protocol, PRINT, f"setup:{said}", crypto(2))
    answer, agreed = exchange(secure=True).answer(offer)
    assert agreed.terms.protection == "dtls-srtp"
    assert audio(answer).attributes == (PRINT, f"setup:{answered}")
    assert cryptos_of(audio(answer)) == []


def test_a_far_end_that_does_not_know_its_address_sends_first() -> None:
    answer, _ = exchange().answer(offered("UDP/TLS/RTP/SAVP", PRINT, "setup:actpass", "rtcp-mux"), natted=True)
    assert audio(answer).attributes == (PRINT, "setup:passive", "rtcp-mux")


@pytest.mark.parametrize(
    ("secure", "least", "offer"),
    [
        (True, "rtp", offered("RTP/SAVP")),
        (True, "rtp", offered("RTP/SAVP", "crypto:1 AES_CM_128_HMAC_SHA1_80 inline:short")),
        (False, "rtp", offered("UDP/TLS/RTP/SAVP", PRINT, "setup:holdconn")),
        (False, "rtp", offered("UDP/TLS/RTP/SAVP", "setup:actpass")),
        (True, "sdes-srtp", offered("RTP/AVP")),
        (True, "dtls-srtp", offered("RTP/SAVP", crypto(0))),
        (True, "sframe", offered("UDP/TLS/RTP/SAVP", PRINT, "setup:actpass")),
    ],
)
def test_what_protects_too_little_is_refused_and_nothing_changes(secure: bool, least: str, offer: Session) -> None:
    one = exchange(secure=secure, least=least)
    before = one.offer(Direction.SENDRECV)
    with pytest.raises(UnacceptableError):
        one.answer(offer)
    assert one.offer(Direction.SENDRECV).media == before.media


def test_of_two_sections_the_protected_one_is_taken_whatever_their_order() -> None:
    plain, secured = offered("RTP/AVP").media[0], offered("RTP/SAVP", crypto(2)).media[0]
    for sections in ((plain, secured), (secured, plain)):
        answer, agreed = exchange(secure=True).answer(replace(offered("RTP/AVP"), media=sections))
        assert agreed.terms.protection == "sdes-srtp"
        assert [media.port for media in answer.media] == [HERE[1] if media is secured else 0 for media in sections]


def answered(to: Session, protocol: str, *attributes: str) -> Session:
    return replace(offered(protocol, *attributes), origin=to.origin)


def test_an_answer_that_leaves_the_keys_out_is_plain_where_that_will_do() -> None:
    one = exchange(secure=True)
    agreed = one.settle(answered(one.offer(Direction.SENDRECV), "RTP/AVP"))
    assert (agreed.terms.protection, agreed.terms.writes) == ("rtp", None)
    # And so it stays.
    assert audio(one.offer(Direction.SENDRECV)).attributes == ()


def test_an_answer_that_calls_protected_what_we_called_plain_is_understood() -> None:
    one = exchange(secure=True)
    agreed = one.settle(answered(one.offer(Direction.SENDRECV), "RTP/SAVP", crypto(2, 3)))
    assert agreed.terms.protection == "sdes-srtp"


@pytest.mark.parametrize(
    ("least", "protocol", "attributes"),
    [
        ("sdes-srtp", "RTP/SAVP", []),
        ("sdes-srtp", "RTP/AVP", []),
        ("sdes-srtp", "RTP/SAVP", [crypto(0, 2)]),  # another suite than that tag's
        ("sdes-srtp", "RTP/SAVP", [crypto(0, 9)]),  # a tag that was not offered
        ("dtls-srtp", "UDP/TLS/RTP/SAVP", [PRINT, "setup:actpass"]),
        ("dtls-srtp", "UDP/TLS/RTP/SAVP", ["setup:active"]),
        ("dtls-srtp", "RTP/AVP", []),
        ("rtp", "RTP/SAVP", []),
    ],
)
def test_an_answer_that_protects_less_than_was_asked_for_is_refused(
    least: str, protocol: str, attributes: list[str]
) -> None:
    one = exchange(secure=True, least=least)
    offer = one.offer(Direction.SENDRECV)
    with pytest.raises(UnacceptableError):
        one.settle(answered(offer, protocol, *attributes))


def test_keys_stay_while_the_far_end_s_do_and_change_with_them() -> None:
    one = exchange(secure=True)
    offer = offered("RTP/SAVP", crypto(2))
    _, first = one.answer(offer)
    _, again = one.answer(offer)
    assert again.terms == first.terms
    ours = audio(one.offer(Direction.SENDONLY))
    assert [each.key for each in cryptos_of(ours)] == [first.terms.writes]
    assert ours.protocol == "RTP/SAVP"
    _, anew = one.answer(offered("RTP/SAVP", crypto(2)))
    assert anew.terms.reads != first.terms.reads
    assert anew.terms.writes != first.terms.writes


def test_an_association_keeps_its_roles_while_the_certificate_is_the_same() -> None:
    one = exchange()
    _, first = one.answer(offered("UDP/TLS/RTP/SAVP", PRINT, "setup:active", "rtcp-mux"))
    answer, again = one.answer(offered("UDP/TLS/RTP/SAVP", PRINT, "setup:actpass", "rtcp-mux"))
    assert again.terms.peer == first.terms.peer
    assert "setup:passive" in audio(answer).attributes
    assert audio(one.offer(Direction.SENDRECV)).attributes == (PRINT, "setup:actpass", "rtcp-mux")
    other = PRINT[:-2] + ("00" if PRINT[-2:] != "00" else "01")
    _, anew = one.answer(offered("UDP/TLS/RTP/SAVP", other, "setup:actpass"))
    assert anew.terms.peer != first.terms.peer
