"""What happens inside calls against sipp: hold, UPDATE, reliable early audio, digits by INFO, transfer, glare."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from media.offer import answer_audio, offer_audio
from media.sdp import Direction, Session
from media.sip import Address, Cause, Endpoint, Hop, Incoming, Outgoing, TrunkTable, Uri
from media.sip.transfer import Refer
from tests.peers.sipp import HOST, LONG, Outcome, Sipp, unhurried

pytestmark = pytest.mark.peer("sipp")

MEDIA = (HOST, 20000)
FROM = Address.parse('"Front desk" <sip:+12125550100@127.0.0.1>')


class Desk:
    """An endpoint on loopback that notes what its callers do."""

    def __init__(self) -> None:
        trunks = TrunkTable({"carrier": [HOST]})
        self.endpoint = Endpoint([Hop(HOST, 0)], credentials=lambda _: None, trunks=trunks, clock=unhurried)
        self.endpoint.on_invite = self.take
        self.calls: list[Incoming] = []
        self.held: list[bool] = []
        self.keys: list[str] = []
        self.wishes: list[Refer] = []
        self.early = False

    async def take(self, call: Incoming) -> None:
        self.calls.append(call)
        call.on_offer, call.on_held, call.on_digit = self.answers, self.held.append, self.keys.append
        call.on_refer = self.transfers
        assert call.offer is not None
        session = await self.answers(call.offer)
        call.ring(session if self.early else None)
        call.answer(session)

    async def answers(self, offer: Session) -> Session:
        return answer_audio(offer, MEDIA)[0]

    async def transfers(self, wish: Refer) -> None:
        self.wishes.append(wish)
        wish.progress(180)
        wish.progress(200)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    await made.endpoint.start()
    yield made
    await made.endpoint.close()


@pytest.fixture
async def sipp(tmp_path: Path) -> AsyncIterator[Sipp]:
    made = Sipp(tmp_path)
    yield made
    await made.close()


def went_well(outcome: Outcome, calls: int = 1) -> bool:
    assert (outcome.successful, outcome.failed, outcome.unexpected) == (calls, 0, 0), outcome.detail
    return True


async def over(desk: Desk) -> list[Cause]:
    async with asyncio.timeout(20):
        return [await call.ended for call in desk.calls]


async def test_a_caller_holds_and_takes_back(desk: Desk, sipp: Sipp) -> None:
    assert went_well(await sipp.run("call-holds", desk.endpoint.local, calls=5, rate=20), 5)
    assert await over(desk) == [Cause.HANGUP] * 5
    assert sorted(desk.held) == [False] * 5 + [True] * 5


async def test_a_caller_has_the_call_transferred(desk: Desk, sipp: Sipp) -> None:
    assert went_well(await sipp.run("call-refers", desk.endpoint.local))
    assert await over(desk) == [Cause.HANGUP]
    (wish,) = desk.wishes
    assert (wish.target.user, wish.replaces) == ("102", None)
    assert wish.referred_by == f"<sip:+12125550123@{HOST}>"


async def test_a_caller_acknowledges_early_audio_and_presses_a_key(desk: Desk, sipp: Sipp) -> None:
    desk.early = True
    assert went_well(await sipp.run("call-reliable", desk.endpoint.local, calls=5, rate=20), 5)
    assert await over(desk) == [Cause.HANGUP] * 5
    assert desk.keys == ["5"] * 5


async def test_a_phone_follows_our_changes(desk: Desk, sipp: Sipp, monkeypatch: pytest.MonkeyPatch) -> None:
    after_glare = Outgoing._after_glare
    monkeypatch.setattr(Outgoing, "_after_glare", lambda leg: after_glare(leg) / LONG)
    phone = await sipp.start("phone-changes")
    offer = offer_audio(MEDIA)
    leg = desk.endpoint.call(Uri.parse(f"sip:101@{HOST}:{phone.port}"), offer, from_=FROM)
    async with asyncio.timeout(20):
        assert await leg.answered is not None
        hold = offer_audio(MEDIA, origin=offer.origin.next(), direction=Direction.SENDONLY)
        answered = await leg.reinvite(hold)
        assert answered.media[0].direction is Direction.RECVONLY
        await leg.refresh()
        assert await leg.refer(Uri("sip", "102", HOST)) == 200
        leg.bye()
        assert await leg.ended is Cause.CLOSED
        await leg.gone
        assert went_well(await phone.done())
