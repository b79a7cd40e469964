"""SIP messages: bytes in, bytes out, and what hostile bytes are refused with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.errors import ProtocolError
from media.sip.header import Via
from media.sip.hop import Hop
from media.sip.message import MalformedError, Message, Request, Response, parse
from tests.media.sip.line import invite
from tests.media.sip.torture import messages

INVITE = (
    b"INVITE sip:+12125550100@192.0.2.1 SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK776asdhds;rport\r\n"
    b"Via: SIP/2.0/UDP 10.0.0.7;branch=z9hG4bKinner\r\n"
    b'From: "Ada" <sip:+12125550123@198.51.100.7>;tag=1928301774\r\n'
    b"To: <sip:+12125550100@192.0.2.1>\r\n"
    b"Call-ID: a84b4c76e66710\r\n"
    b"CSeq: 314159 INVITE\r\n"
    b"Contact: <sip:ada@198.51.100.7>\r\n"
    b"Max-Forwards: 70\r\n"
    b"Subject: \r\n"
    b"Content-Type: application/sdp\r\n"
    b"Content-Length: 4\r\n"
    b"\r\n"
    b"v=0\n"
)

TORTURE = messages()["wsinv"]
"After RFC 4475 section 3.1.1.1: folding, case, compact names, space where it may stand."


def test_a_request_is_read() -> None:
    message = parse(INVITE)
    assert isinstance(message, Request)
    message.check()
    assert (message.method, message.uri) == ("INVITE", "sip:+12125550100@192.0.2.1")
    assert (message.sequence, message.sequence_method) == (314159, "INVITE")
    assert (message.call_id, message.from_tag, message.to_tag) == ("a84b4c76e66710", "1928301774", "")
    assert message.via == Via("UDP", "198.51.100.7", 5060, {"branch": "z9hG4bK776asdhds", "rport": None})
    assert len(message.all("Via")) == 2
    assert message.get("Subject") == ""
    assert message.contacts[0].uri.user == "ada"
    assert (message.max_forwards, message.content_type, message.body) == (70, "application/sdp", b"v=0\n")


def test_the_bytes_of_a_message_are_those_that_were_read() -> None:
    assert bytes(parse(INVITE)) == INVITE.replace(b"Subject: \r\n", b"Subject: \r\n")


def test_a_tortuous_request_means_what_it_says() -> None:
    message = parse(TORTURE)
    assert isinstance(message, Request)
    message.check()
    assert (message.sequence, message.sequence_method, message.max_forwards) == (70, "INVITE", 41)
    assert (message.from_tag, message.to_tag) == ("early-bird", "late-arrival-3")
    assert [Via.parse(value).transport for value in message.all("Via")] == ["TLS", "UDP", "SCTP"]
    assert message.via.branch == "ward-east-7"
    assert message.contacts[0].params == {"q": "0.25", "mood": "calm", "awake": None}
    assert message.contacts[0].display == 'the "" desk'
    assert message.get("X-Ward-Note") == "the first half of a note and the other half"
    assert message.get("Subject") == ""
    assert parse(bytes(message)) == message


def test_every_truncation_is_refused_and_none_escapes() -> None:
    for data in (INVITE, TORTURE):
        for end in range(len(data)):
            with pytest.raises(MalformedError):
                parse(data[:end])


def test_any_one_byte_may_be_broken_without_another_error_than_ours() -> None:
    for place in range(len(INVITE)):
        for byte in (0, 10, 13, 32, 34, 44, 58, 59, 60, 255):
            broken = INVITE[:place] + bytes([byte]) + INVITE[place + 1 :]
            try:
                message = parse(broken)
                if isinstance(message, Request):
                    message.check()
                    _ = message.contacts
            except ProtocolError:
                continue
            assert parse(bytes(message)) == message


@given(st.binary(max_size=400))
def test_no_bytes_raise_anything_but_a_protocol_error(data: bytes) -> None:
    for prefix in (b"", b"INVITE sip:a SIP/2.0\r\nVia: ", b"SIP/2.0 200 OK\r\nFrom: "):
        try:
            message = parse(prefix + data + b"\r\n\r\n")
            if isinstance(message, Request):
                message.check()
        except ProtocolError:
            continue


NAMES = st.from_regex(r"X-[A-Z][a-z]{1,7}(-[A-Z][a-z]{1,7})?", fullmatch=True).filter(
    lambda name: name != "Content-Length"
)
VALUES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), max_size=30)
HEADERS = st.dictionaries(NAMES, st.lists(VALUES, min_size=1, max_size=3), max_size=6)


@given(
    method=st.from_regex(r"[A-Z]{1,9}", fullmatch=True),
    uri=st.from_regex(r"sip:[a-z0-9@.;=]{1,20}", fullmatch=True),
    headers=HEADERS,
    body=st.binary(max_size=50),
)
def test_parsing_undoes_building_for_requests(
    method: str, uri: str, headers: dict[str, list[str]], body: bytes
) -> None:
    message = Request(method, uri, headers, body)
    assert parse(bytes(message)) == message


@given(status=st.integers(100, 699), reason=VALUES, headers=HEADERS, body=st.binary(max_size=50))
def test_parsing_undoes_building_for_responses(
    status: int, reason: str, headers: dict[str, list[str]], body: bytes
) -> None:
    message = Response(status, reason, headers, body)
    assert parse(bytes(message)) == message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"\0\0\0\0",
        b"INVITE sip:a SIP/2.0\r\n",
        b"INVITE sip:a b SIP/2.0\r\n\r\n",
        b"INVITE  sip:a SIP/2.0\r\n\r\n",
        b"IN<VITE sip:a SIP/2.0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"SIP/2.0 20 OK\r\n\r\n",
        b"SIP/2.0 099 OK\r\n\r\n",
        b"SIP/2.0 700 OK\r\n\r\n",
        b"SIP/2.0 2\xd9\xa30 OK\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nno colon\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nVi a: x\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\n: x\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\n folded: first\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nSubject: a\nVia: evil\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nSubject: a\rb\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nSubject: a\0b\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 5\r\n\r\nabcd",
        b"OPTIONS sip:a SIP/2.0\r\nContent-Length: -1\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 99999999\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 0\r\nl: 1\r\n\r\nx",
        b"OPTIONS sip:a SIP/2.0\r\n" + b"X: y\r\n" * 201 + b"\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nX: " + b"y" * 65_536 + b"\r\n\r\n",
    ],
)
def test_hostile_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse(data)


def test_another_version_is_told_so() -> None:
    with pytest.raises(MalformedError) as caught:
        parse(b"OPTIONS sip:a SIP/7.0\r\n\r\n")
    assert caught.value.reply == 505


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"CSeq: 314159 INVITE", b"CSeq: 314159 BYE"),
        (b"CSeq: 314159 INVITE", b"CSeq: 73786976294838206465 INVITE"),
        (b"CSeq: 314159 INVITE\r\n", b""),
        (b"Call-ID: a84b4c76e66710", b"Call-ID:"),
        (b"Call-ID: a84b4c76e66710", b"Call-ID: a\r\ni: b"),
        (b"To: <sip:+12125550100@192.0.2.1>\r\n", b""),
        (b"Max-Forwards: 70", b"Max-Forwards: 256"),
        (b"Max-Forwards: 70", b"Max-Forwards: many"),
        (b"Via: SIP/2.0/UDP 198.51.100.7:5060", b"Via: SIP/2.0/UDP 198.51.100.7:99999"),
        (b'"Ada"', b'"Ada'),
    ],
)
def test_a_request_that_breaks_the_rules_is_kept_for_its_400(before: bytes, after: bytes) -> None:
    message = parse(INVITE.replace(before, after))
    assert isinstance(message, Request)
    with pytest.raises(MalformedError) as caught:
        message.check()
    assert caught.value.message is message
    assert caught.value.reply == 400


def test_a_request_without_max_forwards_is_older_than_rfc_3261_and_taken() -> None:
    message = parse(INVITE.replace(b"Max-Forwards: 70\r\n", b""))
    assert isinstance(message, Request)
    message.check()
    assert message.max_forwards == 70


def test_bytes_after_the_stated_length_are_dropped() -> None:
    assert parse(INVITE + b"more").body == b"v=0\n"


def test_without_a_stated_length_the_datagram_s_end_is_the_body_s() -> None:
    assert parse(INVITE.replace(b"Content-Length: 4\r\n", b"")).body == b"v=0\n"


def test_line_breaks_before_the_start_line_are_skipped() -> None:
    assert parse(b"\r\n\r\n" + INVITE) == parse(INVITE)


@pytest.mark.parametrize("name", ["v", "V", "via", "VIA", "Via", "vIa"])
def test_names_know_no_case_and_have_short_forms(name: str) -> None:
    message = parse(b"OPTIONS sip:a SIP/2.0\r\n" + name.encode() + b": SIP/2.0/UDP a;branch=b\r\n\r\n")
    assert message.via.branch == "b"


def test_nothing_that_is_handed_in_can_end_its_line() -> None:
    for message in (
        Request("INVITE", "sip:a", {"Subject": ["a\r\nVia: evil"]}),
        Request("INVITE", "sip:a", {"Subject\n": ["a"]}),
        Request("INVITE", "sip:a\r\nVia: evil", {}),
        Response(200, "OK\nVia: evil", {}),
    ):
        with pytest.raises(ProtocolError):
            bytes(message)


def test_a_response_carries_what_its_request_needs_to_know_it() -> None:
    request = parse(INVITE)
    assert isinstance(request, Request)
    response = request.respond(180, to_tag="mine", headers={"Contact": ["<sip:a>"]})
    assert response.reason == "Ringing"
    for name in ("Via", "From", "Call-ID", "CSeq"):
        assert response.headers[name] == request.headers[name]
    assert response.to_tag == "mine"
    assert request.to_tag == ""
    assert request.respond(400).to_tag == ""


def test_a_tag_in_to_is_never_added_twice() -> None:
    request = invite(to="<sip:a@b>;tag=there")
    assert request.respond(200, to_tag="mine").headers["To"] == ["<sip:a@b>;tag=there"]


def test_trying_echoes_the_timestamp_and_only_what_makes_a_dialog_echoes_the_route() -> None:
    request = invite(headers={"Timestamp": "54", "Record-Route": "<sip:p1;lr>"})
    assert request.respond(100).get("Timestamp") == "54"
    assert request.respond(100).get("Record-Route") is None
    assert request.respond(180).get("Record-Route") == "<sip:p1;lr>"
    assert request.respond(200).get("Record-Route") == "<sip:p1;lr>"
    assert request.respond(404).get("Record-Route") is None


def test_stamping_changes_the_first_via_only() -> None:
    message = parse(INVITE)
    assert isinstance(message, Request)
    message.stamp(Hop("203.0.113.5", 4000))
    assert message.all("Via") == [
        "SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK776asdhds;rport=4000;received=203.0.113.5",
        "SIP/2.0/UDP 10.0.0.7;branch=z9hG4bKinner",
    ]
    assert message.back == Hop("203.0.113.5", 4000)


def test_messages_differ_where_anything_differs() -> None:
    one = Request("OPTIONS", "sip:a", {"To": ["x"]}, b"")
    assert one == Request("OPTIONS", "sip:a", {"To": ["x"]}, b"")
    assert one != Request("OPTIONS", "sip:a", {"To": ["y"]}, b"")
    assert one != Request("OPTIONS", "sip:a", {"To": ["x"]}, b"z")
    assert one != Response(200, "OK", {"To": ["x"]}, b"")
    assert isinstance(one, Message)
