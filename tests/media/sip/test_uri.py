"""URIs and the addresses that carry them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.errors import ProtocolError
from media.sip.hop import Hop
from media.sip.uri import Address, Uri

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True)
VALUES = st.from_regex(r"[A-Za-z0-9.-]{1,12}", fullmatch=True)
PARAMS = st.dictionaries(NAMES, st.none() | VALUES, max_size=4)
HOSTS = st.from_regex(r"[a-z][a-z0-9]{0,8}(\.[a-z]{2,4})?", fullmatch=True) | st.just("[2001:db8::7]")
USERS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
SIP_URIS = st.builds(
    Uri,
    st.sampled_from(["sip", "sips"]),
    st.just("") | USERS,
    HOSTS,
    st.none() | st.integers(1, 65535),
    PARAMS,
    st.just("") | st.just("subject=x&to=y"),
)


@given(SIP_URIS)
def test_every_uri_survives_its_own_text(uri: Uri) -> None:
    assert Uri.parse(str(uri)) == uri


@given(SIP_URIS, st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12), PARAMS)
def test_every_address_survives_its_own_text(uri: Uri, display: str, params: dict[str, str | None]) -> None:
    address = Address(uri, display, params)
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("sip:alice@atlanta.example", Uri("sip", "alice", "atlanta.example")),
        (
            "sip:alice:secret@Atlanta.example;transport=TCP",
            Uri("sip", "alice", "atlanta.example", params={"transport": "TCP"}, password="secret"),
        ),
        ("SIPS:atlanta.example:5061?subject=x", Uri("sips", "", "atlanta.example", 5061, headers="subject=x")),
        ("sip:+1-212-555-0100;npdi@10.0.0.1", Uri("sip", "+1-212-555-0100;npdi", "10.0.0.1")),
        ("sip:%61lice@a.example", Uri("sip", "alice", "a.example")),
        ("sip:a%40b@a.example", Uri("sip", "a@b", "a.example")),
        ("tel:+1-212-555-0100;phone-context=x", Uri("tel", "+1-212-555-0100", params={"phone-context": "x"})),
        ("mailto:a@b.example", Uri("mailto", "a@b.example")),
    ],
)
def test_uris_as_the_standards_print_them(text: str, uri: Uri) -> None:
    assert Uri.parse(text) == uri
    assert Uri.parse(str(uri)) == uri


@pytest.mark.parametrize(
    "text",
    ["", "sip", "sip:", "sip:@host", "sip::pw@host", "sip:a@b@c", "sip:a@", "sip:a b@c", "sip:a@b:0", "sip:<a>@b"],
)
def test_what_is_no_uri_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        Uri.parse(text)


@pytest.mark.parametrize("text", [":a", "sip:a@b:port", 'sip:"a"@b', "sip:a\r\n@b", "1é:a", "sip:é", "sip:a@é.example"])
def test_hostile_text_is_no_uri(text: str) -> None:
    with pytest.raises(ProtocolError):
        Uri.parse(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("sip:+12125550100@a", "+12125550100"),
        ("sip:212-555-0100@a;user=phone", "2125550100"),
        ("sip:(212)%20555.0100@a", "2125550100"),
        ("sip:+12125550100;rn=1;npdi@a", "+12125550100"),
        ("tel:+1-212-555-0100", "+12125550100"),
        ("sip:101@a", "101"),
        ("sip:anonymous@anonymous.invalid", ""),
        ("sip:a", ""),
        ("sip:+@a", ""),
        ("sip:%D9%A3@a", ""),
    ],
)
def test_the_number_is_digits_or_nothing(text: str, number: str) -> None:
    assert Uri.parse(text).number == number


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("<sip:a@b>", Address(Uri("sip", "a", "b"))),
        ("sip:a@b;tag=x", Address(Uri("sip", "a", "b"), "", {"tag": "x"})),
        (
            "Ada Lovelace <sip:a@b;lr>;tag=x",
            Address(Uri("sip", "a", "b", params={"lr": None}), "Ada Lovelace", {"tag": "x"}),
        ),
        ('"Doe, \\"J\\"" <sip:a@b>', Address(Uri("sip", "a", "b"), 'Doe, "J"')),
        ('"<sip:x@y>" <sip:a@b>;q=0.5', Address(Uri("sip", "a", "b"), "<sip:x@y>", {"q": "0.5"})),
        ('"Čeněk" < sip:a@b >', Address(Uri("sip", "a", "b"), "Čeněk")),
    ],
)
def test_addresses_as_peers_write_them(text: str, address: Address) -> None:
    assert Address.parse(text) == address


@pytest.mark.parametrize("text", ["", "<>", "<sip:a@b", "sip:a@b>", '"a <sip:a@b>', "Ada", '"a"b" <sip:a@b>'])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        Address.parse(text)


def test_where_a_request_to_a_uri_goes() -> None:
    assert Uri.parse("sip:a@192.0.2.1").hop == Hop("192.0.2.1", 5060)
    assert Uri.parse("sip:a@[2001:db8::1]:99").hop == Hop("2001:db8::1", 99)
    assert Uri.parse("sip:a@host.example;maddr=192.0.2.9").hop == Hop("192.0.2.9", 5060)


@pytest.mark.parametrize(
    ("uri", "transport", "port"),
    [
        ("sip:a@192.0.2.1;transport=UDP", "udp", 5060),
        ("sip:a@192.0.2.1;TRANSPORT=Tcp", "tcp", 5060),
        ("sip:a@192.0.2.1;transport=tls", "tls", 5061),
        ("sip:a@192.0.2.1:5070;transport=TLS", "tls", 5070),
        ("sips:a@192.0.2.1", "tls", 5061),
        ("sips:a@192.0.2.1;transport=tcp", "tls", 5061),
        ("sips:a@192.0.2.1;transport=udp", "tls", 5061),
        ("sip:a@x.invalid;transport=ws", "ws", 80),
        ("sip:a@x.invalid;transport=wss", "ws", 80),
        ("sip:a@192.0.2.1;transport", "udp", 5060),
        ("sip:a@192.0.2.1;transport=sctp", "sctp", 5060),
    ],
)
def test_a_uri_says_by_which_transport_it_is_reached(uri: str, transport: str, port: int) -> None:
    assert Uri.parse(uri).hop[1:4] == (port, transport, 0)
