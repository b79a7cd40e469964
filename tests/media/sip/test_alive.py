"""Session timers in calls: who refreshes, what is refused, and how a peer that is gone is found (RFC 4028)."""

import pytest

from media.sip.capability import ALLOW
from media.sip.incoming import Incoming
from media.sip.message import Response
from media.sip.outgoing import Outgoing
from media.sip.status import Cause
from tests.media.sip.calling import ANSWER, calling
from tests.media.sip.line import PHONE, Line, answer, follow, invite, reply, statuses
from tests.media.sip.test_incoming import reinvite, ringing
from tests.media.sip.test_offering import taken, turns


async def taking(line: Line, **fields: str) -> tuple[Incoming, Response]:
    """Have a call come in whose INVITE says `fields`, and answer it."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    call = await ringing(line, invite(headers=named))
    call.answer(answer())
    ok = line.take()[-1]
    line.put(follow(invite(), ok, "ACK"))
    return call, ok


async def making(line: Line, **fields: str) -> Outgoing:
    """Make a call whose 2xx says `fields`."""
    leg, message = calling(line)
    ok = reply(message, 200, body=ANSWER)
    ok.headers |= {name.replace("_", "-"): [value] for name, value in fields.items()}
    line.put(ok, PHONE)
    return leg


async def test_a_caller_that_knows_no_timers_is_asked_by_us() -> None:
    line = Line()
    call, ok = await taking(line)
    assert (ok.get("Session-Expires"), ok.get("Require")) == ("1800;refresher=uas", None)
    assert line.passes(899) == []
    line.passes(2)
    await turns()
    (sent,) = line.take()
    assert (sent.method, sent.body) == ("INVITE", ok.body)
    assert sent.get("Session-Expires") == "1800;refresher=uac"
    line.put(taken(sent, call.remote))
    await line.settle()
    assert line.passes(898) == []


async def test_a_caller_that_takes_update_is_asked_by_that() -> None:
    line = Line()
    _, _ = await taking(line, Allow=ALLOW, Supported="timer", Session_Expires="600")
    line.passes(301)
    await turns()
    (sent,) = line.take()
    assert (sent.method, sent.body, sent.get("Session-Expires")) == ("UPDATE", b"", "600;refresher=uac")
    line.put(taken(sent, Session_Expires="200;refresher=uac"))
    await line.settle()
    line.passes(101)
    await turns()
    assert statuses(line.take()) == ["UPDATE"]


async def test_a_caller_that_refuses_each_refresh_is_asked_every_45_seconds_at_most() -> None:
    line = Line()
    call, ok = await taking(line, Allow=ALLOW, Session_Expires="0")
    assert ok.get("Session-Expires") == "90;refresher=uas"
    for _ in range(10):
        assert line.passes(44) == []
        line.passes(1)
        await turns()
        (sent,) = line.take()
        assert sent.method == "UPDATE"
        line.put(sent.respond(500))
        await line.settle()
        assert line.take() == []
    assert not call.ended.done()


async def test_a_caller_that_refreshes_and_then_does_not_is_hung_up_on() -> None:
    line = Line()
    call, ok = await taking(line, Supported="timer", Session_Expires="600;refresher=uac")
    assert (ok.get("Session-Expires"), ok.get("Require")) == ("600;refresher=uac", "timer")
    assert line.passes(300) == []
    update = follow(invite(), ok, "UPDATE", sequence=2)
    update.headers |= {"Supported": ["timer"], "Session-Expires": ["600;refresher=uac"]}
    (response,) = line.put(update)
    assert (response.status, response.get("Session-Expires")) == (200, "600;refresher=uac")
    assert line.passes(567) == []
    assert statuses(line.passes(1)) == ["BYE"]
    assert call.ended.result() is Cause.LOST


async def test_a_peer_that_is_gone_is_found_by_our_refresh() -> None:
    line = Line()
    call, _ = await taking(line)
    line.passes(901)
    await turns()
    assert statuses(line.take()) == ["INVITE"]
    line.passes(32)
    await line.settle()
    assert statuses(line.take()) == ["BYE"]
    assert call.ended.result() is Cause.LOST


async def test_a_peer_that_refuses_a_refresh_is_there() -> None:
    line = Line()
    call, _ = await taking(line)
    for _ in range(2):
        line.passes(901)
        await turns()
        (sent,) = line.take()
        line.put(sent.respond(488))
        await line.settle()
    assert not call.ended.done()


async def test_a_longer_minimum_is_taken_up_in_the_middle_of_a_call() -> None:
    line = Line()
    _, _ = await taking(line, Allow=ALLOW, Supported="timer", Session_Expires="600")
    line.passes(301)
    await turns()
    (sent,) = line.take()
    line.put(sent.respond(422, headers={"Min-SE": ["900"]}))
    await turns()
    (again,) = line.take()
    assert (again.get("Session-Expires"), again.get("Min-SE")) == ("900;refresher=uac", "900")
    line.put(taken(again, Session_Expires="900;refresher=uac"))
    await line.settle()


@pytest.mark.parametrize("least", ["90", "soon"])
async def test_a_refusal_that_wants_no_longer_minimum_is_not_answered_at_once(least: str) -> None:
    line = Line()
    call, _ = await taking(line, Allow=ALLOW, Supported="timer", Session_Expires="600")
    line.passes(301)
    await turns()
    (sent,) = line.take()
    line.put(sent.respond(422, headers={"Min-SE": [least]}))
    await line.settle()
    assert line.take() == []
    assert line.passes(299) == []
    assert not call.ended.done()


async def test_an_interval_that_is_too_brief_is_refused_in_the_middle_too() -> None:
    line = Line()
    call, ok = await taking(line)
    again = reinvite(ok, body=bytes(call.remote or b""))
    again.headers |= {"Supported": ["timer"], "Session-Expires": ["30"]}
    (refusal,) = line.put(again)
    assert (refusal.status, refusal.get("Min-SE")) == (422, "90")
    assert not call.ended.done()


# Calls that go out


async def test_an_invite_asks_for_the_interval_and_takes_what_the_phone_says() -> None:
    line = Line(session_seconds=1200)
    leg, message = calling(line)
    assert (message.get("Session-Expires"), message.get("Min-SE")) == ("1200", None)
    ok = reply(message, 200, body=ANSWER)
    ok.headers |= {"Session-Expires": ["300;refresher=uas"], "Require": ["timer"]}
    line.put(ok, PHONE)
    assert line.passes(267) == []
    assert statuses(line.passes(1)) == ["BYE"]
    assert leg.ended.result() is Cause.LOST


@pytest.mark.parametrize("fields", [{}, {"Session_Expires": "1800;refresher=uac"}])
async def test_a_phone_is_asked_by_us_at_half_time(fields: dict[str, str]) -> None:
    line = Line()
    leg = await making(line, **fields)
    line.passes(901)
    await turns()
    (sent,) = line.take()
    assert (sent.method, sent.get("Session-Expires")) == ("INVITE", "1800;refresher=uac")
    line.put(taken(sent, answer()), PHONE)
    await line.settle()
    leg.bye()
    assert statuses(line.take()) == ["BYE"]
    assert line.passes(4000)[-1].method == "BYE"


async def test_a_phone_that_wants_longer_sessions_is_called_again_with_them() -> None:
    line = Line()
    leg, message = calling(line)
    refusal = reply(message, 422)
    refusal.headers["Min-SE"] = ["3600"]
    ack, again = line.put(refusal, PHONE)
    assert (ack.method, again.method, again.sequence) == ("ACK", "INVITE", 2)
    assert (again.get("Session-Expires"), again.get("Min-SE"), again.body) == ("3600", "3600", message.body)
    assert again.via.branch != message.via.branch
    refusal = reply(again, 422)
    refusal.headers["Min-SE"] = ["3600"]
    assert statuses(line.put(refusal, PHONE)) == ["ACK"]
    assert leg.ended.result() is Cause.FAILED


@pytest.mark.parametrize("least", ["x", "120 sec", ""])
async def test_a_phone_that_wants_longer_sessions_and_says_not_how_long_has_refused(least: str) -> None:
    line = Line()
    leg, message = calling(line)
    refusal = reply(message, 422)
    refusal.headers["Min-SE"] = [least]
    assert statuses(line.put(refusal, PHONE)) == ["ACK"]
    assert leg.ended.result() is Cause.FAILED
    assert leg.gone.done()
    assert line.endpoint.calls == 0
