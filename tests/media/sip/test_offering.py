"""Our own offers inside a call: re-INVITE and UPDATE, their answers, glare, challenges, and peers that are gone."""

import asyncio
from typing import Any

import pytest

from media.errors import CallOverError, UnacceptableError
from media.offer import answer_audio, offer_audio
from media.sdp import Direction, Origin, Session
from media.sip.capability import ALLOW
from media.sip.digest import Authority, Login
from media.sip.hop import Hop
from media.sip.incoming import Incoming
from media.sip.leg import Leg
from media.sip.message import Request, Response
from media.sip.status import Cause
from tests.media.sip.calling import calling
from tests.media.sip.calling import talking as called
from tests.media.sip.line import PHONE, SECRETS, Clock, Line, answer, follow, invite, reply, statuses
from tests.media.sip.test_incoming import moved, reinvite, ringing, talking


def ours(version: int = 2, direction: Direction = Direction.SENDRECV) -> Session:
    """Return what this side offers in the middle of a call."""
    return offer_audio(("192.0.2.1", 20002), origin=Origin("1", str(version), "192.0.2.1"), direction=direction)


def theirs(to: Session, direction: Direction = Direction.SENDRECV) -> Session:
    """Return how the caller answers it."""
    return answer_audio(to, ("198.51.100.7", 30002), origin=Origin("7", "3", "198.51.100.7"), direction=direction)[0]


async def turns() -> None:
    """Let what waits for a future that came true go on."""
    for _ in range(6):
        await asyncio.sleep(0)


async def offering(line: Line, leg: Leg, session: Session) -> tuple["asyncio.Task[Session]", Any]:
    """Begin an exchange; return it, and the request that went out."""
    task = asyncio.ensure_future(leg.reinvite(session))
    await turns()
    (sent,) = line.take()
    return task, sent


def taken(request: Request, body: Session | None = None, **fields: str) -> Response:
    """Return the 2xx of the peer."""
    headers = {name.replace("_", "-"): [value] for name, value in fields.items()}
    headers |= {"Contact": ["<sip:ada@198.51.100.7:5060>"]} | headers
    if body is not None:
        headers["Content-Type"] = ["application/sdp"]
    return request.respond(200, headers=headers, body=b"" if body is None else bytes(body))


async def updatable(line: Line) -> tuple[Incoming, Response]:
    """Return a call of a peer that takes UPDATE."""
    call = await ringing(line, invite(headers={"Allow": ALLOW}))
    call.answer(answer())
    ok = line.take()[-1]
    line.put(follow(invite(), ok, "ACK"))
    return call, ok


async def test_an_offer_is_answered_and_acknowledged_as_often_as_the_answer_comes() -> None:
    line = Line()
    call, _ = await talking(line)
    task, sent = await offering(line, call, ours())
    assert (sent.method, sent.uri, sent.sequence, sent.body) == (
        "INVITE",
        "sip:ada@198.51.100.7:5060",
        1,
        bytes(ours()),
    )
    assert (sent.get("Supported"), sent.get("Content-Type")) == (
        "100rel, timer, replaces, norefersub",
        "application/sdp",
    )
    line.put(sent.respond(100))
    ok = taken(sent, theirs(ours()))
    (ack,) = line.put(ok)
    assert (ack.method, ack.sequence, ack.to_tag) == ("ACK", 1, "far")
    assert ack.via.branch != sent.via.branch
    assert line.put(ok) == [ack]
    assert await task == theirs(ours()) == call.remote
    assert call.local == ours()
    call.bye()
    assert [message.sequence for message in line.take()] == [2]


async def test_an_answer_may_move_the_signalling() -> None:
    line = Line()
    leg, _ = called(line)
    task, sent = await offering(line, leg, ours())
    ok = taken(sent, theirs(ours()), Contact="<sip:101@203.0.113.77:5070>")
    line.endpoint.receive(bytes(ok), PHONE)
    assert line.wire.sent[-1][1] == Hop("203.0.113.77", 5070)
    (ack,) = line.take()
    assert ack.uri == "sip:101@203.0.113.77:5070"
    await task


@pytest.mark.parametrize("status", [488, 606, 403, 500, 603])
async def test_a_refusal_leaves_the_call_as_it_was(status: int) -> None:
    line = Line()
    call, _ = await talking(line)
    before = call.local, call.remote
    task, sent = await offering(line, call, ours())
    assert statuses(line.put(sent.respond(status))) == ["ACK"]
    with pytest.raises(UnacceptableError):
        await task
    assert (call.local, call.remote) == before
    assert not call.ended.done()


async def test_an_answer_without_a_session_is_acknowledged_and_counts_for_nothing() -> None:
    line = Line()
    call, _ = await talking(line)
    before = call.remote
    task, sent = await offering(line, call, ours())
    assert statuses(line.put(taken(sent))) == ["ACK"]
    with pytest.raises(UnacceptableError):
        await task
    assert call.remote == before


@pytest.mark.parametrize("status", [408, 481])
async def test_a_peer_that_knows_the_call_no_more_is_hung_up_on(status: int) -> None:
    line = Line()
    call, _ = await talking(line)
    task, sent = await offering(line, call, ours())
    line.put(sent.respond(status))
    with pytest.raises(CallOverError):
        await task
    assert statuses(line.take()) == ["BYE"]
    assert call.ended.result() is Cause.LOST


async def test_a_peer_that_says_nothing_is_hung_up_on() -> None:
    line = Line()
    call, _ = await talking(line)
    task, _ = await offering(line, call, ours())
    assert statuses(line.passes(32)) == ["INVITE"] * 6
    with pytest.raises(CallOverError):
        await task
    assert statuses(line.take()) == ["BYE"]


async def test_a_peer_that_only_says_trying_is_given_up_too() -> None:
    line = Line()
    call, _ = await talking(line)
    task, sent = await offering(line, call, ours())
    line.put(sent.respond(100))
    line.passes(64)
    with pytest.raises(CallOverError):
        await task
    assert call.ended.result() is Cause.LOST


async def test_a_challenge_is_answered_once() -> None:
    line = Line()
    leg, message = calling(line, login=Login("101", "secret of 101"))
    line.put(reply(message, 200, body=bytes(answer())), PHONE)
    task, sent = await offering(line, leg, ours())
    refusal = sent.respond(407)
    refusal.headers["Proxy-Authenticate"] = Authority("trunk", SECRETS.get, Clock()).challenges(sent)
    ack, again = line.put(refusal, PHONE)
    assert (ack.method, again.method, again.sequence) == ("ACK", "INVITE", 3)
    (ack,) = line.put(taken(again, theirs(ours())), PHONE)
    assert (ack.sequence, ack.get("Proxy-Authorization")) == (3, again.get("Proxy-Authorization"))
    assert await task == theirs(ours())
    leg.bye()
    assert [each.sequence for each in line.take()] == [4]


# Glare (RFC 3261 section 14)


@pytest.mark.parametrize("ours_first", [True, False])
async def test_after_glare_the_offer_comes_again_after_a_while(ours_first: bool) -> None:
    line = Line()
    leg = called(line)[0] if ours_first else (await talking(line))[0]
    line.take()
    task, sent = await offering(line, leg, ours())
    assert statuses(line.put(sent.respond(491))) == ["ACK"]
    await turns()
    if ours_first:  # who made the Call-ID waits longer
        assert line.passes(2.09) == []
        line.passes(1.92)
    else:
        line.passes(2.0)
    await turns()
    (again,) = line.take()
    assert (again.method, again.sequence) == ("INVITE", sent.sequence + 1)
    line.put(taken(again, theirs(ours())))
    assert await task == theirs(ours())


async def test_an_offer_that_crosses_ours_is_put_off() -> None:
    line = Line()
    call, ok = await talking(line)
    task, sent = await offering(line, call, ours())
    assert statuses(line.put(reinvite(ok, body=bytes(moved())))) == [491]
    update = follow(invite(), ok, "UPDATE", sequence=3)
    update.body, update.headers["Content-Type"] = bytes(moved()), ["application/sdp"]
    assert statuses(line.put(update)) == [491]
    assert statuses(line.put(follow(invite(), ok, "UPDATE", sequence=4))) == [200]
    line.put(taken(sent, theirs(ours())))
    await task
    assert call.remote == theirs(ours())


async def test_endless_glare_is_given_up_and_the_call_goes_on() -> None:
    line = Line()
    call, _ = await talking(line)
    task, sent = await offering(line, call, ours())
    for _ in range(4):
        line.put(sent.respond(491))
        await turns()
        line.passes(2.0)
        await turns()
        (sent,) = line.take()
    line.put(sent.respond(491))
    await turns()
    line.passes(2.0)
    with pytest.raises(UnacceptableError):
        await task
    assert not call.ended.done()


async def test_our_offer_waits_for_the_end_of_theirs() -> None:
    line = Line()
    call, ok = await talking(line)
    line.put(reinvite(ok, body=bytes(call.remote or b"")))
    task = asyncio.ensure_future(call.reinvite(ours()))
    await turns()
    assert line.take() == []
    line.put(follow(invite(), ok, "ACK", sequence=2))
    await turns()
    (sent,) = line.take()
    line.put(taken(sent, theirs(ours())))
    await task


async def test_our_offers_wait_for_each_other() -> None:
    line = Line()
    call, _ = await talking(line)
    first, sent = await offering(line, call, ours())
    second = asyncio.ensure_future(call.reinvite(ours(3)))
    await turns()
    assert line.take() == []
    line.put(taken(sent, theirs(ours())))
    await turns()
    (sent,) = line.take()
    assert Session.parse(sent.body) == ours(3)
    line.put(taken(sent, theirs(ours(3))))
    assert await first
    assert await second
    assert call.local == ours(3)


# The end meanwhile


async def test_a_bye_of_the_peer_ends_the_wait() -> None:
    line = Line()
    call, ok = await talking(line)
    task, sent = await offering(line, call, ours())
    assert statuses(line.put(follow(invite(), ok, "BYE", sequence=2))) == [200]
    with pytest.raises(CallOverError):
        await task
    assert statuses(line.put(sent.respond(487))) == ["ACK"]
    with pytest.raises(CallOverError):
        await call.reinvite(ours())


async def test_an_answer_that_crosses_our_bye_is_still_acknowledged() -> None:
    line = Line()
    call, _ = await talking(line)
    task, sent = await offering(line, call, ours())
    call.bye()
    (bye,) = line.take()
    with pytest.raises(CallOverError):
        await task
    assert statuses(line.put(taken(sent, theirs(ours())))) == ["ACK"]
    line.put(bye.respond(200))
    assert call.gone.done()
    assert line.passes(120) == []


async def test_whoever_no_longer_waits_does_not_leave_the_call_in_between() -> None:
    line = Line()
    call, _ = await talking(line)
    task, sent = await offering(line, call, ours())
    task.cancel()
    await turns()
    line.put(taken(sent, theirs(ours())))
    assert (call.local, call.remote) == (ours(), theirs(ours()))
    task, sent = await offering(line, call, ours(3))
    line.put(taken(sent, theirs(ours(3))))
    await task


# UPDATE and refresh


async def test_a_refresh_is_an_update_where_the_peer_takes_that() -> None:
    line = Line()
    call, _ = await updatable(line)
    before = call.local, call.remote
    task = asyncio.ensure_future(call.refresh())
    await turns()
    (sent,) = line.take()
    assert (sent.method, sent.body, sent.contacts[0].uri.host) == ("UPDATE", b"", "192.0.2.1")
    line.put(taken(sent))
    await task
    assert (call.local, call.remote) == before


async def test_a_refresh_is_the_same_session_again_where_it_does_not() -> None:
    line = Line()
    call, ok = await talking(line)
    task = asyncio.ensure_future(call.refresh())
    await turns()
    (sent,) = line.take()
    assert (sent.method, sent.body) == ("INVITE", ok.body)
    line.put(taken(sent, call.remote))
    await task


async def test_a_peer_that_does_not_take_update_after_all_gets_a_reinvite() -> None:
    line = Line()
    call, _ = await updatable(line)
    task = asyncio.ensure_future(call.refresh())
    await turns()
    (sent,) = line.take()
    line.put(sent.respond(405))
    await turns()
    (again,) = line.take()
    assert again.method == "INVITE"
    line.put(taken(again, call.remote))
    await task


async def test_nothing_is_offered_before_the_call_is_answered() -> None:
    line = Line()
    leg, _ = calling(line)
    with pytest.raises(UnacceptableError):
        await leg.reinvite(ours())
