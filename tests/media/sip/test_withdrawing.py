"""Calls that this side takes back: CANCEL, what crosses it, and what is not sent any more."""

from media.sip.digest import Login
from media.sip.hop import Hop
from media.sip.status import Cause
from media.sip.uri import Uri
from tests.media.sip.calling import ANSWER, FROM, PHONE_URI, calling, challenged, talking
from tests.media.sip.line import HERE, PHONE, Line, Wire, offer, reply, statuses


class Stream(Wire):
    """TCP that keeps what is sent."""

    @property
    def local(self) -> Hop:
        return HERE._replace(transport="tcp")


async def test_a_cancel_goes_the_way_of_its_invite() -> None:
    line = Line()
    leg, message = calling(line)
    line.put(reply(message, 180), PHONE)
    leg.cancel()
    (cancel,) = line.take()
    assert leg.ended.result() is Cause.CANCELLED
    assert leg.answered.result() is None
    assert (cancel.method, cancel.uri, cancel.sequence) == ("CANCEL", message.uri, message.sequence)
    assert cancel.headers["Via"] == message.headers["Via"]
    assert (cancel.from_tag, cancel.to_tag) == (message.from_tag, "")
    assert not leg.gone.done()
    line.put(cancel.respond(200), PHONE)
    line.put(reply(message, 487), PHONE)
    assert leg.gone.done()


async def test_a_cancel_waits_for_the_first_sign_of_the_phone() -> None:
    line = Line()
    leg, message = calling(line)
    leg.cancel()
    leg.cancel()
    assert line.take() == []
    assert statuses(line.put(reply(message, 100), PHONE)) == ["CANCEL"]
    assert line.put(reply(message, 180), PHONE) == []


async def test_an_answer_that_crosses_the_cancel_is_acknowledged_and_hung_up() -> None:
    line = Line()
    leg, message = calling(line)
    line.put(reply(message, 180), PHONE)
    leg.cancel()
    (cancel,) = line.take()
    sent = line.put(reply(message, 200, body=ANSWER), PHONE)
    assert statuses(sent) == ["ACK", "BYE"]
    line.put(cancel.respond(481), PHONE)
    assert line.put(reply(message, 200, body=ANSWER), PHONE) == sent[:1]
    line.put(sent[1].respond(200), PHONE)
    assert leg.ended.result() is Cause.CANCELLED
    assert leg.answered.result() is None
    assert leg.gone.done()


async def test_a_refusal_that_crosses_the_cancel_is_acknowledged() -> None:
    line = Line()
    leg, message = calling(line)
    line.put(reply(message, 180), PHONE)
    leg.cancel()
    line.take()
    assert statuses(line.put(reply(message, 486), PHONE)) == ["ACK"]
    assert leg.ended.result() is Cause.CANCELLED
    assert leg.gone.done()


async def test_a_phone_that_takes_the_cancel_and_never_ends_the_invite_is_given_up() -> None:
    line = Line()
    leg, message = calling(line)
    line.put(reply(message, 180), PHONE)
    leg.cancel()
    (cancel,) = line.take()
    line.put(cancel.respond(200), PHONE)
    line.passes(31)
    assert not leg.gone.done()
    line.passes(2)
    assert leg.gone.done()
    assert line.endpoint.transactions.clients == {}


async def test_a_call_withdrawn_before_its_name_is_looked_up_sends_nothing() -> None:
    line = Line()
    leg = line.endpoint.call(Uri.parse("sip:101@localhost"), offer(), from_=FROM)
    leg.cancel()
    assert leg.ended.result() is Cause.CANCELLED
    await line.settle()
    assert line.take() == []
    assert line.endpoint.calls == 0


async def test_cancelling_what_is_answered_hangs_up() -> None:
    line = Line()
    leg, _ = talking(line)
    leg.cancel()
    assert statuses(line.take()) == ["BYE"]
    assert leg.ended.result() is Cause.CLOSED


async def test_a_call_that_waited_for_tcp_and_was_withdrawn_goes_out_no_more() -> None:
    line, stream = Line(), Stream()
    line.endpoint.wires.add(stream)
    leg = line.endpoint.call(PHONE_URI, offer(), from_=FROM, headers={"Subject": "y" * 1300})
    leg.cancel()
    (waiting,) = stream.sent
    line.endpoint.unsent(*waiting)
    assert line.passes(64) == []
    assert leg.ended.result() is Cause.CANCELLED
    assert leg.gone.done()


async def test_a_cancel_after_a_challenge_waits_for_the_second_invite_to_be_heard() -> None:
    line = Line()
    leg, message = calling(line, login=Login("101", "secret of 101"))
    line.put(reply(message, 100), PHONE)
    _, again = line.put(challenged(message), PHONE)
    leg.cancel()
    assert line.take() == []
    (cancel,) = line.put(reply(again, 180), PHONE)
    assert (cancel.method, cancel.sequence) == ("CANCEL", 2)
