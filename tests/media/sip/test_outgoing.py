"""Calls that this side makes: answers, refusals, silence, forks and challenges."""

from collections.abc import Awaitable
from typing import Any

import pytest

from media.errors import ProtocolError
from media.sdp import Session
from media.sip.digest import Authority, Login, Outcome
from media.sip.message import Request
from media.sip.status import Cause
from media.sip.uri import Address, Uri
from tests.media.sip.calling import ANSWER, FROM, PHONE_URI, calling, challenged, talking
from tests.media.sip.line import PHONE, REALM, SECRETS, TRUNK, Clock, Line, answer, offer, reply, statuses

# Answered


async def test_a_call_goes_out_rings_is_answered_and_hung_up() -> None:
    line = Line()
    leg, message = calling(line, headers={"X-Call": "one"})
    assert (message.method, message.uri, message.sequence) == ("INVITE", "sip:101@203.0.113.9:5062", 1)
    assert line.wire.sent == []
    assert message.headers["From"][0].startswith('"Front desk" <sip:+12125550100@192.0.2.1>;tag=')
    assert (message.get("To"), message.get("X-Call")) == ("<sip:101@203.0.113.9:5062>", "one")
    assert Session.parse(message.body) == offer()
    heard: list[tuple[int, Session | None]] = []
    leg.on_progress = lambda status, session: heard.append((status, session))
    line.put(reply(message, 100), PHONE)
    line.put(reply(message, 180), PHONE)
    line.put(reply(message, 183, body=ANSWER), PHONE)
    assert heard == [(100, None), (180, None), (183, answer())]
    assert not leg.answered.done()
    (ack,) = line.put(reply(message, 200, body=ANSWER), PHONE)
    assert (ack.method, ack.uri, ack.sequence, ack.to_tag) == ("ACK", "sip:101@203.0.113.9:5062", 1, "peer")
    assert ack.via.branch != message.via.branch
    assert leg.answered.result() == answer() == leg.remote
    leg.bye()
    (bye,) = line.take()
    assert (bye.method, bye.sequence) == ("BYE", 2)
    assert leg.ended.result() is Cause.CLOSED
    line.put(bye.respond(200), PHONE)
    assert leg.gone.done()
    assert line.endpoint.calls == 0


async def test_a_repeated_answer_gets_the_same_ack_again() -> None:
    line = Line()
    leg, message = calling(line)
    first = line.put(reply(message, 200, body=ANSWER), PHONE)
    assert line.put(reply(message, 200, body=ANSWER), PHONE) == first
    assert not leg.ended.done()
    leg.bye()
    line.take()
    assert line.put(reply(message, 200, body=ANSWER), PHONE) == first


async def test_the_peer_hangs_up() -> None:
    line = Line()
    leg, message = talking(line)
    bye = Request("BYE", "sip:192.0.2.1", {"Via": ["SIP/2.0/UDP 203.0.113.9:5062;branch=z9hG4bKb"], "CSeq": ["9 BYE"]})
    bye.headers |= {"From": [f"{message.get('To')};tag=peer"], "To": message.headers["From"]}
    bye.headers |= {"Call-ID": [message.call_id]}
    assert statuses(line.put(bye, PHONE)) == [200]
    assert leg.ended.result() is Cause.HANGUP
    assert statuses(line.put(bye, PHONE)) == [200]


async def test_a_phone_that_answers_without_a_session_is_hung_up_on() -> None:
    for body in (b"", b"v=1\r\n"):
        line = Line()
        leg, message = calling(line)
        assert statuses(line.put(reply(message, 200, body=body), PHONE)) == ["ACK", "BYE"]
        assert leg.answered.result() is None
        assert leg.ended.result() is Cause.UNACCEPTABLE


@pytest.mark.parametrize(("field", "values"), [("Contact", []), ("Record-Route", ["<sip:open"]), ("To", [""])])
async def test_an_answer_that_says_no_way_back_fails_the_call(field: str, values: list[str]) -> None:
    line = Line()
    leg, message = calling(line)
    ok = reply(message, 200, body=ANSWER)
    ok.headers[field] = values
    assert line.put(ok, PHONE) == []
    assert leg.ended.result() is Cause.FAILED
    assert line.endpoint.calls == 0


# Not answered


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (486, Cause.BUSY),
        (600, Cause.BUSY),
        (603, Cause.REFUSED),
        (480, Cause.NO_ANSWER),
        (408, Cause.NO_ANSWER),
        (404, Cause.UNREACHABLE),
        (488, Cause.UNACCEPTABLE),
        (403, Cause.DENIED),
        (401, Cause.DENIED),
        (302, Cause.FAILED),
        (503, Cause.FAILED),
    ],
)
async def test_each_refusal_has_its_cause(status: int, cause: Cause) -> None:
    line = Line()
    leg, message = calling(line)
    assert statuses(line.put(reply(message, status), PHONE)) == ["ACK"]
    assert leg.answered.result() is None
    assert (leg.ended.result(), leg.status) == (cause, status)
    assert line.endpoint.calls == 0


async def test_a_phone_that_is_not_there_is_given_up_after_32_seconds() -> None:
    line = Line()
    leg, _ = calling(line)
    assert statuses(line.passes(32)) == ["INVITE"] * 6
    assert leg.ended.result() is Cause.UNREACHABLE
    assert leg.gone.done()


async def test_a_phone_that_rings_on_and_on_is_cancelled() -> None:
    line = Line()
    leg, message = calling(line, ring_seconds=20)
    line.put(reply(message, 180), PHONE)
    assert line.passes(19) == []
    (cancel,) = line.passes(1)
    assert cancel.method == "CANCEL"
    assert leg.ended.result() is Cause.NO_ANSWER
    line.put(cancel.respond(200), PHONE)
    assert statuses(line.put(reply(message, 487), PHONE)) == ["ACK"]
    assert leg.gone.done()


async def test_a_header_of_ours_cannot_smuggle_in_another() -> None:
    line = Line()
    with pytest.raises(ProtocolError):
        line.endpoint.call(PHONE_URI, offer(), from_=FROM, headers={"X-Call": "a\r\nVia: b"})
    named = Address(Uri("sip", "x\r\nVia: b", "192.0.2.1"), "Ada\r\nVia: b")
    line.endpoint.call(PHONE_URI, offer(), from_=named)
    (message,) = line.take()
    assert len(message.headers["Via"]) == 1
    assert Address.parse(message.headers["From"][0]).display == "Ada  Via: b"


async def test_a_call_to_a_name_that_nobody_has_is_unreachable() -> None:
    line = Line()
    leg = line.endpoint.call(Uri.parse("sip:101@nowhere.invalid"), offer(), from_=FROM)
    assert await leg.answered is None
    assert await leg.ended is Cause.UNREACHABLE
    assert line.take() == []


async def test_a_call_that_has_been_through_too_many_hops_is_not_made() -> None:
    line = Line()
    leg = line.endpoint.call(PHONE_URI, offer(), from_=FROM, max_forwards=0)
    assert leg.ended.result() is Cause.FAILED
    assert line.take() == []


# Forks


async def test_of_two_phones_that_answer_the_first_is_kept_and_the_other_hung_up_on() -> None:
    line = Line()
    leg, message = calling(line)
    line.put(reply(message, 180, tag="one"), PHONE)
    line.put(reply(message, 180, tag="two"), PHONE)
    assert statuses(line.put(reply(message, 200, tag="two", body=ANSWER), PHONE)) == ["ACK"]
    late = reply(message, 200, tag="one", contact="<sip:101@203.0.113.10:5062>", body=ANSWER)
    ack, bye = line.put(late, PHONE)
    assert (ack.method, ack.to_tag, ack.uri) == ("ACK", "one", "sip:101@203.0.113.10:5062")
    assert (bye.method, bye.to_tag, bye.sequence) == ("BYE", "one", 2)
    assert not leg.ended.done()
    leg.bye()
    (ours,) = line.take()
    assert (ours.to_tag, ours.sequence) == ("two", 2)


# Challenges


@pytest.mark.parametrize(("status", "name"), [(401, "Authorization"), (407, "Proxy-Authorization")])
async def test_a_trunk_that_challenges_is_answered_once(status: int, name: str) -> None:
    line = Line()
    authority = Authority(REALM, SECRETS.get, Clock())
    leg, message = calling(line, Uri.parse("sip:+12125550177@198.51.100.7"), login=Login("101", "secret of 101"))
    refusal = reply(message, status)
    refusal.headers["WWW-Authenticate" if status == 401 else "Proxy-Authenticate"] = authority.challenges(message)
    ack, again = line.put(refusal)
    assert ack.method == "ACK"
    assert (again.sequence, again.call_id, again.from_tag) == (2, message.call_id, message.from_tag)
    assert again.via.branch != message.via.branch
    proof = again.get(name)
    shown = Request("INVITE", again.uri, {"Authorization": [proof]})
    assert authority.judge(shown).outcome is Outcome.ACCEPTED
    (ack,) = line.put(reply(again, 200, body=ANSWER))
    assert (ack.sequence, ack.get(name)) == (2, proof)
    leg.bye()
    (bye,) = line.take()
    assert bye.sequence == 3
    bye_refusal = challenged(bye, status)
    (bye_again,) = line.put(bye_refusal)
    assert (bye_again.method, bye_again.sequence) == ("BYE", 4)
    assert bye_again.get(name) != proof
    line.put(challenged(bye_again, status))
    assert leg.gone.done()


async def test_a_trunk_that_is_never_content_is_left() -> None:
    line = Line()
    leg, message = calling(line, login=Login("101", "wrong"))
    for _ in range(2):
        _, message = line.put(challenged(message), PHONE)
    assert statuses(line.put(challenged(message), PHONE)) == ["ACK"]
    assert leg.ended.result() is Cause.DENIED


async def test_a_challenge_that_cannot_be_read_does_not_hang_the_call() -> None:
    line = Line()
    leg, message = calling(line, login=Login("101", "x"), ring_seconds=20)
    refusal = reply(message, 401)
    refusal.headers["WWW-Authenticate"] = ['Digest realm="open']
    assert statuses(line.put(refusal, PHONE)) == ["ACK"]
    assert leg.ended.result() is Cause.DENIED


async def test_a_phone_behind_nat_is_hung_up_on_where_it_is() -> None:
    line = Line()
    register = Request(
        "REGISTER",
        "sip:192.0.2.1",
        {"Via": ["SIP/2.0/UDP 10.0.0.5:5060;rport;branch=z9hG4bKr"], "CSeq": ["1 REGISTER"], "Call-ID": ["r"]}
        | {
            "From": ["<sip:101@192.0.2.1>;tag=r"],
            "To": ["<sip:101@192.0.2.1>"],
            "Contact": ["<sip:101@10.0.0.5:5060>"],
        },
    )
    register.stamp(PHONE)
    line.endpoint.registrar.register(register, "101", PHONE)
    (binding,) = line.endpoint.registrar.contacts("101")
    leg = line.endpoint.call(binding, offer(), from_=FROM)
    assert line.wire.sent[0][1] == PHONE
    (message,) = line.take()
    assert message.uri == "sip:101@10.0.0.5:5060"
    line.put(reply(message, 200, contact="<sip:101@10.0.0.5:5060>", body=ANSWER), PHONE)
    assert line.wire.sent == []
    leg.bye()
    assert line.wire.sent[0][1] == PHONE


async def test_what_is_awaited_comes_true_in_the_loop() -> None:
    line = Line()
    leg, message = calling(line, Uri.parse("sip:+12125550177@198.51.100.7"))
    waiting: list[Awaitable[Any]] = [leg.answered, leg.ended]
    line.put(reply(message, 200, body=ANSWER), TRUNK)
    assert await waiting[0] == answer()
    leg.bye()
    assert await waiting[1] is Cause.CLOSED
