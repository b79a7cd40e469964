"""Calls that come in: ringing, answering, every way they end, and what crosses on the wire."""

import pytest

from media.offer import offer_audio
from media.sdp import Origin, Session
from media.sip.incoming import Incoming
from media.sip.message import Request, Response
from media.sip.status import Cause
from tests.media.sip.line import Line, answer, follow, invite, offer, request, statuses


async def ringing(line: Line, message: Request | None = None) -> Incoming:
    """Have an INVITE come in and ring."""
    line.put(message or invite())
    await line.settle()
    call = line.calls[-1]
    call.ring()
    return call


async def talking(line: Line) -> tuple[Incoming, Response]:
    """Have a call answered and acknowledged."""
    call = await ringing(line)
    assert call.answer(answer())
    ok = line.take()[-1]
    line.put(follow(invite(), ok, "ACK"))
    assert call.acked.result()
    return call, ok


def moved() -> Session:
    """Return the caller's next offer, from another port."""
    return offer_audio(("198.51.100.7", 31000), origin=Origin("7", "2", "198.51.100.7"))


def reinvite(ok: Response, *, sequence: int = 2, body: bytes = b"", kind: str = "application/sdp") -> Request:
    again = follow(invite(), ok, "INVITE", sequence=sequence)
    again.body = body
    if body:
        again.headers["Content-Type"] = [kind]
    return again


# Set-up


async def test_a_call_rings_is_answered_and_hung_up_by_the_caller() -> None:
    line = Line()
    assert statuses(line.put(invite())) == [100]
    await line.settle()
    (call,) = line.calls
    assert (call.trunk, call.to_number, call.display_name) == ("carrier", "+12125550100", "Ada")
    assert call.offer == offer()
    call.ring()
    (progress,) = line.take()
    assert (progress.status, progress.contacts[0].uri.host) == (180, "192.0.2.1")
    assert call.answer(answer())
    (ok,) = line.take()
    assert ok.status == 200
    assert ok.to_tag == progress.to_tag
    assert Session.parse(ok.body) == answer()
    assert line.put(follow(invite(), ok, "ACK")) == []
    assert call.acked.result() is True
    assert statuses(line.put(follow(invite(), ok, "BYE", sequence=2))) == [200]
    assert call.ended.result() is Cause.HANGUP
    assert call.gone.done()
    assert line.endpoint.calls == 0


async def test_three_copies_of_an_invite_are_one_call() -> None:
    line = Line()
    assert statuses(line.put(invite())) == [100]
    assert statuses(line.put(invite())) == [100]
    await line.settle()
    line.calls[0].ring()
    line.take()
    assert statuses(line.put(invite())) == [180]
    line.calls[0].answer(answer())
    line.take()
    assert line.put(invite()) == []
    await line.settle()
    assert len(line.calls) == 1
    assert line.endpoint.calls == 1


async def test_early_audio_goes_out_with_progress() -> None:
    line = Line()
    call = await ringing(line)
    call.ring(answer())
    assert statuses(line.take()) == [180, 183]
    call.answer(answer())
    call.ring()
    assert statuses(line.take()) == [200]


async def test_a_long_ringing_is_repeated_every_minute_so_that_no_proxy_gives_up() -> None:
    line = Line()
    call = await ringing(line)
    line.take()
    assert statuses(line.passes(121)) == [180, 180]
    call.answer(answer())
    line.take()
    line.put(follow(invite(), call.request.respond(200, to_tag=call._server.tag), "ACK"))
    assert line.passes(600) == []


async def test_the_answer_is_repeated_until_its_ack_comes() -> None:
    line = Line()
    call = await ringing(line)
    line.take()
    call.answer(answer())
    (ok,) = line.take()
    assert line.passes(0.4) == []
    assert line.passes(0.2) == [ok]
    assert line.passes(1.0) == [ok]
    line.put(follow(invite(), ok, "ACK", sequence=7))
    assert not call.acked.done()
    line.put(follow(invite(), ok, "ACK"))
    line.put(follow(invite(), ok, "ACK"))
    assert call.acked.result() is True
    assert line.passes(60) == []


async def test_an_answer_that_is_never_acknowledged_ends_the_call_with_bye() -> None:
    line = Line()
    call = await ringing(line)
    line.take()
    call.answer(answer())
    (ok,) = line.take()
    sent = line.passes(33)
    assert sent[:-2] == [ok] * 10
    assert statuses(sent[-2:]) == ["BYE", "BYE"]
    assert call.ended.result() is Cause.LOST
    assert call.acked.result() is False
    line.put(sent[-1].respond(481))
    assert call.gone.done()
    assert line.endpoint.calls == 0


async def test_an_invite_without_an_offer_gets_ours_and_its_ack_carries_the_answer() -> None:
    line = Line()
    call = await ringing(line, invite(body=b""))
    line.take()
    assert call.offer is None
    call.answer(offer_audio(("192.0.2.1", 20000)))
    (ok,) = line.take()
    ack = follow(invite(), ok, "ACK")
    ack.body, ack.headers["Content-Type"] = bytes(answer()), ["application/sdp"]
    line.put(ack)
    assert call.remote == Session.parse(ack.body)


async def test_an_ack_that_should_carry_an_answer_and_has_none_ends_the_call() -> None:
    line = Line()
    call = await ringing(line, invite(body=b""))
    call.answer(offer_audio(("192.0.2.1", 20000)))
    ok = line.take()[-1]
    assert statuses(line.put(follow(invite(), ok, "ACK"))) == ["BYE"]
    assert call.ended.result() is Cause.UNACCEPTABLE


# Who calls, and whom


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (invite(from_='"Jos\udce9 Mu\udcf1oz" <sip:+12125550123@198.51.100.7>;tag=far'), "José Muñoz"),
        (invite(from_='"José" <sip:+12125550123@198.51.100.7>;tag=far'), "José"),
        (invite(headers={"P-Asserted-Identity": '"\udce9" <tel:+12125550123>'}), "é"),
    ],
)
async def test_a_callers_name_is_text_whatever_bytes_it_came_in(message: Request, name: str) -> None:
    line = Line()
    assert statuses(line.put(message)) == [100]
    await line.settle()
    assert (line.calls[0].from_number, line.calls[0].display_name) == ("+12125550123", name)


async def test_a_number_that_was_dialled_is_text_whatever_bytes_it_came_in() -> None:
    line = Line()
    line.put(invite(uri="sip:caf%E9@192.0.2.1", headers={"P-Called-Party-ID": "<sip:%E9@192.0.2.1>"}))
    await line.settle()
    assert line.calls[0].called == ["café", "é", "+12125550100"]


@pytest.mark.parametrize(
    ("headers", "number", "name"),
    [
        ({"P-Asserted-Identity": "<sip:@198.51.100.7>"}, "+12125550123", "Ada"),
        ({"P-Asserted-Identity": "anonymous"}, "+12125550123", "Ada"),
        ({"P-Asserted-Identity": '"Bo, <tel:+12125550199>'}, "+12125550123", "Ada"),
        ({"P-Asserted-Identity": "<sip:@198.51.100.7>, <tel:+12125550199>"}, "+12125550199", "Ada"),
        ({"From": '"Anonymous" <sip:@198.51.100.7>;tag=far'}, "", "Anonymous"),
        ({"From": "anonymous;tag=far"}, "", ""),
        ({"From": "<sip:@c>;tag=far", "P-Asserted-Identity": '"Bo" <tel:+12125550199>'}, "+12125550199", "Bo"),
    ],
)
async def test_what_says_who_calls_and_cannot_be_read_turns_nobody_away(
    headers: dict[str, str], number: str, name: str
) -> None:
    line = Line()
    assert statuses(line.put(invite(headers=headers))) == [100]
    await line.settle()
    assert (line.calls[0].from_number, line.calls[0].display_name) == (number, name)


@pytest.mark.parametrize(
    ("headers", "called"),
    [
        ({"P-Called-Party-ID": "<sip:@192.0.2.1>"}, ["u100", "+12125550100"]),
        ({"P-Called-Party-ID": '"+12125550101, x'}, ["u100", "+12125550100"]),
        ({"To": "<sip:@192.0.2.1>", "P-Called-Party-ID": "<tel:+12125550101>"}, ["u100", "+12125550101"]),
    ],
)
async def test_what_says_who_is_called_and_cannot_be_read_is_skipped(
    headers: dict[str, str], called: list[str]
) -> None:
    line = Line()
    line.put(invite(uri="sip:u100@192.0.2.1", headers=headers))
    await line.settle()
    assert line.calls[0].called == called


async def test_a_call_to_nobody_by_name_is_a_call() -> None:
    line = Line()
    line.put(invite(uri="sip:192.0.2.1", to="<sip:@192.0.2.1>"))
    await line.settle()
    assert line.calls[0].to_number == ""


# Refusing and giving up


async def test_a_refusal_is_repeated_until_its_ack() -> None:
    line = Line()
    call = await ringing(line)
    line.take()
    call.reject(486)
    (busy,) = line.take()
    assert (busy.status, busy.reason) == (486, "Busy Here")
    assert line.passes(0.5) == [busy]
    ack = follow(invite(), busy, "ACK", branch="one")
    assert line.put(ack) == []
    assert line.passes(40) == []
    assert call.ended.result() is Cause.CLOSED
    assert call.acked.result() is False
    call.reject(603)
    call.ring()
    assert call.answer(answer()) is False
    assert line.take() == []


async def test_a_caller_who_hangs_up_early_ends_the_call_at_once() -> None:
    line = Line()
    call = await ringing(line)
    line.take()
    sent = line.put(request("CANCEL"))
    assert statuses(sent) == [200, 487]
    assert sent[0].to_tag == sent[1].to_tag
    assert call.ended.result() is Cause.CANCELLED
    assert call.answer(answer()) is False
    assert line.take() == []
    assert statuses(line.put(request("CANCEL"))) == [200]
    assert line.endpoint.calls == 0


async def test_a_cancel_that_comes_after_the_answer_changes_nothing() -> None:
    line = Line()
    call = await ringing(line)
    line.take()
    call.answer(answer())
    (ok,) = line.take()
    assert statuses(line.put(request("CANCEL"))) == [200]
    assert not call.ended.done()
    line.put(follow(invite(), ok, "ACK"))
    assert call.acked.result() is True


async def test_a_cancel_before_anyone_rang_ends_the_call() -> None:
    line = Line()
    line.put(invite())
    assert statuses(line.put(request("CANCEL"))) == [200, 487]
    await line.settle()
    assert line.calls[0].ended.result() is Cause.CANCELLED


async def test_a_cancel_for_nothing_is_told_so() -> None:
    assert statuses(Line().put(request("CANCEL"))) == [481]


async def test_a_bye_before_the_answer_ends_the_call_like_cancel() -> None:
    line = Line()
    call = await ringing(line)
    progress = line.take()[-1]
    assert statuses(line.put(follow(invite(), progress, "BYE", sequence=2))) == [200, 487]
    assert call.ended.result() is Cause.CANCELLED
    assert line.endpoint.calls == 0


async def test_a_fault_of_ours_refuses_the_call_and_keeps_the_line() -> None:
    line = Line()

    async def fails(_call: Incoming) -> None:
        raise ZeroDivisionError

    line.endpoint.on_invite = fails
    line.put(invite())
    await line.settle()
    assert statuses(line.take()) == [500]
    assert line.endpoint.calls == 0


# Hanging up


async def test_this_side_hangs_up() -> None:
    line = Line()
    call, _ = await talking(line)
    call.bye()
    (bye,) = line.take()
    assert (bye.method, bye.uri, bye.sequence, bye.to_tag) == ("BYE", "sip:ada@198.51.100.7:5060", 1, "far")
    assert call.ended.result() is Cause.CLOSED
    assert not call.gone.done()
    line.put(bye.respond(200))
    assert call.gone.done()
    call.bye()
    assert line.take() == []


async def test_a_bye_waits_for_the_ack_of_the_answer() -> None:
    line = Line()
    call = await ringing(line)
    call.answer(answer())
    ok = line.take()[-1]
    call.bye()
    assert call.ended.result() is Cause.CLOSED
    assert line.take() == []
    assert line.passes(0.5) == [ok]
    assert statuses(line.put(follow(invite(), ok, "ACK"))) == ["BYE"]


async def test_hanging_up_what_still_rings_refuses_it() -> None:
    line = Line()
    call = await ringing(line)
    line.take()
    call.bye()
    assert statuses(line.take()) == [480]
    assert call.ended.result() is Cause.CLOSED


async def test_a_repeated_bye_gets_the_same_answer_though_the_call_is_gone() -> None:
    line = Line()
    _, ok = await talking(line)
    bye = follow(invite(), ok, "BYE", sequence=2)
    first = line.put(bye)
    assert statuses(first) == [200]
    assert line.put(bye) == first
    assert statuses(line.put(follow(invite(), ok, "BYE", sequence=3))) == [481]


async def test_two_byes_that_cross_are_both_answered() -> None:
    line = Line()
    call, ok = await talking(line)
    call.bye()
    (ours,) = line.take()
    assert statuses(line.put(follow(invite(), ok, "BYE", sequence=2))) == [200]
    line.put(ours.respond(481))
    assert call.ended.result() is Cause.CLOSED
    assert call.gone.done()


async def test_a_bye_that_nobody_answers_is_given_up() -> None:
    line = Line()
    call, _ = await talking(line)
    call.bye()
    assert statuses(line.passes(40)) == ["BYE"] * 11
    assert call.gone.done()
    assert line.endpoint.calls == 0


async def test_a_lost_ack_is_made_up_for_by_a_bye() -> None:
    line = Line()
    call = await ringing(line)
    call.answer(answer())
    ok = line.take()[-1]
    assert statuses(line.put(follow(invite(), ok, "BYE", sequence=2))) == [200]
    assert call.ended.result() is Cause.HANGUP
    assert call.acked.result() is False
    assert line.passes(40) == []


async def test_requests_out_of_order_are_refused() -> None:
    line = Line()
    call, ok = await talking(line)
    assert statuses(line.put(follow(invite(), ok, "BYE", sequence=1))) == [500]
    assert not call.ended.done()
    assert statuses(line.put(follow(invite(), ok, "BYE", sequence=9))) == [200]
