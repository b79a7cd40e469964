"""Hold and resume, whichever side does it and however it says so (RFC 3264 section 8.4, RFC 6337), and UPDATE."""

from dataclasses import replace

import pytest

from media.offer import answer_audio, offer_audio
from media.sdp import Direction, Origin, Session
from media.sip.incoming import Incoming
from media.sip.message import Request, Response
from tests.media.sip.line import Line, answer, follow, invite, statuses
from tests.media.sip.test_incoming import moved, reinvite, ringing, talking
from tests.media.sip.test_offering import offering, ours, taken, theirs

PLACE = ("198.51.100.7", 30000)


def held(direction: Direction, version: int = 2) -> Session:
    """Return the caller's offer with a direction."""
    return offer_audio(PLACE, origin=Origin("7", str(version), "198.51.100.7"), direction=direction)


def silenced(version: int = 2) -> Session:
    """Return the hold of RFC 2543: an address of zeros."""
    session = held(Direction.SENDRECV, version)
    return replace(session, media=(replace(session.media[0], address="0.0.0.0"),))


async def listening(line: Line) -> tuple[Incoming, Response, list[bool]]:
    """Return a call whose holds are noted."""
    call, ok = await talking(line)
    told: list[bool] = []
    call.on_held = told.append

    async def answers(offer: Session) -> Session:
        return answer_audio(offer, ("192.0.2.1", 20000), origin=Origin("1", "2", "192.0.2.1"))[0]

    call.on_offer = answers
    return call, ok, told


def update(ok: Response, sequence: int, session: Session | None = None) -> Request:
    asked = follow(invite(), ok, "UPDATE", sequence=sequence)
    if session is not None:
        asked.body, asked.headers["Content-Type"] = bytes(session), ["application/sdp"]
    return asked


@pytest.mark.parametrize("offer", [held(Direction.SENDONLY), held(Direction.INACTIVE), silenced()])
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
async def test_the_caller_holds_and_takes_us_back(offer: Session, method: str) -> None:
    line = Line()
    call, ok, told = await listening(line)

    async def say(session: Session, sequence: int) -> Session:
        if method == "UPDATE":
            line.put(update(ok, sequence, session))
        else:
            line.put(reinvite(ok, sequence=sequence, body=bytes(session)))
        await line.settle()
        (response,) = line.take()
        line.put(follow(invite(), ok, "ACK", sequence=sequence))
        return Session.parse(response.body)

    answered = await say(offer, 2)
    assert not answered.media[0].direction.sends
    assert (told, call.held) == ([True], True)
    await say(replace(offer, origin=offer.origin.next()), 3)
    assert told == [True]
    answered = await say(held(Direction.SENDRECV, 4), 4)
    assert answered.media[0].direction is Direction.SENDRECV
    assert (told, call.held) == ([True, False], False)


async def test_a_caller_that_only_wants_to_hear_holds_nobody() -> None:
    line = Line()
    call, ok, told = await listening(line)
    line.put(reinvite(ok, body=bytes(held(Direction.RECVONLY))))
    await line.settle()
    assert statuses(line.take()) == [200]
    assert (told, call.held) == ([], False)


async def test_the_hold_is_told_after_the_answer_to_an_offer_of_ours_too() -> None:
    line = Line()
    call, _, told = await listening(line)
    task, sent = await offering(line, call, ours())
    line.put(taken(sent, theirs(ours(), Direction.SENDONLY)))
    await task
    assert told == [True]
    hold = ours(3, Direction.SENDONLY)
    task, sent = await offering(line, call, hold)
    line.put(taken(sent, theirs(hold)))
    await task
    assert told == [True, False]


async def test_our_own_hold_is_not_mistaken_for_theirs() -> None:
    line = Line()
    call, _, told = await listening(line)
    for version, direction in enumerate((Direction.SENDONLY, Direction.INACTIVE, Direction.SENDRECV), 2):
        session = ours(version, direction)
        task, sent = await offering(line, call, session)
        line.put(taken(sent, theirs(session)))
        await task
    assert told == []


async def test_a_hold_that_the_owner_refuses_is_none() -> None:
    line = Line()
    call, ok, told = await listening(line)
    call.on_offer = None
    assert statuses(line.put(reinvite(ok, body=bytes(held(Direction.INACTIVE))))) == [488]
    assert told == []


# UPDATE (RFC 3311)


async def test_an_update_without_an_offer_only_moves_the_signalling() -> None:
    line = Line()
    call, ok, _ = await listening(line)
    asked = update(ok, 2)
    asked.headers["Contact"] = ["<sip:ada@198.51.100.99:5070>"]
    (response,) = line.put(asked)
    assert (response.status, response.body, response.contacts[0].uri.host) == (200, b"", "192.0.2.1")
    call.bye()
    (bye,) = line.take()
    assert bye.uri == "sip:ada@198.51.100.99:5070"


async def test_an_update_with_what_was_said_before_gets_what_was_answered() -> None:
    line = Line()
    call, ok, _ = await listening(line)
    (response,) = line.put(update(ok, 2, call.remote))
    assert (response.status, response.body, response.content_type) == (200, ok.body, "application/sdp")


async def test_an_update_that_cannot_be_met_changes_nothing() -> None:
    line = Line()
    call, ok, _ = await listening(line)
    before = call.local, call.remote
    asked = update(ok, 2, moved())
    asked.headers["Content-Type"] = ["text/plain"]
    assert statuses(line.put(asked)) == [415]
    call.on_offer = None
    assert statuses(line.put(update(ok, 3, moved()))) == [488]
    assert (call.local, call.remote) == before
    call.bye()
    line.take()
    assert statuses(line.put(update(ok, 4))) == [481]


async def test_an_update_before_the_first_answer_waits() -> None:
    line = Line()
    call = await ringing(line)
    progress = line.take()[-1]
    (response,) = line.put(update(progress, 2, moved()))
    assert (response.status, 0 <= int(response.get("Retry-After")) <= 10) == (500, True)
    assert statuses(line.put(update(progress, 3))) == [200]
    call.answer(answer())
    assert statuses(line.take()) == [200]
