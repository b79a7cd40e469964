"""An answer to our refresh of a session may move the sound, hold it, or bring other keys: that is followed."""

from dataclasses import replace

import pytest

from media.errors import UnacceptableError
from media.offer import answer_audio
from media.sdp import Direction, Origin, Session
from media.sip.incoming import Incoming
from media.sip.message import Request
from media.sip.status import Cause
from tests.media.sip.line import Line, answer, offer
from tests.media.sip.test_alive import taking
from tests.media.sip.test_offering import taken, turns


class Owner:
    """Whoever carries the sound: keeps what it is told, and answers as a leg would."""

    def __init__(self, call: Incoming) -> None:
        self.told: list[Session] = []
        self.held: list[bool] = []
        self.keys: tuple[str, ...] = ()
        self.refuses = False
        call.on_offer, call.on_held = self.take, self.held.append

    async def take(self, session: Session) -> Session:
        self.told.append(session)
        if self.refuses:
            raise UnacceptableError("no codec in common")
        said = answer(session)
        return with_keys(replace(said, origin=Origin("1", "9", "192.0.2.1")), *self.keys)


def with_keys(session: Session, *lines: str) -> Session:
    media = tuple(replace(each, attributes=(*each.attributes, *lines)) for each in session.media)
    return replace(session, media=media)


def says(to: Request, place: tuple[str, int], direction: Direction = Direction.SENDRECV) -> Session:
    """Return how the peer answers our refresh."""
    return answer_audio(Session.parse(to.body), place, origin=Origin("7", "2", place[0]), direction=direction)[0]


async def refreshing(line: Line) -> tuple[Incoming, Owner, Request]:
    """Return a call with our refresh on its way."""
    call, _ = await taking(line)
    owner = Owner(call)
    line.passes(901)
    await turns()
    (sent,) = line.take()
    assert sent.method == "INVITE"
    return call, owner, sent


@pytest.mark.parametrize("place", [("198.51.100.8", 30_000), ("198.51.100.7", 31_000)])
async def test_a_peer_that_moves_its_sound_in_the_answer_is_followed(place: tuple[str, int]) -> None:
    line = Line()
    call, owner, sent = await refreshing(line)
    moved = says(sent, place)
    line.put(taken(sent, moved))
    await line.settle()
    assert owner.told == [moved]
    assert call.remote == moved
    assert owner.held == []
    assert line.take() == [], "nothing else is to be said"
    assert not call.ended.done()


async def test_a_peer_that_holds_in_the_answer_hears_music() -> None:
    line = Line()
    call, owner, sent = await refreshing(line)
    line.put(taken(sent, says(sent, ("198.51.100.7", 30_000), Direction.SENDONLY)))
    await line.settle()
    assert [each.audio.direction for each in owner.told if each.audio] == [Direction.SENDONLY]
    assert (owner.held, call.held) == ([True], True)


async def test_an_answer_that_says_the_same_changes_nothing() -> None:
    line = Line()
    call, owner, sent = await refreshing(line)
    line.put(taken(sent, call.remote))
    await line.settle()
    assert owner.told == []
    assert call.remote == offer()


async def test_keys_that_fit_the_answer_alone_are_told_the_peer() -> None:
    line = Line()
    call, owner, sent = await refreshing(line)
    owner.keys = ("crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40,)
    line.put(taken(sent, says(sent, ("198.51.100.8", 30_000))))
    await turns()
    again = line.take()[-1]
    assert again.method == "INVITE"
    assert owner.keys[0].encode() in again.body
    line.put(taken(again, says(again, ("198.51.100.8", 30_000))))
    await line.settle()
    assert call.local == Session.parse(again.body)
    assert not call.ended.done()


async def test_an_answer_that_cannot_be_followed_ends_the_call() -> None:
    line = Line()
    call, owner, sent = await refreshing(line)
    owner.refuses = True
    line.put(taken(sent, says(sent, ("198.51.100.8", 30_000))))
    await line.settle()
    assert call.ended.result() is Cause.UNACCEPTABLE
