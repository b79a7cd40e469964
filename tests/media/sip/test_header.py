"""What stands inside header fields."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.errors import ProtocolError
from media.sip.header import (
    Via,
    build_params,
    cut,
    legible,
    parse_hostport,
    parse_params,
    parse_sequence,
    quote,
    split_list,
    tag_of,
    unquote,
)
from media.sip.hop import Hop

NAMES = st.from_regex(r"[a-z][a-z0-9.-]{0,9}", fullmatch=True)
VALUES = st.from_regex(r"[A-Za-z0-9.-]{1,12}", fullmatch=True)


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("a", ["a"]),
        ("a, b ,c", ["a", "b", "c"]),
        ("", []),
        ("a,,b", ["a", "b"]),
        ('"Doe, J" <sip:a@b>, <sip:c,d@e>', ['"Doe, J" <sip:a@b>', "<sip:c,d@e>"]),
        ('"back\\\\", "quo\\"te,"', ['"back\\\\"', '"quo\\"te,"']),
    ],
)
def test_lists_are_cut_outside_quotes_and_brackets(value: str, parts: list[str]) -> None:
    assert split_list(value) == parts


@pytest.mark.parametrize("value", ['"open, a', "<sip:a, b", 'a, "b\\"'])
def test_what_is_not_closed_is_refused(value: str) -> None:
    with pytest.raises(ProtocolError):
        cut(value, ",")


@given(st.text())
def test_quoting_and_unquoting_are_inverse_but_for_control_characters(text: str) -> None:
    clean = "".join(char if char >= " " and char != "\x7f" else " " for char in text)
    assert unquote(quote(text)) == clean


@pytest.mark.parametrize(
    ("data", "text"), [(b"Jos\xe9", "José"), ("José".encode(), "José"), (b"Ada", "Ada"), (b"", "")]
)
def test_bytes_that_are_no_utf_8_are_latin_1(data: bytes, text: str) -> None:
    assert legible(data.decode("utf-8", "surrogateescape")) == text


@given(st.binary(max_size=40))
def test_what_any_bytes_say_can_be_kept(data: bytes) -> None:
    legible(data.decode("utf-8", "surrogateescape")).encode()


def test_a_quoted_name_cannot_end_its_line() -> None:
    assert "\r" not in quote("Bob\r\nVia: evil")
    assert "\n" not in quote("Bob\r\nVia: evil")


@given(st.dictionaries(NAMES, st.none() | VALUES, max_size=5))
def test_parameters_and_their_text_are_inverse(params: dict[str, str | None]) -> None:
    assert parse_params(build_params(params)) == params


def test_a_parameter_without_a_name_is_refused() -> None:
    with pytest.raises(ProtocolError):
        parse_params("a=b;=c")


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        ("<sip:a@b>;tag=x", "x"),
        ("<sip:a@b>", ""),
        ("<sip:a@b;tag=inside>", ""),
        ("sip:a@b;tag=x", "x"),
        ('"tag=;tag=y" <sip:a@b>;TAG = x', "x"),
        ('"a" <sip:a@b>;other=">";tag=x', "x"),
        ('<sip:a@b>;tag=x;other=">"', "x"),
        ("<sip:a@b>;tagged=1;tag=x", "x"),
        ("<sip:a@b>;lr;tag=x;z", "x"),
    ],
)
def test_the_tag_is_the_header_s_own(value: str, tag: str) -> None:
    assert tag_of(value) == tag


@pytest.mark.parametrize("value", ["", "1", "INVITE 1", "-1 INVITE", "2147483648 INVITE", "1 IN VITE", "٣ INVITE"])
def test_a_sequence_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(ProtocolError):
        parse_sequence(value)


def test_a_sequence_may_have_more_space_and_leading_zeros() -> None:
    assert parse_sequence("0009   INVITE") == (9, "INVITE")
    assert parse_sequence("9\t\tINVITE") == (9, "INVITE")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Example.COM", ("example.com", None)),
        ("192.0.2.1:5060", ("192.0.2.1", 5060)),
        ("[2001:db8::1]:99", ("[2001:db8::1]", 99)),
        ("[2001:DB8::1]", ("[2001:db8::1]", None)),
    ],
)
def test_hosts_and_ports(text: str, found: tuple[str, int | None]) -> None:
    assert parse_hostport(text) == found


@pytest.mark.parametrize("text", ["", ":5060", "a b", "host:", "host:0", "host:65536", "[::1", "[::1]x", "[]", "a@b"])
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        parse_hostport(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("SIP/2.0/UDP 192.0.2.4;branch=z9hG4bK1", "SIP/2.0/UDP 192.0.2.4;branch=z9hG4bK1"),
        ("SIP / 2.0 / udp host.example: 4000 ; ttl=16 ;branch=x", "SIP/2.0/UDP host.example:4000;ttl=16;branch=x"),
        ("SIP/2.0/UDP\t192.0.2.4\t:\t4000", "SIP/2.0/UDP 192.0.2.4:4000"),
        ("SIP/2.0/TLS [2001:db8::1]:5061;rport", "SIP/2.0/TLS [2001:db8::1]:5061;rport"),
    ],
)
def test_via_is_read_and_written(value: str, text: str) -> None:
    via = Via.parse(value)
    assert str(via) == text
    assert Via.parse(str(via)) == via


@pytest.mark.parametrize(
    "value", ["", "SIP/3.0/UDP a", "SIP/2.0/UDP", "HTTP/2.0/UDP a", "SIP/2.0 a", "SIP/2.0/UDP a:b"]
)
def test_a_via_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(ProtocolError):
        Via.parse(value)


@given(
    transport=st.sampled_from(["UDP", "TCP", "TLS", "WS", "WSS"]),
    host=st.from_regex(r"[a-z][a-z0-9]{0,8}(\.[a-z]{2,4})?", fullmatch=True),
    port=st.none() | st.integers(1, 65535),
    params=st.dictionaries(NAMES, st.none() | VALUES, max_size=4),
)
def test_every_via_survives_its_own_text(
    transport: str, host: str, port: int | None, params: dict[str, str | None]
) -> None:
    via = Via(transport, host, port, params)
    assert Via.parse(str(via)) == via


@pytest.mark.parametrize(
    ("value", "source", "stamped", "destination"),
    [
        # RFC 3581 section 4: with rport the response goes to where the request came from.
        (
            "SIP/2.0/UDP 10.1.1.1:4540;rport;branch=z9hG4bKkjshdyff",
            ("192.0.2.1", 9988),
            "SIP/2.0/UDP 10.1.1.1:4540;rport=9988;branch=z9hG4bKkjshdyff;received=192.0.2.1",
            ("192.0.2.1", 9988),
        ),
        # RFC 3261 section 18.2.2: without it to the port that the sender named.
        (
            "SIP/2.0/UDP 10.1.1.1:4540;branch=x",
            ("192.0.2.1", 9988),
            "SIP/2.0/UDP 10.1.1.1:4540;branch=x;received=192.0.2.1",
            ("192.0.2.1", 4540),
        ),
        ("SIP/2.0/UDP 192.0.2.1;branch=x", ("192.0.2.1", 9), "SIP/2.0/UDP 192.0.2.1;branch=x", ("192.0.2.1", 5060)),
        ("SIP/2.0/UDP h.example:9", ("192.0.2.1", 8), "SIP/2.0/UDP h.example:9;received=192.0.2.1", ("192.0.2.1", 9)),
        # What the sender claims about itself is overwritten.
        (
            "SIP/2.0/UDP 192.0.2.1;received=6.6.6.6;rport=1",
            ("192.0.2.9", 7),
            "SIP/2.0/UDP 192.0.2.1;received=192.0.2.9;rport=7",
            ("192.0.2.9", 7),
        ),
    ],
)
def test_responses_go_back_to_where_the_request_came_from(
    value: str, source: tuple[str, int], stamped: str, destination: tuple[str, int]
) -> None:
    via = Via.parse(value).stamped(Hop(*source))
    assert str(via) == stamped
    assert via.back_to(Hop(*source)) == Hop(*destination)


def test_a_received_address_that_the_sender_invents_is_not_believed() -> None:
    source = Hop("192.0.2.1", 5060)
    via = Via.parse("SIP/2.0/UDP 192.0.2.1;received=6.6.6.6").stamped(source)
    assert via.back_to(source) == source


@pytest.mark.parametrize("inside", ['\\"' * 20_000, "\\\\" * 20_000, '\\\\\\"' * 10_000])
def test_a_quoted_string_full_of_escapes_ends_behind_them(inside: str) -> None:
    assert cut(f'"{inside}",b', ",") == [f'"{inside}"', "b"]
    with pytest.raises(ProtocolError):
        cut(f'"{inside}\\"', ",")
