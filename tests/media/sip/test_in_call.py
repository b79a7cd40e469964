"""Inside a call that came in: requests of its dialog, other offers, and what is none of its business."""

import asyncio

import pytest

from media.errors import UnacceptableError
from media.sdp import Session
from media.sip.hop import Hop
from media.sip.incoming import Incoming
from media.sip.leg import Renegotiate
from media.sip.message import Request
from media.sip.status import Cause
from tests.media.sip.line import TRUNK, Line, answer, follow, invite, statuses
from tests.media.sip.test_incoming import moved, reinvite, ringing, talking


def noting(asked: list[Session]) -> Renegotiate:
    """Return what takes every offer, and notes it."""

    async def on_offer(offer: Session) -> Session:
        asked.append(offer)
        return answer(offer)

    return on_offer


@pytest.mark.parametrize(("method", "status"), [("OPTIONS", 200), ("MESSAGE", 405), ("REGISTER", 405)])
async def test_other_requests_inside_the_call(method: str, status: int) -> None:
    line = Line()
    _, ok = await talking(line)
    (response,) = line.put(follow(invite(), ok, method, sequence=2))
    assert response.status == status
    assert "BYE" in response.get("Allow")


async def test_a_reinvite_that_changes_nothing_gets_the_same_session() -> None:
    line = Line()
    call, ok = await talking(line)
    (again,) = line.put(reinvite(ok, body=bytes(call.remote or b"")))
    assert again.status == 200
    assert again.body == ok.body
    assert line.put(follow(invite(), ok, "ACK", sequence=2)) == []
    assert line.passes(40) == []


async def test_a_reinvite_that_moves_the_caller_asks_for_an_answer() -> None:
    line = Line()
    call, ok = await talking(line)
    asked: list[Session] = []
    call.on_offer = noting(asked)
    assert line.put(reinvite(ok, body=bytes(moved()))) == []
    await line.settle()
    (again,) = line.take()
    assert again.status == 200
    assert asked == [moved()]
    assert call.remote == asked[0]
    assert call.local == Session.parse(again.body)
    line.put(follow(invite(), ok, "ACK", sequence=2))
    assert not call.ended.done()


async def test_a_reinvite_s_answer_is_repeated_until_its_ack_and_its_loss_ends_the_call() -> None:
    line = Line()
    call, ok = await talking(line)
    (again,) = line.put(reinvite(ok, body=bytes(call.remote or b"")))
    assert line.passes(0.5) == [again]
    line.passes(32)
    assert call.ended.result() is Cause.LOST


async def test_a_reinvite_that_cannot_be_met_leaves_the_call_as_it_was() -> None:
    line = Line()
    call, ok = await talking(line)
    before = call.remote, call.local
    assert statuses(line.put(reinvite(ok, body=bytes(moved())))) == [488]

    async def refuses(_offer: Session) -> Session:
        raise UnacceptableError("nothing in common")

    call.on_offer = refuses
    line.put(reinvite(ok, sequence=3, body=bytes(moved())))
    await line.settle()
    assert statuses(line.take()) == [488]
    assert statuses(line.put(reinvite(ok, sequence=4, body=b"v=1\r\n"))) == [488]
    assert statuses(line.put(reinvite(ok, sequence=5, body=b"{}", kind="application/json"))) == [415]
    assert (call.remote, call.local) == before
    assert not call.ended.done()


async def test_a_reinvite_without_an_offer_gets_ours_and_takes_the_answer() -> None:
    line = Line()
    call, ok = await talking(line)
    asked: list[Session] = []
    call.on_offer = noting(asked)
    (again,) = line.put(reinvite(ok))
    assert again.body == ok.body
    ack = follow(invite(), ok, "ACK", sequence=2)
    ack.body, ack.headers["Content-Type"] = bytes(moved()), ["application/sdp"]
    line.put(ack)
    await line.settle()
    assert asked == [moved()]
    assert call.remote == moved()


@pytest.mark.parametrize(("method", "said"), [("CANCEL", [200, 487]), ("BYE", [487, 200])])
async def test_a_reinvite_whose_answer_is_still_being_made_can_be_withdrawn(method: str, said: list[int]) -> None:
    line = Line()
    call, ok = await talking(line)
    asked, made = asyncio.Event(), asyncio.Event()

    async def slow(offer: Session) -> Session:
        asked.set()
        await made.wait()
        return answer(offer)

    call.on_offer = slow
    again = reinvite(ok, body=bytes(moved()))
    line.put(again)
    await asked.wait()
    assert statuses(line.put(reinvite(ok, sequence=3, body=bytes(moved())))) == [491]
    if method == "CANCEL":
        cancel = Request("CANCEL", again.uri, again.headers | {"CSeq": [f"{again.sequence} CANCEL"]})
        assert statuses(line.put(cancel)) == said
    else:
        assert statuses(line.put(follow(invite(), ok, "BYE", sequence=4))) == said
    made.set()
    await line.settle()
    assert line.take() == []
    assert call.ended.done() == (method == "BYE")


async def test_a_reinvite_before_the_last_one_is_settled_waits() -> None:
    line = Line()
    call = await ringing(line)
    progress = line.take()[-1]
    (early,) = line.put(reinvite(progress, body=bytes(moved())))
    assert early.status == 500
    assert 0 <= int(early.get("Retry-After")) <= 10
    call.answer(answer())
    ok = line.take()[-1]
    assert statuses(line.put(reinvite(ok, sequence=3, body=bytes(moved())))) == [491]
    call.bye()
    assert statuses(line.put(reinvite(ok, sequence=4, body=bytes(moved())))) == [481]


async def test_a_reinvite_whose_contact_cannot_be_read_changes_nothing() -> None:
    line = Line()
    call, ok = await talking(line)
    asked: list[Session] = []
    call.on_offer = noting(asked)
    again = reinvite(ok, body=bytes(moved()))
    again.headers["Contact"] = ["<sip:open"]
    assert statuses(line.put(again)) == [400]
    assert asked == []
    assert not call.ended.done()


async def test_a_reinvite_may_move_the_signalling_too() -> None:
    line = Line()
    call, ok = await talking(line)
    again = reinvite(ok, body=bytes(call.remote or b""))
    again.headers["Contact"] = ["<sip:ada@198.51.100.99:5070>"]
    line.put(again)
    line.put(follow(invite(), ok, "ACK", sequence=2))
    call.bye()
    assert line.wire.sent[-1][1] == Hop("198.51.100.99", 5070)


async def test_the_gateway_waits_on_futures_only() -> None:
    line = Line()
    told: list[Cause] = []

    async def take(call: Incoming) -> None:
        call.ring()
        call.answer(answer())
        assert await call.acked
        told.append(await call.ended)

    line.endpoint.on_invite = take
    line.put(invite())
    await asyncio.sleep(0)
    ok = line.take()[-1]
    line.put(follow(invite(), ok, "ACK"))
    line.put(follow(invite(), ok, "BYE", sequence=2))
    await line.settle()
    assert told == [Cause.HANGUP]


async def test_the_trunk_hears_where_to_send_when_it_is_routed_through_proxies() -> None:
    line = Line()
    call = await ringing(line, invite(headers={"Record-Route": "<sip:198.51.100.8;lr>"}))
    line.take()
    call.answer(answer())
    (ok,) = line.take()
    assert ok.get("Record-Route") == "<sip:198.51.100.8;lr>"
    line.put(follow(invite(), ok, "ACK"), TRUNK)
    call.bye()
    assert line.wire.sent[-1][1] == Hop("198.51.100.8", 5060)
