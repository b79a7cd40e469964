"""Transactions: every timer of RFC 3261 section 17 and RFC 6026, by a clock turned by hand."""

import pytest

from media.errors import ProtocolError
from media.sip.hop import Hop
from media.sip.message import Request, Response, parse
from media.sip.timer import Timers
from media.sip.transaction import InviteServer, ServerTransaction, Transactions
from tests.media.sip.line import TRUNK, Clock, invite, request


class Layer:
    """A transaction layer, the user over it, and the wire under it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.timers = Timers(self.clock)
        self.sent: list[tuple[float, bytes, Hop]] = []
        self.requests: list[Request] = []
        self.acks: list[Request] = []
        self.heard: list[int] = []
        self.layer = Transactions(self._send, self.timers, self)

    def _send(self, data: bytes, destination: Hop) -> None:
        self.sent.append((self.clock.now - 1000, data, destination))

    def on_request(self, request: Request, source: Hop) -> None:  # noqa: ARG002 - the protocol's signature
        self.requests.append(request)

    def on_ack(self, request: Request) -> None:
        self.acks.append(request)

    def on_response(self, response: Response | None) -> None:
        self.heard.append(response.status if response is not None else 0)

    def arrives(self, message: Request | Response) -> None:
        """Have a copy of the message come over the wire."""
        self.layer.receive(parse(bytes(message)), TRUNK)

    def serve(self, message: Request) -> ServerTransaction:
        self.arrives(message)
        return self.layer.serve(self.requests[-1])

    def passes(self, seconds: float) -> None:
        until = self.clock.now + seconds
        while (at := self.timers.next_at) is not None and at <= until:
            self.clock.now = at
            self.timers.run()
        self.clock.now = until

    def times(self) -> list[float]:
        return [at for at, _, _ in self.sent]

    def last(self) -> Request | Response:
        return parse(self.sent[-1][1])


@pytest.fixture
def net() -> Layer:
    return Layer()


def ack_of(message: Request, *, branch: str = "z9hG4bKone") -> Request:
    return request("ACK", branch=branch, sequence=message.sequence, to="<sip:b@192.0.2.1>;tag=mine", contact="")


# Requests that are served


def test_a_repeated_request_reaches_the_user_once_and_is_answered_from_the_cache(net: Layer) -> None:
    server = net.serve(request("BYE"))
    net.arrives(request("BYE"))
    assert net.sent == []
    server.respond(server.request.respond(200))
    net.arrives(request("BYE"))
    net.arrives(request("BYE"))
    assert len(net.requests) == 1
    assert len(net.sent) == 3
    assert len({data for _, data, _ in net.sent}) == 1
    assert net.layer.resent == 2


def test_timer_j_forgets_an_answered_request_after_32_seconds(net: Layer) -> None:
    server = net.serve(request("BYE"))
    server.respond(server.request.respond(200))
    net.passes(31.9)
    net.arrives(request("BYE"))
    assert len(net.requests) == 1
    net.passes(0.2)
    net.arrives(request("BYE"))
    assert len(net.requests) == 2
    assert net.layer.servers == {}
    assert net.layer.origins == {}


def test_only_the_first_final_response_counts(net: Layer) -> None:
    server = net.serve(request("OPTIONS"))
    server.respond(server.request.respond(200))
    server.respond(server.request.respond(500))
    net.arrives(request("OPTIONS"))
    assert server.final == 200
    assert all(b"200 OK" in data for _, data, _ in net.sent)


@pytest.mark.parametrize(
    "other",
    [request("OPTIONS", branch="z9hG4bKother"), request("OPTIONS", via="SIP/2.0/UDP 198.51.100.7:5099")],
    ids=["branch", "sender"],
)
def test_another_branch_or_sender_is_another_transaction(net: Layer, other: Request) -> None:
    net.serve(request("OPTIONS"))
    net.arrives(other)
    assert len(net.requests) == 2


def test_another_method_is_another_transaction(net: Layer) -> None:
    net.serve(invite())
    net.arrives(request("CANCEL"))
    assert [message.method for message in net.requests] == ["INVITE", "CANCEL"]


def test_a_branch_older_than_rfc_3261_is_told_apart_by_the_rest(net: Layer) -> None:
    net.serve(request("OPTIONS", branch="1"))
    net.arrives(request("OPTIONS", branch="1"))
    assert len(net.requests) == 1
    net.arrives(request("OPTIONS", branch="1", call_id="call-2"))
    assert len(net.requests) == 2


def test_timer_g_repeats_a_refusal_until_its_ack_and_timer_h_gives_up(net: Layer) -> None:
    server = net.serve(invite())
    server.respond(server.request.respond(486, to_tag="mine"))
    net.passes(40)
    assert net.times() == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert net.layer.servers == {}


def test_the_ack_of_a_refusal_ends_the_repeating_and_stays_below(net: Layer) -> None:
    server = net.serve(invite())
    server.respond(server.request.respond(486, to_tag="mine"))
    net.arrives(invite())
    assert net.times() == [0, 0]
    net.arrives(ack_of(server.request))
    net.passes(4)
    net.arrives(invite())
    net.arrives(ack_of(server.request))
    assert net.times() == [0, 0]
    assert net.acks == []
    assert len(net.requests) == 1
    net.passes(1.1)  # timer I
    assert net.layer.servers == {}


def test_a_repeated_invite_hears_the_latest_provisional_response(net: Layer) -> None:
    server = net.serve(invite())
    server.respond(server.request.respond(100))
    server.respond(server.request.respond(180, to_tag="mine"))
    net.arrives(invite())
    assert [parse(data).status for _, data, _ in net.sent] == [100, 180, 180]  # type: ignore[union-attr]
    assert len(net.requests) == 1


def test_an_accepted_invite_absorbs_its_copies_and_passes_the_ack_on(net: Layer) -> None:
    server = net.serve(invite())
    assert isinstance(server, InviteServer)
    server.respond(server.request.respond(200, to_tag="mine"))
    net.arrives(invite())
    assert len(net.sent) == 1  # the user repeats the 2xx by its own timer (RFC 6026 section 7.1)
    server.repeat(net.sent[0][1])
    assert len(net.sent) == 2
    net.arrives(ack_of(server.request, branch="z9hG4bKack"))
    net.arrives(ack_of(server.request))  # some peers reuse the branch
    assert len(net.acks) == 2
    net.passes(32)  # timer L
    assert net.layer.servers == {}


def test_cancel_finds_its_invite(net: Layer) -> None:
    server = net.serve(invite())
    net.arrives(request("CANCEL"))
    assert net.layer.invite_of(net.requests[-1]) is server
    assert net.layer.invite_of(request("CANCEL", branch="z9hG4bKother")) is None


def test_a_copy_that_comes_by_another_way_is_merged(net: Layer) -> None:
    net.serve(request("OPTIONS"))
    assert net.layer.merged(request("OPTIONS", branch="z9hG4bKfork"))
    assert not net.layer.merged(request("OPTIONS", sequence=2))
    assert not net.layer.merged(request("OPTIONS", to="<sip:b@192.0.2.1>;tag=in-a-dialog"))


def test_a_stateless_answer_goes_to_where_the_request_came_from(net: Layer) -> None:
    net.arrives(request("OPTIONS", via="SIP/2.0/UDP 10.0.0.1:9999;rport"))
    net.layer.reply(net.requests[0], net.requests[0].respond(401))
    assert net.sent[0][2] == TRUNK
    assert net.layer.servers == {}


# Requests that are sent


def test_timer_e_doubles_to_four_seconds_and_timer_f_ends_it(net: Layer) -> None:
    net.layer.request(request("BYE"), TRUNK, net.on_response)
    net.passes(40)
    assert net.times() == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert net.heard == [0]
    assert net.layer.clients == {}


def test_timer_e_goes_on_slowly_after_a_provisional_response(net: Layer) -> None:
    bye = request("BYE")
    net.layer.request(bye, TRUNK, net.on_response)
    net.arrives(bye.respond(100))
    net.passes(9)
    assert net.times() == [0, 0.5, 4.5, 8.5]


def test_a_final_response_is_heard_once_and_timer_k_absorbs_its_copies(net: Layer) -> None:
    bye = request("BYE")
    net.layer.request(bye, TRUNK, net.on_response)
    net.arrives(bye.respond(200))
    net.arrives(bye.respond(200))
    assert net.heard == [200]
    net.passes(4.9)
    assert len(net.layer.clients) == 1
    net.passes(0.2)
    assert net.layer.clients == {}
    assert len(net.sent) == 1


def test_timer_a_doubles_without_limit_and_timer_b_ends_it(net: Layer) -> None:
    net.layer.request(invite(), TRUNK, net.on_response)
    net.passes(40)
    assert net.times() == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert net.heard == [0]
    assert net.layer.clients == {}


def test_a_provisional_response_stops_timers_a_and_b(net: Layer) -> None:
    message = invite()
    net.layer.request(message, TRUNK, net.on_response)
    net.arrives(message.respond(180, to_tag="far"))
    net.passes(600)
    assert net.times() == [0]
    assert net.heard == [180]


def test_a_refusal_is_acknowledged_each_time_and_heard_once(net: Layer) -> None:
    message = invite(headers={"Route": "<sip:p1;lr>"})
    net.layer.request(message, TRUNK, net.on_response)
    refusal = message.respond(486, to_tag="far")
    net.arrives(refusal)
    ack = net.last()
    assert isinstance(ack, Request)
    assert (ack.method, ack.uri, ack.sequence) == ("ACK", message.uri, 1)
    assert ack.headers["Via"] == message.headers["Via"]  # RFC 3261 section 17.1.1.3
    assert ack.headers["Route"] == ["<sip:p1;lr>"]
    assert ack.to_tag == "far"
    net.arrives(refusal)
    assert net.heard == [486]
    assert net.sent[-1][1] == net.sent[-2][1]
    net.passes(32)  # timer D
    assert net.layer.clients == {}


def test_every_2xx_reaches_the_user_for_32_seconds(net: Layer) -> None:
    message = invite()
    net.layer.request(message, TRUNK, net.on_response)
    net.arrives(message.respond(200, to_tag="one"))
    net.arrives(message.respond(200, to_tag="two"))
    net.arrives(message.respond(486, to_tag="three"))
    net.arrives(message.respond(180, to_tag="four"))
    assert net.heard == [200, 200]
    assert len(net.sent) == 1  # the ACK of a 2xx is the user's
    net.passes(32)  # timer M
    net.arrives(message.respond(200, to_tag="one"))
    assert net.heard == [200, 200]
    assert net.layer.clients == {}


def test_an_abandoned_request_is_silent(net: Layer) -> None:
    message = invite()
    client = net.layer.request(message, TRUNK, net.on_response)
    client.abandon()
    net.arrives(message.respond(200, to_tag="one"))
    net.passes(60)
    assert net.heard == []
    assert net.times() == [0]


def test_responses_that_are_nobody_s_are_dropped(net: Layer) -> None:
    message = request("OPTIONS")
    net.layer.request(message, TRUNK, net.on_response)
    net.arrives(request("OPTIONS", branch="z9hG4bKother").respond(200))
    two_hops = message.respond(200)
    two_hops.headers["Via"] = [*two_hops.headers["Via"], "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKinner"]
    net.arrives(two_hops)  # RFC 3261 section 8.1.3.3
    assert net.heard == []
    no_sequence = message.respond(200)
    del no_sequence.headers["CSeq"]
    with pytest.raises(ProtocolError):
        net.arrives(no_sequence)
