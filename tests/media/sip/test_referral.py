"""Transfers on paper: Refer-To, Replaces, Event, Subscription-State, sipfrag, and digits in INFO."""

import pytest

from media.errors import ProtocolError
from media.sip.keypress import PLAIN_TYPE, RELAY_TYPE, key_of
from media.sip.referral import Event, ReferTo, Replaces, Subscription, fragment, parse_fragment

JSSIP = "<sip:102@gw.example?Replaces=abc%40host%3Bto-tag%3Dour%3Bfrom-tag%3Dfar>"
"As JsSIP writes an attended transfer."

BARESIP = "<sip:102@192.0.2.1:5060;transport=udp?Replaces=abc%40host%3bto-tag%3dour%3bfrom-tag%3dfar&X=y>"


@pytest.mark.parametrize("value", ["a@b;to-tag=1;from-tag=2", "c;to-tag=x;from-tag=y;early-only"])
def test_a_replaces_comes_back_as_it_was(value: str) -> None:
    assert str(Replaces.parse(value)) == value


@pytest.mark.parametrize("value", ["", "a", "a;to-tag=1", "a;from-tag=1", ";to-tag=1;from-tag=2", "a b;to-tag=1"])
def test_what_names_no_dialog_is_refused(value: str) -> None:
    with pytest.raises(ProtocolError):
        Replaces.parse(value)


@pytest.mark.parametrize("value", [JSSIP, BARESIP])
def test_an_attended_transfer_says_whom_to_replace(value: str) -> None:
    asked = ReferTo.parse(value)
    assert asked.replaces == Replaces("abc@host", "our", "far")
    assert (asked.target.user, asked.target.headers, asked.method) == ("102", "", "INVITE")
    assert ReferTo.parse(str(asked)) == asked


@pytest.mark.parametrize("value", ["sip:102@gw.example", '"Ada" <sip:+12125550100@gw.example>', "<tel:+12125550100>"])
def test_a_blind_transfer_says_only_whom_to_call(value: str) -> None:
    asked = ReferTo.parse(value)
    assert asked.replaces is None
    assert asked.target.number in ("102", "+12125550100")
    assert ReferTo.parse(str(asked)) == asked


def test_another_method_is_told() -> None:
    asked = ReferTo.parse("<sip:102@gw.example;method=bye>")
    assert (asked.method, asked.target.params) == ("BYE", {})
    assert ReferTo.parse(str(asked)) == asked


@pytest.mark.parametrize("end", range(len(JSSIP)))
def test_a_transfer_that_is_cut_short_is_refused_or_asks_for_no_other_dialog(end: int) -> None:
    try:
        asked = ReferTo.parse(JSSIP[:end])
    except ProtocolError:
        return
    assert asked.replaces in (None, Replaces("abc@host", "our", "far"))


def test_two_dialogs_cannot_be_replaced() -> None:
    with pytest.raises(ProtocolError):
        ReferTo.parse("<sip:a@b?Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2&replaces=b%3Bto-tag%3D1%3Bfrom-tag%3D2>")


@pytest.mark.parametrize("value", ["refer", "refer;id=93809824"])
def test_an_event_comes_back_as_it_was(value: str) -> None:
    assert str(Event.parse(value)) == value


@pytest.mark.parametrize("value", ["active;expires=60", "pending", "terminated;reason=noresource"])
def test_a_subscription_comes_back_as_it_was(value: str) -> None:
    assert str(Subscription.parse(value)) == value


@pytest.mark.parametrize("value", ["", ";id=1", "two words"])
def test_what_is_no_event_and_no_state_is_refused(value: str) -> None:
    with pytest.raises(ProtocolError):
        Event.parse(value)
    with pytest.raises(ProtocolError):
        Subscription.parse(value)


@pytest.mark.parametrize("status", [100, 180, 200, 486, 603])
def test_a_fragment_tells_a_status(status: int) -> None:
    assert parse_fragment(fragment(status)) == status


@pytest.mark.parametrize("body", [b"SIP/2.0 200 OK", b"SIP/2.0 200 OK\r\nTo: x\r\n", b"SIP/2.0 200\n", b"SIP/2.0 200 "])
def test_fragments_are_read_as_phones_write_them(body: bytes) -> None:
    assert parse_fragment(body) == 200


@pytest.mark.parametrize("body", [b"", b"SIP/2.0", b"SIP/2.0 20", b"SIP/2.0 2000 OK", b"HTTP/1.1 200 OK", b"200 OK"])
def test_what_tells_no_status_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_fragment(body)


@pytest.mark.parametrize(
    ("kind", "body", "key"),
    [
        (RELAY_TYPE, b"Signal=4\r\nDuration=100", "4"),
        (RELAY_TYPE, b"Signal= *\r\nDuration= 250\r\n", "*"),
        (RELAY_TYPE, b"signal=11\n", "#"),
        (RELAY_TYPE, b"Signal=hf\r\n", ""),
        (RELAY_TYPE, b"Signal=16\r\n", ""),
        (PLAIN_TYPE, b"7", "7"),
        (PLAIN_TYPE, b"d\r\n", "D"),
        (PLAIN_TYPE, b"123", ""),
    ],
)
def test_a_key_in_info_is_read(kind: str, body: bytes, key: str) -> None:
    assert key_of(kind, body) == key


@pytest.mark.parametrize(("kind", "body"), [(RELAY_TYPE, b"Duration=100"), (RELAY_TYPE, b""), (PLAIN_TYPE, b"\r\n")])
def test_info_without_a_signal_is_refused(kind: str, body: bytes) -> None:
    with pytest.raises(ProtocolError):
        key_of(kind, body)
