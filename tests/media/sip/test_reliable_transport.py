"""Transactions over TCP: nothing is sent twice, nobody waits for copies, and what cannot be sent is told at once."""

import pytest

from media.sip.client_transaction import CONNECT_S
from media.sip.hop import Hop
from media.sip.message import Request, Response, parse
from media.sip.transaction import ServerTransaction
from tests.media.sip.line import TRUNK, invite, request
from tests.media.sip.test_transaction import Layer, ack_of

OVER_TCP = Hop("198.51.100.7", 41234, "tcp", 7)
LISTENS = Hop("198.51.100.7", 5060, "tcp")
TCP = "SIP/2.0/TCP 198.51.100.7:5060;rport"


class Stream(Layer):
    """A layer whose messages come over one connection."""

    def arrives(self, message: Request | Response) -> None:
        self.layer.receive(parse(bytes(message)), OVER_TCP)

    def served(self, message: Request) -> ServerTransaction:
        self.arrives(message)
        return self.layer.serve(self.requests[-1])

    def lose(self) -> None:
        """Have the transport say that the last message was not delivered."""
        self.layer.unsent(self.sent[-1][1])


@pytest.fixture
def net() -> Stream:
    return Stream()


def test_a_response_goes_over_its_request_s_connection_or_to_where_the_sender_listens(net: Stream) -> None:
    server = net.served(request("OPTIONS", via=TCP))
    server.respond(server.request.respond(200))
    assert net.sent[-1][2] == Hop("198.51.100.7", 5060, "tcp", 7)  # RFC 3261 section 18.2.2
    net.layer.reply(server.request, server.request.respond(200))
    assert net.sent[-1][2] == Hop("198.51.100.7", 5060, "tcp", 7)


@pytest.mark.parametrize("transport", ["TLS", "WS", "SCTP", "UDP"])
def test_not_what_via_claims_but_what_the_request_came_over_is_the_way_back(net: Stream, transport: str) -> None:
    server = net.served(request("OPTIONS", via=f"SIP/2.0/{transport} 10.0.0.9:5099"))
    server.respond(server.request.respond(200))
    assert net.sent[-1][2] == Hop("198.51.100.7", 5099, "tcp", 7)


def test_timer_j_is_zero(net: Stream) -> None:
    server = net.served(request("BYE", via=TCP))
    server.respond(server.request.respond(200))
    net.passes(0)
    assert net.layer.servers == {}
    assert net.layer.origins == {}


def test_timers_g_and_i_are_off_and_h_waits_for_the_ack(net: Stream) -> None:
    server = net.served(invite(via=TCP))
    server.respond(server.request.respond(486, to_tag="mine"))
    net.passes(31.9)
    assert net.times() == [0]
    assert len(net.layer.servers) == 1
    net.arrives(ack_of(server.request))
    net.passes(0)
    assert net.layer.servers == {}
    assert net.acks == []


def test_timer_h_gives_up_without_an_ack(net: Stream) -> None:
    server = net.served(invite(via=TCP))
    server.respond(server.request.respond(486, to_tag="mine"))
    net.passes(32)
    assert net.layer.servers == {}


def test_timer_l_waits_over_tcp_too(net: Stream) -> None:
    server = net.served(invite(via=TCP))
    server.respond(server.request.respond(200, to_tag="mine"))
    net.passes(31.9)
    assert len(net.layer.servers) == 1
    net.passes(0.2)
    assert net.layer.servers == {}


def test_timers_a_and_e_are_off_b_and_f_are_not(net: Stream) -> None:
    net.layer.request(request("BYE", via=TCP), LISTENS, net.on_response)
    net.layer.request(invite(via=TCP), LISTENS, net.on_response)
    net.passes(31.9)
    assert net.times() == [0, 0]
    assert net.heard == []
    net.passes(0.2)
    assert net.heard == [0, 0]
    assert net.layer.clients == {}


def test_timers_d_and_k_are_zero(net: Stream) -> None:
    bye, call = request("BYE", via=TCP), invite(via=TCP)
    net.layer.request(bye, LISTENS, net.on_response)
    net.layer.request(call, LISTENS, net.on_response)
    net.arrives(bye.respond(200))
    net.arrives(call.respond(486, to_tag="far"))
    assert net.heard == [200, 486]
    assert net.layer.clients == {}
    assert isinstance(net.last(), Request)
    assert net.last().headers["CSeq"] == ["1 ACK"]


def test_what_could_not_be_sent_is_heard_at_once_and_once(net: Stream) -> None:
    client = net.layer.request(invite(via=TCP), LISTENS, net.on_response)
    net.lose()
    net.lose()
    assert net.heard == [0]
    assert client.final == 503
    assert net.layer.clients == {}
    net.passes(60)
    assert net.times() == [0]


def test_a_request_that_was_heard_of_did_arrive(net: Stream) -> None:
    call = invite(via=TCP)
    net.layer.request(call, LISTENS, net.on_response)
    net.arrives(call.respond(100))
    net.lose()
    assert net.heard == [100]


def test_a_response_or_an_ack_that_could_not_be_sent_is_nobody_s_grief(net: Stream) -> None:
    call = invite(via=TCP)
    net.layer.request(call, LISTENS, net.on_response)
    net.arrives(call.respond(486, to_tag="far"))
    net.lose()
    server = net.served(request("OPTIONS", via=TCP))
    server.respond(server.request.respond(200))
    net.lose()
    assert net.heard == [486]


# Requests too large for a datagram (RFC 3261 section 18.1.1)


class Wide(Layer):
    """A layer beside which TCP is spoken."""

    def __init__(self) -> None:
        super().__init__()
        self.layer.widen = self._widen
        self.narrowed: list[Hop] = []
        self.layer.narrow = self.narrowed.append

    def _widen(self, message: Request, hop: Hop) -> Hop:
        message.retrace([message.headers["Via"][0].replace("/UDP", "/TCP")])
        return hop._replace(transport="tcp")


def large(method: str = "INVITE") -> Request:
    return request(method, headers={"Subject": "y" * 1300})


def test_a_large_request_takes_tcp_and_says_so_in_its_via() -> None:
    net = Wide()
    net.layer.request(large(), TRUNK, net.on_response)
    _, data, hop = net.sent[0]
    assert hop == LISTENS
    assert b"Via: SIP/2.0/TCP 198.51.100.7:5060" in data
    net.passes(20)
    assert len(net.sent) == 1


def test_a_small_request_and_one_that_goes_over_a_stream_stay() -> None:
    net = Wide()
    net.layer.request(request("OPTIONS"), TRUNK, net.on_response)
    net.layer.request(large("OPTIONS"), OVER_TCP, net.on_response)
    assert [hop for _, _, hop in net.sent] == [TRUNK, OVER_TCP]


def test_a_large_request_goes_back_to_udp_where_nobody_takes_tcp() -> None:
    net = Wide()
    message = large()
    before = bytes(message)
    net.layer.request(message, TRUNK, net.on_response)
    net.layer.unsent(net.sent[-1][1])
    assert [hop for _, _, hop in net.sent] == [LISTENS, TRUNK]
    assert net.sent[-1][1] == bytes(message) == before
    assert net.narrowed == [TRUNK]
    net.passes(2)
    assert net.times() == [0, 0, 0.5, 1.5]
    net.arrives(message.respond(200, to_tag="far"))
    assert net.heard == [200]


def test_a_large_request_that_nobody_wants_any_more_does_not_go_back_to_udp() -> None:
    net = Wide()
    client = net.layer.request(large(), TRUNK, net.on_response)
    client.rest()
    net.layer.unsent(net.sent[-1][1])
    net.passes(40)
    assert [hop for _, _, hop in net.sent] == [LISTENS]
    assert net.heard == [0]
    assert net.narrowed == [TRUNK]
    assert net.layer.clients == {}


def test_silence_counts_from_the_last_time_a_request_went_out_anew() -> None:
    net = Wide()
    client = net.layer.request(large(), TRUNK, net.on_response)
    net.passes(CONNECT_S - 0.5)
    assert client.silence == 0  # it may still wait for TCP
    net.passes(1)
    assert client.silence == 0.5
    net.layer.unsent(net.sent[-1][1])
    assert client.silence == 0
    net.passes(2)
    assert client.silence == 2


def test_cancel_and_ack_go_the_way_of_their_invite() -> None:
    net = Wide()
    message = large()
    net.layer.request(message, TRUNK, net.on_response)
    cancel = request("CANCEL")
    cancel.headers["Via"] = message.headers["Via"]
    net.layer.request(cancel, TRUNK, net.on_response)
    assert net.sent[-1][2] == LISTENS
    net.arrives(message.respond(487, to_tag="far"))
    ack, hop = net.last(), net.sent[-1][2]
    assert (ack.sequence_method, ack.via.transport, hop) == ("ACK", "TCP", LISTENS)
    # Whoever asks again, with a password, begins as before.
    assert message.via.transport == "UDP"
