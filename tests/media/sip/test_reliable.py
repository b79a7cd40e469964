"""Reliable provisional responses: order at the side that calls, repetition at the side that is called (RFC 3262)."""

import pytest

from media.errors import ProtocolError
from media.sip.message import Response
from media.sip.reliable import Order, Provisionals, Rack, parse_rseq
from media.sip.transaction import InviteServer
from tests.media.sip.line import TRUNK, Line, answer, invite, statuses


@pytest.mark.parametrize("value", ["1 1 INVITE", "4294967295 2147483647 INVITE"])
def test_a_rack_comes_back_as_it_was(value: str) -> None:
    assert str(Rack.parse(value)) == value
    for end in range(len(value) - 6):
        with pytest.raises(ProtocolError):
            Rack.parse(value[:end])


def test_white_space_in_a_rack_may_be_a_tab() -> None:
    assert Rack.parse("7\t1 \tINVITE") == Rack.parse("7 1 INVITE")


@pytest.mark.parametrize("value", ["", "0", "4294967296", "-1", "1.5", "one", "12345678901"])
def test_what_is_no_rseq_is_refused(value: str) -> None:
    with pytest.raises(ProtocolError):
        parse_rseq(value)


def test_each_response_is_taken_once_and_in_its_order() -> None:
    order = Order()
    assert order.takes(7)
    assert not order.takes(7)
    assert not order.takes(9)
    assert order.takes(8)
    assert order.takes(9)
    assert not order.takes(8)


class Called:
    """An INVITE that is being answered by hand."""

    def __init__(self) -> None:
        self.line = Line()
        request = invite()
        request.stamp(TRUNK)
        self.server = InviteServer(self.line.endpoint.transactions, request)
        self.lost = 0
        self.reliable = Provisionals(self.server, self.line.endpoint.timers, self.on_lost)

    def on_lost(self) -> None:
        self.lost += 1

    def say(self, status: int, body: bytes = b"") -> list[Response]:
        self.reliable.send(self.server.request.respond(status, to_tag="us", body=body))
        return self.line.take()

    def rack(self, response: Response) -> Rack:
        return Rack(int(response.headers["RSeq"][0]), 1, "INVITE")


async def test_a_response_is_repeated_until_its_prack_comes() -> None:
    called = Called()
    (ringing,) = called.say(180)
    assert (ringing.headers["Require"], 0 < int(ringing.headers["RSeq"][0]) < 2**31) == (["100rel"], True)
    assert called.line.passes(0.5) == [ringing]
    assert called.line.passes(1) == [ringing]
    assert not called.reliable.acknowledge(Rack(1, 1, "UPDATE"))
    assert called.reliable.acknowledge(called.rack(ringing))
    assert not called.reliable.acknowledge(called.rack(ringing))
    assert called.line.passes(60) == []
    assert called.lost == 0


async def test_one_response_is_under_way_at_a_time() -> None:
    called = Called()
    (ringing,) = called.say(180)
    assert called.say(183, bytes(answer())) == []
    assert called.reliable.open
    assert called.reliable.acknowledge(called.rack(ringing))
    called.reliable.proceed()
    (progress,) = called.line.take()
    assert progress.status == 183
    assert int(progress.headers["RSeq"][0]) == int(ringing.headers["RSeq"][0]) + 1


async def test_who_waits_for_the_session_to_be_acknowledged_is_called_once() -> None:
    called, cleared = Called(), list[bool]()
    (progress,) = called.say(183, bytes(answer()))
    called.reliable.on_clear = lambda: cleared.append(True)
    called.reliable.proceed()
    assert cleared == []
    called.reliable.acknowledge(called.rack(progress))
    called.reliable.proceed()
    called.reliable.proceed()
    assert cleared == [True]


async def test_no_prack_in_32_seconds_is_told_and_nothing_more_is_sent() -> None:
    called = Called()
    called.say(180)
    called.say(183)
    assert statuses(called.line.passes(33)) == [180] * 6
    assert called.lost == 1
    assert called.line.passes(60) == []


async def test_nothing_is_sent_once_it_is_stopped() -> None:
    called = Called()
    called.say(180)
    called.say(183, bytes(answer()))
    called.reliable.stop()
    assert not called.reliable.open
    assert called.line.passes(60) == []
    assert called.lost == 0


async def test_what_was_sent_before_the_answer_may_be_acknowledged_after_it() -> None:
    called = Called()
    (ringing,) = called.say(180)
    called.say(180)
    called.reliable.answered()
    assert called.line.passes(60) == []
    assert called.lost == 0
    assert called.reliable.acknowledge(called.rack(ringing))
    called.reliable.proceed()
    assert called.line.take() == []
    assert not called.reliable.acknowledge(called.rack(ringing))
