"""What arrives at the endpoint: requests it refuses, bytes it survives, and how it starts and stops."""

import asyncio
import gc
import weakref
from collections.abc import Callable

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from media.offer import answer_audio, offer_audio
from media.sdp import Session
from media.sip import Address, Cause, Credentials, Endpoint, Incoming, TrunkTable, Uri
from media.sip.capability import ACCEPT, ALLOW
from media.sip.hop import Hop
from media.sip.leg import Leg
from media.sip.message import Request
from media.sip.transport import UdpTransport
from tests.media.sip.line import PHONE, TRUNK, Line, answer, follow, invite, offer, reply, request, statuses

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


# Refusals


def test_options_is_answered_with_what_this_side_can() -> None:
    line = Line()
    (response,) = line.put(request("OPTIONS"), PHONE)
    assert response.status == 200
    assert line.endpoint.transactions.servers == {}
    assert response.get("Allow") == ALLOW
    assert response.get("Accept") == ACCEPT
    assert response.get("Supported") == "100rel, timer, replaces, norefersub"
    assert response.to_tag


@pytest.mark.parametrize(
    ("message", "status", "header"),
    [
        (request("MESSAGE"), 405, ("Allow", ALLOW)),
        (request("FROBNICATE"), 405, ("Allow", ALLOW)),
        (request("SUBSCRIBE", headers={"Event": "presence"}), 489, ("Allow-Events", "refer")),
        (request("NOTIFY", headers={"Event": "check-sync"}), 489, ("Allow-Events", "refer")),
        (request("NOTIFY", headers={"Event": "refer"}), 481, None),
        (request("NOTIFY"), 400, None),
        (request("REFER"), 403, None),
        (invite(headers={"Require": "100rel, precondition, Timer"}), 420, ("Unsupported", "precondition")),
        (invite(headers={"Session-Expires": "60", "Supported": "timer"}), 422, ("Min-SE", "90")),
        (invite(headers={"Session-Expires": "soon"}), 100, None),  # a call can do without
        (invite(headers={"Min-SE": "soon"}), 100, None),
        (request("OPTIONS", headers={"Require": "x"}), 420, ("Unsupported", "x")),
        (invite(uri="mailto:ada@example.org"), 416, None),
        (invite(headers={"Max-Forwards": "0"}), 483, None),
        (invite(headers={"Content-Type": "text/plain"}, body=b""), 100, None),
        (request("BYE"), 481, None),
        (request("BYE", to="<sip:b@192.0.2.1>;tag=gone"), 481, None),
        (invite(to="<sip:b@192.0.2.1>;tag=gone"), 481, None),
        (invite(contact=""), 400, None),
        (invite(contact="<sip:open"), 400, None),
        (invite(headers={"Record-Route": "<sip:open"}), 400, None),
        (invite(body=b"v=1\r\n"), 400, None),
        (invite(uri="sip:a@b@c"), 400, None),
        (invite(from_="<nothing>;tag=x"), 100, None),  # its tag is all that a call needs of it
        (invite(from_='"Ada <sip:a@b>;tag=x'), 400, None),
    ],
)
async def test_requests_that_cannot_be_served(message: Request, status: int, header: tuple[str, str] | None) -> None:
    line = Line()
    (response,) = line.put(message)
    assert response.status == status
    if header is not None:
        assert response.get(header[0]) == header[1]
    await line.settle()


async def test_a_body_that_is_no_session_is_told_what_would_be() -> None:
    message = invite()
    message.headers["Content-Type"] = ["multipart/mixed;boundary=x"]
    (response,) = Line().put(message)
    assert (response.status, response.get("Accept")) == (415, "application/sdp")


def test_an_options_that_may_go_no_further_has_arrived() -> None:
    assert statuses(Line().put(request("OPTIONS", headers={"Max-Forwards": "0"}))) == [200]


async def test_a_merged_request_is_a_loop_and_a_spiral_is_a_new_call() -> None:
    line = Line()
    assert statuses(line.put(invite())) == [100]
    assert statuses(line.put(invite(branch="z9hG4bKfork"))) == [482]
    # Our own call comes back through the trunk, addressed to another number: a call of its own.
    leg = line.endpoint.call(Uri.parse("sip:+12125550177@198.51.100.7"), offer(), from_=Address(Uri("sip", "x", "a")))
    (ours,) = line.take()
    back = Request("INVITE", "sip:+12125550100@192.0.2.1", dict(ours.headers), ours.body)
    back.headers["Via"] = ["SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bKspiral", *ours.headers["Via"]]
    back.headers["Max-Forwards"] = ["69"]
    assert statuses(line.put(back)) == [100]
    await line.settle()
    assert [call.to_number for call in line.calls] == ["+12125550100", "+12125550100"]
    assert line.calls[1].max_forwards == 69
    assert not leg.ended.done()


# Hostile bytes


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"\0\0\0\0",
        b"nonsense\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a\r\n\r\n",
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK\r\nCSeq: x\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nVia: x\r\nFrom: a\r\nTo: b\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n",
        b"ACK sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\r\nFrom: a\r\nTo: b\r\nCall-ID: c\r\nCSeq: x\r\n\r\n",
    ],
)
def test_what_cannot_be_answered_is_dropped(data: bytes) -> None:
    line = Line()
    line.endpoint.receive(data, PHONE)
    assert line.take() == []


def test_what_can_be_answered_is_told_what_is_wrong() -> None:
    line = Line()
    good = bytes(request("OPTIONS"))
    assert statuses(line.put(good.replace(b"CSeq: 1", b"CSeq: x"))) == [400]
    assert statuses(line.put(good.replace(b"Content-Length: 0", b"Content-Length: 9"))) == [400]
    assert statuses(line.put(good.replace(b"Max-Forwards: 70", b"Max-Forwards: x"))) == [400]
    (unversioned,) = line.put(good.replace(b" SIP/2.0\r\n", b" SIP/3.0\r\n", 1))
    assert unversioned.status == 505
    assert line.endpoint.transactions.servers == {}


def test_a_complaint_goes_to_where_the_request_came_from() -> None:
    line = Line()
    line.endpoint.receive(bytes(request("OPTIONS")).replace(b"CSeq: 1", b"CSeq: x"), PHONE)
    assert line.wire.sent[0][1][0] == PHONE[0]


@settings(max_examples=300)
@given(place=st.integers(0, 700), junk=st.binary(max_size=8), cut=st.integers(0, 8))
def test_no_mutation_of_a_request_gets_through_the_endpoint(place: int, junk: bytes, cut: int) -> None:
    line = Line()
    line.endpoint.on_invite = None
    data = bytes(invite(headers={"Authorization": 'Digest username="101", realm="chartline", nonce="x", uri="sip:a"'}))
    line.endpoint.receive(data[:place] + junk + data[place + cut :], TRUNK)
    assert all(isinstance(message.status, int) for message in line.take())


async def test_a_fault_of_ours_is_answered_and_leaves_no_open_transaction() -> None:
    def broken(_address: str) -> str:
        raise ZeroDivisionError

    line = Line(trunks=broken)
    assert statuses(line.put(invite(), PHONE)) == [500]
    assert line.endpoint.transactions.servers == {}
    assert statuses(line.put(request("OPTIONS"), PHONE)) == [200]


async def test_a_fault_in_the_middle_of_a_call_is_answered_too() -> None:
    line = Line()
    line.put(invite())
    await line.settle()
    line.calls[0].answer(answer())
    ok = line.take()[-1]
    line.put(follow(invite(), ok, "ACK"))

    async def broken(_offer: Session) -> Session:
        raise ZeroDivisionError

    line.calls[0].on_offer = broken
    again = follow(invite(), ok, "INVITE", sequence=2)
    again.headers["Content-Type"], again.body = ["application/sdp"], bytes(offer_audio(("198.51.100.7", 31000)))
    line.put(again)
    await line.settle()
    assert statuses(line.take()) == [500]
    assert statuses(line.put(follow(invite(), ok, "BYE", sequence=3))) == [200]


# Life


async def pair() -> tuple[Endpoint, Endpoint]:
    """Return two endpoints that listen on loopback and trust each other's address."""
    trunks = TrunkTable({"loopback": ["127.0.0.1"]})
    made = [Endpoint([Hop("127.0.0.1", 0)], credentials=dict[str, Credentials]().get, trunks=trunks) for _ in range(2)]
    for endpoint in made:
        await endpoint.start()
    return made[0], made[1]


async def answers(call: Incoming) -> None:
    call.ring()
    assert call.offer is not None
    call.answer(answer_audio(call.offer, ("127.0.0.1", 20000))[0])


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_two_endpoints_talk_over_loopback(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def story() -> None:
        near, far = await pair()
        taken: list[Incoming] = []

        async def take(call: Incoming) -> None:
            taken.append(call)
            await answers(call)

        far.on_invite = take
        leg = near.call(
            Uri.parse(f"sip:+12125550100@localhost:{far.local[1]}"),
            offer_audio(("127.0.0.1", 30000)),
            from_=Address.parse("<sip:+12125550123@127.0.0.1>"),
        )
        async with asyncio.timeout(10):
            session = await leg.answered
            assert session is not None
            assert session.audio is not None
            assert session.audio.port == 20000
            assert await taken[0].acked
            leg.bye()
            assert await taken[0].ended is Cause.HANGUP
            await leg.gone
        await near.close()
        await far.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(story())


async def test_a_lost_datagram_is_made_up_for_by_the_loop_s_timers() -> None:
    near, far = await pair()
    far.on_invite = answers
    lost: list[bytes] = []
    receive = far.receive
    transport = far.wires._open["udp"]

    def lossy(data: bytes, source: Hop) -> None:
        if lost:
            receive(data, source)
        else:
            lost.append(data)

    assert isinstance(transport, UdpTransport)
    transport._receive = lossy
    leg = near.call(
        Uri.parse(f"sip:+12125550100@127.0.0.1:{far.local[1]}"),
        offer_audio(("127.0.0.1", 30000)),
        from_=Address.parse("<sip:+12125550123@127.0.0.1>"),
    )
    async with asyncio.timeout(10):
        assert await leg.answered is not None
    assert lost[0].startswith(b"INVITE")
    assert near.transactions.resent >= 1
    await near.close()
    await far.close()


async def test_closing_hangs_up_refuses_and_waits_for_the_peers() -> None:
    near, far = await pair()
    rang = asyncio.Event()
    taken: list[Incoming] = []

    async def take(call: Incoming) -> None:
        taken.append(call)
        if len(taken) == 1:
            await answers(call)
        else:
            call.ring()
            rang.set()

    far.on_invite = take
    uri = Uri.parse(f"sip:+12125550100@127.0.0.1:{far.local[1]}")
    caller = Address.parse("<sip:+12125550123@127.0.0.1>")
    first = near.call(uri, offer_audio(("127.0.0.1", 30000)), from_=caller)
    async with asyncio.timeout(30):
        assert await first.answered is not None
        second = near.call(uri, offer_audio(("127.0.0.1", 30002)), from_=caller)
        await rang.wait()
        await far.close(20)
        assert await first.ended is Cause.HANGUP
        assert await second.ended is Cause.NO_ANSWER
    assert far.calls == 0
    await near.close()
    third = near.call(uri, offer_audio(("127.0.0.1", 30004)), from_=caller)
    assert third.ended.result() is Cause.FAILED


async def test_closing_does_not_wait_for_a_peer_that_is_gone() -> None:
    line = Line()
    leg = line.endpoint.call(Uri.parse("sip:101@203.0.113.9"), offer(), from_=Address(Uri("sip", "x", "a")))
    (message,) = line.take()
    line.put(reply(message, 200, body=bytes(answer())), PHONE)
    await line.endpoint.close(seconds=0.01)
    assert statuses(line.take()) == ["BYE"]
    assert leg.ended.result() is Cause.CLOSED
    assert not leg.gone.done()
    assert line.wire.closed
    assert statuses(line.put(invite())) == [503]


async def test_an_address_that_is_taken_cannot_be_listened_on() -> None:
    near, far = await pair()
    other = Endpoint([near.local], credentials=dict[str, Credentials]().get, trunks=lambda _address: None)
    with pytest.raises(OSError, match="in use"):
        await other.start()
    await near.close()
    await far.close()


async def test_a_wildcard_address_tells_each_peer_one_that_it_can_reach() -> None:
    endpoint = Endpoint([Hop("0.0.0.0", 0)], credentials=dict[str, Credentials]().get, trunks=lambda _address: None)
    await endpoint.start()
    assert endpoint.wires.address_for(Hop("127.0.0.1", 5060)) == f"127.0.0.1:{endpoint.local[1]}"
    await endpoint.close()
    told = Endpoint(
        [Hop("::", 5060)], credentials=dict[str, Credentials]().get, trunks=lambda _a: None, advertise="2001:db8::1"
    )
    assert told.wires.address_for(Hop("2001:db8::9", 5060)) == "[2001:db8::1]:5060"


async def test_sending_to_what_is_no_address_or_after_closing_is_harmless() -> None:
    transport = await UdpTransport.open(Hop("127.0.0.1", 0), Line().endpoint)
    transport.send(b"x", Hop("not an address", 5060))
    transport.send(b"x", Hop("127.0.0.1", 99999))
    transport.close()
    transport.send(b"x", Hop("127.0.0.1", 9))


async def test_what_a_call_leaves_behind_needs_no_collector() -> None:
    line = Line()
    line.put(invite())
    await line.settle()
    line.calls[0].answer(answer())
    ok = line.take()[-1]
    line.put(follow(invite(), ok, "ACK"))
    line.put(follow(invite(), ok, "BYE", sequence=2))
    leg = line.endpoint.call(Uri.parse("sip:101@203.0.113.9"), offer(), from_=Address(Uri("sip", "x", "a")))
    (message,) = line.take()
    line.put(reply(message, 486), PHONE)
    await asyncio.sleep(0)
    left: list[weakref.ref[Leg]] = [weakref.ref(line.calls.pop()), weakref.ref(leg)]
    del leg
    gc.disable()
    try:
        line.passes(33)
        assert [kept() for kept in left] == [None, None]
    finally:
        gc.enable()


async def test_in_a_dialog_as_outside_it_what_is_required_must_be_known() -> None:
    line = Line()
    line.put(invite())
    await line.settle()
    line.calls[0].answer(answer())
    ok = line.take()[-1]
    line.put(follow(invite(), ok, "ACK"))
    again = follow(invite(), ok, "INVITE", sequence=2)
    again.headers["Require"] = ["precondition"]
    assert statuses(line.put(again)) == [420]
    assert not line.calls[0].ended.done()
