"""Dialogs: tags, order, routes, and peers behind NAT."""

import pytest

from media.errors import ProtocolError
from media.sip.dialog import Dialog, is_numeric, new_branch, new_call_id, new_tag, reach
from media.sip.hop import Hop
from media.sip.uri import Uri
from tests.media.sip.line import PHONE, TRUNK, follow, invite, reply, request

VIA = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKours;rport"


_FLOW = Hop("198.51.100.7", 41234, "tcp", 7)
_CALLED = Hop("198.51.100.7", 5060, "tcp")
_PAGE = Hop("198.51.100.7", 41234, "ws", 7)
_NAMED = Hop("198.51.100.7", 5061, "tls", name="sip.carrier.example")


def called(**changes: object) -> Dialog:
    message = invite(**changes)
    message.stamp(TRUNK)
    return Dialog.of_request(message, "mine", TRUNK)


def test_the_called_side_s_dialog_is_the_mirror_of_the_caller_s() -> None:
    message = invite()
    ours = Dialog.of_request(message, "mine", TRUNK)
    theirs = Dialog.of_response(message, reply(message, 200, tag="mine", contact="<sip:192.0.2.1>"), TRUNK)
    assert (ours.local_tag, ours.remote_tag) == (theirs.remote_tag, theirs.local_tag) == ("mine", "far")
    assert (ours.local, ours.remote) == (theirs.remote, theirs.local)
    assert ours.key == ("call-1", "mine", "far")
    assert ours.target == "sip:ada@198.51.100.7:5060"


def test_each_request_of_ours_is_one_further_and_the_ack_is_its_invite_s() -> None:
    dialog = called()
    assert [dialog.request("BYE", VIA).sequence for _ in range(2)] == [1, 2]
    ack = dialog.request("ACK", VIA, sequence=1)
    assert (ack.sequence, ack.sequence_method, dialog.sequence) == (1, "ACK", 2)
    assert ack.from_tag == "mine"
    assert ack.to_tag == "far"


def test_the_peer_s_requests_must_be_newer_than_the_last() -> None:
    dialog = called(sequence=7)
    assert not dialog.in_order(request("BYE", sequence=7))
    assert not dialog.in_order(request("BYE", sequence=6))
    assert dialog.in_order(request("BYE", sequence=9))
    assert not dialog.in_order(request("BYE", sequence=8))


def test_the_called_side_keeps_the_route_and_the_caller_turns_it_round() -> None:
    message = invite(headers={"Record-Route": "<sip:198.51.100.8;lr>, <sip:198.51.100.9;lr>"})
    ours = Dialog.of_request(message, "mine", TRUNK)
    theirs = Dialog.of_response(message, reply(message, 200), TRUNK)
    assert ours.routes == ["<sip:198.51.100.8;lr>", "<sip:198.51.100.9;lr>"]
    assert theirs.routes == ours.routes[::-1]
    assert ours.hop() == Hop("198.51.100.8", 5060)
    bye = ours.request("BYE", VIA)
    assert bye.uri == "sip:ada@198.51.100.7:5060"
    assert bye.all("Route") == ours.routes


def test_a_strict_router_gets_the_request_addressed_to_itself() -> None:
    # The example of RFC 3261 section 12.2.1.1.
    dialog = called(headers={"Record-Route": "<sip:proxy1>, <sip:proxy2>, <sip:proxy3;lr>"})
    dialog.target = "sip:user@remoteua"
    bye = dialog.request("BYE", VIA)
    assert bye.uri == "sip:proxy1"
    assert bye.all("Route") == ["<sip:proxy2>", "<sip:proxy3;lr>", "<sip:user@remoteua>"]


def test_a_peer_behind_nat_is_answered_where_it_came_from() -> None:
    message = invite(via="SIP/2.0/UDP 10.0.0.5:5060", contact="<sip:ada@10.0.0.5:5060>")
    message.stamp(PHONE)
    dialog = Dialog.of_request(message, "mine", PHONE)
    assert dialog.hidden
    assert dialog.hop() == PHONE


def test_a_peer_whose_port_is_translated_is_answered_where_it_came_from() -> None:
    source = Hop("198.51.100.7", 40000)
    message = invite(via="SIP/2.0/UDP 198.51.100.7:5060;rport")
    message.stamp(source)
    assert Dialog.of_request(message, "mine", source).hop() == source


def test_a_peer_that_sends_from_another_port_than_it_listens_on_is_called_at_its_contact() -> None:
    message = invite()
    message.stamp(Hop("198.51.100.7", 40000))
    assert Dialog.of_request(message, "mine", Hop("198.51.100.7", 40000)).hop() == TRUNK


def test_a_contact_elsewhere_is_not_taken_for_nat() -> None:
    dialog = called(contact="<sip:ada@198.51.100.20:5070>")
    assert dialog.hop() == Hop("198.51.100.20", 5070)


def test_a_contact_with_a_host_name_is_not_looked_up_in_the_middle_of_a_call() -> None:
    assert called(contact="<sip:ada@pbx.example>").hop() == TRUNK
    assert called(contact="<sip:ada@999.1.1.1>").hop() == TRUNK
    assert called(headers={"Record-Route": "<sip:proxy.example;lr>"}).hop() == TRUNK


@pytest.mark.parametrize(
    ("uri", "known", "hop"),
    [
        # Over the connection that the peer opened, by its own word or without one.
        ("sip:a@198.51.100.7:5060;transport=tcp", _FLOW, Hop("198.51.100.7", 5060, "tcp", 7)),
        ("sip:a@198.51.100.7:5060;transport=TCP", _FLOW, Hop("198.51.100.7", 5060, "tcp", 7)),
        ("sip:a@198.51.100.7", _FLOW, Hop("198.51.100.7", 5060, "tcp", 7)),
        # Not where it asks for another transport, or is another host.
        ("sip:a@198.51.100.7;transport=udp", _FLOW, Hop("198.51.100.7", 5060)),
        ("sips:a@198.51.100.7", _FLOW, Hop("198.51.100.7", 5061, "tls")),
        ("sip:a@198.51.100.8;transport=tcp", _FLOW, Hop("198.51.100.8", 5060, "tcp")),
        ("sip:a@198.51.100.8", _FLOW, Hop("198.51.100.8", 5060)),
        # A connection of ours to that very address, and its name.
        ("sip:a@198.51.100.7:5060", _CALLED, Hop("198.51.100.7", 5060, "tcp")),
        ("sip:a@198.51.100.7:5099", _CALLED, Hop("198.51.100.7", 5099)),
        ("sip:a@198.51.100.7:5099;transport=tls", _NAMED, Hop("198.51.100.7", 5099, "tls", name="sip.carrier.example")),
        ("sip:a@sbc.carrier.example;transport=tls", _NAMED, _NAMED),
        ("sip:a@df7jal23ls0d.invalid;transport=ws", _FLOW, _FLOW),
        ("sip:a@192.0.2.99:5060", _PAGE, _PAGE),
    ],
)
def test_which_way_a_request_to_a_contact_or_a_route_takes(uri: str, known: Hop, hop: Hop) -> None:
    assert reach(Uri.parse(uri), known) == hop


def test_the_way_and_its_transport_follow_the_first_route() -> None:
    routes = {"Record-Route": "<sip:198.51.100.8:5070;transport=TCP;r2=on;lr>, <sip:198.51.100.8;r2=on;lr>"}
    dialog = called(headers=routes)
    assert dialog.hop() == Hop("198.51.100.8", 5070, "tcp")
    assert called(headers={"Record-Route": "<sips:198.51.100.8;lr>"}).hop() == Hop("198.51.100.8", 5061, "tls")


def test_a_later_contact_replaces_the_target() -> None:
    dialog = called()
    dialog.refresh(invite(contact="<sip:new@198.51.100.30:5080>"), TRUNK)
    assert dialog.target == "sip:new@198.51.100.30:5080"
    dialog.refresh(request("BYE", contact=""), TRUNK)
    assert dialog.target == "sip:new@198.51.100.30:5080"


@pytest.mark.parametrize("contact", ["", "*", "<sip:a@1.1.1.1>, <sip:b@1.1.1.1>", "<tel:+12125550100>", "<mailto:a@b>"])
def test_an_invite_without_one_sip_contact_makes_no_dialog(contact: str) -> None:
    with pytest.raises(ProtocolError):
        called(contact=contact)


def test_a_response_without_to_makes_no_dialog() -> None:
    message = invite()
    response = reply(message, 200)
    del response.headers["To"]
    with pytest.raises(ProtocolError):
        Dialog.of_response(message, response, TRUNK)


def test_the_caller_s_next_request_matches_the_dialog() -> None:
    message = invite()
    dialog = Dialog.of_request(message, "mine", TRUNK)
    bye = follow(message, message.respond(200, to_tag="mine"), "BYE", sequence=2)
    assert (bye.call_id, bye.to_tag, bye.from_tag) == dialog.key


def test_what_is_made_up_is_never_the_same() -> None:
    for make in (new_branch, new_tag, new_call_id):
        assert len({make() for _ in range(1000)}) == 1000
    assert new_branch().startswith("z9hG4bK")


@pytest.mark.parametrize(
    ("host", "numeric"),
    [
        ("192.0.2.1", True),
        ("2001:db8::1", True),
        ("host.example", False),
        ("1.2.3", False),
        ("999.1.1.1", False),
        ("", False),
    ],
)
def test_addresses_and_names_are_told_apart(host: str, numeric: bool) -> None:
    assert is_numeric(host) is numeric
