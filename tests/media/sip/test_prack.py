"""Before the answer: reliable provisional responses, forks, and UPDATE (RFC 3262, RFC 3311)."""

import asyncio

import pytest

from media.offer import answer_audio
from media.sdp import Origin, Session
from media.sip.capability import ALLOW
from media.sip.incoming import Incoming
from media.sip.message import Request, Response
from media.sip.outgoing import Outgoing
from media.sip.status import Cause
from tests.media.sip.calling import ANSWER, calling
from tests.media.sip.line import PHONE, Line, answer, follow, invite, offer, reply, statuses
from tests.media.sip.test_incoming import moved
from tests.media.sip.test_offering import ours, taken, theirs, turns

# We are called


async def demanding(line: Line, body: bytes | None = None) -> Incoming:
    """Have a call come in that wants to hear reliably."""
    line.put(invite(headers={"Require": "100rel", "Allow": ALLOW}, body=bytes(offer()) if body is None else body))
    await line.settle()
    line.take()
    return line.calls[-1]


def prack(said: Response, *, sequence: int = 2, body: bytes = b"", rack: str = "") -> Request:
    request = follow(invite(), said, "PRACK", sequence=sequence)
    request.headers["RAck"] = [rack or f"{said.get('RSeq')} 1 INVITE"]
    if body:
        request.body, request.headers["Content-Type"] = body, ["application/sdp"]
    return request


async def test_a_caller_that_requires_it_hears_reliably_that_it_rings() -> None:
    line = Line()
    call = await demanding(line)
    call.ring()
    (ringing,) = line.take()
    assert (ringing.status, ringing.get("Require")) == (180, "100rel")
    assert line.passes(0.5) == [ringing]
    assert statuses(line.put(prack(ringing, rack="1 1 INVITE"))) == [481]
    assert statuses(line.put(prack(ringing, sequence=3))) == [200]
    assert statuses(line.put(prack(ringing, sequence=4))) == [481]
    call.answer(answer())
    assert statuses(line.take()) == [200]


async def test_an_acknowledgement_that_crosses_the_answer_is_taken() -> None:
    line = Line()
    call = await demanding(line)
    call.ring()
    (ringing,) = line.take()
    call.answer(answer())
    (ok,) = line.take()
    assert line.passes(0.6) == [ok], "what is not acknowledged is repeated no more"
    assert statuses(line.put(prack(ringing, rack="1 1 INVITE", sequence=2))) == [481]
    assert statuses(line.put(prack(ringing, sequence=3))) == [200]
    assert statuses(line.put(prack(ringing, sequence=4))) == [481]
    line.put(follow(invite(), ok, "ACK"))
    assert call.acked.result() is True
    assert line.passes(60) == []
    assert not call.ended.done()


async def test_an_answer_stands_though_its_ringing_is_never_acknowledged() -> None:
    line = Line()
    call = await demanding(line)
    call.ring()
    call.answer(answer())
    ok = line.take()[-1]
    line.put(follow(invite(), ok, "ACK"))
    assert line.passes(60) == []
    assert statuses(line.put(follow(invite(), ok, "BYE", sequence=5))) == [200]
    assert call.gone.done()


async def test_a_caller_that_does_not_require_it_gets_no_such_trouble() -> None:
    line = Line()
    line.put(invite(headers={"Supported": "100rel"}))
    await line.settle()
    line.take()
    line.calls[-1].ring()
    (ringing,) = line.take()
    assert (ringing.get("Require"), ringing.get("RSeq")) == (None, None)
    assert statuses(line.put(prack(ringing, rack="1 1 INVITE"))) == [481]


async def test_an_answer_waits_until_early_audio_is_acknowledged() -> None:
    line = Line()
    call = await demanding(line)
    call.ring(answer())
    (progress,) = line.take()
    assert Session.parse(progress.body) == answer()
    assert call.answer(answer())
    assert not call.answer(answer())
    assert line.take() == []
    assert statuses(line.put(prack(progress))) == [200, 200]
    assert call.established
    assert line.passes(0.4) == []


async def test_a_caller_that_never_acknowledges_is_refused() -> None:
    line = Line()
    call = await demanding(line)
    call.ring(answer())
    call.answer(answer())
    assert 504 in statuses(line.passes(33))
    assert call.ended.result() is Cause.LOST
    assert call.acked.result() is False
    assert line.endpoint.calls == 0


@pytest.mark.parametrize("answered", [True, False])
async def test_hanging_up_before_the_acknowledgement_refuses_the_call(answered: bool) -> None:
    line = Line()
    call = await demanding(line)
    call.ring(answer())
    if answered:
        call.answer(answer())
    line.take()
    call.bye()
    assert statuses(line.take()) == [480]


async def test_an_early_offer_whose_answer_cannot_be_read_has_none() -> None:
    line = Line()
    call = await demanding(line, b"")
    call.ring()
    assert line.take() == []
    call.ring(offer())
    (progress,) = line.take()
    assert statuses(line.put(prack(progress, body=b"v=1"))) == [488]
    assert call.remote is None


async def test_a_prack_may_bring_the_answer_to_our_offer() -> None:
    line = Line()
    call = await demanding(line, b"")
    call.ring(offer())
    (progress,) = line.take()
    assert statuses(line.put(prack(progress, body=ANSWER))) == [200]
    assert call.remote == Session.parse(ANSWER)
    call.answer(offer())
    (ok,) = line.take()
    line.put(follow(invite(), ok, "ACK"))
    assert call.acked.result() is True
    assert not call.ended.done()


async def test_a_prack_may_bring_a_new_offer() -> None:
    line = Line()
    call = await demanding(line)

    async def answers(asked: Session) -> Session:
        return answer_audio(asked, ("192.0.2.1", 20000), origin=Origin("1", "2", "192.0.2.1"))[0]

    call.on_offer = answers
    call.ring(answer())
    (progress,) = line.take()
    line.put(prack(progress, body=bytes(moved())))
    await line.settle()
    (response,) = line.take()
    assert (response.status, Session.parse(response.body).origin.version) == (200, "2")
    assert call.remote == moved()


async def test_the_caller_changes_early_audio_by_update() -> None:
    line = Line()
    call = await demanding(line)

    async def answers(asked: Session) -> Session:
        return answer(asked)

    call.on_offer = answers
    call.ring(answer())
    (progress,) = line.take()
    update = follow(invite(), progress, "UPDATE", sequence=3)
    update.body, update.headers["Content-Type"] = bytes(moved()), ["application/sdp"]
    line.put(prack(progress))
    line.put(update)
    await line.settle()
    assert statuses(line.take()) == [200]
    assert call.remote == moved()


async def test_we_change_early_audio_by_update() -> None:
    line = Line()
    call = await demanding(line)
    call.ring(answer())
    (progress,) = line.take()
    line.put(prack(progress))
    task = asyncio.ensure_future(call.reinvite(ours()))
    await turns()
    (sent,) = line.take()
    assert (sent.method, sent.sequence) == ("UPDATE", 1)
    line.put(taken(sent, theirs(ours())))
    assert await task == theirs(ours())


# We call


def says(message: Request, status: int, *, tag: str = "one", number: int = 0, body: bytes = b"") -> Response:
    """Return what a phone says before it answers, reliably where `number` is its RSeq."""
    said = reply(message, status, tag=tag, contact=f"<sip:{tag}@203.0.113.9:5062>", body=body)
    said.headers["Allow"] = [ALLOW]
    if number:
        said.headers |= {"Require": ["100rel"], "RSeq": [str(number)]}
    return said


def noted(leg: Outgoing) -> list[tuple[int, Session | None]]:
    heard: list[tuple[int, Session | None]] = []
    leg.on_progress = lambda status, session: heard.append((status, session))
    return heard


async def test_each_reliable_response_is_acknowledged_once_and_in_order() -> None:
    line = Line()
    leg, message = calling(line)
    heard = noted(leg)
    (prack,) = line.put(says(message, 180, number=7), PHONE)
    assert (prack.method, prack.uri, prack.to_tag) == ("PRACK", "sip:one@203.0.113.9:5062", "one")
    assert (prack.get("RAck"), prack.sequence) == ("7 1 INVITE", 2)
    assert line.put(says(message, 180, number=7), PHONE) == []
    assert line.put(says(message, 183, number=9), PHONE) == []
    (prack,) = line.put(says(message, 183, number=8, body=ANSWER), PHONE)
    assert (prack.get("RAck"), prack.sequence) == ("8 1 INVITE", 3)
    assert heard == [(180, None), (183, answer())]
    (ack,) = line.put(says(message, 200), PHONE)
    assert (ack.method, ack.sequence) == ("ACK", 1)
    assert leg.answered.result() == answer() == leg.remote
    leg.bye()
    assert [each.sequence for each in line.take()] == [4]


async def test_each_phone_behind_a_fork_keeps_what_it_said() -> None:
    line = Line()
    leg, message = calling(line)
    other = answer_audio(offer(), ("203.0.113.10", 40000), origin=Origin("9", "1", "203.0.113.10"))[0]
    (first,) = line.put(says(message, 183, tag="one", number=5, body=ANSWER), PHONE)
    (second,) = line.put(says(message, 183, tag="two", number=900, body=bytes(other)), PHONE)
    assert [(each.to_tag, each.get("RAck"), each.sequence) for each in (first, second)] == [
        ("one", "5 1 INVITE", 2),
        ("two", "900 1 INVITE", 2),
    ]
    (third,) = line.put(says(message, 180, tag="one", number=6), PHONE)
    assert (third.to_tag, third.sequence) == ("one", 3)
    (ack,) = line.put(says(message, 200, tag="two"), PHONE)
    assert ack.to_tag == "two"
    assert leg.answered.result() == other
    ack, bye = line.put(says(message, 200, tag="one", body=ANSWER), PHONE)
    assert (ack.method, bye.method, bye.to_tag, bye.sequence) == ("ACK", "BYE", "one", 4)
    assert not leg.ended.done()
    assert len(line.endpoint._stack.legs) == 1


async def test_an_early_dialog_ends_with_the_call() -> None:
    line = Line()
    leg, message = calling(line)
    line.put(says(message, 180, tag="one"), PHONE)
    line.put(says(message, 180, tag="two"), PHONE)
    assert len(line.endpoint._stack.legs) == 2
    line.put(reply(message, 486, tag="one"), PHONE)
    assert leg.gone.done()
    assert line.endpoint._stack.legs == {}


async def test_a_phone_asks_within_its_early_dialog() -> None:
    line = Line()
    leg, message = calling(line)
    line.put(says(message, 180), PHONE)

    def asks(method: str, sequence: int, session: Session | None = None) -> list[int | str]:
        fields = {"Via": [f"SIP/2.0/UDP 203.0.113.9:5062;branch=z9hG4bK{sequence}"], "CSeq": [f"{sequence} {method}"]}
        fields |= {"From": ["<sip:101@203.0.113.9:5062>;tag=one"], "To": message.headers["From"]}
        fields |= {"Call-ID": [message.call_id], "Contact": ["<sip:one@203.0.113.9:5062>"]}
        if session is not None:
            fields["Content-Type"] = ["application/sdp"]
        body = b"" if session is None else bytes(session)
        return statuses(line.put(Request(method, "sip:192.0.2.1", fields, body), PHONE))

    async def answers(_asked: Session) -> Session:
        return offer()

    leg.on_offer = answers
    assert asks("UPDATE", 1) == [200]
    assert asks("UPDATE", 2, moved()) == [491]  # our offer has no answer yet
    assert asks("BYE", 3) == [481]
    line.put(says(message, 183, number=1, body=ANSWER), PHONE)
    assert asks("UPDATE", 4, moved()) == []
    await line.settle()
    assert statuses(line.take()) == [200]
    line.put(says(message, 180, tag="two"), PHONE)
    assert asks("UPDATE", 5, theirs(ours())) == [491]
    assert not leg.ended.done()
